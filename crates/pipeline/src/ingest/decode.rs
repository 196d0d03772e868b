//! Message → draft of an event, or the reason why it can never be one.
//!
//! The reading is chosen in this order: a CloudEvent by its headers, a message without a body, what the source's
//! mapping says, the contract's envelope; and a body that is none of these but says that it is a CloudEvent.

use bytes::Bytes;
use longshore_core::catalogue::Unfit;
use longshore_core::event::{Event, EventKind, Headers as EventHeaders, Target};
use longshore_core::mapping::CloudEvents;
use longshore_core::ports::{DynamicEndpoint, Identity};
use longshore_core::quarantine::Reason;
use longshore_core::{IdGenerator, Mapping, ProjectId, Snapshot, SourceId, Timestamp, json};
use longshore_source::{Inbound, Message};

use super::cloudevents::{self, Mode};
use super::envelope::{Body, Envelope};
use super::fields::{Dynamic, Fields, Headers, KIND_HEADER, Names, Recipient, Undecodable, checked, key};
use super::identity::{Named, identify};
use super::{Origin, mapped, target};
use crate::dispatch::egress::EgressRules;

/// The header that carries the broker's name of the message to the endpoint.
const BROKER_ID_HEADER: &str = "x-broker-message-id";
const CONTENT_TYPE: &str = "content-type";
/// The kind of an HTTP batch item is said by the item.
const BATCH: &str = "batch";
const NAMES: Names = Names { endpoint: "endpoint_id", owner: "owner_id" };

/// An event about to be stored, and what it needs to be so.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) event: Event,
    pub(super) identity: Identity,
    /// For a `dynamic` event whose URL no endpoint has yet.
    pub(super) registration: Option<DynamicEndpoint>,
}

/// What decoding looks at besides the message.
pub(super) struct Context<'a> {
    pub(super) origin: &'a Origin,
    pub(super) snapshot: &'a Snapshot,
    pub(super) rules: &'a EgressRules,
    pub(super) ids: &'a IdGenerator,
    pub(super) window: (Timestamp, Timestamp),
    pub(super) now: Timestamp,
}

/// Decodes one message, into an event that its project wants.
pub(super) fn decode(message: &Message, context: &Context<'_>) -> Result<Draft, Undecodable> {
    let draft = understood(message, context)?;
    admit(&draft.event, context)?;
    Ok(draft)
}

/// Whether the event is one of its project's catalogue, where the project asks for that.
fn admit(event: &Event, context: &Context<'_>) -> Result<(), Undecodable> {
    let Some(catalogue) = context.snapshot.catalogue(event.project) else { return Ok(()) };
    catalogue.check(event).map_err(|unfit| match unfit {
        Unfit::UnknownType => Undecodable {
            reason: Reason::UnknownEventType,
            field: "event_type".into(),
            problem: format!(
                "`{}` is not in the project's catalogue, which it has to be (setting `event_types`)",
                event.event_type
            ),
        },
        Unfit::Data(problem) => Undecodable {
            reason: Reason::InvalidData,
            field: "data".into(),
            problem: format!("not as the schema of `{}` says: {problem}", event.event_type),
        },
    })
}

fn understood(message: &Message, context: &Context<'_>) -> Result<Draft, Undecodable> {
    let project = project_of(message, context)?;
    let limit = context.snapshot.project(project).map_or(usize::MAX, |p| p.settings.max_payload_bytes);
    if message.body.len() > limit {
        return Err(Undecodable {
            reason: Reason::TooLarge,
            field: "".into(),
            problem: format!("the body has {} bytes, the project's limit is {limit}", message.body.len()),
        });
    }
    if let Some(inbound) = message.route.as_ref().and_then(|route| route.inbound.as_ref()) {
        return received(message, inbound, project, context);
    }
    let fields = read(message, &context.origin.mapping.borrow())?;
    let idempotency_key = match fields.idempotency_key {
        None if message.route.is_some() => named_by_producer(message)?,
        said => said,
    };
    let (target, registration) = target::resolve(fields.recipient, project, context)?;
    let (id, identity) = match context.origin.source {
        Some((source, _)) => {
            let named = Named {
                source,
                position: &message.position,
                headers: &message.headers,
                body: &message.body,
                redelivered: message.redelivered,
            };
            identify(&named, context.window, context.ids, context.now)
        }
        // Nobody redelivers an HTTP request; repeating it is what idempotency keys are for.
        None => (context.ids.event(context.now), Identity::Id),
    };
    let event = Event {
        id,
        project,
        source: context.origin.source.map(|(source, _)| source),
        target,
        event_type: fields.event_type,
        body: detached(fields.data, &message.body),
        headers: merge_headers(message, fields.headers),
        idempotency_key,
        received_at: context.now,
        ordering_key: fields.ordering_key.or_else(|| message.position.key.clone()).map(key),
        occurred_at: fields.occurred_at,
        content_type: fields.content_type,
        attributes: fields.attributes,
        url_query: None,
    };
    Ok(Draft { event, identity, registration })
}

/// A webhook that one of the project's own sources received: what it is was read when it was verified.
fn received(
    message: &Message,
    inbound: &Inbound,
    project: ProjectId,
    context: &Context<'_>,
) -> Result<Draft, Undecodable> {
    let body = match &inbound.content_type {
        None => json::compact(message.body.clone()),
        Some(_) => message.body.clone(),
    };
    let content_type = inbound.content_type.as_deref();
    let content_type = content_type.map(|text| mapped::media_type("content-type", text)).transpose()?;
    let event = Event {
        // Nobody redelivers a request; repeating it is what idempotency keys are for.
        id: context.ids.event(context.now),
        project,
        source: Some(SourceId::from_u128(inbound.source)),
        target: Target::Incoming,
        event_type: checked("event_type", inbound.event_type.clone())?,
        body: detached(body, &message.body),
        headers: message.headers.iter().cloned().collect(),
        idempotency_key: inbound.idempotency_key.clone(),
        received_at: context.now,
        ordering_key: None,
        occurred_at: None,
        content_type,
        attributes: None,
        url_query: inbound.query.clone(),
    };
    Ok(Draft { event, identity: Identity::Id, registration: None })
}

fn project_of(message: &Message, context: &Context<'_>) -> Result<ProjectId, Undecodable> {
    match (&message.route, context.origin.source) {
        (Some(route), _) => Ok(ProjectId::from_u128(route.project)),
        (None, Some((_, project))) => Ok(project),
        (None, None) => Err(Undecodable::field("", "the message belongs to no project")),
    }
}

/// A producer over HTTP may name the event in a header instead of the body.
fn named_by_producer(message: &Message) -> Result<Option<String>, Undecodable> {
    message.position.message_id.clone().map(|name| checked("Idempotency-Key", name)).transpose()
}

/// Chooses the reading.
fn read(message: &Message, mapping: &Mapping) -> Result<Fields, Undecodable> {
    let mode = match mapping.cloudevents {
        CloudEvents::Auto => Some(cloudevents::mode(message)?),
        CloudEvents::Off => None,
    };
    match mode {
        // Its headers say what happened: that is an event, with or without data.
        Some(Mode::Binary) => return cloudevents::binary(message, mapping),
        _ if message.tombstone => return mapped::tombstone(message, mapping),
        Some(Mode::Structured) => return cloudevents::structured(message, mapping),
        Some(Mode::Unsaid { .. }) | None => {}
    }
    let is_cloud_event = || match mode {
        Some(Mode::Unsaid { content_type }) => cloudevents::is_structured(&message.body, content_type),
        _ => false,
    };
    if !mapping.is_contract() {
        return match is_cloud_event() {
            true => cloudevents::structured(message, mapping),
            false => mapped::read(message, mapping),
        };
    }
    match Envelope::parse(&message.body, mapping.strict)? {
        Body::Envelope(envelope) => of_envelope(message, envelope),
        Body::MaybeCloudEvent(_) if is_cloud_event() => cloudevents::structured(message, mapping),
        Body::MaybeCloudEvent(fault) => Err(fault),
    }
}

fn of_envelope(message: &Message, envelope: Envelope) -> Result<Fields, Undecodable> {
    let kind = kind_of(message, &envelope)?;
    let Envelope { endpoint_id, owner_id, url, secret, event_types, .. } = envelope;
    Ok(Fields {
        recipient: Recipient {
            kind,
            endpoint: endpoint_id,
            owner: owner_id,
            dynamic: Some(Dynamic { url, secret, event_types }),
            names: NAMES,
        },
        event_type: envelope.event_type,
        data: json::compact(envelope.data),
        content_type: None,
        headers: Headers::Envelope(envelope.custom_headers.into_iter().collect()),
        idempotency_key: envelope.idempotency_key,
        ordering_key: None,
        occurred_at: None,
        attributes: None,
    })
}

fn kind_of(message: &Message, envelope: &Envelope) -> Result<EventKind, Undecodable> {
    let said = match &message.route {
        Some(route) if route.kind != BATCH => Some(route.kind),
        Some(_) => envelope.kind.as_deref(),
        None => message
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(KIND_HEADER))
            .map(|(_, value)| value.as_str())
            .or_else(|| {
                let mut custom = envelope.custom_headers.iter();
                custom
                    .find(|(name, _)| name.eq_ignore_ascii_case(KIND_HEADER))
                    .map(|(_, value)| value.as_str())
            }),
    };
    said.map_or(Ok(EventKind::Single), |said| {
        said.parse().map_err(|error: longshore_core::event::UnknownKind| Undecodable {
            reason: Reason::UnknownKind,
            field: if message.route.is_some() { "kind" } else { KIND_HEADER }.into(),
            problem: error.to_string(),
        })
    })
}

/// The broker's headers first, then those that the message's reading adds.
fn merge_headers(message: &Message, said: Headers) -> EventHeaders {
    let is_named = |said: &[(String, String)], name: &str| {
        said.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    };
    let is_kept = |name: &str| match &said {
        Headers::Envelope(_) => true,
        Headers::Mapped(said) => !name.eq_ignore_ascii_case(CONTENT_TYPE) && !is_named(said, name),
        Headers::CloudEvent(said) => {
            !name.eq_ignore_ascii_case(CONTENT_TYPE)
                && cloudevents::carried(name).is_none()
                && !is_named(said, name)
        }
    };
    let mut headers: EventHeaders =
        message.headers.iter().filter(|(name, _)| is_kept(name)).cloned().collect();
    let broker_id = message.position.label.as_ref().or(message.position.message_id.as_ref());
    if let Some(id) = broker_id
        && message.route.is_none()
        && headers.get(BROKER_ID_HEADER).is_none()
    {
        headers.push(BROKER_ID_HEADER, id.clone());
    }
    let (Headers::Envelope(said) | Headers::Mapped(said) | Headers::CloudEvent(said)) = said;
    for (name, value) in said {
        if headers.get(&name).is_none() {
            headers.push(name, value);
        }
    }
    headers
}

/// A small `data` inside a large message would keep the whole message alive; then it is copied out.
fn detached(data: Bytes, message: &Bytes) -> Bytes {
    if data.len() * 2 < message.len() { Bytes::copy_from_slice(&data) } else { data }
}

#[cfg(test)]
mod tests;
