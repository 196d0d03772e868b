//! A service account's key, as people have it: the JSON file's text, that text in base64 (the public v1 contract), or
//! the object itself. Invariant: neither `Debug` nor an error shows anything of it but the account's address.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The key of a service account.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceAccount(Value);

impl ServiceAccount {
    /// Reads a key as JSON text, plain or in base64.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it and quotes nothing of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err(
                "`service_account` is empty; leave it out to use the machine's own credentials".to_owned()
            );
        }
        if text.starts_with('{') {
            return Self::from_json(text.as_bytes());
        }
        let base64: String = text.chars().filter(|char| !char.is_whitespace() && *char != '=').collect();
        let decoded = STANDARD_NO_PAD.decode(&base64).or_else(|_| URL_SAFE_NO_PAD.decode(&base64));
        let decoded = decoded.map_err(|_| "`service_account` is neither JSON nor base64".to_owned())?;
        Self::from_json(&decoded)
    }

    /// The account's address.
    #[must_use]
    pub fn email(&self) -> &str {
        self.0["client_email"].as_str().unwrap_or_default()
    }

    pub(crate) fn reveal(&self) -> &Value {
        &self.0
    }

    fn from_json(json: &[u8]) -> Result<Self, String> {
        // The parser's own message may quote what it read.
        let key = serde_json::from_slice(json).map_err(|error| {
            format!("`service_account` is no JSON: line {}, column {}", error.line(), error.column())
        })?;
        Self::from_value(key)
    }

    fn from_value(key: Value) -> Result<Self, String> {
        let text = |field: &str| key.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        match text("type") {
            Some("service_account") | None => {}
            Some(_) => {
                return Err(
                    "`service_account` holds credentials of another `type`; put them into a file and name \
                            it in GOOGLE_APPLICATION_CREDENTIALS, without `service_account`"
                        .to_owned(),
                );
            }
        }
        for field in ["client_email", "private_key", "private_key_id"] {
            if text(field).is_none() {
                return Err(format!(
                    "`service_account` has no `{field}`; give the whole JSON file of a service account's key"
                ));
            }
        }
        Ok(Self(key))
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceAccount({})", self.email())
    }
}

impl<'de> Deserialize<'de> for ServiceAccount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrObject;

        impl<'de> Visitor<'de> for TextOrObject {
            type Value = ServiceAccount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the JSON of a service account's key: as text, in base64 or as an object")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ServiceAccount, E> {
                ServiceAccount::parse(text).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ServiceAccount, A::Error> {
                let key = Value::deserialize(MapAccessDeserializer::new(map))
                    .map_err(|_| A::Error::custom("`service_account` is no object of texts"))?;
                ServiceAccount::from_value(key).map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(TextOrObject)
    }
}
