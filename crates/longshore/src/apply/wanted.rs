//! Document to resources: everything is validated here, and every fault is named with its path.

mod authentication;
mod endpoint;
mod told;

use std::collections::HashSet;

use longshore_core::filter::Filter;
use longshore_core::project::{EgressSettings, ProjectCredentials, ProjectSettings};
use longshore_core::signature::SigningKey;
use longshore_core::subscription::Ordered;
use longshore_core::{
    ApiKeyId, EndpointId, ProjectId, RetrySchedule, Secret, SourceId, SubscriptionId, Timestamp, TypePattern,
};
use longshore_pipeline::dispatch::egress::{EgressRules, check_proxy};
use longshore_store::admin::{EndpointSecret, EndpointSpec, FilterSpec, SourceSpec};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::document::{
    ApiKeyDocument, Document, ProjectCredentialsDocument, ProjectDocument, SecretDocument, SourceDocument,
    SubscriptionDocument,
};
use crate::config::fault::{Fault, Faults};
use crate::config::nearest::suggestion;
use crate::config::read_secret_file;
use crate::sources::Broker;
use crate::sources::broker::Tables;

/// An API key that is shorter could be guessed.
const SHORTEST_KEY: usize = 32;
const LONGEST_NAME: usize = 200;

/// A project as it should be.
#[derive(Debug)]
pub(crate) struct WantedProject {
    pub(crate) name: String,
    pub(crate) id: Option<ProjectId>,
    pub(crate) settings: ProjectSettings,
    pub(crate) credentials: ProjectCredentials,
    pub(crate) endpoints: Vec<WantedEndpoint>,
    pub(crate) subscriptions: Vec<WantedSubscription>,
    pub(crate) sources: Vec<WantedSource>,
    pub(crate) api_keys: Vec<WantedApiKey>,
}

#[derive(Debug)]
pub(crate) struct WantedEndpoint {
    pub(crate) id: Option<EndpointId>,
    pub(crate) spec: EndpointSpec,
    /// Whether the file leaves the status as it is.
    pub(crate) keeps_status: bool,
    /// `None`: whatever it has; one is generated when it is new.
    pub(crate) secrets: Option<Vec<EndpointSecret>>,
}

#[derive(Debug)]
pub(crate) struct WantedSubscription {
    pub(crate) id: Option<SubscriptionId>,
    pub(crate) name: String,
    /// The endpoint's name, which exists in the same file.
    pub(crate) endpoint: String,
    pub(crate) event_types: Vec<TypePattern>,
    pub(crate) filters: Vec<FilterSpec>,
    pub(crate) retry: Option<RetrySchedule>,
    pub(crate) ordered: Option<Ordered>,
}

#[derive(Debug)]
pub(crate) struct WantedSource {
    pub(crate) id: Option<SourceId>,
    pub(crate) spec: SourceSpec,
}

#[derive(Debug)]
pub(crate) struct WantedApiKey {
    pub(crate) id: Option<ApiKeyId>,
    pub(crate) name: String,
    /// `None`: whatever it is; generated when it is new.
    pub(crate) key: Option<Secret<String>>,
    pub(crate) expires_at: Option<Timestamp>,
}

/// Validates a file.
///
/// # Errors
/// Every fault.
pub(crate) fn wanted(document: Document, rules: EgressRules) -> Result<Vec<WantedProject>, Faults> {
    let mut reader = Reader { faults: Vec::new(), rules, egress: EgressSettings::default() };
    let mut names = HashSet::new();
    let projects = document.projects.into_iter().enumerate();
    let projects: Vec<_> = projects
        .map(|(index, project)| {
            let path = format!("projects[{index}]");
            reader.name(&path, &project.name, &mut names);
            reader.project(&path, project)
        })
        .collect();
    if reader.faults.is_empty() {
        Ok(projects.into_iter().flatten().collect())
    } else {
        Err(Faults(reader.faults))
    }
}

struct Reader {
    faults: Vec<Fault>,
    rules: EgressRules,
    /// Of the project that is being read.
    egress: EgressSettings,
}

impl Reader {
    fn fault(&mut self, path: String, problem: impl Into<String>) {
        self.faults.push(Fault::new(path, problem));
    }

    /// Notes an error and goes on.
    fn ok<T>(&mut self, path: String, result: Result<T, impl ToString>) -> Option<T> {
        result.map_err(|error| self.fault(path, error.to_string())).ok()
    }

    fn name(&mut self, path: &str, name: &str, taken: &mut HashSet<String>) {
        let problem = match name {
            "" => "must not be empty".to_owned(),
            _ if name.len() > LONGEST_NAME => format!("longer than {LONGEST_NAME} bytes"),
            _ if name.chars().any(char::is_control) => "must not hold control characters".to_owned(),
            _ if !taken.insert(name.to_owned()) => format!("`{name}` is there twice"),
            _ => return,
        };
        self.fault(format!("{path}.name"), problem);
    }

    fn project(&mut self, path: &str, project: ProjectDocument) -> Option<WantedProject> {
        if project.settings.max_payload_bytes == 0 {
            self.fault(format!("{path}.settings.max_payload_bytes"), "must not be zero");
        }
        for (field, problem) in self.rules.check_project(&project.settings.egress) {
            self.fault(format!("{path}.settings.egress.{field}"), problem);
        }
        self.egress = project.settings.egress.clone();
        for (field, problem) in project.settings.circuit_breaker.validate().err().unwrap_or_default() {
            self.fault(format!("{path}.settings.circuit_breaker.{field}"), problem);
        }
        self.told(path, &project.settings);
        let names: Vec<String> = project.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
        let endpoints = self.each(path, "endpoints", project.endpoints, |e| &e.name, Self::endpoint);
        let subscriptions = self.each(
            path,
            "subscriptions",
            project.subscriptions,
            |s| &s.name,
            |reader, path, subscription| reader.subscription(path, subscription, &names),
        );
        let sources = self.each(path, "sources", project.sources, |s| &s.name, Self::source);
        let api_keys = self.each(path, "api_keys", project.api_keys, |k| &k.name, Self::api_key);
        let credentials = self.project_credentials(&format!("{path}.credentials"), project.credentials);
        self.told_with(path, &project.settings, &credentials);
        Some(WantedProject {
            name: project.name,
            id: project.id,
            settings: project.settings,
            credentials,
            endpoints,
            subscriptions,
            sources,
            api_keys,
        })
    }

    fn each<D, W>(
        &mut self,
        path: &str,
        key: &str,
        documents: Vec<D>,
        name: impl Fn(&D) -> &String,
        mut read: impl FnMut(&mut Self, &str, D) -> Option<W>,
    ) -> Vec<W> {
        let mut taken = HashSet::new();
        let documents = documents.into_iter().enumerate();
        documents
            .filter_map(|(index, document)| {
                let path = format!("{path}.{key}[{index}]");
                self.name(&path, name(&document), &mut taken);
                read(self, &path, document)
            })
            .collect()
    }

    fn project_credentials(
        &mut self,
        path: &str,
        document: ProjectCredentialsDocument,
    ) -> ProjectCredentials {
        let proxy = self.inline_or_file(path, "proxy", document.proxy, document.proxy_file.as_deref());
        if let Some(proxy) = &proxy {
            self.ok(format!("{path}.proxy"), check_proxy(proxy));
        }
        ProjectCredentials {
            proxy,
            meta_event_secret: self.inline_or_file(
                path,
                "meta_event_secret",
                document.meta_event_secret,
                document.meta_event_secret_file.as_deref(),
            ),
            slack_url: self.inline_or_file(
                path,
                "slack_url",
                document.slack_url,
                document.slack_url_file.as_deref(),
            ),
        }
    }

    /// A secret from its key or from its `_file` twin; `None` when there is neither.
    fn inline_or_file(
        &mut self,
        path: &str,
        key: &str,
        inline: Option<Secret<String>>,
        file: Option<&str>,
    ) -> Option<Secret<String>> {
        match (inline, file) {
            (Some(_), Some(_)) => {
                self.fault(format!("{path}.{key}_file"), format!("`{key}` is given as well; keep one"));
                None
            }
            (inline, None) => inline,
            (None, Some(file)) => self.ok(format!("{path}.{key}_file"), read_secret_file(file)),
        }
    }

    /// As [`Self::inline_or_file`], but there must be one.
    fn required(
        &mut self,
        path: &str,
        key: &str,
        inline: Option<Secret<String>>,
        file: Option<&str>,
    ) -> Option<Secret<String>> {
        if inline.is_none() && file.is_none() {
            self.fault(path.to_owned(), format!("`{key}` or `{key}_file` is missing"));
        }
        self.inline_or_file(path, key, inline, file)
    }

    fn secret(&mut self, path: &str, secret: SecretDocument) -> Option<EndpointSecret> {
        let text = self.required(path, "secret", secret.secret, secret.secret_file.as_deref())?;
        let expires_at = self.expiry(path, secret.expires_at.as_deref());
        self.ok(path.to_owned(), SigningKey::parse(text.expose()))?;
        Some(EndpointSecret { text, expires_at })
    }

    fn expiry(&mut self, path: &str, text: Option<&str>) -> Option<Timestamp> {
        let parsed = OffsetDateTime::parse(text?, &Rfc3339)
            .map_err(|_| "not a time; expected RFC 3339, e.g. `2027-01-31T00:00:00Z`");
        self.ok(format!("{path}.expires_at"), parsed).map(Timestamp::from_utc)
    }

    fn subscription(
        &mut self,
        path: &str,
        subscription: SubscriptionDocument,
        endpoints: &[String],
    ) -> Option<WantedSubscription> {
        if !endpoints.contains(&subscription.endpoint) {
            let hint = suggestion(&subscription.endpoint, endpoints.iter().map(String::as_str));
            let problem = format!("the project has no endpoint `{}`{hint}", subscription.endpoint);
            self.fault(format!("{path}.endpoint"), problem);
        }
        let event_types = subscription.event_types.unwrap_or_else(|| vec!["*".to_owned()]);
        if event_types.is_empty() {
            self.fault(
                format!("{path}.event_types"),
                "must not be empty; leave it out, or write `*`, for all",
            );
        }
        let event_types = event_types.iter().enumerate();
        let event_types = event_types
            .filter_map(|(index, text)| self.ok(format!("{path}.event_types[{index}]"), text.parse()))
            .collect();
        let mut filters = Vec::new();
        if let Some(scopes) = subscription.filter {
            let path = format!("{path}.filter");
            self.filter(&path, &scopes.body, &scopes.headers);
            filters.push(FilterSpec {
                event_type: TypePattern::Any,
                body: scopes.body,
                headers: scopes.headers,
            });
        }
        for (index, filter) in subscription.filters.into_iter().enumerate() {
            let path = format!("{path}.filters[{index}]");
            self.filter(&path, &filter.body, &filter.headers);
            let event_type: Option<TypePattern> =
                self.ok(format!("{path}.event_type"), filter.event_type.parse());
            let Some(event_type) = event_type else { continue };
            if filters.iter().any(|other| other.event_type == event_type) {
                self.fault(
                    format!("{path}.event_type"),
                    format!("`{event_type}` has another filter already"),
                );
            }
            filters.push(FilterSpec { event_type, body: filter.body, headers: filter.headers });
        }
        Some(WantedSubscription {
            id: subscription.id,
            name: subscription.name,
            endpoint: subscription.endpoint,
            event_types,
            filters,
            retry: subscription.retry,
            ordered: subscription.ordered,
        })
    }

    fn filter(&mut self, path: &str, body: &Option<Value>, headers: &Option<Value>) {
        for (scope, document) in [("body", body), ("headers", headers)] {
            if let Some(document) = document {
                self.ok(format!("{path}.{scope}"), Filter::parse(document));
            }
        }
    }

    fn source(&mut self, path: &str, source: SourceDocument) -> Option<WantedSource> {
        if !(1..=64).contains(&source.workers) {
            self.fault(format!("{path}.workers"), "expected 1 to 64");
        }
        let SourceDocument { kafka, pubsub, rabbitmq, sqs, .. } = source;
        let broker = Broker::of(&source.kind, &Tables { kafka, pubsub, rabbitmq, sqs });
        let broker = self.ok(format!("{path}.{}", source.kind), broker)?;
        // A mapping's keys and values are text: this cannot fail.
        let mapping = serde_json::to_string(&source.mapping).unwrap_or_default();
        let spec = SourceSpec {
            name: source.name,
            kind: broker.kind().to_string(),
            workers: source.workers,
            is_disabled: source.disabled,
            settings: Secret::new(broker.settings().clone()),
            mapping,
        };
        Some(WantedSource { id: source.id, spec })
    }

    fn api_key(&mut self, path: &str, key: ApiKeyDocument) -> Option<WantedApiKey> {
        let expires_at = self.expiry(path, key.expires_at.as_deref());
        let text = self.inline_or_file(path, "key", key.key, key.key_file.as_deref());
        if let Some(text) = &text {
            let is_good =
                text.expose().len() >= SHORTEST_KEY && text.expose().bytes().all(|b| b.is_ascii_graphic());
            if !is_good {
                let problem = "expected 32 or more visible characters without spaces, such as `CO.<16>.<64>`; \
                               leave it out to have one generated";
                self.fault(format!("{path}.key"), problem);
            }
        }
        Some(WantedApiKey { id: key.id, name: key.name, key: text, expires_at })
    }
}
