//! URLs that hold a password. Invariant: `Debug` and `Display` never show what is secret, so that a config can be logged
//! as it is.

use std::fmt;

use serde::Deserialize;

/// An AMQP URI (`amqp://user:password@host:port/vhost`). Its `Debug` and `Display` hide the user and the password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct AmqpUrl(String);

impl AmqpUrl {
    /// The text itself, for the wire only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for AmqpUrl {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What stands before the last `@` is secret even when the URL is malformed; so is a query.
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let address = match rest.rsplit_once('@') {
            Some((_, address)) => format!("***@{address}"),
            None => rest.to_owned(),
        };
        let address = address.split('?').next().unwrap_or_default();
        if scheme.is_empty() { f.write_str(address) } else { write!(f, "{scheme}://{address}") }
    }
}

impl fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_printed() {
        let url = AmqpUrl::from("amqps://user:p@ss@broker.example:5671/orders?auth_mechanism=plain");

        assert_eq!(format!("{url} {url:?}"), {
            let shown = "amqps://***@broker.example:5671/orders";
            format!("{shown} {shown}")
        });
        assert_eq!(AmqpUrl::from("user:secret@host").to_string(), "***@host");
    }
}
