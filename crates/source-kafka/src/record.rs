//! From a Kafka record to a message: identity, position, headers as text.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use longshore_source::{AckToken, Headers, LogOffset, Message, Position};
use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Headers as _};

use crate::ledger::{Claim, Handle};

/// A record that waits to be handed out.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) claim: Claim,
    pub(crate) offset: u64,
    /// What it counts as in memory.
    pub(crate) size: usize,
    /// Passed over when its turn comes.
    pub(crate) skip: bool,
    body: Bytes,
    headers: Headers,
    position: Position,
    tombstone: bool,
}

impl Record {
    /// Copies what the client lent; `None` for an offset below zero, which no record has.
    pub(crate) fn copy(
        message: &BorrowedMessage<'_>,
        claim: Claim,
        topic: &str,
        log: &Arc<str>,
        skip_tombstones: bool,
    ) -> Option<Self> {
        let offset = u64::try_from(message.offset()).ok()?;
        let (key, value) = (message.key(), message.payload());
        let headers = headers(message);
        let named = key.map(text_or_hex);
        let position = Position {
            message_id: Some(identity(log, offset, key, value)),
            timestamp_ms: message.timestamp().to_millis().filter(|ms| *ms >= 0),
            label: named.clone(),
            key: named,
            address: topic.to_owned(),
            offset: Some(LogOffset { log: Arc::clone(log), offset }),
        };
        let header_bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let body = value.map(Bytes::copy_from_slice).unwrap_or_default();
        Some(Self {
            claim,
            offset,
            size: body.len() + header_bytes + key.map_or(0, <[u8]>::len),
            skip: skip_tombstones && value.is_none(),
            body,
            headers,
            position,
            tombstone: value.is_none(),
        })
    }

    pub(crate) const fn handle(&self) -> Handle {
        Handle { claim: self.claim, offset: self.offset }
    }

    pub(crate) fn message(self, ack: AckToken) -> Message {
        Message {
            body: self.body,
            headers: self.headers,
            position: self.position,
            route: None,
            redelivered: false,
            attempt: None,
            tombstone: self.tombstone,
            ack,
        }
    }
}

/// Where the record stands, and what it says: a topic that was deleted and created again has other records at the
/// same offsets, and they are not redeliveries. Frozen: changing it makes duplicates of what is redelivered meanwhile.
fn identity(log: &str, offset: u64, key: Option<&[u8]>, value: Option<&[u8]>) -> String {
    // Lengths and absence are part of it, so that no two pairs of key and value run together.
    let mut hash = Digest::new();
    for part in [key, value] {
        hash.write(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        hash.write(part.unwrap_or_default());
    }
    format!("{log}/{offset}#{:016x}", hash.0)
}

/// A hash of 64 bits that is the same in every release and on every machine, as the standard library's are not. It takes
/// eight bytes at a time, for speed; it tells records apart and resists no attacker.
struct Digest(u64);

impl Digest {
    const fn new() -> Self {
        Self(0)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.word(u64::from(*byte));
        }
    }

    const fn word(&mut self, word: u64) {
        // 2^64 divided by the golden ratio; each step is a bijection, so words that differ stay different. Multiplying
        // carries upwards only, hence the shift.
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// Values that are text as they are, others in base64, and a value that is null as the word `null`, as JSON has it.
fn headers(message: &BorrowedMessage<'_>) -> Headers {
    let Some(headers) = message.headers() else { return Headers::new() };
    let value = |value: Option<&[u8]>| match value {
        None => "null".to_owned(),
        Some(bytes) => std::str::from_utf8(bytes).map_or_else(|_| STANDARD.encode(bytes), str::to_owned),
    };
    headers.iter().map(|header| (header.key.to_owned(), value(header.value))).collect()
}

fn text_or_hex(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| hex::encode(bytes), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_frozen() {
        assert_eq!(identity("orders/3", 7, Some(b"k"), Some(b"0123456789")), "orders/3/7#51d78dbcd3004dfa");
    }

    #[test]
    fn key_and_value_do_not_run_together() {
        let of = |key: Option<&'static [u8]>, value: Option<&'static [u8]>| identity("t/0", 1, key, value);
        let all = [
            of(Some(b"ab"), Some(b"c")),
            of(Some(b"a"), Some(b"bc")),
            of(None, Some(b"abc")),
            of(Some(b""), Some(b"abc")),
            of(Some(b"abc"), None),
            of(Some(b"abc"), Some(b"")),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(one), "{one} twice");
        }
    }

    #[test]
    fn what_is_not_text_is_shown_in_hex() {
        assert_eq!(text_or_hex(b"key"), "key");
        assert_eq!(text_or_hex(&[0xff, 0x00]), "ff00");
    }
}
