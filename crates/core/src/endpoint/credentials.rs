//! What proves to an endpoint who we are, and to us who the endpoint is. Everything in here is kept sealed.
//!
//! The JSON form shows secrets: it is for the seal only, never for a log, an answer or a diff.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use crate::secret::{Secret, exposed};

/// Everything an endpoint's requests carry or check besides the signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointCredentials {
    /// Sent with each request.
    pub authentication: Option<Authentication>,
    /// Shown in the TLS handshake (mTLS).
    pub client_certificate: Option<ClientCertificate>,
    /// PEM of the certificate authorities to trust instead of the public ones.
    pub ca: Option<String>,
    /// Headers with fixed values; they may hold secrets, so they are kept with them. Names in lower case.
    #[serde(serialize_with = "exposed_all")]
    pub headers: BTreeMap<String, Secret<String>>,
}

/// What is sent besides the signature to prove who we are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Authentication {
    /// A header with a fixed value.
    ApiKey {
        /// Name of the header.
        header: String,
        /// Its value.
        #[serde(serialize_with = "exposed")]
        value: Secret<String>,
    },
    /// HTTP Basic.
    Basic {
        /// User name.
        username: String,
        /// Password.
        #[serde(serialize_with = "exposed")]
        password: Secret<String>,
    },
    /// A bearer token by OAuth 2.0 client credentials (RFC 6749 section 4.4).
    #[serde(rename = "oauth2")]
    OAuth2(Box<OAuth2>),
}

/// How a token is got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuth2 {
    /// The token endpoint.
    pub url: Url,
    /// Who asks.
    pub client_id: String,
    /// How it proves that.
    pub client: OAuth2Client,
    /// Asked for, when given.
    #[serde(default)]
    pub scope: Option<String>,
    /// Asked for, when given.
    #[serde(default)]
    pub audience: Option<String>,
    /// Where the answer has what.
    #[serde(default)]
    pub fields: TokenFields,
    /// The unit of the answer's lifetime.
    #[serde(default)]
    pub expiry_unit: ExpiryUnit,
}

/// How the client proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OAuth2Client {
    /// `client_secret` (RFC 6749 section 2.3.1).
    SharedSecret {
        /// The secret.
        #[serde(serialize_with = "exposed")]
        secret: Secret<String>,
        /// Whether it goes into the `Authorization` header rather than into the body.
        #[serde(default)]
        in_header: bool,
    },
    /// A signed JWT (RFC 7523).
    ClientAssertion {
        /// The private key as a JWK (RFC 7517): the text of a JSON object.
        #[serde(serialize_with = "exposed")]
        signing_key: Secret<String>,
        /// The JWS algorithm, e.g. `RS256`.
        algorithm: String,
        /// `iss`; the client id when absent.
        #[serde(default)]
        issuer: Option<String>,
        /// `sub`; the client id when absent.
        #[serde(default)]
        subject: Option<String>,
    },
}

/// Where a token's answer has what; the names of RFC 6749 by default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenFields {
    /// The token.
    pub access_token: String,
    /// What to write before it; `Bearer` when the answer has none.
    pub token_type: String,
    /// How long it lives.
    pub expires_in: String,
}

impl Default for TokenFields {
    fn default() -> Self {
        Self {
            access_token: "access_token".to_owned(),
            token_type: "token_type".to_owned(),
            expires_in: "expires_in".to_owned(),
        }
    }
}

/// The unit of a token's lifetime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpiryUnit {
    /// RFC 6749's.
    #[default]
    Seconds,
    /// 1/1000 s.
    Milliseconds,
    /// 60 s.
    Minutes,
    /// 3600 s.
    Hours,
}

/// A certificate chain and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// Ours first, then those up to the root.
    pub certificate: String,
    /// PKCS #8, PKCS #1 or SEC 1.
    #[serde(serialize_with = "exposed")]
    pub key: Secret<String>,
}

fn exposed_all<S: Serializer>(
    headers: &BTreeMap<String, Secret<String>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(headers.iter().map(|(name, value)| (name, value.expose())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_survive_the_seals_form_and_print_nothing() {
        let text = r#"{
            "authentication": {
                "type": "oauth2", "url": "https://id.example/token", "client_id": "us",
                "client": {"type": "shared_secret", "secret": "hunter2"}
            },
            "client_certificate": {"certificate": "PEM", "key": "hunter2"},
            "headers": {"x-token": "hunter2"}
        }"#;

        let credentials: EndpointCredentials = serde_json::from_str(text).unwrap();

        let again = serde_json::to_string(&credentials).unwrap();
        assert_eq!(again.matches("hunter2").count(), 3);
        assert_eq!(serde_json::from_str::<EndpointCredentials>(&again).unwrap(), credentials);
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }

    #[test]
    fn the_forms_of_the_first_release_are_read() {
        let key: Authentication =
            serde_json::from_str(r#"{"type":"api_key","header":"a","value":"b"}"#).unwrap();
        let basic: Authentication =
            serde_json::from_str(r#"{"type":"basic","username":"a","password":"b"}"#).unwrap();

        assert!(matches!(key, Authentication::ApiKey { .. }));
        assert!(matches!(basic, Authentication::Basic { .. }));
    }
}
