//! Who may post events: API keys, looked up by hash in the configuration this process has in memory.
//!
//! Keys of a project and of the members of its organisation, from `developer` on, whose scopes include `events:write`.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::access::{Action, Resource};
use longshore_core::{Clock, ProjectId};
use longshore_pipeline::{Exhausted, Intake, Standing};
use longshore_source_http::{Admission, Denied, Gate, Rate};
use longshore_store::{ApiKeyHasher, ApiKeyOwner, Config};
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
        let role = match key.owner {
            ApiKeyOwner::Project(own, role) => (own == project).then_some(role),
            // The person's role of this moment, not of when the key was made.
            ApiKeyOwner::User(user, limit) => {
                let role = config.people.role(user, project);
                role.map(|role| limit.map_or(role, |limit| limit.min(role)))
            }
        };
        let may = role.is_some_and(|role| role.allows(Resource::Events, Action::Write));
        if !may || !key.may_write_events {
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

    use longshore_core::access::Role;
    use longshore_core::clock::FixedClock;
    use longshore_core::{OrganisationId, Project, Snapshot, Timestamp, UserId};
    use longshore_store::{ApiKey, People};

    use super::*;

    const OURS: ProjectId = ProjectId::from_u128(1);
    const THEIRS: ProjectId = ProjectId::from_u128(2);
    const PERSON: UserId = UserId::from_u128(3);

    /// A gate that knows one key, `good`; the person is what `role` says in the organisation of `OURS`.
    fn gate_for(now: i64, key: ApiKey, role: Option<Role>) -> ApiKeyGate<FixedClock> {
        let hasher = ApiKeyHasher::new(&[1; 32]);
        let project = |id| Project::new(id, String::new());
        let snapshot = Snapshot::new(vec![project(OURS), project(THEIRS)], Vec::new(), Vec::new());
        let (ours, theirs) = (OrganisationId::from_u128(4), OrganisationId::from_u128(5));
        let people = People {
            organisations: HashMap::from([(OURS, ours), (THEIRS, theirs)]),
            roles: role.map(|role| ((ours, PERSON), role)).into_iter().collect(),
        };
        let config = Config {
            version: 1,
            snapshot: Arc::new(snapshot),
            sources: Vec::new(),
            http_sources: HashMap::new(),
            api_keys: HashMap::from([(hasher.hash("good"), key)]),
            people,
        };
        let (_, config) = watch::channel(Arc::new(config));
        let intake = Intake::new();
        ApiKeyGate { intake, config, hasher, clock: FixedClock(Timestamp::from_secs(now)) }
    }

    fn owned(owner: ApiKeyOwner) -> ApiKey {
        ApiKey { owner, may_write_events: true, expires_at: None }
    }

    fn gate(now: i64) -> ApiKeyGate<FixedClock> {
        let owner = ApiKeyOwner::Project(OURS, Role::Admin);
        gate_for(now, ApiKey { expires_at: Some(Timestamp::from_secs(100)), ..owned(owner) }, None)
    }

    #[test]
    fn a_key_needs_the_role_and_the_scope() {
        let admit = |key| gate_for(0, key, None).admit(&OURS.to_string(), Some("good")).map(drop);
        for (role, expected) in [
            (Role::Viewer, Err(Denied::Forbidden)),
            (Role::Developer, Ok(())),
            (Role::Admin, Ok(())),
            (Role::Owner, Ok(())),
        ] {
            let key = owned(ApiKeyOwner::Project(OURS, role));
            assert_eq!(admit(key), expected, "{role}");
            assert_eq!(admit(ApiKey { may_write_events: false, ..key }), Err(Denied::Forbidden), "{role}");
        }
    }

    #[test]
    fn a_personal_key_may_what_its_person_may_and_no_more_than_its_limit() {
        let admit = |role, limit, project: ProjectId| {
            let key = owned(ApiKeyOwner::User(PERSON, limit));
            gate_for(0, key, role).admit(&project.to_string(), Some("good")).map(drop)
        };
        use Role::{Developer, Owner, Viewer};

        assert_eq!(admit(Some(Developer), None, OURS), Ok(()));
        assert_eq!(admit(Some(Owner), Some(Developer), OURS), Ok(()));
        assert_eq!(admit(Some(Owner), Some(Viewer), OURS), Err(Denied::Forbidden));
        assert_eq!(admit(Some(Viewer), Some(Owner), OURS), Err(Denied::Forbidden));
        assert_eq!(admit(None, None, OURS), Err(Denied::Forbidden));
        assert_eq!(admit(Some(Owner), None, THEIRS), Err(Denied::Forbidden));
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
