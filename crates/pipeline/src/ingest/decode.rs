//! Message → draft of an event, or the reason why it can never be one.

use bytes::Bytes;
use longshore_core::event::{Event, EventKind, Headers, Target};
use longshore_core::ports::{DynamicEndpoint, Identity};
use longshore_core::quarantine::Reason;
use longshore_core::signature::SigningKey;
use longshore_core::subscription::TypePattern;
use longshore_core::{EndpointId, IdGenerator, ProjectId, Secret, Snapshot, Timestamp, json};
use longshore_source::Message;
use url::Url;

use super::Origin;
use super::envelope::{Envelope, Undecodable};
use super::identity::{Named, identify};

/// The header by which a broker message says its kind, also accepted among `custom_headers`.
const KIND_HEADER: &str = "x-convoy-message-type";
/// The header that carries the broker's name of the message to the endpoint.
const BROKER_ID_HEADER: &str = "x-broker-message-id";
/// The kind of an HTTP batch item is said by the item.
const BATCH: &str = "batch";

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
    pub(super) ids: &'a IdGenerator,
    pub(super) window: (Timestamp, Timestamp),
    pub(super) now: Timestamp,
}

/// Decodes one message.
pub(super) fn decode(message: &Message, context: &Context<'_>) -> Result<Draft, Undecodable> {
    let project = project_of(message, context)?;
    let limit = context.snapshot.project(project).map_or(usize::MAX, |p| p.settings.max_payload_bytes);
    if message.body.len() > limit {
        return Err(Undecodable {
            reason: Reason::TooLarge,
            field: "",
            problem: format!("the body has {} bytes, the project's limit is {limit}", message.body.len()),
        });
    }
    let envelope = Envelope::parse(&message.body)?;
    let kind = kind_of(message, &envelope)?;
    let (target, registration) = target_of(kind, project, &envelope, context.snapshot)?;
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
        event_type: envelope.event_type,
        body: detached(json::compact(envelope.data), &message.body),
        headers: merge_headers(message, envelope.custom_headers),
        idempotency_key: envelope.idempotency_key,
        received_at: context.now,
        ordering_key: None,
        occurred_at: None,
        content_type: None,
        attributes: None,
    };
    Ok(Draft { event, identity, registration })
}

fn project_of(message: &Message, context: &Context<'_>) -> Result<ProjectId, Undecodable> {
    match (&message.route, context.origin.source) {
        (Some(route), _) => Ok(ProjectId::from_u128(route.project)),
        (None, Some((_, project))) => Ok(project),
        (None, None) => Err(Undecodable::field("", "the message belongs to no project")),
    }
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
            field: if message.route.is_some() { "kind" } else { KIND_HEADER },
            problem: error.to_string(),
        })
    })
}

fn target_of(
    kind: EventKind,
    project: ProjectId,
    envelope: &Envelope,
    snapshot: &Snapshot,
) -> Result<(Target, Option<DynamicEndpoint>), Undecodable> {
    match kind {
        EventKind::Single => {
            let text = envelope
                .endpoint_id
                .as_deref()
                .filter(|text| !text.is_empty())
                .ok_or_else(|| Undecodable::field("endpoint_id", "is required: the endpoint's id"))?;
            let id: Option<EndpointId> = text.parse().ok();
            match id.filter(|id| snapshot.endpoint(*id).is_some_and(|endpoint| endpoint.project == project)) {
                Some(id) => Ok((Target::Single(id), None)),
                None => Err(Undecodable {
                    reason: Reason::UnknownEndpoint,
                    field: "endpoint_id",
                    problem: "endpoint not found".to_owned(),
                }),
            }
        }
        EventKind::Fanout => match &envelope.owner_id {
            Some(owner) => Ok((Target::Fanout(owner.clone()), None)),
            None => Err(Undecodable::field("owner_id", "is required: the owner of the endpoints")),
        },
        EventKind::Broadcast => Ok((Target::Broadcast, None)),
        EventKind::Dynamic => dynamic(project, envelope, snapshot),
    }
}

fn dynamic(
    project: ProjectId,
    envelope: &Envelope,
    snapshot: &Snapshot,
) -> Result<(Target, Option<DynamicEndpoint>), Undecodable> {
    let text = envelope
        .url
        .as_deref()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| Undecodable::field("url", "is required: where to send the event"))?;
    let url: Url =
        text.parse().map_err(|error| Undecodable::field("url", format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https")
        || !url.has_host()
        || url.username() != ""
        || url.password().is_some()
    {
        return Err(Undecodable::field("url", "must be an https URL without user information"));
    }
    if let Some(endpoint) = snapshot.endpoint_by_url(project, url.as_str()) {
        return Ok((Target::Dynamic(endpoint.id), None));
    }
    let patterns: Result<Vec<TypePattern>, _> =
        envelope.event_types.iter().flatten().map(|text| text.parse()).collect();
    let mut event_types = patterns.map_err(|error: longshore_core::subscription::PatternError| {
        Undecodable::field("event_types", error.to_string())
    })?;
    if event_types.is_empty() {
        event_types.push(TypePattern::Any);
    }
    let secret = envelope.secret.as_deref().filter(|text| !text.is_empty());
    if let Some(text) = secret {
        SigningKey::parse(text).map_err(|error| Undecodable::field("secret", error.to_string()))?;
    }
    let id = EndpointId::derive(project, url.as_str());
    let secret = secret.map(|text| Secret::new(text.to_owned()));
    Ok((Target::Dynamic(id), Some(DynamicEndpoint { id, project, url, secret, event_types })))
}

/// The broker's headers first, then the envelope's; the broker's value wins on a clash.
fn merge_headers(message: &Message, custom: std::collections::BTreeMap<String, String>) -> Headers {
    let mut headers: Headers = message.headers.iter().cloned().collect();
    if let Some(id) = &message.position.message_id
        && message.route.is_none()
        && headers.get(BROKER_ID_HEADER).is_none()
    {
        headers.push(BROKER_ID_HEADER, id.clone());
    }
    for (name, value) in custom {
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
