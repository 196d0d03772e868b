//! From a RabbitMQ delivery to a message: position, headers as text, counts. Pure; touches no body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, DecimalValue, FieldTable};
use longshore_source::{AckToken, Headers, LogOffset, Message, Position};
use serde_json::Value;

/// Above this, an AMQP timestamp (seconds by the protocol) is in milliseconds, as some producers send it: it
/// would otherwise lie beyond the year 5000.
const CLEARLY_MILLISECONDS: u64 = 100_000_000_000;

/// The offset of a message that comes from a stream.
pub(crate) fn stream_offset(delivery: &Delivery) -> Option<u64> {
    header_number(delivery.properties.headers().as_ref()?, "x-stream-offset")
}

/// What the offsets of a stream are counted in. Frozen: stored watermarks are found by it.
pub(crate) fn log(queue: &str) -> String {
    format!("stream:{queue}")
}

/// The message; `offset` is what [`stream_offset`] says.
pub(crate) fn message(delivery: Delivery, offset: Option<u64>, queue: &str, ack: AckToken) -> Message {
    let properties = &delivery.properties;
    let position = Position {
        message_id: match offset {
            // The same message has the same offset for ever, whatever its producer calls it.
            Some(offset) => Some(format!("stream:{queue}:{offset}")),
            // An empty id is none: messages without one are not the same message.
            None => {
                properties.message_id().as_ref().map(|id| id.as_str().to_owned()).filter(|id| !id.is_empty())
            }
        },
        timestamp_ms: properties.timestamp().and_then(timestamp_ms),
        address: format!("{}/{}", delivery.exchange, delivery.routing_key),
        offset: offset.map(|offset| LogOffset { log: log(queue).into(), offset }),
        ..Position::default()
    };
    let table = properties.headers().as_ref();
    let mut headers: Headers = table
        .into_iter()
        .flat_map(|table| table.inner())
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect();
    if let Some(content_type) = properties.content_type()
        && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
    {
        headers.push(("content-type".to_owned(), content_type.as_str().to_owned()));
    }
    let attempt = table
        .and_then(|table| header_number(table, "x-delivery-count"))
        .and_then(|before| u32::try_from(before.saturating_add(1)).ok());
    Message {
        redelivered: delivery.redelivered,
        body: delivery.data.into(),
        headers,
        position,
        route: None,
        attempt,
        tombstone: false,
        ack,
    }
}

fn timestamp_ms(timestamp: u64) -> Option<i64> {
    let factor = if timestamp < CLEARLY_MILLISECONDS { 1000 } else { 1 };
    i64::try_from(timestamp.checked_mul(factor)?).ok()
}

fn header_number(table: &FieldTable, name: &str) -> Option<u64> {
    match *table.inner().get(name)? {
        AMQPValue::LongLongInt(number) => u64::try_from(number).ok(),
        AMQPValue::LongInt(number) => u64::try_from(number).ok(),
        AMQPValue::LongUInt(number) => Some(number.into()),
        AMQPValue::ShortInt(number) => u64::try_from(number).ok(),
        AMQPValue::ShortUInt(number) => Some(number.into()),
        AMQPValue::ShortShortInt(number) => u64::try_from(number).ok(),
        AMQPValue::ShortShortUInt(number) => Some(number.into()),
        _ => None,
    }
}

/// A header's value as text: strings as they are, binary in base64, everything else as JSON.
fn text(value: &AMQPValue) -> String {
    match json(value) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Float(value) => (*value).into(),
        AMQPValue::Double(value) => (*value).into(),
        AMQPValue::Timestamp(value) => (*value).into(),
        AMQPValue::DecimalValue(value) => Value::String(decimal(value)),
        AMQPValue::ShortString(value) => value.as_str().into(),
        AMQPValue::LongString(value) => binary(value.as_bytes()),
        AMQPValue::ByteArray(value) => STANDARD.encode(value.as_slice()).into(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(json).collect(),
        AMQPValue::FieldTable(table) => {
            table.inner().iter().map(|(name, value)| (name.as_str().to_owned(), json(value))).collect()
        }
        AMQPValue::Void => Value::Null,
    }
}

fn binary(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| STANDARD.encode(bytes).into(), Into::into)
}

/// `value` with the last `scale` digits behind the point.
fn decimal(decimal: &DecimalValue) -> String {
    let scale = usize::from(decimal.scale);
    let digits = format!("{:0>width$}", decimal.value, width = scale + 1);
    if scale == 0 {
        return digits;
    }
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_seconds_unless_that_is_absurd() {
        assert_eq!(timestamp_ms(1_700_000_000), Some(1_700_000_000_000));
        assert_eq!(timestamp_ms(1_700_000_000_123), Some(1_700_000_000_123));
        assert_eq!(timestamp_ms(CLEARLY_MILLISECONDS - 1), Some(99_999_999_999_000));
        assert_eq!(timestamp_ms(CLEARLY_MILLISECONDS), Some(100_000_000_000));
        assert_eq!(timestamp_ms(u64::MAX), None);
    }

    #[test]
    fn every_kind_of_header_value_becomes_text() {
        let mut nested = FieldTable::default();
        nested.insert("count".into(), AMQPValue::LongLongInt(2));
        nested.insert("reason".into(), AMQPValue::LongString("expired".into()));
        let cases = [
            (AMQPValue::LongString("plain".into()), "plain"),
            (AMQPValue::LongString([0xff_u8, 0x00].as_slice().into()), "/wA="),
            (AMQPValue::Boolean(true), "true"),
            (AMQPValue::LongLongInt(-7), "-7"),
            (AMQPValue::Double(1.5), "1.5"),
            (AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 5 }), "0.05"),
            (AMQPValue::Timestamp(1_700_000_000), "1700000000"),
            (AMQPValue::Void, "null"),
            (AMQPValue::ByteArray(vec![1, 2].into()), "AQI="),
            (AMQPValue::FieldTable(nested), r#"{"count":2,"reason":"expired"}"#),
            (AMQPValue::FieldArray(vec![AMQPValue::Boolean(false), AMQPValue::Void].into()), "[false,null]"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(&value), expected);
        }
    }
}
