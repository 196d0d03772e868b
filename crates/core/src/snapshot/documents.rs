//! An event as filters see it, read when the first one asks.

use std::cell::OnceCell;

use serde_json::{Map, Value};

use crate::event::{Event, Headers};
use crate::filter::Semantics;
use crate::json;
use crate::media;
use crate::subscription::Subscription;

/// The JSON documents of one event.
pub(super) struct Documents<'e> {
    event: &'e Event,
    semantics: Semantics,
    /// `None` inside: the body is not JSON.
    body: OnceCell<Option<Value>>,
    headers: OnceCell<Value>,
}

impl<'e> Documents<'e> {
    pub(super) const fn new(event: &'e Event, semantics: Semantics) -> Self {
        Self { event, semantics, body: OnceCell::new(), headers: OnceCell::new() }
    }

    /// Whether the event passes the subscription's filter for its type.
    pub(super) fn pass(&self, subscription: &Subscription) -> bool {
        let Some(filter) = subscription.filter_for(&self.event.event_type) else {
            return true;
        };
        // Headers first: they cost less to read.
        let headers = filter.headers.as_ref().filter(|filter| !filter.is_empty());
        let body = filter.body.as_ref().filter(|filter| !filter.is_empty());
        headers.is_none_or(|filter| {
            filter.matches_headers(
                self.headers.get_or_init(|| first_values(&self.event.headers)),
                self.semantics,
            )
        }) && body.is_none_or(|filter| {
            let body = self.body.get_or_init(|| match &self.event.content_type {
                Some(content_type) if !media::is_json(content_type) => None,
                _ => json::parse(&self.event.body),
            });
            body.as_ref().is_some_and(|body| filter.matches(body, self.semantics))
        })
    }
}

/// Headers as an object; of repeated names, whatever their case, the first one counts.
fn first_values(headers: &Headers) -> Value {
    let mut object = Map::new();
    for (name, value) in headers.iter() {
        if !object.keys().any(|known| known.eq_ignore_ascii_case(name)) {
            object.insert(name.to_owned(), Value::from(value));
        }
    }
    Value::Object(object)
}
