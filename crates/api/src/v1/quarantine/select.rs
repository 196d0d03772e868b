//! What requests say of quarantined messages: which, and how to read them.

use longshore_core::{Mapping, ProjectId, QuarantineId, Timestamp};
use longshore_store::QuarantineFilter;
use longshore_store::control::Selection;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::v1::body::Body;
use crate::v1::problem::Problem;

/// Messages that may be named in one request.
const MOST_IDS: usize = 10_000;

/// How to replay a message.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct ReplayBody {
    /// In place of the source's mapping, for this replay alone.
    #[schema(value_type = Option<Object>)]
    pub(super) mapping: Option<Value>,
}

/// Which messages: `ids`, or those of a `filter` (`{}` for all).
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct BulkBody {
    /// These, in this order.
    ids: Option<Vec<String>>,
    /// All that fit and are there now, oldest first.
    filter: Option<SelectionFilterBody>,
    /// For a replay: in place of the sources' mappings, for this replay alone.
    #[schema(value_type = Option<Object>)]
    pub(super) mapping: Option<Value>,
}

/// Which messages.
#[derive(Default, Deserialize, ToSchema)]
struct SelectionFilterBody {
    /// Of this source.
    source_id: Option<String>,
    /// For this reason.
    reason: Option<String>,
    /// Received at this time or later.
    start_date: Option<String>,
    /// Received before this time.
    end_date: Option<String>,
}

impl Body for ReplayBody {}
impl Body for BulkBody {}

/// A mapping of a request.
///
/// # Errors
/// `400` says what is wrong with it.
pub(super) fn mapping(given: Option<&Value>) -> Result<Option<Mapping>, Problem> {
    given
        .map(|value| {
            serde_json::from_value(value.clone()).map_err(|error| Problem::invalid("mapping", error))
        })
        .transpose()
}

/// The texts of a filter, understood; `names` are what its fields are called where it stands.
///
/// # Errors
/// `400` names the field.
pub(super) fn filter(
    names: [&str; 3],
    source: Option<&String>,
    reason: Option<&String>,
    from: Option<&String>,
    until: Option<&String>,
) -> Result<QuarantineFilter, Problem> {
    let given = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
    let time = |name: &str, text: Option<&String>| {
        given(text)
            .map(|text| {
                parse_time(&text)
                    .ok_or_else(|| Problem::invalid(name, "write a time such as `2026-01-31T08:15:00Z`"))
            })
            .transpose()
    };
    let source = given(source)
        .map(|text| text.parse().map_err(|error| Problem::invalid(names[0], error)))
        .transpose()?;
    Ok(QuarantineFilter {
        project: None,
        source,
        reason: given(reason),
        from: time(names[1], from)?,
        until: time(names[2], until)?,
        with_replayed: false,
    })
}

/// RFC 3339, or the contract's form without a zone, which is UTC.
fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| format!("{text}Z").parse().ok())
}

/// Which messages a request means.
///
/// # Errors
/// `400` names the field.
pub(super) fn selection(body: &BulkBody, project: ProjectId) -> Result<Selection, Problem> {
    match (&body.ids, &body.filter) {
        (Some(ids), None) if ids.is_empty() || ids.len() > MOST_IDS => {
            Err(Problem::invalid("ids", format!("name 1 to {MOST_IDS} messages; `filter` takes more")))
        }
        (Some(ids), None) => {
            let ids: Result<Vec<QuarantineId>, Problem> =
                ids.iter().map(|text| text.parse().map_err(|error| Problem::invalid("ids", error))).collect();
            Ok(Selection::Ids(ids?))
        }
        (None, Some(given)) => {
            let names = ["filter.source_id", "filter.start_date", "filter.end_date"];
            let SelectionFilterBody { source_id, reason, start_date, end_date } = given;
            let filter =
                filter(names, source_id.as_ref(), reason.as_ref(), start_date.as_ref(), end_date.as_ref())?;
            Ok(Selection::Filter(QuarantineFilter { project: Some(project), ..filter }))
        }
        _ => Err(Problem::invalid("ids", "write either `ids` or `filter`; `\"filter\": {}` means all")),
    }
}
