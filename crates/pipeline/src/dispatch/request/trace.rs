//! The trace that an attempt belongs to (W3C Trace Context, <https://www.w3.org/TR/trace-context/>).
//!
//! What it is for: an event whose producer was tracing goes on in the producer's trace; every other has a trace of its own,
//! named by its id, so that its attempts are found together. What it does not do: record or export spans. Invariant: a
//! `traceparent` that is sent is valid.

use std::borrow::Cow;
use std::fmt;

use http::HeaderName;
use longshore_core::event::Event;
use rand::Rng;
use serde::Deserialize;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The one flag that is passed on.
const SAMPLED: u8 = 1;

/// A trace, and the span of one attempt in it.
#[derive(Clone, Debug)]
pub(crate) struct Trace<'e> {
    id: u128,
    span: u64,
    flags: u8,
    state: Option<Cow<'e, str>>,
    /// The span of the producer's.
    origin: Option<u64>,
}

impl<'e> Trace<'e> {
    /// The trace of an attempt to deliver that event: that of the header `traceparent` if there is a valid one, otherwise that
    /// of the attribute of a CloudEvent, otherwise the event's own.
    pub(crate) fn of(event: &'e Event, rng: &mut impl Rng) -> Self {
        if let Some(parent) = event.headers.get("traceparent").and_then(parse) {
            let state = event.headers.get("tracestate").map(Cow::from);
            return Self::after(parent, state, rng);
        }
        // Few events have attributes, fewer have this one: the search costs less than reading them all.
        let attributes = event.attributes.as_deref().filter(|text| text.contains("\"traceparent\""));
        let carried = attributes.and_then(|text| serde_json::from_str::<Carried<'_>>(text).ok());
        if let Some(Carried { traceparent: Some(parent), tracestate }) = carried
            && let Some(parent) = parse(&parent)
        {
            return Self::after(parent, tracestate, rng);
        }
        Self::new(event.id.as_u128(), rng)
    }

    /// A trace that begins here. Nothing was recorded of it, so it is not sampled.
    pub(crate) fn new(id: u128, rng: &mut impl Rng) -> Self {
        Self { id: id.max(1), span: span(rng), flags: 0, state: None, origin: None }
    }

    fn after(parent: Parent, state: Option<Cow<'e, str>>, rng: &mut impl Rng) -> Self {
        let Parent { id, span: origin, flags } = parent;
        let state = state.filter(|state| !state.is_empty());
        Self { id, span: span(rng), flags, state, origin: Some(origin) }
    }

    /// The trace id: 32 hexadecimal digits.
    pub(crate) const fn id(&self) -> TraceId {
        TraceId(self.id)
    }

    /// The `traceparent` of the attempt.
    pub(super) fn parent(&self) -> String {
        self.traceparent(self.span)
    }

    /// The `tracestate` of the producer.
    pub(super) fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The `traceparent` that an event itself carries on several hops: where it came from, not how it got here
    /// (CloudEvents, distributed tracing extension).
    pub(super) fn origin(&self) -> String {
        self.traceparent(self.origin.unwrap_or(self.span))
    }

    fn traceparent(&self, span: u64) -> String {
        format!("00-{}-{span:016x}-{:02x}", self.id(), self.flags)
    }
}

/// Displays as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TraceId(u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a CloudEvent's attributes say of its trace.
#[derive(Deserialize)]
struct Carried<'e> {
    #[serde(borrow, default)]
    traceparent: Option<Cow<'e, str>>,
    #[serde(borrow, default)]
    tracestate: Option<Cow<'e, str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    id: u128,
    span: u64,
    flags: u8,
}

/// Any but zero, which is no span.
fn span(rng: &mut impl Rng) -> u64 {
    rng.random_range(1..=u64::MAX)
}

/// Reads a `traceparent`; a version later than ours counts by the members that ours has.
fn parse(text: &str) -> Option<Parent> {
    let text = text.trim();
    let (version, rest) = (text.get(..3)?, text.get(3..55)?);
    let is_complete = match (version, text.as_bytes().get(55)) {
        ("ff-", _) => false,
        (_, None) => true,
        ("00-", Some(_)) => false,
        (_, Some(next)) => *next == b'-',
    };
    let mut parts = rest.split('-');
    let (id, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
    let has_shape = version.ends_with('-') && id.len() == 32 && span.len() == 16 && flags.len() == 2;
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if !is_complete
        || !has_shape
        || ![&version[..2], id, span, flags].iter().all(|part| part.bytes().all(is_hex))
    {
        return None;
    }
    let parent = Parent {
        id: u128::from_str_radix(id, 16).ok()?,
        span: u64::from_str_radix(span, 16).ok()?,
        flags: u8::from_str_radix(flags, 16).ok()? & SAMPLED,
    };
    (parent.id != 0 && parent.span != 0).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_valid_parent_is_read_and_its_sampled_flag_kept() {
        for (text, flags) in [
            (format!("00-{ID}-00f067aa0ba902b7-01"), 1),
            (format!("00-{ID}-00f067aa0ba902b7-00"), 0),
            (format!(" 00-{ID}-00f067aa0ba902b7-ff "), 1),
            (format!("01-{ID}-00f067aa0ba902b7-01"), 1),
            (format!("cc-{ID}-00f067aa0ba902b7-01-what-comes"), 1),
        ] {
            let parent = parse(&text).unwrap();
            assert_eq!((parent.span, parent.flags), (0x00f0_67aa_0ba9_02b7, flags), "{text}");
            assert_eq!(TraceId(parent.id).to_string(), ID);
        }
    }

    #[test]
    fn an_invalid_parent_is_none() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é1",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
