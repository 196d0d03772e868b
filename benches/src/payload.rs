//! Events of 1 KB that carry their number, so that each can be recognised where it arrives.
//!
//! Invariant: the number is the first thing in `data`, which is what a webhook's body consists of.

use longshore_core::{Clock, SystemClock};
use longshore_testkit::publication::Publication;

/// Bytes of a whole envelope.
const SIZE: usize = 1024;
/// What a webhook's body begins with; the number follows.
const PREFIX: &[u8] = b"{\"n\":";

/// The envelope of event `n` for one endpoint.
#[must_use]
pub fn envelope(endpoint: &str, n: u32) -> Vec<u8> {
    padded(
        format!(r#"{{"endpoint_id":"{endpoint}","event_type":"order.created","data":{{"n":{n},"pad":""#),
        n,
    )
}

fn padded(mut text: String, n: u32) -> Vec<u8> {
    // Hexadecimal noise: as dull as real data to whatever compresses on the way.
    let mut noise = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while text.len() < SIZE - 3 {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        text.push_str(&format!("{noise:016x}"));
    }
    text.truncate(SIZE - 3);
    text.push_str("\"}}");
    text.into_bytes()
}

/// Event `n` for every endpoint as a message.
#[must_use]
pub fn broadcast(n: u32) -> Publication {
    let envelope = padded(format!(r#"{{"event_type":"order.created","data":{{"n":{n},"pad":""#), n);
    identified(envelope, n).header("x-convoy-message-type", "broadcast")
}

/// Event `n` for one endpoint as a message, with what makes a redelivery recognisable where the broker does not.
#[must_use]
pub fn message(endpoint: &str, n: u32) -> Publication {
    identified(envelope(endpoint, n), n)
}

fn identified(envelope: Vec<u8>, n: u32) -> Publication {
    Publication {
        id: Some(format!("bench-{n}")),
        timestamp_ms: Some(SystemClock.now().as_millis()),
        ..Publication::new(envelope)
    }
}

/// The number of the event whose webhook has this body.
#[must_use]
pub fn number(body: &[u8]) -> Option<u32> {
    let digits = body.strip_prefix(PREFIX)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_one_kilobyte_of_json_and_its_data_carries_the_number() {
        let envelope = envelope("01JD0000000000000000000000", 4711);
        let text = String::from_utf8(envelope).unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();

        assert_eq!(text.len(), SIZE);
        let data = &text[text.find("{\"n\"").unwrap()..];
        assert_eq!(number(data.as_bytes()), Some(4711));
        assert_eq!(parsed["data"]["n"], 4711);
    }
}
