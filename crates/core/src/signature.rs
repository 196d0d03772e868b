//! Webhook signatures.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Hash of a v1-contract signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub enum Hash {
    /// `SHA256`
    #[default]
    #[serde(rename = "SHA256")]
    Sha256,
    /// `SHA512`
    #[serde(rename = "SHA512")]
    Sha512,
}

/// Encoding of a v1-contract signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Lower-case hexadecimal.
    #[default]
    Hex,
    /// Standard padded base64.
    Base64,
}

/// A parsed secret that can sign.
#[derive(Clone, Debug)]
pub struct SigningKey(());

/// Why a secret cannot sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub &'static str);

impl SigningKey {
    /// Parses a secret: `whsec_` + base64, `whsk_` + base64 (ed25519), or any other text (its bytes are the key).
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(_secret: &str) -> Result<Self, KeyError> {
        Ok(Self(()))
    }
    /// x
    pub fn generate(_rng: &mut impl rand::RngCore) -> String {
        String::new()
    }
}

/// The v1 contract's simple form: the newest symmetric key over the body.
#[must_use]
pub fn simple<'a>(
    _keys: impl Iterator<Item = &'a SigningKey>,
    _hash: Hash,
    _encoding: Encoding,
    _body: &[u8],
) -> Option<String> {
    None
}

/// The v1 contract's advanced form: `t=…,v1=…[,v1=…]`.
#[must_use]
pub fn advanced<'a>(
    _keys: impl Iterator<Item = &'a SigningKey>,
    _hash: Hash,
    _encoding: Encoding,
    _at: Timestamp,
    _body: &[u8],
) -> Option<String> {
    None
}

/// The `webhook-signature` header of Standard Webhooks: `v1,…` and `v1a,…`, space-separated.
#[must_use]
pub fn standard<'a>(
    _keys: impl Iterator<Item = &'a SigningKey>,
    _id: &str,
    _at: Timestamp,
    _body: &[u8],
) -> Option<String> {
    None
}
