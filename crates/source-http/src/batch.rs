//! A batch: one body cut into events, and the results of each put into one answer.
//!
//! Not here: what an event is. Items are slices of the body, byte for byte; the pipeline reads them like any
//! other event, with an additional key `kind` (`single` when absent).

use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use longshore_source::Settled;
use serde::Serialize;
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::answer::{Answer, reason};
use crate::rejection::Rejection;
use crate::ulid::Ulid;

/// How the events of a batch are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JSON array, or one event per line when the body begins with `{`.
    Json,
    /// One event per line.
    Lines,
    /// A JSON array.
    Array,
}

/// Cuts `body` into at least one and at most `max` events.
pub(crate) fn split(body: &Bytes, format: Format, max: usize) -> Result<Vec<Bytes>, Rejection> {
    let items = match (format, body.iter().find(|byte| !byte.is_ascii_whitespace())) {
        (_, None) => return Err(Rejection::Empty),
        (Format::Json | Format::Array, Some(b'[')) => elements(body, max)?,
        (Format::Json, Some(b'{')) | (Format::Lines, _) => lines(body, max)?,
        (Format::Json, Some(_)) => return Err(Rejection::NoBatch),
        (Format::Array, Some(_)) => return Err(Rejection::NoArray),
    };
    if items.is_empty() {
        return Err(Rejection::Empty);
    }
    Ok(items.into_iter().map(|item| body.slice_ref(item)).collect())
}

fn lines(body: &[u8], max: usize) -> Result<Vec<&[u8]>, Rejection> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let items: Vec<_> = lines.take(max.saturating_add(1)).collect();
    if items.len() > max { Err(Rejection::TooMany(max)) } else { Ok(items) }
}

fn elements(body: &[u8], max: usize) -> Result<Vec<&[u8]>, Rejection> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let items = json.deserialize_seq(Elements { max }).and_then(|items| json.end().map(|()| items));
    match items {
        Ok(Some(items)) => Ok(items),
        Ok(None) => Err(Rejection::TooMany(max)),
        Err(error) => Err(Rejection::Malformed { line: error.line(), column: error.column() }),
    }
}

/// Collects the elements of an array as they are written; `None` when there are more than `max`.
struct Elements {
    max: usize,
}

impl<'de> Visitor<'de> for Elements {
    type Value = Option<Vec<&'de [u8]>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let (mut items, mut surplus) = (Vec::new(), false);
        while let Some(element) = array.next_element::<&RawValue>()? {
            if items.len() < self.max {
                items.push(element.get().as_bytes());
            } else {
                surplus = true;
            }
        }
        Ok((!surplus).then_some(items))
    }
}

/// What became of one event of a batch.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ItemResult {
    index: usize,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<Ulid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_duplicate_event: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl ItemResult {
    pub(crate) fn settled(index: usize, settled: Settled) -> Self {
        match settled {
            Settled::Ack(receipt) => Self {
                index,
                status: StatusCode::CREATED.as_u16(),
                uid: (receipt.event != 0).then_some(Ulid(receipt.event)),
                is_duplicate_event: Some(receipt.duplicate),
                error: None,
            },
            Settled::Refuse(refusal) => Self::failed(index, StatusCode::BAD_REQUEST, reason(refusal)),
            Settled::Retry(after) => Self::rejected(index, &Rejection::NotStored(after)),
        }
    }

    pub(crate) fn rejected(index: usize, rejection: &Rejection) -> Self {
        Self::failed(index, rejection.status(), rejection.to_string())
    }

    fn failed(index: usize, status: StatusCode, error: String) -> Self {
        Self { index, status: status.as_u16(), uid: None, is_duplicate_event: None, error: Some(error) }
    }
}

/// One answer for all: `201` when all are stored, `400` when all are refused, `503` when none is stored and
/// some may be repeated, else `207`. `retry_after` in seconds, for those that may be repeated.
pub(crate) fn answer(results: &[ItemResult], retry_after: u64) -> Answer {
    let count =
        |predicate: fn(&ItemResult) -> bool| results.iter().filter(|result| predicate(result)).count();
    let duplicate = count(|result| result.is_duplicate_event == Some(true));
    let stored = count(|result| result.is_duplicate_event == Some(false));
    let unavailable = count(|result| result.status == 503);
    let refused = results.len() - duplicate - stored - unavailable;

    let status = match (stored + duplicate, refused, unavailable) {
        (_, 0, 0) => StatusCode::CREATED,
        (0, _, 0) => StatusCode::BAD_REQUEST,
        (0, _, _) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::MULTI_STATUS,
    };
    let message =
        format!("{stored} stored, {duplicate} duplicate, {refused} refused, {unavailable} unavailable");
    Answer::with_data(status, status == StatusCode::CREATED, &message, results)
        .retry_after((unavailable > 0).then_some(retry_after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(body: &str, format: Format, max: usize) -> Result<Vec<String>, Rejection> {
        let items = split(&Bytes::copy_from_slice(body.as_bytes()), format, max)?;
        Ok(items.iter().map(|item| String::from_utf8(item.to_vec()).unwrap()).collect())
    }

    #[test]
    fn an_array_is_cut_into_the_producers_own_bytes() {
        let items = cut("\n [ {\"b\": 1.0,  \"a\":[1,\n2]}\n,{} , 3]\n", Format::Json, 3);

        assert_eq!(items.unwrap(), ["{\"b\": 1.0,  \"a\":[1,\n2]}", "{}", "3"]);
    }

    #[test]
    fn items_share_the_bodys_buffer() {
        let body = Bytes::from_static(b"[{},{}]");

        let items = split(&body, Format::Json, 2).unwrap();

        assert_eq!(items[1].as_ptr(), body[4..].as_ptr());
    }

    #[test]
    fn lines_are_cut_by_content_type_or_by_a_first_brace() {
        for format in [Format::Json, Format::Lines] {
            let items = cut("{\"a\":1}\r\n\n  {\"b\":2}", format, 2);
            assert_eq!(items.unwrap(), ["{\"a\":1}", "{\"b\":2}"]);
        }
        // A broken line is the pipeline's to refuse: the others are fine.
        assert_eq!(cut("nonsense\n{}", Format::Lines, 2).unwrap(), ["nonsense", "{}"]);
    }

    #[test]
    fn one_event_above_the_limit_is_too_many() {
        assert_eq!(cut("[1,2]", Format::Json, 2).unwrap().len(), 2);
        assert_eq!(cut("[1,2,3]", Format::Json, 2), Err(Rejection::TooMany(2)));
        assert_eq!(cut("{}\n{}", Format::Lines, 2).unwrap().len(), 2);
        assert_eq!(cut("{}\n{}\n{}", Format::Lines, 2), Err(Rejection::TooMany(2)));
    }

    #[test]
    fn what_is_no_batch_is_refused_with_the_place() {
        for empty in ["", " \n ", "[]", "[ ]"] {
            assert_eq!(cut(empty, Format::Json, 2), Err(Rejection::Empty), "{empty:?}");
        }
        assert_eq!(cut("\n\n", Format::Lines, 2), Err(Rejection::Empty));
        assert_eq!(cut("\"text\"", Format::Json, 2), Err(Rejection::NoBatch));
        assert_eq!(cut("[{},\n  {]", Format::Json, 2), Err(Rejection::Malformed { line: 2, column: 4 }));
        assert_eq!(cut("[{}] x", Format::Json, 2), Err(Rejection::Malformed { line: 1, column: 6 }));
        assert!(matches!(cut("[{}", Format::Json, 2), Err(Rejection::Malformed { .. })));
    }

    #[test]
    fn an_array_nested_without_end_does_not_overflow_the_stack() {
        let body = "[".repeat(1 << 20);

        assert!(matches!(cut(&body, Format::Json, 2), Err(Rejection::Malformed { .. })));
    }
}
