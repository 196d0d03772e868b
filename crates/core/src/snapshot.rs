//! All configured resources at one moment, indexed for matching.

use std::collections::HashMap;
use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::ids::{EndpointId, ProjectId, SubscriptionId};
use crate::project::Project;
use crate::subscription::Subscription;

/// All configured resources at one moment. Immutable; shared by `Arc`.
#[derive(Debug, Default)]
pub struct Snapshot {
    projects: HashMap<ProjectId, Arc<Project>>,
    endpoints: HashMap<EndpointId, Arc<Endpoint>>,
}

/// One delivery an event makes.
#[derive(Clone, Debug)]
pub struct Match {
    /// Where it goes.
    pub endpoint: Arc<Endpoint>,
    /// Why; `None` when the event named the endpoint and it has no subscription.
    pub subscription: Option<SubscriptionId>,
}

impl Snapshot {
    /// Builds the indexes.
    #[must_use]
    pub fn new(
        _projects: Vec<Project>,
        _endpoints: Vec<Endpoint>,
        _subscriptions: Vec<Subscription>,
    ) -> Self {
        Self::default()
    }

    /// A project.
    #[must_use]
    pub fn project(&self, id: ProjectId) -> Option<&Arc<Project>> {
        self.projects.get(&id)
    }

    /// An endpoint.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(&id)
    }

    /// A subscription.
    #[must_use]
    pub fn subscription(&self, _id: SubscriptionId) -> Option<&Arc<Subscription>> {
        None
    }

    /// The endpoint of a project with exactly that URL, for `dynamic` events.
    #[must_use]
    pub fn endpoint_by_url(&self, _project: ProjectId, _url: &str) -> Option<&Arc<Endpoint>> {
        None
    }

    /// The deliveries an event makes; empty when nothing matches.
    #[must_use]
    pub fn matches(&self, _event: &Event) -> Vec<Match> {
        Vec::new()
    }
}
