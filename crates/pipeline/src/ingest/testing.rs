//! Messages and their decoding, for the tests of this module.

use bytes::Bytes;
use longshore_core::Endpoint;
use longshore_core::event::Event;
use longshore_core::project::ProjectSettings;
use longshore_core::{EndpointId, IdGenerator, Mapping, Project, ProjectId, Snapshot, SourceId, Timestamp};
use longshore_source::{AckToken, Message, Position, Status};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use super::Origin;
use super::decode::{Context, Draft, decode};
use super::fields::Undecodable;
use crate::dispatch::egress::EgressRules;

pub(super) const PROJECT: ProjectId = ProjectId::from_u128(1);
pub(super) const SOURCE: SourceId = SourceId::from_u128(2);
pub(super) const ENDPOINT: EndpointId = EndpointId::from_u128(3);
pub(super) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(super) fn headers(pairs: &[(&str, &str)]) -> longshore_source::Headers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn message(said: &[(&str, &str)], body: impl Into<Bytes>) -> Message {
    Message {
        body: body.into(),
        headers: headers(said),
        position: Position::default(),
        route: None,
        redelivered: false,
        attempt: None,
        tombstone: false,
        ack: AckToken::new(|_| {}),
    }
}

pub(super) fn mapping(text: Value) -> Mapping {
    serde_json::from_value(text).unwrap()
}

pub(super) fn draft(message: &Message, mapping: Mapping) -> Result<Draft, Undecodable> {
    let settings = ProjectSettings { max_payload_bytes: 10_000, ..ProjectSettings::default() };
    let project = Project { settings, ..Project::new(PROJECT, "p".to_owned()) };
    let endpoint = Endpoint::new(ENDPOINT, PROJECT, "https://e.example/".parse().unwrap());
    let snapshot = Snapshot::new(vec![project], vec![endpoint], Vec::new());
    let origin = Origin {
        source: Some((SOURCE, PROJECT)),
        kind: "memory",
        status: Status::new("memory", "test"),
        mapping: super::fixed(mapping),
    };
    let ids = IdGenerator::new(NOW, StdRng::seed_from_u64(1));
    let window = (Timestamp::EPOCH, Timestamp::from_secs(2_000_000_000));
    decode(
        message,
        &Context {
            origin: &origin,
            snapshot: &snapshot,
            rules: &EgressRules::default(),
            ids: &ids,
            window,
            now: NOW,
        },
    )
}

pub(super) fn event(message: &Message, mapping: Mapping) -> Result<Event, Undecodable> {
    draft(message, mapping).map(|draft| draft.event)
}
