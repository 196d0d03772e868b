//! A message read by a mapping: each field from the first of its places that holds something.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_core::event::EventKind;
use longshore_core::mapping::{BodyPath, Data, Document, EVERY_MEMBER, Entry, Mapping, Place, Tombstones};
use longshore_core::quarantine::Reason;
use longshore_core::{Timestamp, json, media};
use longshore_source::Message;
use serde_json::value::RawValue;

use super::cloudevents::Attributes;
use super::fields::{Fields, Headers, KIND_HEADER, Names, Recipient, Undecodable, checked, describe};

const CONTENT_TYPE: &str = "content-type";
/// The media type of bytes of which nobody says what they are.
pub(super) const UNKNOWN_BYTES: &str = "application/octet-stream";
const NAMES: Names = Names { endpoint: "endpoint", owner: "owner" };
/// The payload of an event without one.
pub(super) const NULL: &[u8] = b"null";

/// What the places of a mapping are looked up in.
pub(super) struct View<'m> {
    message: &'m Message,
    mapping: &'m Mapping,
    /// The body, or a CloudEvent's data; `None` when it is no JSON.
    payload: Option<&'m [u8]>,
    document: OnceCell<Option<Document<'m>>>,
    attributes: Option<&'m Attributes<'m>>,
}

impl<'m> View<'m> {
    /// Of a message without a payload, or with one that is no JSON, `payload` is `None`.
    pub(super) const fn new(
        message: &'m Message,
        mapping: &'m Mapping,
        payload: Option<&'m [u8]>,
        attributes: Option<&'m Attributes<'m>>,
    ) -> Self {
        Self { message, mapping, payload, document: OnceCell::new(), attributes }
    }

    fn document(&self) -> Option<&Document<'m>> {
        self.document.get_or_init(|| Document::parse(self.payload?).ok()).as_ref()
    }

    /// The text of an entry; `None` when it is at none of its places and may be missing.
    fn text(&self, entry: Entry, places: &[Place]) -> Result<Option<String>, Undecodable> {
        let found = self.first(entry.as_str().into(), places)?;
        if found.is_none() && self.mapping.requires(entry) {
            return Err(Undecodable::field(
                entry.as_str(),
                "is required: it is at none of the mapping's places",
            ));
        }
        found.map(|text| checked(entry.as_str(), text)).transpose()
    }

    fn first(&self, field: Cow<'static, str>, places: &[Place]) -> Result<Option<String>, Undecodable> {
        for place in places {
            let text = match place {
                Place::Body(path) => match self.document().and_then(|document| document.at(path)) {
                    Some(value) => scalar(value).ok_or_else(|| {
                        let problem = format!("must be a string, a number or a boolean at `{place}`");
                        Undecodable::field(field.clone(), problem)
                    })?,
                    None => continue,
                },
                Place::Header(name) => match header(self.message, name) {
                    Some(value) => Cow::from(value),
                    None => continue,
                },
                Place::CloudEvent(name) => {
                    match self.attributes.and_then(|attributes| attributes.get(name)) {
                        Some(value) => Cow::from(value),
                        None => continue,
                    }
                }
                Place::Key => Cow::from(self.message.position.key.as_deref().unwrap_or_default()),
                Place::Address => Cow::from(&self.message.position.address),
                Place::RoutingKey => {
                    Cow::from(self.message.position.address.split_once('/').map_or("", |(_, key)| key))
                }
                Place::Const(text) => Cow::from(text),
            };
            if !text.is_empty() {
                return Ok(Some(text.into_owned()));
            }
        }
        Ok(None)
    }

    /// By the mapping alone; `None` when it does not say whom events are for.
    ///
    /// A message that lacks what the mapping names is refused: it must not reach everybody instead.
    pub(super) fn recipient(&self) -> Result<Option<Recipient>, Undecodable> {
        let mapping = self.mapping;
        if !mapping.says_target() {
            return Ok(None);
        }
        let kind = self.text(Entry::Kind, &mapping.kind)?;
        let endpoint = self.text(Entry::Endpoint, &mapping.endpoint)?;
        let owner = self.text(Entry::Owner, &mapping.owner)?;
        let kind = match kind {
            Some(text) => parse_kind("kind", &text)?,
            None => match (mapping.endpoint.is_empty(), mapping.owner.is_empty()) {
                (false, true) => EventKind::Single,
                (true, false) => EventKind::Fanout,
                (false, false) if endpoint.is_some() => EventKind::Single,
                (false, false) => EventKind::Fanout,
                (true, true) => {
                    return Err(Undecodable::field(
                        "kind",
                        "is required: it is at none of the mapping's places",
                    ));
                }
            },
        };
        Ok(Some(Recipient { kind, endpoint, owner, dynamic: None, names: NAMES }))
    }

    /// By the header of the contract; everybody, when there is none.
    fn recipient_by_header(&self) -> Result<Recipient, Undecodable> {
        let kind = header(self.message, KIND_HEADER);
        let kind = kind.map_or(Ok(EventKind::Broadcast), |text| parse_kind(KIND_HEADER, text))?;
        Ok(Recipient { kind, endpoint: None, owner: None, dynamic: None, names: NAMES })
    }

    pub(super) fn idempotency_key(&self) -> Result<Option<String>, Undecodable> {
        self.text(Entry::IdempotencyKey, &self.mapping.idempotency_key)
    }

    /// Not bound to the length of a column: see [`super::fields::key`].
    pub(super) fn ordering_key(&self) -> Result<Option<String>, Undecodable> {
        let found = self.first(Entry::OrderingKey.as_str().into(), &self.mapping.ordering_key)?;
        if found.is_none() && self.mapping.requires(Entry::OrderingKey) {
            return Err(Undecodable::field(
                Entry::OrderingKey.as_str(),
                "is required: it is at none of the mapping's places",
            ));
        }
        Ok(found)
    }

    fn occurred_at(&self) -> Result<Option<Timestamp>, Undecodable> {
        let field = Entry::OccurredAt.as_str();
        let Some(text) = self.text(Entry::OccurredAt, &self.mapping.occurred_at)? else { return Ok(None) };
        let at = match text.parse() {
            Ok(millis) => Some(Timestamp::from_millis(millis)).filter(|at| at.has_date()),
            Err(_) => text.parse().ok(),
        };
        let problem = "must be RFC 3339, e.g. `2026-01-31T08:15:00Z`, or milliseconds since the Unix epoch";
        at.map(Some).ok_or_else(|| Undecodable::field(field, problem))
    }

    /// The headers of the mapping, each with its value.
    pub(super) fn headers(&self) -> Result<Vec<(String, String)>, Undecodable> {
        let mut headers: BTreeMap<Cow<'_, str>, String> = BTreeMap::new();
        if let Some(places) = self.mapping.headers.get(EVERY_MEMBER) {
            headers.extend(self.every_member(places)?);
        }
        for (name, places) in self.mapping.headers.iter().filter(|(name, _)| *name != EVERY_MEMBER) {
            match self.first(format!("headers.{name}").into(), places)? {
                Some(value) => {
                    headers.retain(|known, _| !known.eq_ignore_ascii_case(name));
                    headers.insert(name.into(), value);
                }
                None if self.mapping.requires(Entry::Headers) => {
                    let problem = "is required: it is at none of the mapping's places";
                    return Err(Undecodable::field(format!("headers.{name}"), problem));
                }
                None => {}
            }
        }
        if headers.values().any(|value| value.chars().any(char::is_control)) {
            return Err(Undecodable::field("headers", "must not hold control characters"));
        }
        Ok(headers.into_iter().map(|(name, value)| (name.into_owned(), value)).collect())
    }

    fn every_member(&self, places: &[Place]) -> Result<Vec<(Cow<'static, str>, String)>, Undecodable> {
        let inside = places.iter().find_map(|place| match place {
            Place::Body(path) => self.document()?.inside(path),
            _ => None,
        });
        let problem = "must be an object of strings, numbers and booleans";
        let fault = || Undecodable::field("headers.*", problem);
        let Some(inside) = inside else {
            if self.mapping.requires(Entry::Headers) {
                return Err(Undecodable::field(
                    "headers.*",
                    "is required: it is at none of the mapping's places",
                ));
            }
            return Ok(Vec::new());
        };
        let members = inside.members().ok_or_else(fault)?;
        let present = members.iter().filter(|(_, value)| value.get() != "null");
        let member = |(name, value): &(Cow<'_, str>, &RawValue)| {
            Ok((Cow::Owned(name.to_string()), scalar(value).ok_or_else(fault)?.into_owned()))
        };
        present.map(member).collect()
    }
}

/// Reads a message by a mapping.
pub(super) fn read(message: &Message, mapping: &Mapping) -> Result<Fields, Undecodable> {
    let view = View::new(message, mapping, Some(&message.body), None);
    let (data, content_type) = data(&view)?;
    let event_type = view.text(Entry::EventType, &mapping.event_type)?.ok_or_else(|| {
        Undecodable::field("event_type", "is required: it is at none of the mapping's places")
    })?;
    fields(&view, event_type, data, content_type)
}

/// What a message without a body becomes.
pub(super) fn tombstone(message: &Message, mapping: &Mapping) -> Result<Fields, Undecodable> {
    let (Tombstones::Event, Some(event_type)) = (mapping.tombstones, &mapping.tombstone_event_type) else {
        return Err(Undecodable::message(
            "the message has no body (a tombstone): set `tombstones` and `tombstone_event_type` in the source's \
             mapping to make events of these",
        ));
    };
    let view = View::new(message, mapping, None, None);
    fields(&view, event_type.clone(), Bytes::from_static(NULL), None)
}

fn fields(
    view: &View<'_>,
    event_type: String,
    data: Bytes,
    content_type: Option<String>,
) -> Result<Fields, Undecodable> {
    let recipient = match view.recipient()? {
        Some(recipient) => recipient,
        None => view.recipient_by_header()?,
    };
    Ok(Fields {
        recipient,
        event_type,
        data,
        content_type,
        headers: Headers::Mapped(view.headers()?),
        idempotency_key: view.idempotency_key()?,
        ordering_key: view.ordering_key()?,
        occurred_at: view.occurred_at()?,
        attributes: None,
    })
}

/// The payload, and its media type when that is not plain JSON.
fn data(view: &View<'_>) -> Result<(Bytes, Option<String>), Undecodable> {
    let body = &view.message.body;
    let whole = [BodyPath::whole()];
    let paths = match &view.mapping.data {
        Some(Data::Raw) => {
            let content_type = header(view.message, CONTENT_TYPE).unwrap_or(UNKNOWN_BYTES);
            return Ok((body.clone(), Some(media_type(CONTENT_TYPE, content_type)?)));
        }
        Some(Data::Json(paths)) => &paths[..],
        None => &whole[..],
    };
    let Some(document) = view.document() else {
        return Err(match Document::parse(body) {
            Err(error) => Undecodable::message(format!(
                "{}; `data = \"raw\"` in the source's mapping takes bytes of any kind",
                describe(&error)
            )),
            Ok(_) => Undecodable::message("the body is not JSON"),
        });
    };
    match paths.iter().find_map(|path| document.at(path)) {
        Some(value) => Ok((json::compact(body.slice_ref(value.get().as_bytes())), None)),
        None => Err(Undecodable::field(
            "data",
            "is required: any JSON value but null, at one of the mapping's places",
        )),
    }
}

/// A media type that can be sent as a header.
pub(super) fn media_type(field: &'static str, text: &str) -> Result<String, Undecodable> {
    let is_sendable = text.len() <= 255 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_sendable && media::essence(text).contains('/') {
        Ok(text.trim().to_owned())
    } else {
        Err(Undecodable::field(field, "must be a media type, e.g. `text/plain`"))
    }
}

/// The first value of a header that is not empty.
pub(super) fn header<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    let mut named = message.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    named.find(|(_, value)| !value.is_empty()).map(|(_, value)| value.as_str())
}

/// A kind, without quoting what is none.
pub(super) fn parse_kind(field: &'static str, text: &str) -> Result<EventKind, Undecodable> {
    text.parse().map_err(|_| Undecodable {
        reason: Reason::UnknownKind,
        field: field.into(),
        problem: "is no event kind: expected single, fanout or broadcast".to_owned(),
    })
}

/// The text of a string, number or boolean.
fn scalar(value: &RawValue) -> Option<Cow<'_, str>> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(value.get()).ok().map(Cow::Owned),
        b'{' | b'[' => None,
        _ => Some(Cow::Borrowed(value.get())),
    }
}
