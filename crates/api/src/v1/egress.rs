//! What the control plane asks of those who send webhooks.

use longshore_core::Project;
use longshore_core::endpoint::{ClientCertificate, OAuth2};
use url::Url;

use super::brokers::Answering;

/// What webhooks may reach, and with what.
pub trait Egress: Send + Sync {
    /// Reads a URL that a project's webhooks are to go to.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    fn url(&self, project: &Project, text: &str) -> Result<Url, String>;

    /// Checks a client certificate and its key.
    ///
    /// # Errors
    /// A sentence that holds no secret.
    fn certificate(&self, pair: &ClientCertificate) -> Result<(), String>;

    /// Checks what of an exchange for a token needs no exchange.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    fn oauth2(&self, settings: &OAuth2) -> Result<(), (&'static str, String)>;

    /// Exchanges client credentials for a token once, as a delivery would.
    ///
    /// # Errors
    /// A sentence that holds no secret.
    fn token<'a>(
        &'a self,
        project: &'a Project,
        settings: &'a OAuth2,
    ) -> Answering<'a, Result<FetchedToken, String>>;
}

/// A token that was fetched to see whether that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedToken {
    /// What goes before it in `Authorization`.
    pub token_type: String,
    /// The token.
    pub access_token: longshore_core::Secret<String>,
    /// How long it lives.
    pub life: std::time::Duration,
}

/// Where nobody sends: only the form of URLs is looked at.
pub(crate) struct Nobody;

impl Egress for Nobody {
    fn url(&self, _: &Project, text: &str) -> Result<Url, String> {
        text.parse().map_err(|error: url::ParseError| error.to_string())
    }

    fn certificate(&self, _: &ClientCertificate) -> Result<(), String> {
        Ok(())
    }

    fn oauth2(&self, _: &OAuth2) -> Result<(), (&'static str, String)> {
        Ok(())
    }

    fn token<'a>(&'a self, _: &'a Project, _: &'a OAuth2) -> Answering<'a, Result<FetchedToken, String>> {
        Box::pin(async { Err("this process sends nothing".to_owned()) })
    }
}
