//! Who we are, and whom we trust.

use std::path::PathBuf;

use longshore_source::Secret;
use serde::Deserialize;

use crate::error::ConfigError;

/// SASL. Which fields are needed depends on `type`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// `plain`, `scram` or `oauthbearer`.
    #[serde(rename = "type")]
    pub kind: AuthType,
    /// For `scram`: `SHA256` or `SHA512` (the default).
    pub hash: Hash,
    /// For `plain` and `scram`: the user's name.
    pub username: String,
    /// For `plain` and `scram`: the password.
    pub password: Secret,
    /// TLS with the public certificate authorities; the table `tls` says more.
    pub tls: bool,
    /// For `oauthbearer`: where the token comes from.
    pub oauthbearer: Option<OauthBearer>,
}

/// The mechanism.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthType {
    /// Name and password, readable to the broker.
    #[default]
    Plain,
    /// Name and password, salted.
    Scram,
    /// A token.
    OauthBearer,
}

/// The hash of SCRAM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Hash {
    /// SCRAM-SHA-256.
    #[serde(rename = "SHA256", alias = "sha256", alias = "SHA-256")]
    Sha256,
    /// SCRAM-SHA-512.
    #[default]
    #[serde(rename = "SHA512", alias = "sha512", alias = "SHA-512")]
    Sha512,
}

/// Where a token comes from: one of `token`, `token_file` and `token_endpoint`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OauthBearer {
    /// The token itself.
    pub token: Option<Secret>,
    /// A file that holds the token and nothing else; read anew whenever a token is wanted.
    pub token_file: Option<PathBuf>,
    /// Where client credentials are exchanged for a token (RFC 6749, section 4.4), `https://…`.
    pub token_endpoint: Option<String>,
    /// For `token_endpoint`: the client's id.
    pub client_id: String,
    /// For `token_endpoint`: the client's secret.
    pub client_secret: Secret,
    /// For `token_endpoint`: the scope to ask for.
    pub scope: Option<String>,
}

/// Certificates, PEM. Files are read when a consumer is built.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// False: no TLS, whatever else stands here.
    pub enabled: bool,
    /// The certificate authorities to trust, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate chain, with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// The private key of `cert_file`.
    pub key_file: Option<PathBuf>,
    /// The password of `key_file`, if it is encrypted.
    pub key_password: Option<Secret>,
}

impl Default for Tls {
    fn default() -> Self {
        Self { enabled: true, ca_file: None, cert_file: None, key_file: None, key_password: None }
    }
}

impl Auth {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.kind == AuthType::OauthBearer {
            let problem = "is missing; say where the token of `auth.type = \"oauthbearer\"` comes from";
            let oauth =
                self.oauthbearer.as_ref().ok_or_else(|| ConfigError::new("auth.oauthbearer", problem))?;
            return oauth.validate();
        }
        if self.oauthbearer.is_some() {
            return Err(ConfigError::new("auth.oauthbearer", "needs `auth.type = \"oauthbearer\"`"));
        }
        if self.username.is_empty() {
            return Err(ConfigError::new("auth.username", "is empty"));
        }
        if self.password.reveal().is_empty() {
            return Err(ConfigError::new("auth.password", "is empty"));
        }
        Ok(())
    }
}

impl OauthBearer {
    fn validate(&self) -> Result<(), ConfigError> {
        let given = usize::from(self.token.is_some())
            + usize::from(self.token_file.is_some())
            + usize::from(self.token_endpoint.is_some());
        if given != 1 {
            let problem = "needs exactly one of `token`, `token_file` and `token_endpoint`";
            return Err(ConfigError::new("auth.oauthbearer", problem));
        }
        let Some(endpoint) = &self.token_endpoint else { return Ok(()) };
        if !matches!(
            url::Url::parse(endpoint).map(|url| url.scheme().to_owned()).as_deref(),
            Ok("https" | "http")
        ) {
            return Err(ConfigError::new("auth.oauthbearer.token_endpoint", "is not an http(s) URL"));
        }
        if self.client_id.is_empty() {
            return Err(ConfigError::new("auth.oauthbearer.client_id", "is empty"));
        }
        Ok(())
    }
}

impl Tls {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err(ConfigError::new("tls.key_file", "and `tls.cert_file` belong together; give both"));
        }
        if self.key_password.is_some() && self.key_file.is_none() {
            return Err(ConfigError::new("tls.key_password", "needs `tls.key_file`"));
        }
        Ok(())
    }
}
