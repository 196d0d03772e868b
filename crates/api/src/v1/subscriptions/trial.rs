//! Trying filters out: on a sample of a request, before anything is written or after.

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use longshore_core::TypePattern;
use longshore_core::filter::{Filter, FilterSet, Semantics};
use longshore_store::control::{FilterRecord, SubscriptionRecord};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::read;
use crate::v1::access::{InProject, ReadSubscriptions, WriteSubscriptions};
use crate::v1::body::{Body, JsonBody};
use crate::v1::control::Control;
use crate::v1::problem::{ErrorBody, Problem};
use crate::v1::reply::{Envelope, Reply};

/// The routes of trials.
pub(super) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(test_subscription_filter))
        .routes(routes!(test_subscription_function))
        .routes(routes!(test_filter))
}

/// A request, or what a filter asks of one.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct TestScopes {
    /// The body.
    body: Option<Value>,
    /// The headers, by name; of several values the first one counts.
    #[serde(alias = "headers")]
    header: Option<Value>,
    /// The query.
    query: Option<Value>,
    /// The path: a text, or `{"path": text}`.
    path: Option<Value>,
}

/// A filter and a request to try it on.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TestFilterBody {
    /// The request.
    request: Option<TestScopes>,
    /// The filter.
    schema: Option<TestScopes>,
}

/// A request to try a subscription's filter on.
#[derive(Deserialize, ToSchema)]
pub(crate) struct TestEventBody {
    /// The body; `request.body` beats it.
    payload: Option<Value>,
    /// The request.
    request: Option<TestScopes>,
}

/// Whether it matches.
#[derive(Serialize, ToSchema)]
pub(crate) struct MatchView {
    /// Whether the subscription takes an event of that type with that content.
    is_match: bool,
}

impl Body for TestFilterBody {}
impl Body for TestEventBody {}

/// Try a filter on a request.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/subscriptions/test_filter",
    operation_id = "TestSubscriptionFilter",
    tag = "Subscriptions",
    params(("project_id" = String, Path, description = "The project's id")),
    request_body = TestFilterBody,
    responses((status = 200, description = "Whether it matches", body = Envelope<bool>)),
    extensions(("x-longshore-reads" = json!(true))),
)]
async fn test_subscription_filter(
    access: InProject<ReadSubscriptions>,
    JsonBody(body): JsonBody<TestFilterBody>,
) -> Result<impl IntoResponse, Problem> {
    let schema = body.schema.ok_or_else(|| Problem::invalid("schema", "is missing: the filter"))?;
    let request =
        body.request.ok_or_else(|| Problem::invalid("request", "is missing: what it is tried on"))?;
    let wrong = |error: longshore_core::filter::FilterError| {
        Problem::invalid(&format!("schema.{}", error.path), error.problem)
    };
    let scope = |name: &str, document: Option<&Value>| match document {
        None | Some(Value::Null) => Ok(None),
        Some(document) => Filter::parse(document).map(Some).map_err(|error| wrong(error.under(name))),
    };
    let (query, path) = (scope("query", schema.query.as_ref())?, scope("path", schema.path.as_ref())?);
    let filter = FilterSet {
        body: scope("body", schema.body.as_ref())?,
        headers: scope("header", schema.header.as_ref())?,
    };
    let semantics = access.project.project.settings.filter_semantics;
    let passes = |filter: Option<Filter>, document: &Value| {
        filter.is_none_or(|filter| filter.matches(document, semantics))
    };
    let path_given = match request.path.clone() {
        Some(Value::String(text)) => json!({ "path": text }),
        given => given.unwrap_or_default(),
    };
    let is_match = request.pass(&filter, semantics)
        && passes(query, request.query.as_ref().unwrap_or(&Value::Null))
        && passes(path, &path_given);
    Ok(Reply::ok("Subscriptions filter validated successfully", is_match))
}

/// Try a function: there are none in this version.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/subscriptions/test_function",
    operation_id = "TestSubscriptionFunction",
    tag = "Subscriptions",
    params(("project_id" = String, Path, description = "The project's id")),
    responses((status = 501, description = "Functions (JavaScript transformations of events) are not part of this version", body = ErrorBody)),
)]
async fn test_subscription_function(_: InProject<WriteSubscriptions>) -> Problem {
    Problem::not_implemented("functions (JavaScript transformations of events)")
}

/// Try on a request whether a subscription takes it as an event of that type.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/subscriptions/{subscription_id}/filters/test/{event_type}",
    operation_id = "TestFilter",
    tag = "Filters",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("subscription_id" = String, Path, description = "The subscription's id"),
        ("event_type" = String, Path, description = "The event's type; `prefix.*` or `*` for the filter of that"),
    ),
    request_body = TestEventBody,
    responses((status = 200, description = "Whether it matches", body = Envelope<MatchView>)),
    extensions(("x-longshore-reads" = json!(true))),
)]
async fn test_filter(
    access: InProject<ReadSubscriptions>,
    State(control): State<Control>,
    Path((_, id, event_type)): Path<(String, String, String)>,
    JsonBody(body): JsonBody<TestEventBody>,
) -> Result<impl IntoResponse, Problem> {
    let record = read(&access, &control, &id).await?.record;
    let request = TestScopes { body: body.payload, ..TestScopes::default() }.under(body.request);
    let semantics = access.project.project.settings.filter_semantics;
    let is_match = match filter_for(&record, &event_type) {
        Asked::Nobody => false,
        Asked::Everything => true,
        Asked::Filter(filter) => {
            let parsed = FilterSet::parse(filter.body.as_ref(), filter.headers.as_ref());
            let parsed = parsed.map_err(|error| Problem::invalid("filter", error))?;
            request.pass(&parsed, semantics)
        }
    };
    Ok(Reply::ok("Filter test completed successfully", MatchView { is_match }))
}

/// What a subscription asks of events of a type.
enum Asked<'r> {
    /// It takes none of them.
    Nobody,
    Everything,
    Filter(&'r FilterRecord),
}

/// As matching chooses it; a pattern in place of a type means its own filter.
fn filter_for<'r>(record: &'r SubscriptionRecord, event_type: &str) -> Asked<'r> {
    let enabled = || record.filters.iter().filter(|filter| filter.enabled_at.is_some());
    let found = match event_type.parse::<TypePattern>() {
        Ok(pattern @ (TypePattern::Any | TypePattern::Prefix(_))) => {
            enabled().find(|filter| filter.event_type == pattern)
        }
        _ if !record.event_types.iter().any(|pattern| pattern.matches(event_type)) => return Asked::Nobody,
        _ => enabled()
            .filter(|filter| filter.event_type.matches(event_type))
            .max_by_key(|filter| filter.event_type.rank()),
    };
    found.map_or(Asked::Everything, Asked::Filter)
}

impl TestScopes {
    /// What the other one gives beats this.
    fn under(self, over: Option<Self>) -> Self {
        let over = over.unwrap_or_default();
        Self {
            body: over.body.or(self.body),
            header: over.header.or(self.header),
            query: over.query.or(self.query),
            path: over.path.or(self.path),
        }
    }

    /// Whether the body and the headers pass.
    fn pass(&self, filter: &FilterSet, semantics: Semantics) -> bool {
        filter.matches(self.body.as_ref().unwrap_or(&Value::Null), &self.first_values(), semantics)
    }

    fn first_values(&self) -> Value {
        let Some(Value::Object(headers)) = &self.header else { return json!({}) };
        let first = headers.iter().map(|(name, value)| {
            let value = value.as_array().map_or(Some(value), |values| values.first());
            (name.clone(), value.cloned().unwrap_or_default())
        });
        Value::Object(first.collect::<Map<String, Value>>())
    }
}
