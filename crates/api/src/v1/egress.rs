//! What the control plane asks of those who send webhooks.

use longshore_core::Project;
use longshore_core::endpoint::{ClientCertificate, OAuth2};
use longshore_core::project::EgressSettings;
use url::Url;

use super::brokers::Answering;

/// The longest URL, in bytes.
const LONGEST: usize = 2_048;

/// What webhooks may reach, and with what.
pub trait Egress: Send + Sync {
    /// Reads a URL as somebody wrote it, for a project with those settings. Every attempt is held against the rules of its
    /// moment all the same. By default only the form is looked at.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to write, and holds no password.
    fn url(&self, text: &str, project: &EgressSettings) -> Result<Url, String> {
        if text.len() > LONGEST {
            return Err(format!("is longer than {LONGEST} bytes"));
        }
        let is_odd = |letter: char| letter.is_control() || letter.is_whitespace() || letter == '\\';
        if text.chars().any(is_odd) {
            return Err("must not hold spaces, control characters or backslashes".to_owned());
        }
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        match url.scheme() {
            "https" => {}
            "http" if project.allow_http == Some(true) => {}
            "http" => return Err("plain http is off in this project; use https".to_owned()),
            other => return Err(format!("`{other}` is not https")),
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("names no host".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user name or a password".to_owned());
        }
        if url.fragment().is_some() {
            return Err("a fragment is never sent; leave out `#` and what follows".to_owned());
        }
        Ok(url)
    }

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
