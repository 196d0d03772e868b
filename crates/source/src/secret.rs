//! Text that must not be printed. Invariant: `Debug` never shows it, so that a config can be logged as it is.

use std::fmt;

use serde::Deserialize;

/// A password, token or key of a broker. Its `Debug` shows nothing.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the wire only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_shows_nothing_of_it() {
        let secret = Secret::from("hunter2");
        assert_eq!((format!("{secret:?}").as_str(), secret.reveal()), ("***", "hunter2"));
    }
}
