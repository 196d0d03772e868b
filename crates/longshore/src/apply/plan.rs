//! What differs between a file and what is stored. Pure.
//!
//! Identity is the project's name and the resource's name. Invariant: a plan made of what a plan has written is
//! empty.

use std::collections::HashMap;

use longshore_core::{ApiKeyId, EndpointId, Project, ProjectId, Secret, SourceId, SubscriptionId};
use longshore_store::admin::{
    ApiKeySpec, Change, EndpointSecret, EndpointSpec, Kind, Managed, ManagedProject, SourceSpec,
    SubscriptionSpec,
};
use serde_json::{Value, json};

use super::wanted::{WantedApiKey, WantedEndpoint, WantedProject, WantedSource, WantedSubscription};
use crate::config::fault::{Fault, Faults};
use crate::config::redact::redact;

/// What a plan needs from outside: ids, keys and hashes.
pub(crate) trait Supply {
    /// Bits of a new id.
    fn id(&mut self) -> u128;
    /// A new endpoint secret.
    fn endpoint_secret(&mut self) -> Secret<String>;
    /// A new API key.
    fn api_key(&mut self) -> Secret<String>;
    /// The hash under which an API key is stored.
    fn hash(&self, key: &str) -> Vec<u8>;
}

/// What to write and what to tell.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// In an order that keeps references whole.
    pub(crate) changes: Vec<Change>,
    /// For people.
    pub(crate) lines: Vec<Line>,
    /// What was generated, by the resource it belongs to. To be told once, after the commit.
    pub(crate) generated: Vec<(String, Secret<String>)>,
}

/// One resource that differs, or is left alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) what: What,
    /// "endpoint `shop/receiver`"
    pub(crate) resource: String,
    /// The resource's id, where it is of use.
    pub(crate) id: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    Create,
    /// What differs: name, old, new. Secrets are already hidden.
    Change(Vec<(String, Value, Value)>),
    Delete,
    /// An earlier file declared it, this one does not, and pruning was not asked for.
    LeaveAlone,
}

/// Compares.
///
/// # Errors
/// What clashes with what is stored.
pub(crate) fn plan(
    wanted: &[WantedProject],
    stored: &[Option<ManagedProject>],
    prune: bool,
    supply: &mut impl Supply,
) -> Result<Plan, Faults> {
    let mut planner =
        Planner { plan: Plan::default(), faults: Vec::new(), deletions: Vec::new(), prune, supply };
    for (wanted, stored) in wanted.iter().zip(stored) {
        planner.project(wanted, stored.as_ref());
    }
    let Planner { mut plan, faults, deletions, .. } = planner;
    plan.changes.extend(deletions);
    if faults.is_empty() { Ok(plan) } else { Err(Faults(faults)) }
}

struct Planner<'a, S> {
    plan: Plan,
    faults: Vec<Fault>,
    /// Last of all, so that a subscription can move away from an endpoint that goes.
    deletions: Vec<Change>,
    prune: bool,
    supply: &'a mut S,
}

/// Where resources are: the project's id and name.
#[derive(Clone, Copy)]
struct Place<'a> {
    project: ProjectId,
    name: &'a str,
}

impl Place<'_> {
    fn resource(self, kind: &str, name: &str) -> String {
        format!("{kind} `{}/{name}`", self.name)
    }
}

impl<S: Supply> Planner<'_, S> {
    fn project(&mut self, wanted: &WantedProject, stored: Option<&ManagedProject>) {
        let resource = format!("project `{}`", wanted.name);
        let stored_id = stored.map(|stored| stored.project.id.as_u128());
        let id = self.identify(&resource, wanted.id.map(ProjectId::as_u128), stored_id);
        let project = Project {
            id: ProjectId::from_u128(id),
            name: wanted.name.clone(),
            settings: wanted.settings.clone(),
            credentials: wanted.credentials.clone(),
        };
        let shown = |project: &Project| serde_json::to_value(&project.settings).unwrap_or_default();
        let differences = stored.map(|stored| {
            let mut differs = differences(&shown(&stored.project), &shown(&project));
            hidden(&mut differs, "credentials", stored.project.credentials == project.credentials);
            differs
        });
        if self.tell(&resource, Some(project.id.to_string()), differences) {
            self.plan.changes.push(Change::PutProject(Box::new(project.clone())));
        }
        let place = Place { project: project.id, name: &wanted.name };
        let none = ManagedProject {
            project,
            endpoints: Vec::new(),
            subscriptions: Vec::new(),
            sources: Vec::new(),
            api_keys: Vec::new(),
        };
        self.contents(place, wanted, stored.unwrap_or(&none));
    }

    fn contents(&mut self, place: Place<'_>, wanted: &WantedProject, stored: &ManagedProject) {
        let mut ids = HashMap::new();
        for endpoint in &wanted.endpoints {
            let id = self.endpoint(place, endpoint, stored);
            ids.insert(endpoint.spec.name.as_str(), id);
        }
        let stored_names: HashMap<EndpointId, &str> =
            stored.endpoints.iter().map(|endpoint| (endpoint.id, endpoint.spec.name.as_str())).collect();
        for subscription in &wanted.subscriptions {
            // Validated: the endpoint is in the file.
            let Some(endpoint) = ids.get(subscription.endpoint.as_str()) else { continue };
            let found = stored.subscriptions.iter().find(|other| other.spec.name == subscription.name);
            self.subscription(place, subscription, *endpoint, found, &stored_names);
        }
        for source in &wanted.sources {
            let found = stored.sources.iter().find(|other| other.spec.name == source.spec.name);
            self.source(place, source, found);
        }
        for key in &wanted.api_keys {
            let found = stored.api_keys.iter().find(|other| other.spec.name == key.name);
            self.api_key(place, key, found);
        }
        let is_wanted = |kind: Kind, name: &str| match kind {
            Kind::Endpoint => wanted.endpoints.iter().any(|other| other.spec.name == name),
            Kind::Subscription => wanted.subscriptions.iter().any(|other| other.name == name),
            Kind::Source => wanted.sources.iter().any(|other| other.spec.name == name),
            Kind::ApiKey => wanted.api_keys.iter().any(|other| other.name == name),
        };
        let subscriptions = stored.subscriptions.iter().map(|it| (Kind::Subscription, &it.spec.name));
        let sources = stored.sources.iter().map(|it| (Kind::Source, &it.spec.name));
        let api_keys = stored.api_keys.iter().map(|it| (Kind::ApiKey, &it.spec.name));
        let endpoints = stored.endpoints.iter().map(|it| (Kind::Endpoint, &it.spec.name));
        for (kind, name) in subscriptions.chain(sources).chain(api_keys).chain(endpoints) {
            if !is_wanted(kind, name) {
                self.surplus(place, kind, name);
            }
        }
    }

    fn surplus(&mut self, place: Place<'_>, kind: Kind, name: &str) {
        let word = match kind {
            Kind::Endpoint => "endpoint",
            Kind::Subscription => "subscription",
            Kind::Source => "source",
            Kind::ApiKey => "API key",
        };
        let what = if self.prune { What::Delete } else { What::LeaveAlone };
        if self.prune {
            self.deletions.push(Change::Delete(place.project, kind, name.to_owned()));
        }
        self.plan.lines.push(Line { what, resource: place.resource(word, name), id: None });
    }

    fn endpoint(&mut self, place: Place<'_>, wanted: &WantedEndpoint, stored: &ManagedProject) -> EndpointId {
        let name = &wanted.spec.name;
        let resource = place.resource("endpoint", name);
        let found = stored.endpoints.iter().find(|other| other.spec.name == *name);
        let other =
            stored.endpoints.iter().find(|other| Some(other.id) == wanted.id && other.spec.name != *name);
        if let Some(other) = other {
            self.faults.push(Fault::new(&*resource, format!("its id belongs to `{}`", other.spec.name)));
        }
        let stored_id = found.map(|found| found.id.as_u128());
        let id =
            EndpointId::from_u128(self.identify(&resource, wanted.id.map(EndpointId::as_u128), stored_id));
        let secrets = match (&wanted.secrets, found) {
            (Some(secrets), _) => Some(secrets.clone()),
            (None, Some(_)) => None,
            (None, None) => {
                let text = self.supply.endpoint_secret();
                self.plan.generated.push((format!("secret of {resource}"), text.clone()));
                Some(vec![EndpointSecret { text, expires_at: None }])
            }
        };
        let mut spec = wanted.spec.clone();
        if let (Some(found), true) = (found, wanted.keeps_status) {
            spec.status = found.spec.status;
        }
        let mut differs = found.map(|found| {
            let mut differs = differences(&shown_endpoint(&found.spec), &shown_endpoint(&spec));
            hidden(&mut differs, "credentials", found.spec.credentials == spec.credentials);
            differs
        });
        let is_same_spec = differs.as_ref().is_some_and(Vec::is_empty);
        let is_same_secrets =
            secrets.is_none() || found.is_some_and(|found| Some(&found.secrets) == secrets.as_ref());
        if let Some(differs) = &mut differs {
            hidden(differs, "secrets", is_same_secrets);
        }
        self.tell(&resource, Some(id.to_string()), differs);
        if !is_same_spec {
            let endpoint = Box::new(Managed { id, spec });
            self.plan.changes.push(Change::PutEndpoint(place.project, endpoint));
        }
        if let (Some(secrets), false) = (secrets, is_same_secrets) {
            self.plan.changes.push(Change::ReplaceSecrets(place.project, id, secrets));
        }
        id
    }

    fn subscription(
        &mut self,
        place: Place<'_>,
        wanted: &WantedSubscription,
        endpoint: EndpointId,
        found: Option<&Managed<SubscriptionId, SubscriptionSpec>>,
        stored_names: &HashMap<EndpointId, &str>,
    ) {
        let resource = place.resource("subscription", &wanted.name);
        let stored_id = found.map(|found| found.id.as_u128());
        let id = self.identify(&resource, wanted.id.map(SubscriptionId::as_u128), stored_id);
        let spec = SubscriptionSpec {
            name: wanted.name.clone(),
            endpoint,
            event_types: wanted.event_types.clone(),
            filters: wanted.filters.clone(),
            retry: wanted.retry.clone(),
            ordered: wanted.ordered.clone(),
        };
        let differs = found.map(|found| {
            let unmanaged = found.spec.endpoint.to_string();
            let stored_name = stored_names.get(&found.spec.endpoint).copied().unwrap_or(&unmanaged);
            let mut differs = differences(
                &shown_subscription(&found.spec, stored_name),
                &shown_subscription(&spec, &wanted.endpoint),
            );
            // The endpoint of that name may be another one than before.
            let is_same = found.spec.endpoint == endpoint || stored_name != wanted.endpoint;
            hidden(&mut differs, "endpoint", is_same);
            differs
        });
        if self.tell(&resource, None, differs) {
            let subscription = Managed { id: SubscriptionId::from_u128(id), spec };
            self.plan.changes.push(Change::PutSubscription(place.project, subscription));
        }
    }

    fn source(
        &mut self,
        place: Place<'_>,
        wanted: &WantedSource,
        found: Option<&Managed<SourceId, SourceSpec>>,
    ) {
        let resource = place.resource("source", &wanted.spec.name);
        let stored_id = found.map(|found| found.id.as_u128());
        let id = self.identify(&resource, wanted.id.map(SourceId::as_u128), stored_id);
        let differs = found.map(|found| {
            let mut differs = differences(&shown_source(&found.spec), &shown_source(&wanted.spec));
            // Only what is hidden may differ.
            let is_same = found.spec.settings == wanted.spec.settings || !differs.is_empty();
            hidden(&mut differs, "credentials", is_same);
            differs
        });
        if self.tell(&resource, None, differs) {
            let source = Managed { id: SourceId::from_u128(id), spec: wanted.spec.clone() };
            self.plan.changes.push(Change::PutSource(place.project, source));
        }
    }

    fn api_key(
        &mut self,
        place: Place<'_>,
        wanted: &WantedApiKey,
        found: Option<&Managed<ApiKeyId, ApiKeySpec>>,
    ) {
        let resource = place.resource("API key", &wanted.name);
        let stored_id = found.map(|found| found.id.as_u128());
        let id = self.identify(&resource, wanted.id.map(ApiKeyId::as_u128), stored_id);
        let hash = match (&wanted.key, found) {
            (Some(key), _) => self.supply.hash(key.expose()),
            (None, Some(found)) => found.spec.hash.clone(),
            (None, None) => {
                let key = self.supply.api_key();
                let hash = self.supply.hash(key.expose());
                self.plan.generated.push((resource.clone(), key));
                hash
            }
        };
        let spec = ApiKeySpec { name: wanted.name.clone(), hash, expires_at: wanted.expires_at };
        let shown = |spec: &ApiKeySpec| json!({"expires_at": spec.expires_at.map(|at| at.to_string())});
        let differs = found.map(|found| {
            let mut differs = differences(&shown(&found.spec), &shown(&spec));
            hidden(&mut differs, "key", found.spec.hash == spec.hash);
            differs
        });
        if self.tell(&resource, None, differs) {
            let key = Managed { id: ApiKeyId::from_u128(id), spec };
            self.plan.changes.push(Change::PutApiKey(place.project, key));
        }
    }

    /// The id of a resource: its own, the file's, or a new one.
    fn identify(&mut self, resource: &str, wanted: Option<u128>, stored: Option<u128>) -> u128 {
        match (wanted, stored) {
            (Some(wanted), Some(stored)) if wanted != stored => {
                let stored = EndpointId::from_u128(stored);
                let problem =
                    format!("its id is `{stored}` and cannot change; write that one, or leave it out");
                self.faults.push(Fault::new(resource, problem));
                wanted
            }
            (_, Some(stored)) => stored,
            (Some(wanted), None) => wanted,
            (None, None) => self.supply.id(),
        }
    }

    /// Adds a line when there is something to tell. `None` means that the resource is new.
    fn tell(
        &mut self,
        resource: &str,
        id: Option<String>,
        differs: Option<Vec<(String, Value, Value)>>,
    ) -> bool {
        let (what, id) = match differs {
            None => (What::Create, id),
            Some(differs) if differs.is_empty() => return false,
            Some(differs) => (What::Change(differs), None),
        };
        self.plan.lines.push(Line { what, resource: resource.to_owned(), id });
        true
    }
}

/// Adds a difference of which nothing may be shown.
fn hidden(differs: &mut Vec<(String, Value, Value)>, name: &str, is_same: bool) {
    if !is_same {
        differs.push((name.to_owned(), Value::Null, Value::Null));
    }
}

fn shown_endpoint(spec: &EndpointSpec) -> Value {
    json!({
        "url": spec.url.as_str(),
        "owner_id": spec.owner_id,
        "status": spec.status.as_str(),
        "advanced_signatures": spec.advanced_signatures,
        "http_timeout": longshore_core::duration::format(spec.http_timeout),
        "max_concurrency": spec.max_concurrency,
        "settings": spec.settings,
    })
}

fn shown_subscription(spec: &SubscriptionSpec, endpoint: &str) -> Value {
    let filters = spec.filters.iter().map(
        |filter| json!({"event_type": filter.event_type, "body": filter.body, "headers": filter.headers}),
    );
    json!({
        "endpoint": endpoint,
        "event_types": spec.event_types,
        "filters": filters.collect::<Vec<_>>(),
        "retry": spec.retry,
        "ordered": spec.ordered,
    })
}

fn shown_source(spec: &SourceSpec) -> Value {
    json!({
        "kind": spec.kind,
        "workers": spec.workers,
        "disabled": spec.is_disabled,
        "mapping": serde_json::from_str::<Value>(&spec.mapping).unwrap_or_default(),
        &spec.kind: redact(spec.settings.expose()),
    })
}

/// The leaves that differ, by dotted path. Lists are leaves.
fn differences(old: &Value, new: &Value) -> Vec<(String, Value, Value)> {
    let mut found = Vec::new();
    compare(String::new(), old, new, &mut found);
    found
}

fn compare(path: String, old: &Value, new: &Value, found: &mut Vec<(String, Value, Value)>) {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let side = |side: &serde_json::Map<String, Value>| side.get(key).cloned().unwrap_or_default();
                compare(path, &side(before), &side(after), found);
            }
        }
        _ if old != new => found.push((path, old.clone(), new.clone())),
        _ => {}
    }
}
