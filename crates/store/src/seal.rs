//! Credentials at rest: sealed with the installation's master key, which can be changed while everything runs.
//!
//! What it is for: sealing and opening values of the database, each bound to its row. What it does not do: find
//! them ([`crate::reseal`] does) or hash API keys ([`crate::api_keys`]). Invariants: a master key is 32 bytes that
//! are stored nowhere; new values are sealed with the current one; what a previous one sealed still opens.
//!
//! | format | bytes |
//! |---|---|
//! | 1 | `1`, nonce (12), ciphertext and tag; opened by trying every key |
//! | 2 | `2`, the key's id (4), nonce (12), ciphertext and tag; the first five bytes are authenticated too |

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use rand::RngCore;
use sha2::Sha256;

/// First byte of what earlier versions sealed.
const UNNAMED: u8 = 1;
/// First byte of what is sealed now. Frozen: another format gets another byte.
const NAMED: u8 = 2;
const ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 12;

/// Why a key or a sealed value is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text is not a key.
    #[error("the master key must be 32 bytes in base64; make one with `openssl rand -base64 32`")]
    BadKey,
    /// The value was sealed for another purpose, or with another key in format 1, or is damaged.
    #[error("a stored credential cannot be opened with this master key; was the key changed?")]
    CannotOpen,
    /// The value names the key it was sealed with, and that is none of ours.
    #[error(
        "a stored credential is sealed with the master key `{0}`, which this process does not have; give it as \
         `security.master_key` or among `security.previous_master_keys`"
    )]
    UnknownKey(KeyId),
}

/// Which master key sealed a value: a fingerprint that tells nothing of the key. For people and for finding the key;
/// two keys may share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; ID_BYTES]);

impl fmt::Display for KeyId {
    /// Eight hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// The installation's master keys: the current one, which seals, and previous ones, which only open.
#[derive(Clone)]
pub struct Keys {
    current: MasterKey,
    previous: Vec<MasterKey>,
}

/// What is derived from one master key, a key per purpose.
#[derive(Clone)]
struct MasterKey {
    id: KeyId,
    sealing: ChaCha20Poly1305,
    api_keys: [u8; 32],
}

/// A value that opened.
pub(crate) struct Opened {
    pub(crate) plain: Vec<u8>,
    /// The key that opened it.
    pub(crate) key: KeyId,
    /// Whether it is sealed as a new value would be.
    pub(crate) is_current: bool,
}

impl Keys {
    /// Derives the keys from the current master key's base64 text.
    ///
    /// # Errors
    /// [`SealError::BadKey`].
    pub fn parse(master: &str) -> Result<Self, SealError> {
        Ok(Self { current: MasterKey::parse(master)?, previous: Vec::new() })
    }

    /// With a master key more that opens what it sealed. One that is known already changes nothing.
    ///
    /// # Errors
    /// [`SealError::BadKey`].
    pub fn and_previous(mut self, master: &str) -> Result<Self, SealError> {
        let key = MasterKey::parse(master)?;
        if self.all().all(|known| known.api_keys != key.api_keys) {
            self.previous.push(key);
        }
        Ok(self)
    }

    /// The key that seals.
    #[must_use]
    pub const fn current(&self) -> KeyId {
        self.current.id
    }

    /// The keys that only open.
    pub fn previous(&self) -> impl Iterator<Item = KeyId> {
        self.previous.iter().map(|key| key.id)
    }

    /// Seals a value with the current key. `purpose` (the row's id) is bound to it: it opens only under the same one.
    ///
    /// # Errors
    /// [`SealError::CannotOpen`]: larger than the cipher takes, 256 GiB.
    pub fn seal(&self, plain: &[u8], purpose: &[u8], rng: &mut impl RngCore) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        rng.fill_bytes(&mut nonce);
        let head = [&[NAMED][..], &self.current.id.0].concat();
        let bound = [&head[..], purpose].concat();
        let sealed = self
            .current
            .sealing
            .encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: &bound })
            .map_err(|_| SealError::CannotOpen)?;
        Ok([&head[..], &nonce, &sealed].concat())
    }

    /// Opens what [`Self::seal`] sealed under the same purpose, with the key it was sealed with.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`], [`SealError::CannotOpen`].
    pub fn open(&self, sealed: &[u8], purpose: &[u8]) -> Result<Vec<u8>, SealError> {
        self.open_and_tell(sealed, purpose).map(|opened| opened.plain)
    }

    /// As [`Self::open`], and tells which key it was.
    pub(crate) fn open_and_tell(&self, sealed: &[u8], purpose: &[u8]) -> Result<Opened, SealError> {
        let (format, rest) = sealed.split_first().ok_or(SealError::CannotOpen)?;
        match *format {
            UNNAMED => {
                let opened = self.all().find_map(|key| Some((key.id, key.open(rest, purpose)?)));
                let (key, plain) = opened.ok_or(SealError::CannotOpen)?;
                Ok(Opened { plain, key, is_current: false })
            }
            NAMED => {
                let (id, rest) = rest.split_first_chunk::<ID_BYTES>().ok_or(SealError::CannotOpen)?;
                let id = KeyId(*id);
                let bound = [&[NAMED][..], &id.0, purpose].concat();
                let mut named = self.all().filter(|key| key.id == id).peekable();
                named.peek().ok_or(SealError::UnknownKey(id))?;
                let opened = named.find_map(|key| Some((key, key.open(rest, &bound)?)));
                let (key, plain) = opened.ok_or(SealError::CannotOpen)?;
                let is_current = key.api_keys == self.current.api_keys;
                Ok(Opened { plain, key: id, is_current })
            }
            _ => Err(SealError::CannotOpen),
        }
    }

    /// What API keys are hashed with in an installation that began under that master key.
    pub(crate) fn api_key_pepper(&self, under: KeyId) -> Option<[u8; 32]> {
        self.all().find(|key| key.id == under).map(|key| key.api_keys)
    }

    /// The current one first.
    fn all(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

impl MasterKey {
    fn parse(text: &str) -> Result<Self, SealError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| SealError::BadKey)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| SealError::BadKey)?;
        Ok(Self {
            id: KeyId(derive(&bytes, b"longshore/key-id/1")?),
            sealing: ChaCha20Poly1305::new(&Key::from(derive(&bytes, b"longshore/seal/1")?)),
            api_keys: derive(&bytes, b"longshore/api-key/1")?,
        })
    }

    /// `rest` is nonce, ciphertext and tag.
    fn open(&self, rest: &[u8], bound: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        self.sealing.decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: bound }).ok()
    }
}

/// HKDF-SHA256. Frozen, as the purposes are: what is stored depends on them.
fn derive<const N: usize>(master: &[u8; 32], purpose: &[u8]) -> Result<[u8; N], SealError> {
    let mut key = [0; N];
    Hkdf::<Sha256>::new(None, master).expand(purpose, &mut key).map_err(|_| SealError::BadKey)?;
    Ok(key)
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys([redacted])")
    }
}

#[cfg(test)]
mod tests;
