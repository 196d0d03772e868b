//! A message about to be published, as far as every broker has such a thing.

/// A message about to be published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// The raw bytes; `None` is a tombstone, where the broker knows one, and an empty body elsewhere.
    pub body: Option<Vec<u8>>,
    /// Headers, attributes or properties.
    pub headers: Vec<(String, String)>,
    /// What the broker keeps in order: record key, message group, ordering key.
    pub key: Option<String>,
    /// The producer's name for it, where the broker carries one (RabbitMQ: `message-id`; SQS: deduplication id).
    pub id: Option<String>,
    /// The producer's time in milliseconds since the Unix epoch, where the broker carries one.
    pub timestamp_ms: Option<i64>,
}

impl Publication {
    /// A message with nothing but a body.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..Self::default() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}
