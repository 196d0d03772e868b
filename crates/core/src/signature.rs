//! Webhook signatures: the v1 contract's header and Standard Webhooks.
//!
//! What it is for: signing exactly the bytes that are sent. What it does not do: choose keys by time or write
//! HTTP headers. Invariant: no key, nor anything a key can be computed from, is printed by `Debug`.
//!
//! Standard Webhooks: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

mod key;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

pub use key::{KeyError, SigningKey};

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

/// The v1 contract's simple form: the newest symmetric key over the body; `None` without a symmetric key.
///
/// `keys` come oldest first.
#[must_use]
pub fn simple<'a>(
    keys: impl Iterator<Item = &'a SigningKey>,
    hash: Hash,
    encoding: Encoding,
    body: &[u8],
) -> Option<String> {
    keys.filter(|key| key.is_symmetric()).last()?.contract_signature(hash, encoding, &[body])
}

/// The v1 contract's advanced form: `t=…,v1=…[,v1=…]`, one `v1` per symmetric key; `None` without one.
///
/// The signed text is the seconds of `at`, a comma and the body.
#[must_use]
pub fn advanced<'a>(
    keys: impl Iterator<Item = &'a SigningKey>,
    hash: Hash,
    encoding: Encoding,
    at: Timestamp,
    body: &[u8],
) -> Option<String> {
    let secs = at.as_secs().to_string();
    let unsigned_len = "t=".len() + secs.len();
    let mut header = format!("t={secs}");
    for signature in
        keys.filter_map(|key| key.contract_signature(hash, encoding, &[secs.as_bytes(), b",", body]))
    {
        header.push_str(",v1=");
        header.push_str(&signature);
    }
    (header.len() > unsigned_len).then_some(header)
}

/// The `webhook-signature` header of Standard Webhooks: `v1,…` and `v1a,…`, space-separated, one per key.
///
/// The signed text is `id`, the seconds of `at` and the body with dots between. `None` without a key, and when
/// `id` is empty or contains a dot, with which a signature could be passed off as that of another message.
#[must_use]
pub fn standard<'a>(
    keys: impl Iterator<Item = &'a SigningKey>,
    id: &str,
    at: Timestamp,
    body: &[u8],
) -> Option<String> {
    if id.is_empty() || id.contains('.') {
        return None;
    }
    let prefix = format!("{id}.{}.", at.as_secs());
    let mut header = String::new();
    for key in keys {
        if !header.is_empty() {
            header.push(' ');
        }
        key.push_standard_signature(&prefix, body, &mut header);
    }
    (!header.is_empty()).then_some(header)
}

fn finish<M: Mac + Clone>(state: &M, encoding: Encoding, parts: &[&[u8]]) -> String {
    let mut mac = state.clone();
    for part in parts {
        mac.update(part);
    }
    let tag = mac.finalize().into_bytes();
    match encoding {
        Encoding::Hex => hex::encode(tag),
        Encoding::Base64 => STANDARD.encode(tag),
    }
}
