//! What a request's body is, by its headers; and which of these go to the pipeline with it.
//!
//! Only CloudEvents take headers with them, since some of theirs are parts of the event. Every other request hands over
//! its body alone, and pays for this with the look-up of one header. Not here: reading an event.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};
use longshore_source::Headers;

use crate::rejection::Rejection;

/// What every media type of CloudEvents begins with (HTTP protocol binding 1.0.2, section 3).
const PREFIX: &[u8] = b"application/cloudevents";
const STRUCTURED: &str = "application/cloudevents+json";
/// What every attribute in a header begins with (section 3.1.3); the names of a request's headers are in lower case.
const ATTRIBUTE: &str = "ce-";
/// Without this attribute a request is no CloudEvent in binary mode.
const SPECVERSION: HeaderName = HeaderName::from_static("ce-specversion");
/// The trace that the request belongs to, by W3C Trace Context.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    /// JSON, one value per line.
    Lines,
    /// A CloudEvent in structured mode.
    Structured,
    /// The data of a CloudEvent whose attributes are headers.
    Binary,
    /// A JSON array of CloudEvents in structured mode.
    CloudEvents,
    Other,
}

impl Media {
    /// By the headers of a request, in the order of the binding: a content type of CloudEvents, the header of a
    /// version, any other content type. No header means JSON.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Rejection> {
        if headers
            .get(CONTENT_ENCODING)
            .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            return Err(Rejection::Encoding);
        }
        let content_type = headers.get(CONTENT_TYPE).map(|value| {
            value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
        });
        let format = content_type
            .and_then(|text| text.split_at_checked(PREFIX.len()))
            .filter(|(start, _)| start.eq_ignore_ascii_case(PREFIX))
            .map(|(_, format)| format);
        let is = |name: &str| content_type.is_some_and(|text| text.eq_ignore_ascii_case(name.as_bytes()));
        Ok(match format {
            Some(b"") => Self::Structured,
            Some(format) if format.eq_ignore_ascii_case(b"+json") => Self::Structured,
            Some(format) if format.eq_ignore_ascii_case(b"-batch") => Self::CloudEvents,
            Some(format) if format.eq_ignore_ascii_case(b"-batch+json") => Self::CloudEvents,
            Some(_) => return Err(Rejection::CloudEventFormat),
            None if headers.contains_key(SPECVERSION) => Self::Binary,
            None if content_type.is_none() || is("application/json") => Self::Json,
            None if is("application/x-ndjson") || is("application/jsonl") => Self::Lines,
            None => Self::Other,
        })
    }

    /// The headers that go with the body of a single event.
    pub(crate) fn headers(self, headers: &HeaderMap) -> Result<Headers, Rejection> {
        if !matches!(self, Self::Structured | Self::Binary) {
            return Ok(Headers::new());
        }
        let is_attribute = |name: &str| name.len() > ATTRIBUTE.len() && name.starts_with(ATTRIBUTE);
        let is_taken = |name: &str| {
            name == CONTENT_TYPE.as_str()
                || TRACE.contains(&name)
                || (self == Self::Binary && is_attribute(name))
        };
        headers
            .iter()
            .filter(|(name, _)| is_taken(name.as_str()))
            .map(|(name, value)| match str::from_utf8(value.as_bytes()) {
                Ok(value) => Ok((name.as_str().to_owned(), value.to_owned())),
                Err(_) => Err(not_text(name.as_str())),
            })
            .collect()
    }

    /// The headers of one event of a batch. The request's trace is not each event's: that has an attribute for its own.
    pub(crate) fn item_headers(self) -> Headers {
        match self {
            Self::CloudEvents => vec![(CONTENT_TYPE.as_str().to_owned(), STRUCTURED.to_owned())],
            _ => Headers::new(),
        }
    }
}

/// What headers take in memory.
pub(crate) fn bytes(headers: &Headers) -> usize {
    headers.iter().map(|pair| size_of_val(pair) + pair.0.len() + pair.1.len()).sum()
}

/// Names the attribute, as the pipeline does for what it finds at fault.
fn not_text(name: &str) -> Rejection {
    Rejection::NotText(name.strip_prefix(ATTRIBUTE).unwrap_or(name).chars().take(64).collect())
}
