//! Which URLs webhooks may go to, as far as it is known when they are registered.
//!
//! What it is for: whoever registers an endpoint is told then, not at the first attempt. What it does not do: keep anybody
//! from anything: every attempt is held against the rules of its moment.

use longshore_core::project::EgressSettings;
use url::Url;

/// The longest URL, in bytes.
const LONGEST: usize = 2_048;

/// The installation's rules.
pub trait UrlRules: Send + Sync {
    /// Reads a URL as somebody wrote it, for a project with those settings.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to write, and holds no password.
    fn parse(&self, text: &str, project: &EgressSettings) -> Result<Url, String>;
}

/// What can be said of a URL where no rules are known.
pub(crate) struct Syntax;

impl UrlRules for Syntax {
    fn parse(&self, text: &str, project: &EgressSettings) -> Result<Url, String> {
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
}
