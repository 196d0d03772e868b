//! A project's proxy: where it is and what it wants to know.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longshore_core::Secret;
use url::{Host, Url};

/// A proxy that connections go through.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) kind: ProxyKind,
    pub(super) host: Host<String>,
    pub(super) port: u16,
    pub(super) credentials: Option<Credentials>,
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyKind {
    /// `CONNECT` (RFC 9110 section 9.3.6), the proxy itself by TLS or not.
    Http { tls: bool },
    /// SOCKS 5 (RFC 1928); names are resolved here or, `socks5h`, there.
    Socks5 { sends_names: bool },
}

/// User name and password.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: String,
}

impl Credentials {
    /// The value of `Proxy-Authorization` (RFC 7617).
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password)))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}:{}", self.kind, self.host, self.port)
    }
}

impl Proxy {
    /// Reads a proxy's URL.
    ///
    /// # Errors
    /// What is wrong with it, without its credentials.
    pub(super) fn parse(text: &Secret<String>) -> Result<Self, String> {
        let url = Url::parse(text.expose()).map_err(|error| format!("not a URL: {error}"))?;
        let (kind, port) = match url.scheme() {
            "http" => (ProxyKind::Http { tls: false }, 80),
            "https" => (ProxyKind::Http { tls: true }, 443),
            "socks5" => (ProxyKind::Socks5 { sends_names: false }, 1080),
            "socks5h" => (ProxyKind::Socks5 { sends_names: true }, 1080),
            other => {
                return Err(format!(
                    "`{other}` is no kind of proxy; expected http, https, socks5 or socks5h"
                ));
            }
        };
        let host = match url.host_str() {
            None | Some("") => return Err("the host is missing".to_owned()),
            // Only some schemes are known to the parser as having hosts like these.
            Some(host) => Host::parse(host).map_err(|error| format!("the host: {error}"))?,
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("expected nothing after host and port".to_owned());
        }
        let decode = |part: &str| -> Result<String, String> {
            let decoded = percent_decoded(part).ok_or("user or password: not UTF-8 or wrongly encoded")?;
            if decoded.len() > 255 || decoded.chars().any(char::is_control) {
                return Err("user or password: longer than 255 bytes or with control characters".to_owned());
            }
            Ok(decoded)
        };
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (username, password) => Some(Credentials {
                username: decode(username)?,
                password: decode(password.unwrap_or_default())?,
            }),
        };
        Ok(Self { kind, host, port: url.port().unwrap_or(port), credentials })
    }

    /// Its address as a connector's target.
    pub(super) fn uri(&self) -> Result<http::Uri, http::Error> {
        let authority = format!("{}:{}", self.host, self.port);
        http::Uri::builder().scheme("http").authority(authority).path_and_query("/").build()
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Proxy, String> {
        Proxy::parse(&Secret::new(text.to_owned()))
    }

    #[test]
    fn every_kind_is_read_with_its_port_and_its_credentials() {
        for (text, kind, port) in [
            ("http://proxy.example:3128", ProxyKind::Http { tls: false }, 3128),
            ("http://proxy.example", ProxyKind::Http { tls: false }, 80),
            ("https://proxy.example/", ProxyKind::Http { tls: true }, 443),
            ("socks5://proxy.example", ProxyKind::Socks5 { sends_names: false }, 1080),
            ("socks5h://proxy.example:99", ProxyKind::Socks5 { sends_names: true }, 99),
        ] {
            let proxy = parse(text).unwrap();
            assert_eq!((proxy.kind, proxy.port), (kind, port), "{text}");
            assert!(proxy.credentials.is_none());
        }
        let proxy = parse("socks5://us%40er:p%3Aw@127.0.0.1").unwrap();
        assert_eq!(proxy.host, Host::<String>::Ipv4([127, 0, 0, 1].into()));
        let credentials = proxy.credentials.unwrap();
        assert_eq!((credentials.username.as_str(), credentials.password.as_str()), ("us@er", "p:w"));
        assert_eq!(credentials.basic(), "Basic dXNAZXI6cDp3");
    }

    #[test]
    fn nonsense_is_refused_without_its_password() {
        for text in
            ["", "proxy", "ftp://a:hunter2@b", "http://a:hunter2@b/c", "http://a:hunter2%0a@b", "socks5://"]
        {
            let problem = parse(text).unwrap_err();
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
