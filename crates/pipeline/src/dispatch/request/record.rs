//! What is kept of the head of a request.

use http::HeaderMap;
use longshore_core::event::Headers;

/// The headers of an attempt as they are kept on record: credentials are not.
pub(in crate::dispatch) fn on_record(head: &HeaderMap) -> Headers {
    head.iter()
        .map(|(name, value)| {
            let text = if value.is_sensitive() {
                "[redacted]".to_owned()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            (name.as_str().to_owned(), text)
        })
        .collect()
}
