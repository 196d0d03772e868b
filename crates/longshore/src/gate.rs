//! Who may post events: API keys, looked up by hash in the configuration this process has in memory.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::{Clock, ProjectId};
use longshore_pipeline::{Exhausted, Intake, Standing};
use longshore_source_http::{Admission, Denied, Gate, Rate};
use longshore_store::{ApiKeyHasher, Config};
use tokio::sync::watch;

/// Admits requests by the configuration of the moment; no query per request.
pub(crate) struct ApiKeyGate<C> {
    pub(crate) intake: Intake,
    pub(crate) config: watch::Receiver<Arc<Config>>,
    pub(crate) hasher: ApiKeyHasher,
    pub(crate) clock: C,
}

impl<C: Clock> Gate for ApiKeyGate<C> {
    fn admit(&self, project: &str, bearer: Option<&str>) -> Result<Admission, Denied> {
        let config = Arc::clone(&self.config.borrow());
        let hash = self.hasher.hash(bearer.ok_or(Denied::Unauthenticated)?);
        let key = config.api_keys.get(&hash).ok_or(Denied::Unauthenticated)?;
        if key.expires_at.is_some_and(|end| self.clock.now() >= end) {
            return Err(Denied::Unauthenticated);
        }
        let project: ProjectId = project.parse().map_err(|_| Denied::UnknownProject)?;
        if key.project != project {
            return Err(Denied::Forbidden);
        }
        admit(&self.intake, &config, project)
    }

    fn spend(&self, admission: &Admission, events: usize) {
        let project = ProjectId::from_u128(admission.project);
        let limit =
            self.config.borrow().snapshot.project(project).and_then(|found| found.settings.ingest_rate_limit);
        if let Some(limit) = limit {
            self.intake.spend(project, limit, events);
        }
    }
}

/// What a project takes of whoever may send there.
///
/// # Errors
/// [`Denied`]: it is gone, or has sent its limit.
pub(crate) fn admit(intake: &Intake, config: &Config, project: ProjectId) -> Result<Admission, Denied> {
    let found = config.snapshot.project(project).ok_or(Denied::UnknownProject)?;
    let rate = match found.settings.ingest_rate_limit {
        Some(limit) => Some(intake.admit(project, limit).map(rate).map_err(limited)?),
        None => None,
    };
    Ok(Admission { project: project.as_u128(), max_body_bytes: found.settings.max_payload_bytes, rate })
}

const fn rate(standing: Standing) -> Rate {
    Rate { limit: standing.limit, remaining: standing.remaining, reset_seconds: seconds(standing.full_in) }
}

const fn limited(exhausted: Exhausted) -> Denied {
    Denied::Limited { rate: rate(exhausted.standing), retry_after: seconds(exhausted.retry_after) }
}

/// Whole seconds, rounded up.
const fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + (duration.subsec_nanos() > 0) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use longshore_core::clock::FixedClock;
    use longshore_core::{Project, Snapshot, Timestamp};
    use longshore_store::ApiKey;

    use super::*;

    const OURS: ProjectId = ProjectId::from_u128(1);
    const THEIRS: ProjectId = ProjectId::from_u128(2);

    fn gate(now: i64) -> ApiKeyGate<FixedClock> {
        let hasher = ApiKeyHasher::new(&[1; 32]);
        let project = |id| Project::new(id, String::new());
        let snapshot = Snapshot::new(vec![project(OURS), project(THEIRS)], Vec::new(), Vec::new());
        let key = ApiKey { project: OURS, expires_at: Some(Timestamp::from_secs(100)) };
        let config = Config {
            version: 1,
            snapshot: Arc::new(snapshot),
            sources: Vec::new(),
            http_sources: HashMap::new(),
            api_keys: HashMap::from([(hasher.hash("good"), key)]),
        };
        let (_, config) = watch::channel(Arc::new(config));
        let intake = Intake::new();
        ApiKeyGate { intake, config, hasher, clock: FixedClock(Timestamp::from_secs(now)) }
    }

    #[test]
    fn a_key_opens_its_own_project_until_it_expires() {
        let ours = OURS.to_string();

        assert_eq!(
            gate(99).admit(&ours, Some("good")).map(|admission| admission.project),
            Ok(OURS.as_u128())
        );
        assert_eq!(gate(100).admit(&ours, Some("good")), Err(Denied::Unauthenticated));
        assert_eq!(gate(99).admit(&THEIRS.to_string(), Some("good")), Err(Denied::Forbidden));
        assert_eq!(gate(99).admit(&ours, Some("bad")), Err(Denied::Unauthenticated));
        assert_eq!(gate(99).admit(&ours, None), Err(Denied::Unauthenticated));
        assert_eq!(gate(99).admit("nonsense", Some("good")), Err(Denied::UnknownProject));
    }
}
