//! The indexes of one project.
//!
//! Invariant: every list is sorted by id, and every subscription in it has an endpoint of this project.

use std::collections::HashMap;
use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::ids::{EndpointId, SourceId, SubscriptionId};
use crate::subscription::{Subscription, TypePattern};

/// The indexes of one project.
#[derive(Clone, Debug, Default)]
pub(super) struct ProjectIndex {
    by_owner: HashMap<String, Vec<EndpointId>>,
    by_url: HashMap<String, EndpointId>,
    by_endpoint: HashMap<EndpointId, Vec<Arc<Subscription>>>,
    by_type: HashMap<String, Vec<Arc<Subscription>>>,
    /// Keyed by the prefix with its dot at the end.
    by_prefix: HashMap<String, Vec<Arc<Subscription>>>,
    to_all: Vec<Arc<Subscription>>,
    by_source: HashMap<SourceId, Vec<Arc<Subscription>>>,
}

impl ProjectIndex {
    pub(super) fn add_endpoint(&mut self, endpoint: &Endpoint) {
        if let Some(owner) = &endpoint.owner_id {
            let owned = self.by_owner.entry(owner.clone()).or_default();
            owned.insert(owned.partition_point(|id| *id < endpoint.id), endpoint.id);
        }
        self.by_url
            .entry(endpoint.url.as_str().to_owned())
            .and_modify(|id| *id = endpoint.id.min(*id))
            .or_insert(endpoint.id);
    }

    pub(super) fn add_subscription(&mut self, subscription: &Arc<Subscription>) {
        insert(self.by_endpoint.entry(subscription.endpoint).or_default(), subscription);
        if let Some(source) = subscription.source {
            insert(self.by_source.entry(source).or_default(), subscription);
        }
        for pattern in &subscription.event_types {
            insert(
                match pattern {
                    TypePattern::Exact(exact) => self.by_type.entry(exact.clone()).or_default(),
                    TypePattern::Prefix(prefix) => self.by_prefix.entry(prefix.clone()).or_default(),
                    TypePattern::Any => &mut self.to_all,
                },
                subscription,
            );
        }
    }

    pub(super) fn endpoint_by_url(&self, url: &str) -> Option<EndpointId> {
        self.by_url.get(url).copied()
    }

    /// The endpoints of an owner.
    pub(super) fn endpoints_of(&self, owner: &str) -> &[EndpointId] {
        self.by_owner.get(owner).map_or(&[], Vec::as_slice)
    }

    /// The subscriptions of an endpoint, whatever their event types.
    pub(super) fn subscriptions_of(&self, endpoint: EndpointId) -> &[Arc<Subscription>] {
        self.by_endpoint.get(&endpoint).map_or(&[], Vec::as_slice)
    }

    /// The subscriptions of a source, whatever their event types.
    pub(super) fn subscriptions_of_source(&self, source: SourceId) -> &[Arc<Subscription>] {
        self.by_source.get(&source).map_or(&[], Vec::as_slice)
    }

    /// The subscriptions with a pattern that matches the type, in no order; once per pattern.
    pub(super) fn subscribed_to(&self, event_type: &str) -> Vec<&Arc<Subscription>> {
        // A prefix ends in a dot and the type goes on after it.
        let prefixes = event_type
            .match_indices('.')
            .map(|(dot, _)| &event_type[..=dot])
            .filter(|prefix| prefix.len() < event_type.len());
        prefixes
            .filter_map(|prefix| self.by_prefix.get(prefix))
            .chain(self.by_type.get(event_type))
            .flatten()
            .chain(&self.to_all)
            .collect()
    }
}

/// Inserts by id, once.
fn insert(list: &mut Vec<Arc<Subscription>>, subscription: &Arc<Subscription>) {
    let id = |subscription: &Arc<Subscription>| -> SubscriptionId { subscription.id };
    if let Err(place) = list.binary_search_by_key(&subscription.id, id) {
        list.insert(place, Arc::clone(subscription));
    }
}
