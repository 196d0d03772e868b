//! One place in a message, as it is written in configuration.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::path::BodyPath;

/// Where in a message a text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A string, number or boolean in the JSON body.
    Body(BodyPath),
    /// A header or attribute, in lower case; message names compare without case.
    Header(String),
    /// A context attribute of a CloudEvent, in lower case.
    CloudEvent(String),
    /// The broker's key.
    Key,
    /// Where the message was sent to.
    Address,
    /// The part of the address that is RabbitMQ's routing key.
    RoutingKey,
    /// The text itself.
    Const(String),
}

/// Why a text names no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} {problem}")]
pub struct PlaceError {
    place: String,
    problem: Cow<'static, str>,
}

impl PlaceError {
    pub(super) fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into().chars().take(96).collect(), problem: Cow::Owned(problem.into()) }
    }
}

const KINDS: &str = "write `body:meta.type`, `header:x-type`, `ce:subject`, `key`, `address`, `routing_key` or \
                     `const:order.updated`";

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let refuse = |problem: String| Err(PlaceError::new(format!("`{text}`"), problem));
        match text.split_once(':') {
            Some(("body", path)) => path.parse().map(Self::Body),
            Some(("header", name)) if is_header_name(name) => Ok(Self::Header(name.to_ascii_lowercase())),
            Some(("header", _)) => refuse("names no header: write e.g. `header:x-type`".to_owned()),
            Some(("ce", name)) if is_attribute_name(name) => Ok(Self::CloudEvent(name.to_ascii_lowercase())),
            Some(("ce", _)) => refuse(
                "names no attribute of a CloudEvent: write letters and digits, e.g. `ce:subject`".to_owned(),
            ),
            Some(("const", "")) => refuse("is empty: write the text after `const:`".to_owned()),
            Some(("const", value)) => Ok(Self::Const(value.to_owned())),
            None if text == "key" => Ok(Self::Key),
            None if text == "address" => Ok(Self::Address),
            None if text == "routing_key" => Ok(Self::RoutingKey),
            None if text == "body" => refuse(
                "is the whole body, which only `data` can be: name a value in it, e.g. `body:meta.type`"
                    .to_owned(),
            ),
            _ => refuse(format!("is not a place in a message: {KINDS}")),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(path) => write!(f, "body:{path}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::CloudEvent(name) => write!(f, "ce:{name}"),
            Self::Key => f.write_str("key"),
            Self::Address => f.write_str("address"),
            Self::RoutingKey => f.write_str("routing_key"),
            Self::Const(text) => write!(f, "const:{text}"),
        }
    }
}

/// Brokers take more than HTTP does as a name; what no name holds is white space at its ends and control characters.
fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.trim() == name && !name.chars().any(char::is_control)
}

fn is_attribute_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
