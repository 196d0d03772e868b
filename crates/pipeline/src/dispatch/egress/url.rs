//! Which URLs webhooks may go to: checked as written when they are registered, and as parsed before each attempt.
//!
//! The parser of the WHATWG is lenient: it makes 127.0.0.1 of `0x7f.1`, `2130706433` and full-width digits, and drops
//! tabs and backslashes. Somebody who writes that does not mean it well: such spellings are refused, not understood.
//! What it does not do: resolve names. Invariant: a URL that [`EgressRules::parse`] returns passes
//! [`EgressRules::check`] by the same rules.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use longshore_core::project::EgressSettings;
use url::{Host, Url};

use super::address::is_metadata_name;
use super::guard::Guard;

/// Longest URL.
const LONGEST: usize = 2_048;
/// Longest host name (RFC 1035 section 2.3.4) and label of one.
const LONGEST_HOST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// What the operator lets webhooks reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressRules {
    /// Which addresses.
    pub guard: Guard,
    /// Whether plain `http://`; a project may say otherwise. A signature does not hide a payload.
    pub allow_http: bool,
    /// Which ports; empty for all.
    pub allowed_ports: Vec<u16>,
}

/// What is wrong with which part of a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UrlError {
    /// `length`, `characters`, `scheme`, `userinfo`, `host`, `port`, `fragment` or `syntax`.
    pub part: &'static str,
    /// What is wrong and what to write.
    pub problem: String,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.problem)
    }
}

fn refuse<T>(part: &'static str, problem: impl Into<String>) -> Result<T, UrlError> {
    Err(UrlError { part, problem: problem.into() })
}

impl EgressRules {
    /// Reads a URL as people wrote it.
    ///
    /// # Errors
    /// The first [`UrlError`].
    pub fn parse(&self, text: &str, project: &EgressSettings) -> Result<Url, UrlError> {
        let written = written_host(text)?;
        let url = Url::parse(text).or_else(|error| refuse("syntax", error.to_string()))?;
        match url.host() {
            Some(Host::Ipv4(address)) if written != address.to_string() => {
                return refuse("host", format!("`{written}` is an odd spelling of {address}; write it so"));
            }
            Some(Host::Ipv6(_)) if bracketed(written).is_none() => {
                return refuse("host", format!("`{written}` is not an IPv6 address in brackets"));
            }
            _ => {}
        }
        self.check(&url, project)?;
        Ok(url)
    }

    /// Checks a parsed URL for a project; cheap enough for each attempt.
    ///
    /// # Errors
    /// The first [`UrlError`].
    pub fn check(&self, url: &Url, project: &EgressSettings) -> Result<(), UrlError> {
        match url.scheme() {
            "https" => {}
            "http" if project.allow_http.unwrap_or(self.allow_http) => {}
            "http" => {
                return refuse(
                    "scheme",
                    "plain http is off; use https, or set `security.allow_http_endpoints` or the project's \
                     `egress.allow_http`",
                );
            }
            other => return refuse("scheme", format!("`{other}` is not https")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("userinfo", USERINFO);
        }
        if url.fragment().is_some() {
            return refuse("fragment", "a fragment is never sent; leave out `#` and what follows");
        }
        let port = url.port_or_known_default().unwrap_or_default();
        if port == 0 || !(self.allowed_ports.is_empty() || self.allowed_ports.contains(&port)) {
            return refuse(
                "port",
                format!("{port} is not a port that webhooks may go to; see `security.allowed_ports`"),
            );
        }
        self.check_host(url, self.guard.effective(&project.allowed_hosts))
    }

    fn check_host(&self, url: &Url, opened: &[String]) -> Result<(), UrlError> {
        let name = match url.host() {
            None => return refuse("host", "is missing"),
            Some(Host::Ipv4(address)) => return self.check_address(address.into(), None, opened),
            Some(Host::Ipv6(address)) => return self.check_address(address.into(), None, opened),
            Some(Host::Domain(name)) => name,
        };
        if name.len() > LONGEST_HOST {
            return refuse("host", format!("longer than {LONGEST_HOST} bytes"));
        }
        let is_label = |label: &str| {
            (1..=LONGEST_LABEL).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if !name.split('.').all(is_label) {
            return refuse("host", format!("`{name}` is not a host name, or it ends in a dot"));
        }
        if is_metadata_name(name) {
            return refuse(
                "host",
                format!("`{name}` is a cloud's metadata service; webhooks never go there"),
            );
        }
        if name == "localhost" || name.ends_with(".localhost") {
            // Known without asking (RFC 6761 section 6.3): it need not wait for the first attempt.
            let v6 = self.check_address(Ipv6Addr::LOCALHOST.into(), Some(name), opened);
            return v6.or_else(|_| self.check_address(Ipv4Addr::LOCALHOST.into(), Some(name), opened));
        }
        Ok(())
    }

    fn check_address(&self, address: IpAddr, name: Option<&str>, opened: &[String]) -> Result<(), UrlError> {
        self.guard.check(address, name, opened).or_else(|denial| refuse("host", denial.to_string()))
    }

    /// Checks a project's own rules.
    ///
    /// # Errors
    /// The field under `egress` and what is wrong with it.
    pub fn check_project(&self, project: &EgressSettings) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        for (index, host) in project.allowed_hosts.iter().enumerate() {
            let problem = match host.parse::<IpAddr>() {
                Ok(address) => self.guard.check(address, None, &project.allowed_hosts).err().map(|denial| {
                    format!("{address} is {} and in none of `security.project_networks`", denial.rule)
                }),
                Err(_) if host.is_empty() || host.contains([':', '/', '*', '@']) || !host.is_ascii() => {
                    Some("expected a host name (an international one as `xn--…`) or an address".to_owned())
                }
                Err(_) => None,
            };
            faults.extend(problem.map(|problem| (format!("allowed_hosts[{index}]"), problem)));
        }
        faults
    }
}

const USERINFO: &str = "credentials do not belong into a URL; use `authentication.basic`";

/// The host as written, once the text around it has been found plain.
fn written_host(text: &str) -> Result<&str, UrlError> {
    if text.len() > LONGEST {
        return refuse("length", format!("longer than {LONGEST} bytes"));
    }
    if let Some(found) = text.chars().find(|c| c.is_whitespace() || c.is_control() || *c == '\\') {
        return refuse("characters", format!("{found:?} does not belong into a URL"));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return refuse("scheme", "expected `https://` and a host");
    };
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return refuse("scheme", format!("`{}` is not https", scheme.escape_debug()));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return refuse("userinfo", USERINFO);
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if let Some(port) = port {
        let is_plain = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
        if !is_plain || port.starts_with('0') {
            return refuse("port", format!("`{}` is not a port", port.escape_debug()));
        }
    }
    if host.is_empty() {
        return refuse("host", "is missing");
    }
    if host.contains('%') {
        return refuse("host", "a host is written without percent signs");
    }
    if host.ends_with(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']) {
        return refuse("host", "ends in a dot; leave it out");
    }
    Ok(host)
}

fn bracketed(written: &str) -> Option<Ipv6Addr> {
    written.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests;
