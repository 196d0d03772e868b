//! The parts of an event that are in a request.

use serde_json::{Map, Value};

use super::{HttpSource, Received};
use crate::ids::{SourceId, digest_text};
use crate::mapping::Document;
use crate::media;

/// Longest event type that a request may say, in bytes: it is an index key.
const LONGEST_TYPE: usize = 512;
/// Tells endpoints where an event came from.
const SOURCE_HEADER: &str = "x-convoy-source-id";

/// Headers that belong to the connection or to the bytes as they were sent.
const NOT_KEPT: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a request becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// What happened.
    pub event_type: String,
    /// What a repeated request is recognised by.
    pub idempotency_key: Option<String>,
    /// What is kept and sent on.
    pub headers: Vec<(String, String)>,
    /// The payload, when it is not the body as it was sent.
    pub body: Option<Vec<u8>>,
    /// The payload's media type; `None` for JSON.
    pub content_type: Option<String>,
}

/// Why a request is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It says that it is JSON.
    #[error("the body is not JSON: see line {line} column {column}")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
}

impl HttpSource {
    /// The parts of an event that are in a request. A form becomes a JSON object of the first values, no body at all
    /// becomes `null`, and what does not say that it is JSON and is none is kept as it is.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(&self, id: SourceId, mask: &str, request: &Received<'_>) -> Result<Inbound, Unreadable> {
        let said = request.header("content-type").unwrap_or_default();
        let essence = media::essence(said).to_ascii_lowercase();
        let form = match essence.as_str() {
            "application/x-www-form-urlencoded" => Some(form(request.body)),
            _ if request.body.is_empty() => Some(b"null".to_vec()),
            _ => None,
        };
        let payload = form.as_deref().unwrap_or(request.body);
        let document = Document::parse(payload);
        let claims_json = essence.is_empty() || essence == "application/json" || essence.ends_with("+json");
        let content_type = match &document {
            Err(error) if claims_json => {
                return Err(Unreadable::NotJson { line: error.line(), column: error.column() });
            }
            Err(_) => Some(said.trim().to_owned()),
            Ok(_) => None,
        };
        let document = document.ok();
        let event_type = self
            .event_type_location
            .as_ref()
            .and_then(|path| path.find(request, document.as_ref()))
            .filter(|text| text.len() <= LONGEST_TYPE && !text.chars().any(char::is_control))
            .unwrap_or_else(|| mask.to_owned());
        let idempotency_key = self.idempotency_key(id, request, document.as_ref());
        Ok(Inbound { event_type, idempotency_key, headers: self.kept(id, request), body: form, content_type })
    }

    /// A digest over the parts that are there; `None` when none is, since such requests have nothing in common.
    fn idempotency_key(
        &self,
        id: SourceId,
        request: &Received<'_>,
        document: Option<&Document<'_>>,
    ) -> Option<String> {
        let parts: Vec<Option<String>> =
            self.idempotency_keys.iter().map(|path| path.find(request, document)).collect();
        if parts.iter().all(Option::is_none) {
            return None;
        }
        let id = id.as_u128().to_be_bytes();
        let parts = parts.iter().map(|part| part.as_deref().unwrap_or_default().as_bytes());
        let parts: Vec<&[u8]> = std::iter::once(&id[..]).chain(parts).collect();
        Some(digest_text(&parts))
    }

    fn kept(&self, id: SourceId, request: &Received<'_>) -> Vec<(String, String)> {
        let secret = self.secret_header();
        let is_kept = |name: &str| {
            !NOT_KEPT.contains(&name)
                && secret != Some(name)
                && name != SOURCE_HEADER
                && (self.forward_headers.is_empty() || self.forward_headers.iter().any(|kept| kept == name))
        };
        let mut headers: Vec<_> = request.headers.iter().filter(|(name, _)| is_kept(name)).cloned().collect();
        headers.push((SOURCE_HEADER.to_owned(), id.to_string()));
        headers
    }
}

/// A form as a JSON object of the first value of each field.
fn form(body: &[u8]) -> Vec<u8> {
    let mut object = Map::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        object.entry(name.into_owned()).or_insert_with(|| Value::from(value.into_owned()));
    }
    Value::Object(object).to_string().into_bytes()
}
