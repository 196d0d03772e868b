//! Bulk onboarding: endpoints with a subscription each, of a list or a table.
//!
//! Invariants: nothing is made unless every row is right; what is made in one transaction is bounded, so that nobody else
//! waits long for his turn; a dry run changes nothing.

mod row;
mod rows;

use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use longshore_store::control::{OnboardRow, Onboarded};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::row::OnboardErrorView;
use self::rows::{OnboardBody, Rows};
use super::access::{InProject, WriteEndpoints, WriteSubscriptions};
use super::control::Control;
use super::page::Params;
use super::problem::Problem;
use super::reply::{Envelope, Reply};

/// Rows of one transaction.
const BATCH: usize = 100;
/// Errors that a refusal quotes.
const QUOTED: usize = 5;

/// The route of bulk onboarding.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(bulk_onboard))
}

/// Whether anything is made.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct OnboardQuery {
    /// `true` checks every row and makes nothing.
    #[param(value_type = Option<bool>)]
    dry_run: Option<String>,
}

impl OnboardQuery {
    fn parse(&self) -> Result<bool, Problem> {
        match self.dry_run.as_deref() {
            None | Some("" | "false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(Problem::invalid("dry_run", "write `true` or `false`")),
        }
    }
}

/// What a dry run found.
#[derive(Serialize, ToSchema)]
pub(crate) struct OnboardCheckView {
    /// How many rows there are.
    total_rows: usize,
    /// How many are right.
    valid_count: usize,
    /// What is wrong with the others.
    errors: Vec<OnboardErrorView>,
}

/// What was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct OnboardedView {
    /// In how many transactions.
    batch_count: usize,
    /// How many endpoints, with a subscription each.
    total_items: usize,
    /// The same, for people.
    message: String,
}

/// The rows of a request that are right, and what is wrong with the others.
struct Checked {
    total: usize,
    right: Vec<OnboardRow>,
    errors: Vec<OnboardErrorView>,
}

/// A request by somebody who may make endpoints, and subscriptions too.
struct Onboarding(InProject<WriteEndpoints>);

impl FromRequestParts<Control> for Onboarding {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Problem> {
        let access = InProject::<WriteEndpoints>::from_request_parts(parts, control).await?;
        access.caller.require::<WriteSubscriptions>(Some(access.role))?;
        Ok(Self(access))
    }
}

/// Make endpoints with a subscription each. CSV is taken too: as the field `file` of a form, or as the body.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/onboard",
    operation_id = "BulkOnboard",
    tag = "Onboarding",
    params(("project_id" = String, Path, description = "The project's id"), OnboardQuery),
    request_body = OnboardBody,
    responses(
        (status = 200, description = "What a dry run found", body = Envelope<OnboardCheckView>),
        (status = 202, description = "What was made", body = Envelope<OnboardedView>),
    ),
)]
async fn bulk_onboard(
    Onboarding(access): Onboarding,
    State(control): State<Control>,
    Params(query): Params<OnboardQuery>,
    Rows(rows): Rows,
) -> Result<Response, Problem> {
    let is_dry = query.parse()?;
    if access.project.kind == "incoming" {
        return Err(Problem::conflict(
            "this project receives webhooks: its subscriptions need a source; create endpoints and subscriptions instead",
        ));
    }
    let mut checked = Checked { total: rows.len(), right: Vec::new(), errors: Vec::new() };
    let egress = &access.project.project.settings.egress;
    for (at, item) in rows.into_iter().enumerate() {
        checked.right.extend(item.check(at + 1, control.egress(), egress, &mut checked.errors));
    }
    if is_dry {
        let Checked { total, right, errors } = checked;
        let found = OnboardCheckView { total_rows: total, valid_count: right.len(), errors };
        return Ok(Reply::ok("Dry run completed, nothing was created", found).into_response());
    }
    checked.refuse()?;
    let (batch_count, total_items) = (checked.right.len().div_ceil(BATCH), checked.right.len());
    for (at, batch) in checked.right.chunks(BATCH).enumerate() {
        make(&access, &control, batch).await.map_err(|problem| cut_off(problem, at * BATCH))?;
    }
    let message = format!("{total_items} endpoints were created with a subscription each");
    let made = OnboardedView { batch_count, total_items, message };
    Ok(Reply::accepted("Bulk onboarding completed", made).into_response())
}

impl Checked {
    /// Nothing, if every row is right.
    fn refuse(&self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            return Ok(());
        }
        let quoted = self.errors.iter().take(QUOTED);
        let quoted: Vec<String> =
            quoted.map(|error| format!("row {}: `{}`: {}", error.row, error.field, error.message)).collect();
        let mut message = format!("nothing was created; {}", quoted.join("; "));
        if self.errors.len() > QUOTED {
            message += &format!("; and {} more, which `?dry_run=true` lists", self.errors.len() - QUOTED);
        }
        Err(Problem::new(StatusCode::BAD_REQUEST, message))
    }
}

/// One transaction.
async fn make(
    access: &InProject<WriteEndpoints>,
    control: &Control,
    batch: &[OnboardRow],
) -> Result<(), Problem> {
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let made = change.onboard(access.id(), batch).await?;
    for (row, Onboarded { endpoint, subscription }) in batch.iter().zip(made) {
        let detail = json!({"name": row.name, "url": row.url, "authentication": row.authentication.is_some(),
            "by": "onboarding"});
        change.audit(&access.entry("endpoint.created", endpoint, detail)).await?;
        let detail = json!({"name": row.name, "endpoint_id": endpoint,
            "event_types": [row.event_type.to_string()], "by": "onboarding"});
        change.audit(&access.entry("subscription.created", subscription, detail)).await?;
    }
    change.commit().await?;
    Ok(())
}

/// What went wrong, and what had been made by then.
fn cut_off(problem: Problem, made: usize) -> Problem {
    match made {
        0 => problem,
        _ => Problem {
            message: format!("rows 1 to {made} were created, and no others: {}", problem.message),
            ..problem
        },
    }
}
