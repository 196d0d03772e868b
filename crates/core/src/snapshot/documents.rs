//! An event as filters see it, read when the first one asks, and where it stands in order.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde_json::{Map, Value};

use crate::event::{Event, Headers};
use crate::filter::Semantics;
use crate::ids::LaneId;
use crate::json;
use crate::mapping::Place;
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
        }) && body.is_none_or(|filter| self.body().is_some_and(|body| filter.matches(body, self.semantics)))
    }

    /// The lane of the event among the subscription's deliveries; `None` when they go out in no order, or the event has
    /// no key there.
    pub(super) fn lane(&self, subscription: &Subscription) -> Option<LaneId> {
        let key = match subscription.ordered.as_ref()?.key() {
            Place::Key => self.event.ordering_key.as_deref().map(Cow::from),
            Place::Header(name) => self.event.headers.get(name).map(Cow::from),
            Place::Body(path) => match path.find(self.body()?)? {
                Value::String(text) => Some(Cow::from(text)),
                Value::Number(number) => Some(Cow::from(number.to_string())),
                Value::Bool(value) => Some(Cow::from(value.to_string())),
                _ => None,
            },
            _ => None,
        };
        key.filter(|key| !key.is_empty()).map(|key| LaneId::derive(subscription.id, &key))
    }

    fn body(&self) -> Option<&Value> {
        let body = self.body.get_or_init(|| match &self.event.content_type {
            Some(content_type) if !media::is_json(content_type) => None,
            _ => json::parse(&self.event.body),
        });
        body.as_ref()
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
