//! Who may post events: API keys, looked up by hash in the configuration this process has in memory.

use std::sync::Arc;

use longshore_core::{Clock, ProjectId, SystemClock};
use longshore_source_http::{Admission, Denied, Gate};
use longshore_store::{Config, Keys};
use tokio::sync::watch;

/// Admits requests by the configuration of the moment; no query per request.
pub(crate) struct ApiKeyGate {
    pub(crate) config: watch::Receiver<Arc<Config>>,
    pub(crate) keys: Keys,
}

impl Gate for ApiKeyGate {
    fn admit(&self, project: &str, bearer: Option<&str>) -> Result<Admission, Denied> {
        let config = Arc::clone(&self.config.borrow());
        let hash = self.keys.api_key_hash(bearer.ok_or(Denied::Unauthenticated)?);
        let key = config.api_keys.get(&hash).ok_or(Denied::Unauthenticated)?;
        if key.expires_at.is_some_and(|end| SystemClock.now() >= end) {
            return Err(Denied::Unauthenticated);
        }
        let project: ProjectId = project.parse().map_err(|_| Denied::UnknownProject)?;
        if key.project != project {
            return Err(Denied::Forbidden);
        }
        let found = config.snapshot.project(project).ok_or(Denied::UnknownProject)?;
        Ok(Admission { project: project.as_u128(), max_body_bytes: found.settings.max_payload_bytes })
    }
}
