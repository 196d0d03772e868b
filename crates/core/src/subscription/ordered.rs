//! Delivery in order: by which key, and what happens when a delivery is given up.

use serde::{Deserialize, Serialize};

use crate::mapping::Place;

/// Deliveries with the same key go out one after the other, in the order their events were stored. In JSON:
/// `{"key": "body:customer.id", "on_exhausted": "block"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct Ordered {
    key: Place,
    on_exhausted: OnExhausted,
}

/// What happens to the deliveries behind one that is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnExhausted {
    /// They wait until somebody resends or discards it.
    #[default]
    Block,
    /// They go on; it has failed.
    Skip,
    /// They go on; it is set aside, not failed, until somebody resends or discards it.
    Park,
}

impl Ordered {
    /// Order by what `key` names: the event's ordering key ([`Place::Key`]), a value in the body or a header.
    ///
    /// # Errors
    /// A sentence when the place is none that an event keeps.
    pub fn new(key: Place, on_exhausted: OnExhausted) -> Result<Self, String> {
        match key {
            Place::Key | Place::Body(_) | Place::Header(_) => Ok(Self { key, on_exhausted }),
            _ => {
                Err("`key` must be `key` (the broker's), `body:customer.id` or `header:x-customer`"
                    .to_owned())
            }
        }
    }

    /// Where the key is: `Key`, `Body` or `Header`.
    #[must_use]
    pub const fn key(&self) -> &Place {
        &self.key
    }

    /// What happens behind a delivery that is given up.
    #[must_use]
    pub const fn on_exhausted(&self) -> OnExhausted {
        self.on_exhausted
    }
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default = "broker_key")]
    key: String,
    #[serde(default)]
    on_exhausted: OnExhausted,
}

fn broker_key() -> String {
    "key".to_owned()
}

impl TryFrom<Document> for Ordered {
    type Error = String;

    fn try_from(document: Document) -> Result<Self, String> {
        let key: Place = document.key.parse().map_err(|error| format!("`key`: {error}"))?;
        Self::new(key, document.on_exhausted)
    }
}

impl From<Ordered> for Document {
    fn from(ordered: Ordered) -> Self {
        Self { key: ordered.key.to_string(), on_exhausted: ordered.on_exhausted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_is_written() {
        for (json, written) in [
            ("{}", r#"{"key":"key","on_exhausted":"block"}"#),
            (r#"{"key":"body:a.b","on_exhausted":"skip"}"#, r#"{"key":"body:a.b","on_exhausted":"skip"}"#),
            (
                r#"{"key":"header:X-A","on_exhausted":"park"}"#,
                r#"{"key":"header:x-a","on_exhausted":"park"}"#,
            ),
        ] {
            let ordered: Ordered = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&ordered).unwrap(), written);
        }
    }

    #[test]
    fn a_place_that_no_event_keeps_is_refused() {
        for json in
            [r#"{"key":"address"}"#, r#"{"key":"const:a"}"#, r#"{"key":"nowhere"}"#, r#"{"lane":"key"}"#]
        {
            assert!(serde_json::from_str::<Ordered>(json).is_err(), "{json}");
        }
    }
}
