//! A webhook as it arrived, and whether its signatures hold by other people's code.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::{Sha256, Sha512};
use standardwebhooks::Webhook;
use tokio::time::Instant;

/// A webhook as it arrived.
#[derive(Debug)]
pub struct Request {
    /// When its first bytes were read.
    pub at: Instant,
    pub(super) parts: http::request::Parts,
    /// The body's bytes.
    pub body: Bytes,
}

/// Why a signature does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureError(pub String);

impl Request {
    /// Path of the URL, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// Query of the URL.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.parts.uri.query()
    }

    /// Method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.parts.method.as_str()
    }

    /// Version of HTTP.
    #[must_use]
    pub const fn version(&self) -> http::Version {
        self.parts.version
    }

    /// Headers.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// A header's first value as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// The `webhook-id` header: the same for every attempt of a delivery.
    #[must_use]
    pub fn webhook_id(&self) -> Option<&str> {
        self.header("webhook-id")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// Checks `webhook-signature` with the reference verifier of Standard Webhooks. `secret` is `whsec_` +
    /// base64, or any other text, whose bytes are the key then.
    ///
    /// # Errors
    /// [`SignatureError`], also when the timestamp is five minutes off.
    pub fn verify_standard(&self, secret: &str) -> Result<(), SignatureError> {
        let verifier = match secret.starts_with("whsec_") {
            true => Webhook::new(secret),
            false => Webhook::from_bytes(secret.as_bytes().to_vec()),
        };
        let verified = verifier.and_then(|verifier| verifier.verify(&self.body, self.headers()));
        verified.map_err(|error| SignatureError(error.to_string()))
    }

    /// Checks the `v1a` signatures of `webhook-signature` with a public key, `whpk_` + base64, by another library than
    /// the one that signs.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify_asymmetric(&self, public_key: &str) -> Result<(), SignatureError> {
        let refuse = |problem: &str| SignatureError(problem.to_owned());
        let header = |name: &str| self.header(name).ok_or_else(|| refuse(&format!("no {name} header")));
        let encoded = public_key.strip_prefix("whpk_").ok_or_else(|| refuse("not a public key"))?;
        let key = STANDARD.decode(encoded).map_err(|_| refuse("not a public key"))?;
        let key = UnparsedPublicKey::new(&ED25519, key);
        let prefix = format!("{}.{}.", header("webhook-id")?, header("webhook-timestamp")?);
        let signed = [prefix.as_bytes(), &self.body].concat();
        let signatures = header("webhook-signature")?.split(' ').filter_map(|part| part.strip_prefix("v1a,"));
        let mut signatures = signatures.filter_map(|signature| STANDARD.decode(signature).ok());
        if signatures.any(|signature| key.verify(&signed, &signature).is_ok()) {
            Ok(())
        } else {
            Err(refuse("no v1a signature matches"))
        }
    }

    /// Checks `X-Convoy-Signature` by the v1 contract: simple or advanced form, SHA-256 or SHA-512, hex or
    /// base64. `key` is what the secret's bytes are.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify_contract(&self, key: &[u8]) -> Result<(), SignatureError> {
        self.verify_contract_of(&self.body, key)
    }

    /// As [`Self::verify_contract`], where something else than the body is signed: the JSON that a form was made of.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify_contract_of(&self, signed: &[u8], key: &[u8]) -> Result<(), SignatureError> {
        let Some(header) = self.header("x-convoy-signature") else {
            return Err(SignatureError("no X-Convoy-Signature header".to_owned()));
        };
        if verify_contract(header, key, signed) {
            Ok(())
        } else {
            Err(SignatureError("X-Convoy-Signature does not match".to_owned()))
        }
    }
}

/// Whether a header of the v1 contract signs that body with that key.
fn verify_contract(header: &str, key: &[u8], body: &[u8]) -> bool {
    let parts: Vec<(&str, &str)> = header.split(',').filter_map(|part| part.split_once('=')).collect();
    match parts.iter().find(|(name, _)| *name == "t") {
        Some((_, at)) => {
            let signed = [at.as_bytes(), b",", body].concat();
            parts.iter().any(|(name, value)| name.starts_with('v') && is_mac(value, key, &signed))
        }
        None => is_mac(header, key, body),
    }
}

fn is_mac(text: &str, key: &[u8], signed: &[u8]) -> bool {
    let candidates = [hex::decode(text).ok(), STANDARD.decode(text).ok()];
    candidates.iter().flatten().any(|mac| match mac.len() {
        32 => Hmac::<Sha256>::new_from_slice(key)
            .is_ok_and(|hmac| hmac.chain_update(signed).verify_slice(mac).is_ok()),
        64 => Hmac::<Sha512>::new_from_slice(key)
            .is_ok_and(|hmac| hmac.chain_update(signed).verify_slice(mac).is_ok()),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"event":"charge.success","amount":1000,"currency":"NGN"}"#;
    const KEY: &[u8] = b"convoy-webhook-secret";

    #[test]
    fn every_form_of_the_contract_is_accepted() {
        for header in [
            "244449b7f48cbc2709060c9dcdc2b3aa47a78f540430579015c579fb12defbb4",
            "JERJt/SMvCcJBgydzcKzqkenj1QEMFeQFcV5+xLe+7Q=",
            "t=1700000000,v1=77b8b9269f25a199846a55a2bd25b3fba151c70fdae60bb1dcd87fbbc943c55c",
            "t=1700000000,v1=00,v1=d7i5Jp8loZmEalWivSWz+6FRxw/a5gux3Nh/u8lDxVw=",
        ] {
            assert!(verify_contract(header, KEY, BODY), "{header}");
            assert!(!verify_contract(header, b"another", BODY), "{header}");
            assert!(!verify_contract(header, KEY, b"{}"), "{header}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for header in [
            "",
            "t=1",
            "v1=00",
            "00",
            "t=1700000001,v1=77b8b9269f25a199846a55a2bd25b3fba151c70fdae60bb1dcd87fbbc943c55c",
        ] {
            assert!(!verify_contract(header, KEY, BODY), "{header}");
        }
    }
}
