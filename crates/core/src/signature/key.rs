//! Secrets as they are written, and the keys they stand for.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ed25519_dalek::{SECRET_KEY_LENGTH, Signer};
use hmac::{Hmac, KeyInit};
use rand::CryptoRng;
use sha2::{Digest, Sha256, Sha512};

use super::{Encoding, Hash, finish};
use crate::secret::Secret;

/// Secrets are pasted by people: padding may have got lost.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Length of a generated symmetric key in bytes.
const GENERATED_BYTES: usize = 32;
/// Length of a public key's id in bytes.
const PUBLIC_ID_BYTES: usize = 8;

/// A parsed secret that can sign.
#[derive(Clone)]
pub struct SigningKey(Secret<Kind>);

#[derive(Clone)]
enum Kind {
    Symmetric(Box<Symmetric>),
    Asymmetric(Box<ed25519_dalek::SigningKey>),
}

/// HMAC states after their key blocks: each signature saves hashing two of them.
#[derive(Clone)]
struct Symmetric {
    contract_sha256: Hmac<Sha256>,
    contract_sha512: Hmac<Sha512>,
    standard: Hmac<Sha256>,
}

/// Why a secret cannot sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub &'static str);

impl SigningKey {
    /// Parses a secret: `whsec_` + base64, `whsk_` + base64 (ed25519), or any other text (its bytes are the key).
    ///
    /// The v1 contract's signatures use the bytes of the full text, also of a `whsec_` secret; Standard Webhooks
    /// signatures use the decoded 24 to 64 bytes. `whsk_` holds the 32-byte seed, or the seed and the public key.
    ///
    /// # Errors
    /// [`KeyError`] when the secret is empty, is a public key, or does not hold what its prefix says.
    pub fn parse(secret: &str) -> Result<Self, KeyError> {
        let kind = if let Some(encoded) = secret.strip_prefix("whsec_") {
            let key = LENIENT
                .decode(encoded)
                .map_err(|_| KeyError("a `whsec_` secret must continue in base64: generate a new one"))?;
            if !(24..=64).contains(&key.len()) {
                return Err(KeyError(
                    "a `whsec_` secret must hold 24 to 64 bytes in base64: generate a new one",
                ));
            }
            symmetric(secret.as_bytes(), &key)?
        } else if let Some(encoded) = secret.strip_prefix("whsk_") {
            let key = LENIENT
                .decode(encoded)
                .map_err(|_| KeyError("a `whsk_` secret must continue in base64: generate a new one"))?;
            Kind::Asymmetric(Box::new(asymmetric(&key)?))
        } else if secret.starts_with("whpk_") {
            return Err(KeyError(
                "a `whpk_` key is public and cannot sign: write the `whsk_` secret it belongs to",
            ));
        } else if secret.is_empty() {
            return Err(KeyError("the secret is empty: write one, or leave it out to have one generated"));
        } else {
            symmetric(secret.as_bytes(), secret.as_bytes())?
        };
        Ok(Self(Secret::new(kind)))
    }

    /// A new symmetric secret: `whsec_` and 32 random bytes in base64.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> String {
        prefixed("whsec_", rng)
    }

    /// A new ed25519 secret: `whsk_` and a random 32-byte seed in base64.
    #[must_use]
    pub fn generate_asymmetric(rng: &mut impl CryptoRng) -> String {
        prefixed("whsk_", rng)
    }

    /// What a receiver verifies with, as `whpk_` and base64; `None` for a symmetric key.
    #[must_use]
    pub fn public_key(&self) -> Option<String> {
        match self.0.expose() {
            Kind::Symmetric(_) => None,
            Kind::Asymmetric(key) => {
                Some(format!("whpk_{}", STANDARD.encode(key.verifying_key().as_bytes())))
            }
        }
    }

    /// A name of the public key by which receivers may keep it: 16 hexadecimal digits of its SHA-256.
    #[must_use]
    pub fn public_key_id(&self) -> Option<String> {
        match self.0.expose() {
            Kind::Symmetric(_) => None,
            Kind::Asymmetric(key) => {
                let digest = Sha256::digest(key.verifying_key().as_bytes());
                Some(hex::encode(digest.first_chunk::<PUBLIC_ID_BYTES>()?))
            }
        }
    }

    /// Whether it can make v1-contract signatures.
    pub(super) fn is_symmetric(&self) -> bool {
        matches!(self.0.expose(), Kind::Symmetric(_))
    }

    /// A signature of the v1 contract over `parts` in sequence; `None` for an asymmetric key.
    pub(super) fn contract_signature(
        &self,
        hash: Hash,
        encoding: Encoding,
        parts: &[&[u8]],
    ) -> Option<String> {
        match (self.0.expose(), hash) {
            (Kind::Symmetric(key), Hash::Sha256) => Some(finish(&key.contract_sha256, encoding, parts)),
            (Kind::Symmetric(key), Hash::Sha512) => Some(finish(&key.contract_sha512, encoding, parts)),
            (Kind::Asymmetric(_), _) => None,
        }
    }

    /// Appends `v1,…` or `v1a,…` over `prefix` and `body`.
    pub(super) fn push_standard_signature(&self, prefix: &str, body: &[u8], header: &mut String) {
        match self.0.expose() {
            Kind::Symmetric(key) => {
                header.push_str("v1,");
                header.push_str(&finish(&key.standard, Encoding::Base64, &[prefix.as_bytes(), body]));
            }
            Kind::Asymmetric(key) => {
                let signature = key.sign(&[prefix.as_bytes(), body].concat());
                header.push_str("v1a,");
                STANDARD.encode_string(signature.to_bytes(), header);
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.expose() {
            Kind::Symmetric(_) => "SigningKey(symmetric, [redacted])",
            Kind::Asymmetric(_) => "SigningKey(ed25519, [redacted])",
        })
    }
}

fn symmetric(contract: &[u8], standard: &[u8]) -> Result<Kind, KeyError> {
    let unusable = |_| KeyError("the secret cannot be used as an HMAC key: generate a new one");
    Ok(Kind::Symmetric(Box::new(Symmetric {
        contract_sha256: Hmac::new_from_slice(contract).map_err(unusable)?,
        contract_sha512: Hmac::new_from_slice(contract).map_err(unusable)?,
        standard: Hmac::new_from_slice(standard).map_err(unusable)?,
    })))
}

fn asymmetric(key: &[u8]) -> Result<ed25519_dalek::SigningKey, KeyError> {
    if let Ok(seed) = <&[u8; SECRET_KEY_LENGTH]>::try_from(key) {
        Ok(ed25519_dalek::SigningKey::from_bytes(seed))
    } else if let Ok(pair) = key.try_into() {
        ed25519_dalek::SigningKey::from_keypair_bytes(pair).map_err(|_| {
            KeyError("the halves of the `whsk_` secret do not belong together: write the 32-byte seed")
        })
    } else {
        Err(KeyError(
            "a `whsk_` secret must hold a 32-byte seed, or 64 bytes of seed and public key, in base64",
        ))
    }
}

fn prefixed(prefix: &str, rng: &mut impl CryptoRng) -> String {
    let mut bytes = [0; GENERATED_BYTES];
    rng.fill_bytes(&mut bytes);
    let mut secret = prefix.to_owned();
    STANDARD.encode_string(bytes, &mut secret);
    secret
}
