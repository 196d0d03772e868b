//! A request as it was received, and paths to its parts.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde_json::value::RawValue;

use crate::mapping::{BodyPath, Document};

/// A request to an HTTP source.
#[derive(Clone, Copy, Debug)]
pub struct Received<'r> {
    /// Names in lower case, values as text, in their order.
    pub headers: &'r [(String, String)],
    /// What follows `?`, as it was sent.
    pub query: &'r str,
    /// The bytes as they were sent.
    pub body: &'r [u8],
}

impl<'r> Received<'r> {
    /// The first value of a header, its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'r str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter of the query, decoded.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<Cow<'r, str>> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }
}

/// A part of a request: `request.body.a.b`, `request.header.X-Type`, `request.query.type`.
///
/// `req.` is as good as `request.`; `Body`, `Header` and `QueryParam` are accepted too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestPath {
    /// A value in the JSON body.
    Body(BodyPath, String),
    /// A header, in lower case.
    Header(String),
    /// A parameter of the query.
    Query(String),
}

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no part of a request; write `request.body.a.b`, `request.header.X-Name` or `request.query.name`"
)]
pub struct PathError(String);

impl RequestPath {
    /// The text there; `None` when there is nothing, or no text, number or boolean.
    pub(super) fn find(&self, request: &Received<'_>, document: Option<&Document<'_>>) -> Option<String> {
        let found = match self {
            Self::Body(path, _) => scalar(document?.at(path)?)?,
            Self::Header(name) => request.header(name)?.to_owned(),
            Self::Query(name) => request.parameter(name)?.into_owned(),
        };
        Some(found).filter(|text| !text.is_empty())
    }

    /// Whether it is a part that a signature over the body does not cover.
    #[must_use]
    pub const fn is_beside_the_body(&self) -> bool {
        !matches!(self, Self::Body(..))
    }
}

fn scalar(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str(value.get()).ok(),
        b'{' | b'[' => None,
        _ => Some(value.get().to_owned()),
    }
}

impl FromStr for RequestPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = || PathError(text.chars().take(128).collect());
        let rest = text.strip_prefix("request.").or_else(|| text.strip_prefix("req.")).ok_or_else(fault)?;
        let (part, name) = rest.split_once('.').filter(|(_, name)| !name.is_empty()).ok_or_else(fault)?;
        match part {
            "body" | "Body" => Ok(Self::Body(name.parse().map_err(|_| fault())?, name.to_owned())),
            "header" | "Header" => Ok(Self::Header(name.to_ascii_lowercase())),
            "query" | "QueryParam" => Ok(Self::Query(name.to_owned())),
            _ => Err(fault()),
        }
    }
}

impl fmt::Display for RequestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(_, path) => write!(f, "request.body.{path}"),
            Self::Header(name) => write!(f, "request.header.{name}"),
            Self::Query(name) => write!(f, "request.query.{name}"),
        }
    }
}

impl serde::Serialize for RequestPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RequestPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
