//! The installation's key: seals stored credentials and hashes API keys.
//!
//! One master key of 32 bytes, separate keys per purpose by HKDF-SHA256. It is never stored; without it, what
//! is sealed cannot be opened and no API key is recognised.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use rand::RngCore;
use sha2::Sha256;

/// First byte of everything sealed: the format. Another format gets another byte.
const FORMAT: u8 = 1;
const NONCE_BYTES: usize = 12;

/// Why a key or a sealed value is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text is not a key.
    #[error("the master key must be 32 bytes in base64; make one with `openssl rand -base64 32`")]
    BadKey,
    /// The value was sealed with another key, or for another purpose, or is damaged.
    #[error("a stored credential cannot be opened with this master key; was the key changed?")]
    CannotOpen,
}

/// The keys derived from the installation's master key.
#[derive(Clone)]
pub struct Keys {
    sealing: ChaCha20Poly1305,
    api_keys: Hmac<Sha256>,
}

impl Keys {
    /// Derives the keys from the master key's base64 text.
    ///
    /// # Errors
    /// [`SealError::BadKey`].
    pub fn parse(master: &str) -> Result<Self, SealError> {
        let bytes = STANDARD.decode(master.trim()).map_err(|_| SealError::BadKey)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| SealError::BadKey)?;
        let derive = |purpose: &[u8]| -> Result<[u8; 32], SealError> {
            let mut key = [0; 32];
            Hkdf::<Sha256>::new(None, &bytes).expand(purpose, &mut key).map_err(|_| SealError::BadKey)?;
            Ok(key)
        };
        Ok(Self {
            sealing: ChaCha20Poly1305::new(&Key::from(derive(b"longshore/seal/1")?)),
            api_keys: Hmac::<Sha256>::new_from_slice(&derive(b"longshore/api-key/1")?)
                .map_err(|_| SealError::BadKey)?,
        })
    }

    /// The hash under which an API key is stored: HMAC-SHA256. Keys are 64 random characters, so a slow hash
    /// would protect nothing that this does not.
    #[must_use]
    pub fn api_key_hash(&self, key: &str) -> [u8; 32] {
        let mut mac = self.api_keys.clone();
        mac.update(key.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// Seals a value. `purpose` (e.g. the row's id) is bound to it: it opens only under the same one.
    pub fn seal(&self, plain: &[u8], purpose: &[u8], rng: &mut impl RngCore) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        rng.fill_bytes(&mut nonce);
        let sealed = self
            .sealing
            .encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: purpose })
            .map_err(|_| SealError::CannotOpen)?;
        Ok([&[FORMAT][..], &nonce, &sealed].concat())
    }

    /// Opens what [`Self::seal`] sealed under the same purpose.
    ///
    /// # Errors
    /// [`SealError::CannotOpen`].
    pub fn open(&self, sealed: &[u8], purpose: &[u8]) -> Result<Vec<u8>, SealError> {
        let [FORMAT, rest @ ..] = sealed else { return Err(SealError::CannotOpen) };
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(SealError::CannotOpen)?;
        self.sealing
            .decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: purpose })
            .map_err(|_| SealError::CannotOpen)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn keys(byte: u8) -> Keys {
        Keys::parse(&STANDARD.encode([byte; 32])).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_purpose_only() {
        let mut rng = StdRng::seed_from_u64(1);
        let sealed = keys(1).seal(b"whsec_x", b"row 1", &mut rng).unwrap();

        assert_eq!(keys(1).open(&sealed, b"row 1").unwrap(), b"whsec_x");
        assert_eq!(keys(1).open(&sealed, b"row 2"), Err(SealError::CannotOpen));
        assert_eq!(keys(2).open(&sealed, b"row 1"), Err(SealError::CannotOpen));
        assert_eq!(keys(1).open(&sealed[..5], b"row 1"), Err(SealError::CannotOpen));
        assert!(!sealed.windows(5).any(|part| part == b"whsec"));
        assert_ne!(sealed, keys(1).seal(b"whsec_x", b"row 1", &mut rng).unwrap());
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        for text in ["", "abc", &STANDARD.encode([1; 31]), &STANDARD.encode([1; 33])] {
            assert_eq!(Keys::parse(text).unwrap_err(), SealError::BadKey);
        }
    }

    #[test]
    fn api_key_hashes_depend_on_the_master_key() {
        assert_eq!(keys(1).api_key_hash("CO.a.b"), keys(1).api_key_hash("CO.a.b"));
        assert_ne!(keys(1).api_key_hash("CO.a.b"), keys(2).api_key_hash("CO.a.b"));
        assert_ne!(keys(1).api_key_hash("CO.a.b"), keys(1).api_key_hash("CO.a.c"));
    }
}
