//! Whether a request is from who it should be.
//!
//! Invariant: what is secret is compared in constant time, by bytes that were decoded, not by spelling.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::{HttpSource, Received};
use crate::secret::{Secret, exposed};
use crate::signature::{Encoding, Hash};

/// Whom a source believes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Verifier {
    /// Everybody who knows the URL.
    #[default]
    Noop,
    /// Who signs the body with a key that we share.
    Hmac {
        /// Where the signature is, in lower case.
        header: String,
        /// The hash.
        hash: Hash,
        /// How the signature is written.
        encoding: Encoding,
        /// The key.
        #[serde(serialize_with = "exposed")]
        secret: Secret<String>,
    },
    /// Who knows a name and a password.
    BasicAuth {
        /// The name.
        username: String,
        /// The password.
        #[serde(serialize_with = "exposed")]
        password: Secret<String>,
    },
    /// Who sends a fixed header.
    ApiKey {
        /// Its name, in lower case.
        header_name: String,
        /// Its value.
        #[serde(serialize_with = "exposed")]
        header_value: Secret<String>,
    },
}

/// Whose webhooks they are. The verifier is [`Verifier::Hmac`], of which only the secret counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// `X-Hub-Signature-256: sha256=` and hexadecimal digits.
    Github,
    /// `X-Shopify-Hmac-SHA256` in base64.
    Shopify,
    /// `X-Twitter-Webhooks-Signature: sha256=` and base64, with a challenge now and then.
    Twitter,
}

/// Why a request is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// What proves it is not there.
    #[error("the request has no `{0}` header, which this source verifies requests by")]
    Missing(String),
    /// It is there and wrong.
    #[error("the `{0}` header does not verify this request")]
    Wrong(String),
}

impl Provider {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Shopify => "shopify",
            Self::Twitter => "twitter",
        }
    }

    /// Header, what stands before the signature, and how that is written.
    const fn scheme(self) -> (&'static str, &'static str, Encoding) {
        match self {
            Self::Github => ("x-hub-signature-256", "sha256=", Encoding::Hex),
            Self::Shopify => ("x-shopify-hmac-sha256", "", Encoding::Base64),
            Self::Twitter => ("x-twitter-webhooks-signature", "sha256=", Encoding::Base64),
        }
    }
}

impl HttpSource {
    /// Whether a request is from who it should be.
    ///
    /// # Errors
    /// [`Unverified`], which tells nothing of the secret.
    pub fn verify(&self, request: &Received<'_>) -> Result<(), Unverified> {
        match (&self.verifier, self.provider) {
            (Verifier::Hmac { secret, .. }, Some(provider)) => {
                let (header, prefix, encoding) = provider.scheme();
                signed(request, header, prefix, Hash::Sha256, encoding, secret)
            }
            (Verifier::Hmac { header, hash, encoding, secret }, None) => {
                signed(request, header, "", *hash, *encoding, secret)
            }
            (Verifier::Noop, _) => Ok(()),
            (Verifier::BasicAuth { username, password }, _) => {
                let given = proof(request, "authorization")?;
                let pair = given.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
                let pair = pair.and_then(|(_, text)| STANDARD.decode(text.trim()).ok());
                equal(
                    pair.as_deref(),
                    format!("{username}:{}", password.expose()).as_bytes(),
                    "authorization",
                )
            }
            (Verifier::ApiKey { header_name, header_value }, _) => {
                let given = proof(request, header_name)?;
                equal(Some(given.as_bytes()), header_value.expose().as_bytes(), header_name)
            }
        }
    }

    /// What a provider's challenge (Twitter's CRC) is answered with; `None` when this source has none to answer.
    #[must_use]
    pub fn answer_challenge(&self, token: &str) -> Option<String> {
        let (Some(Provider::Twitter), Verifier::Hmac { secret, .. }) = (self.provider, &self.verifier) else {
            return None;
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
        mac.update(token.as_bytes());
        Some(format!("sha256={}", STANDARD.encode(mac.finalize().into_bytes())))
    }

    /// The header that proves who a request is from by being secret itself: it is neither kept nor sent on.
    pub(super) fn secret_header(&self) -> Option<&str> {
        match &self.verifier {
            Verifier::BasicAuth { .. } => Some("authorization"),
            Verifier::ApiKey { header_name, .. } => Some(header_name),
            Verifier::Noop | Verifier::Hmac { .. } => None,
        }
    }

    /// Whether it is the body that is verified, and nothing beside it.
    #[must_use]
    pub const fn verifies_the_body(&self) -> bool {
        matches!(self.verifier, Verifier::Hmac { .. })
    }
}

fn proof<'r>(request: &Received<'r>, header: &str) -> Result<&'r str, Unverified> {
    request
        .header(header)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| Unverified::Missing(header.to_owned()))
}

fn equal(given: Option<&[u8]>, wanted: &[u8], header: &str) -> Result<(), Unverified> {
    let is_equal = given.is_some_and(|given| bool::from(given.ct_eq(wanted)));
    if is_equal { Ok(()) } else { Err(Unverified::Wrong(header.to_owned())) }
}

fn signed(
    request: &Received<'_>,
    header: &str,
    prefix: &str,
    hash: Hash,
    encoding: Encoding,
    secret: &Secret<String>,
) -> Result<(), Unverified> {
    let given = proof(request, header)?.trim().strip_prefix(prefix).unwrap_or_default();
    let given = match encoding {
        Encoding::Hex => hex::decode(given).ok(),
        Encoding::Base64 => STANDARD.decode(given).ok(),
    };
    let key = secret.expose().as_bytes();
    let is_right = given.is_some_and(|given| match hash {
        Hash::Sha256 => verifies(Hmac::<Sha256>::new_from_slice(key).ok(), request.body, &given),
        Hash::Sha512 => verifies(Hmac::<Sha512>::new_from_slice(key).ok(), request.body, &given),
    });
    if is_right { Ok(()) } else { Err(Unverified::Wrong(header.to_owned())) }
}

/// In constant time.
fn verifies<M: Mac>(mac: Option<M>, body: &[u8], given: &[u8]) -> bool {
    mac.is_some_and(|mut mac| {
        mac.update(body);
        mac.verify_slice(given).is_ok()
    })
}
