//! What requests say of a subscription.

use longshore_core::subscription::Ordered;
use longshore_core::{EndpointId, RetrySchedule, SubscriptionId, Timestamp, TypePattern};
use longshore_store::control::{Changing, FilterRecord, SubscriptionRecord};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::change::{self, RetryBody};
use super::filter_body::{FILTERS_MOST, Scopes};
use crate::v1::body::Body;
use crate::v1::named;
use crate::v1::problem::Problem;

/// A subscription to be made or changed. What is left out of a change stays as it is.
#[derive(Clone, Default, Deserialize, ToSchema)]
pub(crate) struct SubscriptionBody {
    /// For people; required for a new subscription.
    name: Option<String>,
    /// Where matching events go; required for a new subscription.
    endpoint_id: Option<String>,
    /// The former name of `endpoint_id`.
    app_id: Option<String>,
    /// The only source whose events it takes; required in a project that receives webhooks.
    source_id: Option<String>,
    /// Which events it takes.
    filter_config: Option<FilterConfigBody>,
    /// When its deliveries are tried again, in the contract's words.
    retry_config: Option<RetryBody>,
    /// Kept and given back: who is alerted is said by the project.
    alert_config: Option<AlertConfig>,
    /// Kept and given back: the endpoint's limit counts.
    rate_limit_config: Option<SubscriptionRateLimit>,
    /// `at_least_once`: how every delivery is made. `at_most_once` is refused.
    delivery_mode: Option<String>,
    /// Refused: functions are not part of this version.
    function: Option<String>,
    /// Beyond the contract: the whole retry schedule, as in resource files; it beats `retry_config`. `false` for the
    /// project's again.
    #[schema(value_type = Option<Object>)]
    retry: Option<Value>,
    /// Beyond the contract: delivery in order, as in resource files: `{"key": "body:customer.id", "on_exhausted":
    /// "block"}`. `false` for no order again.
    #[schema(value_type = Option<Object>)]
    ordered: Option<Value>,
}

/// Which events a subscription takes.
#[derive(Clone, Default, Deserialize, ToSchema)]
pub(crate) struct FilterConfigBody {
    /// An event matches when any of these does: a type, `prefix.*` or `*`.
    event_types: Option<Vec<String>>,
    /// What its events must hold; a filter for an event type of its own beats it.
    filter: Option<Scopes>,
}

/// So many failures within that time.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub(crate) struct AlertConfig {
    /// How many.
    #[serde(default)]
    count: i64,
    /// Within what time: `10m`.
    #[serde(default)]
    threshold: String,
}

/// So many deliveries in so long.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub(crate) struct SubscriptionRateLimit {
    /// How many.
    #[serde(default)]
    count: i64,
    /// In how many seconds.
    #[serde(default)]
    duration: u64,
}

impl Body for SubscriptionBody {}

/// A subscription of which nothing is known but its id: to everything.
pub(super) fn blank(id: SubscriptionId) -> SubscriptionRecord {
    SubscriptionRecord {
        id,
        name: String::new(),
        endpoint: EndpointId::from_u128(0),
        source: None,
        event_types: vec![TypePattern::Any],
        filters: Vec::new(),
        retry: None,
        ordered: None,
        contract_settings: json!({}),
        created_at: Timestamp::EPOCH,
        updated_at: Timestamp::EPOCH,
    }
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl SubscriptionBody {
    /// What is given over what is stored.
    ///
    /// # Errors
    /// `400` names the field.
    pub(super) fn over(
        self,
        mut record: SubscriptionRecord,
        change: &mut Changing,
        is_new: bool,
    ) -> Result<SubscriptionRecord, Problem> {
        if given(self.function).is_some() {
            return Err(Problem::invalid("function", "functions are not part of this version of Longshore"));
        }
        match given(self.delivery_mode).as_deref() {
            None | Some("at_least_once") => {}
            Some("at_most_once") => {
                let problem =
                    "a delivery is made at least once; for a single try write `retry_config.retry_count` 1";
                return Err(Problem::invalid("delivery_mode", problem));
            }
            Some(_) => return Err(Problem::invalid("delivery_mode", "write `at_least_once`")),
        }
        if is_new || self.name.is_some() {
            record.name = named::name("name", self.name)?;
        }
        match given(self.endpoint_id).or(given(self.app_id)) {
            Some(text) => {
                record.endpoint = text.parse().map_err(|_| {
                    Problem::invalid("endpoint_id", "endpoint not found: this is no id of an endpoint")
                })?;
            }
            None if is_new => return Err(Problem::invalid("endpoint_id", "is missing")),
            None => {}
        }
        if let Some(text) = given(self.source_id) {
            let id = text
                .parse()
                .map_err(|_| Problem::invalid("source_id", "source not found: this is no id of a source"))?;
            record.source = Some(id);
        }
        if let Some(config) = self.filter_config {
            config.apply(&mut record, change)?;
        }
        change::retry(self.retry_config, self.retry, &mut record.retry)?;
        change::ordered(self.ordered, &mut record.ordered)?;
        let kept = [
            ("alert_config", self.alert_config.map(|config| json!(config))),
            ("rate_limit_config", self.rate_limit_config.map(|config| json!(config))),
        ];
        if let Some(settings) = record.contract_settings.as_object_mut() {
            settings.extend(kept.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        Ok(record)
    }
}

impl FilterConfigBody {
    fn apply(self, record: &mut SubscriptionRecord, change: &mut Changing) -> Result<(), Problem> {
        if let Some(texts) = self.event_types.filter(|texts| !texts.is_empty()) {
            let mut patterns: Vec<TypePattern> = Vec::with_capacity(texts.len());
            for (at, text) in texts.iter().enumerate() {
                let field = format!("filter_config.event_types[{at}]");
                let pattern = change::pattern(&field, text)?;
                if !patterns.contains(&pattern) {
                    patterns.push(pattern);
                }
            }
            record.event_types = patterns;
        }
        let Some(scopes) = self.filter else { return Ok(()) };
        let filters = &mut record.filters;
        let place = filters.iter().position(|filter| filter.event_type == TypePattern::Any);
        let mut filter = match place {
            Some(at) => filters[at].clone(),
            None => new_filter(change, TypePattern::Any),
        };
        let now = change::now();
        scopes.apply("filter_config.filter", &mut filter, now)?;
        let is_empty = filter.body.is_none() && filter.headers.is_none();
        match (place, is_empty) {
            (Some(at), _) if filters[at] == filter => {}
            (Some(at), true) => drop(filters.remove(at)),
            (Some(at), false) => {
                filter.enabled_at.get_or_insert(now);
                filters[at] = filter;
            }
            (None, true) => {}
            (None, false) if filters.len() >= FILTERS_MOST => {
                let problem = format!("a subscription has at most {FILTERS_MOST} filters");
                return Err(Problem::invalid("filter_config.filter", problem));
            }
            (None, false) => filters.push(filter),
        }
        Ok(())
    }
}

/// A filter that asks nothing yet.
pub(super) fn new_filter(change: &Changing, event_type: TypePattern) -> FilterRecord {
    let now = change::now();
    FilterRecord {
        id: longshore_core::FilterId::from_u128(change.next_id()),
        event_type,
        body: None,
        headers: None,
        enabled_at: Some(now),
        created_at: now,
        updated_at: now,
    }
}

/// The schedule as the contract's words say it: the type, the first delay in seconds, the attempts.
pub(super) fn shown(schedule: &RetrySchedule) -> (&'static str, u64, u16) {
    let kind = if json!(schedule)["type"] == "linear" { "linear" } else { "exponential" };
    (kind, schedule.delay_after(1).map_or(1, |delay| delay.as_secs().max(1)), schedule.attempts())
}

/// The order as it is given.
pub(super) fn parse_ordered(value: Value) -> Result<Ordered, Problem> {
    serde_json::from_value(value).map_err(|error| Problem::invalid("ordered", error))
}
