//! Brokers, replays and egress as the tests want them.

use std::sync::Arc;
use std::time::Duration;

use longshore_api::v1::{
    Answering, Brokers, Control, Egress, FetchedToken, ReplayOutcome, ReplayedEvents, Replays,
};
use longshore_core::endpoint::{ClientCertificate, OAuth2};
use longshore_core::ports::StoreError;
use longshore_core::quarantine::Reason;
use longshore_core::{EventId, Mapping, Project, ProjectId, QuarantineId, Secret};
use serde_json::Value;

/// Takes every setting but `refused`; a broker with anything named `missing` is not there.
struct Fake;

impl Brokers for Fake {
    fn parse(&self, _: &str, settings: &Value) -> Result<(), String> {
        if settings.get("refused").is_some() { Err("unknown field `refused`".to_owned()) } else { Ok(()) }
    }

    fn check<'a>(&'a self, _: &'a str, settings: &'a Value) -> Answering<'a, Result<Vec<String>, String>> {
        let is_missing = settings.to_string().contains("missing");
        Box::pin(async move {
            if is_missing {
                Err("there is no such thing".to_owned())
            } else {
                Ok(vec!["works, but".to_owned()])
            }
        })
    }
}

/// Ids that end in an even bit become events; with a mapping all do.
impl Replays for Fake {
    fn replay<'a>(
        &'a self,
        _: ProjectId,
        ids: &'a [QuarantineId],
        mapping: Option<&'a Mapping>,
    ) -> Answering<'a, Result<Vec<(QuarantineId, ReplayOutcome)>, StoreError>> {
        let outcome = move |id: &QuarantineId| match id.as_u128().is_multiple_of(2) || mapping.is_some() {
            true => (*id, ReplayOutcome::Stored(EventId::from_u128(id.as_u128()))),
            false => (*id, ReplayOutcome::Faulty(Reason::InvalidField, "still wrong".to_owned())),
        };
        Box::pin(async move { Ok(ids.iter().map(outcome).collect()) })
    }

    /// Events whose ids end in an odd bit are not there.
    fn replay_events<'a>(
        &'a self,
        _: ProjectId,
        ids: &'a [EventId],
    ) -> Answering<'a, Result<ReplayedEvents, StoreError>> {
        let outcome = |id: &EventId| (*id, id.as_u128().is_multiple_of(2).then_some(1));
        Box::pin(async move { Ok(ids.iter().map(outcome).collect()) })
    }
}

/// A token endpoint named `works` gives a token.
impl Egress for Fake {
    fn certificate(&self, pair: &ClientCertificate) -> Result<(), String> {
        if pair.certificate.starts_with("-----BEGIN") { Ok(()) } else { Err("is no PEM".to_owned()) }
    }

    fn oauth2(&self, _: &OAuth2) -> Result<(), (&'static str, String)> {
        Ok(())
    }

    fn token<'a>(
        &'a self,
        _: &'a Project,
        settings: &'a OAuth2,
    ) -> Answering<'a, Result<FetchedToken, String>> {
        let token = FetchedToken {
            token_type: "Bearer".to_owned(),
            access_token: Secret::new("hunter2hunter2".to_owned()),
            life: Duration::from_secs(60),
        };
        let works = settings.url.host_str() == Some("works");
        Box::pin(async move { if works { Ok(token) } else { Err("it answered 401".to_owned()) } })
    }
}

pub(crate) fn with_fakes(control: Control) -> Control {
    control.with_brokers(Arc::new(Fake)).with_replays(Arc::new(Fake)).with_egress(Arc::new(Fake))
}
