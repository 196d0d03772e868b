//! What SQS hands out, as text, headers and a position. Pure.

use aws_sdk_sqs::types::{MessageAttributeValue, MessageSystemAttributeName as System};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use longshore_source::{Headers, Position};

/// A message before it has its slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) receipt: String,
    pub(crate) body: Bytes,
    pub(crate) headers: Headers,
    pub(crate) position: Position,
    pub(crate) attempt: Option<u32>,
}

impl Incoming {
    /// Message attributes become headers, by name: text and numbers as they are, binary ones as base64. The message
    /// group is the key, on a standard queue too, where it names the tenant of a fair queue.
    pub(crate) fn of(message: aws_sdk_sqs::types::Message, queue: &str) -> Self {
        let system = |name: &System| message.attributes.as_ref().and_then(|all| all.get(name)).cloned();
        let position = Position {
            message_id: message.message_id.clone(),
            label: None,
            timestamp_ms: system(&System::SentTimestamp).and_then(|at| at.parse().ok()),
            address: queue.to_owned(),
            key: system(&System::MessageGroupId),
            offset: None,
        };
        let attempt = system(&System::ApproximateReceiveCount).and_then(|count| count.parse().ok());
        let attributes = message.message_attributes.unwrap_or_default();
        let mut headers =
            attributes.into_iter().map(|(name, value)| (name, text(value))).collect::<Headers>();
        headers.sort();
        Self {
            receipt: message.receipt_handle.unwrap_or_default(),
            body: message.body.unwrap_or_default().into(),
            headers,
            position,
            attempt,
        }
    }

    /// A header's value; names are compared without regard to case.
    #[cfg(test)]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Replaces a header, whatever its case was.
    pub(crate) fn set_header(&mut self, name: &str, value: &str) {
        self.remove_header(name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(header, _)| !header.eq_ignore_ascii_case(name));
    }
}

fn text(value: MessageAttributeValue) -> String {
    match (value.string_value, value.binary_value) {
        (Some(text), _) => text,
        (None, Some(bytes)) => STANDARD.encode(bytes),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::primitives::Blob;

    use super::*;

    #[test]
    fn attributes_are_headers_in_the_order_of_their_names() {
        let attribute = |kind: &str| MessageAttributeValue::builder().data_type(kind);
        let message = aws_sdk_sqs::types::Message::builder()
            .message_id("id-1")
            .receipt_handle("receipt")
            .body("{}")
            .attributes(System::ApproximateReceiveCount, "3")
            .attributes(System::SentTimestamp, "1700000000123")
            .attributes(System::MessageGroupId, "tenant-7")
            .message_attributes("n", attribute("Number").string_value("12.50").build().unwrap())
            .message_attributes("b", attribute("Binary").binary_value(Blob::new([0, 255])).build().unwrap())
            .message_attributes("a", attribute("String.custom").string_value("ü").build().unwrap())
            .build();

        let incoming = Incoming::of(message, "orders");

        let headers = [("a", "ü"), ("b", "AP8="), ("n", "12.50")];
        assert_eq!(incoming.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(incoming.attempt, Some(3));
        let position = Position {
            message_id: Some("id-1".to_owned()),
            timestamp_ms: Some(1_700_000_000_123),
            key: Some("tenant-7".to_owned()),
            address: "orders".to_owned(),
            ..Position::default()
        };
        assert_eq!(incoming.position, position);
    }
}
