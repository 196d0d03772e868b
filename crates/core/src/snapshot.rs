//! All configured resources at one moment, indexed for matching.
//!
//! What it is for: which deliveries an event makes, in memory and without looking at resources that have nothing
//! to do with it. What it does not do: follow changes, or care whether an endpoint is active (the pipeline
//! decides what becomes of a delivery to a paused one). Invariant: the same resources and event give the same
//! matches in the same order, in every process.

mod documents;
mod index;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::endpoint::Endpoint;
use crate::event::{Event, Target};
use crate::filter::Semantics;
use crate::ids::{EndpointId, LaneId, ProjectId, SubscriptionId};
use crate::project::Project;
use crate::retry::RetrySchedule;
use crate::subscription::Subscription;

use documents::Documents;
use index::ProjectIndex;

/// All configured resources at one moment. Immutable; shared by `Arc`.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    projects: HashMap<ProjectId, Arc<Project>>,
    endpoints: HashMap<EndpointId, Arc<Endpoint>>,
    subscriptions: HashMap<SubscriptionId, Arc<Subscription>>,
    /// By project, and shared by the snapshots made of this one until they add to a project.
    indexes: HashMap<ProjectId, Arc<ProjectIndex>>,
    /// Of the projects that hold their events against one.
    catalogues: Arc<HashMap<ProjectId, Catalogue>>,
    default_retry: RetrySchedule,
    version: i64,
}

/// One delivery an event makes.
#[derive(Clone, Debug)]
pub struct Match {
    /// Where it goes.
    pub endpoint: Arc<Endpoint>,
    /// Why; `None` when the event named the endpoint and it has no subscription.
    pub subscription: Option<SubscriptionId>,
    /// The lane in which it waits for its turn; `None` when it goes out in no order.
    pub lane: Option<LaneId>,
}

impl Snapshot {
    /// Builds the indexes.
    ///
    /// Of resources with the same id the first one counts. A subscription whose endpoint is unknown or of another
    /// project is kept but never matches.
    #[must_use]
    pub fn new(
        projects: Vec<Project>,
        mut endpoints: Vec<Endpoint>,
        mut subscriptions: Vec<Subscription>,
    ) -> Self {
        let mut snapshot = Self::default();
        for project in projects {
            snapshot.projects.entry(project.id).or_insert_with(|| Arc::new(project));
        }
        // The index keeps its lists sorted: what comes in order is appended. The sort is stable, so the first of
        // equal ids stays the first.
        endpoints.sort_by_key(|endpoint| endpoint.id);
        subscriptions.sort_by_key(|subscription| subscription.id);
        for endpoint in endpoints {
            snapshot.add_endpoint(endpoint);
        }
        for subscription in subscriptions {
            snapshot.add_subscription(subscription);
        }
        snapshot
    }

    /// The same snapshot, marked with the version of the configuration it shows.
    #[must_use]
    pub const fn at_version(mut self, version: i64) -> Self {
        self.version = version;
        self
    }

    /// The same snapshot, with the catalogues of the projects that hold their events against one.
    #[must_use]
    pub fn with_catalogues(mut self, catalogues: HashMap<ProjectId, Catalogue>) -> Self {
        self.catalogues = Arc::new(catalogues);
        self
    }

    /// The catalogue that a project's events are held against; `None` when it wants any event.
    #[must_use]
    pub fn catalogue(&self, project: ProjectId) -> Option<&Catalogue> {
        self.catalogues.get(&project)
    }

    /// The version of the configuration it shows; grows with each change.
    #[must_use]
    pub const fn version(&self) -> i64 {
        self.version
    }

    /// A copy with more resources; an endpoint or subscription whose id is known stays as it is.
    ///
    /// Costs a copy of the maps of all endpoints and subscriptions (pointers, not contents) and of the indexes of
    /// the projects added to: collect additions rather than calling it once for each.
    #[must_use]
    pub fn with_dynamic(&self, additions: Vec<(Endpoint, Subscription)>) -> Self {
        let mut snapshot = self.clone();
        for (endpoint, subscription) in additions {
            snapshot.add_endpoint(endpoint);
            snapshot.add_subscription(subscription);
        }
        snapshot
    }

    fn add_endpoint(&mut self, endpoint: Endpoint) {
        if self.endpoints.contains_key(&endpoint.id) {
            return;
        }
        let endpoint = Arc::new(endpoint);
        Arc::make_mut(self.indexes.entry(endpoint.project).or_default()).add_endpoint(&endpoint);
        self.endpoints.insert(endpoint.id, endpoint);
    }

    fn add_subscription(&mut self, subscription: Subscription) {
        if self.subscriptions.contains_key(&subscription.id) {
            return;
        }
        let subscription = Arc::new(subscription);
        let endpoint = self.endpoints.get(&subscription.endpoint);
        if endpoint.is_some_and(|endpoint| endpoint.project == subscription.project) {
            Arc::make_mut(self.indexes.entry(subscription.project).or_default())
                .add_subscription(&subscription);
        }
        self.subscriptions.insert(subscription.id, subscription);
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
    pub fn subscription(&self, id: SubscriptionId) -> Option<&Arc<Subscription>> {
        self.subscriptions.get(&id)
    }

    /// Every project, in no order.
    pub fn projects(&self) -> impl Iterator<Item = &Arc<Project>> {
        self.projects.values()
    }

    /// Every endpoint, in no order.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values()
    }

    /// Every subscription, in no order.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.subscriptions.values()
    }

    /// The endpoint of a project with exactly that URL, for `dynamic` events; of several the one with the lowest
    /// id.
    ///
    /// `https://a.example` is the same URL as `https://a.example/`: an endpoint's URL is held in its parsed form.
    #[must_use]
    pub fn endpoint_by_url(&self, project: ProjectId, url: &str) -> Option<&Arc<Endpoint>> {
        let index = self.indexes.get(&project)?;
        let id = index.endpoint_by_url(url).or_else(|| {
            let parsed = url::Url::parse(url).ok()?;
            index.endpoint_by_url(parsed.as_str())
        })?;
        self.endpoints.get(&id)
    }

    /// When the deliveries of a subscription are tried again: its own schedule, the project's, or the default.
    #[must_use]
    pub fn retry_schedule(&self, project: ProjectId, subscription: Option<SubscriptionId>) -> &RetrySchedule {
        subscription
            .and_then(|id| self.subscriptions.get(&id))
            .filter(|subscription| subscription.project == project)
            .and_then(|subscription| subscription.retry.as_ref())
            .or_else(|| self.projects.get(&project).map(|project| &project.settings.retry))
            .unwrap_or(&self.default_retry)
    }

    /// The deliveries an event makes; empty when nothing matches.
    ///
    /// - `single` makes one per matching subscription of the endpoint, or one without subscription when the
    ///   endpoint has none at all.
    /// - `fanout` makes one per matching subscription of each endpoint of the owner.
    /// - `broadcast` makes one per endpoint, by its matching subscription with the lowest id.
    /// - `incoming` makes one per matching subscription of the event's source.
    /// - `dynamic` is like `single`, except that filters are not asked; the endpoint of a URL nobody registered
    ///   has to be added first ([`Self::with_dynamic`]).
    ///
    /// A subscription of a source matches the events of that source alone, whatever their kind.
    ///
    /// Sorted by endpoint for `fanout` and by subscription otherwise. The body is parsed at most once, and only
    /// when a filter asks about it or a key of an ordered subscription is in it; a body that is not JSON matches no
    /// filter over it and has no key.
    #[must_use]
    pub fn matches(&self, event: &Event) -> Vec<Match> {
        let Some(index) = self.indexes.get(&event.project) else {
            return Vec::new();
        };
        let semantics = self
            .projects
            .get(&event.project)
            .map_or(Semantics::Strict, |project| project.settings.filter_semantics);
        let documents = Documents::new(event, semantics);
        match &event.target {
            Target::Single(endpoint) => {
                self.of_named(index, *endpoint, event, &documents, |wanted| documents.pass(wanted))
            }
            Target::Dynamic(endpoint) => self.of_named(index, *endpoint, event, &documents, |_| true),
            Target::Fanout(owner) => index
                .endpoints_of(owner)
                .iter()
                .filter_map(|id| self.endpoints.get(id))
                .flat_map(|endpoint| {
                    wanting(index.subscriptions_of(endpoint.id), event)
                        .filter(|subscription| documents.pass(subscription))
                        .map(|subscription| matched(endpoint, subscription, &documents))
                })
                .collect(),
            Target::Broadcast => self.of_all(index, event, &documents),
            Target::Incoming => self.of_source(index, event, &documents),
        }
    }

    fn of_named(
        &self,
        index: &ProjectIndex,
        endpoint: EndpointId,
        event: &Event,
        documents: &Documents<'_>,
        mut passes: impl FnMut(&Subscription) -> bool,
    ) -> Vec<Match> {
        let Some(endpoint) =
            self.endpoints.get(&endpoint).filter(|endpoint| endpoint.project == event.project)
        else {
            return Vec::new();
        };
        let subscriptions = index.subscriptions_of(endpoint.id);
        if subscriptions.is_empty() {
            return vec![Match { endpoint: Arc::clone(endpoint), subscription: None, lane: None }];
        }
        wanting(subscriptions, event)
            .filter(|subscription| passes(subscription))
            .map(|subscription| matched(endpoint, subscription, documents))
            .collect()
    }

    fn of_source(&self, index: &ProjectIndex, event: &Event, documents: &Documents<'_>) -> Vec<Match> {
        let Some(source) = event.source else { return Vec::new() };
        wanting(index.subscriptions_of_source(source), event)
            .filter(|subscription| documents.pass(subscription))
            .filter_map(|subscription| {
                let endpoint = self.endpoints.get(&subscription.endpoint)?;
                Some(matched(endpoint, subscription, documents))
            })
            .collect()
    }

    fn of_all(&self, index: &ProjectIndex, event: &Event, documents: &Documents<'_>) -> Vec<Match> {
        let mut candidates = index.subscribed_to(&event.event_type);
        candidates.retain(|subscription| subscription.takes_from(event.source));
        candidates.sort_unstable_by_key(|subscription| subscription.id);
        candidates.dedup_by_key(|subscription| subscription.id);
        let mut served = HashSet::with_capacity(candidates.len());
        let mut matches = Vec::with_capacity(candidates.len());
        for subscription in candidates {
            if served.contains(&subscription.endpoint) || !documents.pass(subscription) {
                continue;
            }
            if let Some(endpoint) = self.endpoints.get(&subscription.endpoint) {
                served.insert(endpoint.id);
                matches.push(matched(endpoint, subscription, documents));
            }
        }
        matches
    }
}

fn wanting<'s>(
    subscriptions: &'s [Arc<Subscription>],
    event: &'s Event,
) -> impl Iterator<Item = &'s Arc<Subscription>> {
    subscriptions.iter().filter(|subscription| {
        subscription.takes_from(event.source)
            && subscription.event_types.iter().any(|pattern| pattern.matches(&event.event_type))
    })
}

fn matched(endpoint: &Arc<Endpoint>, subscription: &Subscription, documents: &Documents<'_>) -> Match {
    Match {
        endpoint: Arc::clone(endpoint),
        subscription: Some(subscription.id),
        lane: documents.lane(subscription),
    }
}

#[cfg(test)]
mod tests;
