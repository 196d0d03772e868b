//! Whom an event is for: from what its message says to resources that exist.

use longshore_core::event::{EventKind, Target};
use longshore_core::ports::DynamicEndpoint;
use longshore_core::project::EgressSettings;
use longshore_core::quarantine::Reason;
use longshore_core::signature::SigningKey;
use longshore_core::subscription::{PatternError, TypePattern};
use longshore_core::{EndpointId, ProjectId, Secret};

use super::decode::Context;
use super::fields::{Dynamic, Recipient, Undecodable};

/// The target, and the endpoint to register for it when it is `dynamic` and its URL has none yet.
pub(super) fn resolve(
    recipient: Recipient,
    project: ProjectId,
    context: &Context<'_>,
) -> Result<(Target, Option<DynamicEndpoint>), Undecodable> {
    let snapshot = context.snapshot;
    let Recipient { kind, endpoint, owner, dynamic, names } = recipient;
    match kind {
        EventKind::Single => {
            let text = endpoint
                .filter(|text| !text.is_empty())
                .ok_or_else(|| Undecodable::field(names.endpoint, "is required: the endpoint's id"))?;
            let id: Option<EndpointId> = text.parse().ok();
            match id.filter(|id| snapshot.endpoint(*id).is_some_and(|endpoint| endpoint.project == project)) {
                Some(id) => Ok((Target::Single(id), None)),
                None => Err(Undecodable {
                    reason: Reason::UnknownEndpoint,
                    field: names.endpoint.into(),
                    problem: "endpoint not found".to_owned(),
                }),
            }
        }
        EventKind::Fanout => match owner {
            Some(owner) => Ok((Target::Fanout(owner), None)),
            None => Err(Undecodable::field(names.owner, "is required: the owner of the endpoints")),
        },
        EventKind::Broadcast => Ok((Target::Broadcast, None)),
        EventKind::Incoming => Err(Undecodable {
            reason: Reason::UnknownKind,
            field: "kind".into(),
            problem: "no producer can say `incoming`: say single, fanout or broadcast".to_owned(),
        }),
        EventKind::Dynamic => match dynamic {
            Some(dynamic) => register(&dynamic, project, context),
            None => Err(Undecodable {
                reason: Reason::UnknownKind,
                field: "kind".into(),
                problem: "`dynamic` needs the contract's envelope: say single, fanout or broadcast"
                    .to_owned(),
            }),
        },
    }
}

fn register(
    dynamic: &Dynamic,
    project: ProjectId,
    context: &Context<'_>,
) -> Result<(Target, Option<DynamicEndpoint>), Undecodable> {
    let text = dynamic
        .url
        .as_deref()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| Undecodable::field("url", "is required: where to send the event"))?;
    // What is registered is checked again when it is sent to: its deliveries say then why they are blocked.
    if let Some(endpoint) = context.snapshot.endpoint_by_url(project, text) {
        return Ok((Target::Dynamic(endpoint.id), None));
    }
    let default = EgressSettings::default();
    let egress = context.snapshot.project(project).map_or(&default, |project| &project.settings.egress);
    let url =
        context.rules.parse(text, egress).map_err(|error| Undecodable::field("url", error.to_string()))?;
    if let Some(endpoint) = context.snapshot.endpoint_by_url(project, url.as_str()) {
        return Ok((Target::Dynamic(endpoint.id), None));
    }
    let patterns: Result<Vec<TypePattern>, _> =
        dynamic.event_types.iter().flatten().map(|text| text.parse()).collect();
    let mut event_types =
        patterns.map_err(|error: PatternError| Undecodable::field("event_types", error.to_string()))?;
    if event_types.is_empty() {
        event_types.push(TypePattern::Any);
    }
    let secret = dynamic.secret.as_deref().filter(|text| !text.is_empty());
    if let Some(text) = secret {
        SigningKey::parse(text).map_err(|error| Undecodable::field("secret", error.to_string()))?;
    }
    let id = EndpointId::derive(project, url.as_str());
    let secret = secret.map(|text| Secret::new(text.to_owned()));
    Ok((Target::Dynamic(id), Some(DynamicEndpoint { id, project, url, secret, event_types })))
}
