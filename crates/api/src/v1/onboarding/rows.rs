//! The rows of a request: JSON, or a CSV file as a form's field or as the body itself.
//!
//! Invariant: a request has at least one row and at most [`MOST_ROWS`].

use axum::body::Bytes;
use axum::extract::{FromRequest, Multipart, Request};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use utoipa::ToSchema;

use super::row::OnboardItem;
use crate::v1::body::{Body, JsonBody};
use crate::v1::problem::Problem;

/// Rows of one request.
pub(super) const MOST_ROWS: usize = 1_000;
/// The columns that a file must have.
const REQUIRED: [&str; 2] = ["name", "url"];

/// Endpoints to be made with a subscription each.
#[derive(Deserialize, ToSchema)]
pub(crate) struct OnboardBody {
    /// At most 1000.
    #[schema(required, min_items = 1, max_items = 1000)]
    items: Option<Vec<OnboardItem>>,
}

impl Body for OnboardBody {}

/// The rows, whatever they came as, unchecked.
pub(super) struct Rows(pub(super) Vec<OnboardItem>);

impl<S: Send + Sync> FromRequest<S> for Rows {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
        let (field, rows) = match essence.map(str::to_ascii_lowercase).as_deref() {
            Some("application/json") => {
                let JsonBody(body) = JsonBody::<OnboardBody>::from_request(request, state).await?;
                ("items", body.items.ok_or_else(|| Problem::invalid("items", "is missing"))?)
            }
            Some("multipart/form-data") => ("file", table(&uploaded(request, state).await?)?),
            Some("text/csv") => {
                let bytes = Bytes::from_request(request, state).await;
                let bytes = bytes.map_err(|error| {
                    Problem::new(error.status(), format!("the body: {}", error.body_text()))
                })?;
                ("file", table(&bytes)?)
            }
            _ => {
                let message = "send JSON (`Content-Type: application/json`), or CSV as the field `file` of a form \
                               (`multipart/form-data`) or as it is (`text/csv`)";
                return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
            }
        };
        match rows.len() {
            0 => Err(Problem::invalid(field, "holds no rows")),
            1..=MOST_ROWS => Ok(Self(rows)),
            _ => Err(Problem::invalid(field, format!("holds more than {MOST_ROWS} rows; send it in parts"))),
        }
    }
}

/// The form's field `file`.
async fn uploaded<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let broken = |status, text: String| Problem::new(status, format!("the form: {text}"));
    let mut form = Multipart::from_request(request, state)
        .await
        .map_err(|error| broken(error.status(), error.body_text()))?;
    loop {
        let field = form.next_field().await.map_err(|error| broken(error.status(), error.body_text()))?;
        let field =
            field.ok_or_else(|| Problem::invalid("file", "is missing: the form has no such field"))?;
        if field.name() == Some("file") {
            return field.bytes().await.map_err(|error| broken(error.status(), error.body_text()));
        }
    }
}

/// The rows of a CSV file with a heading. Columns nobody knows are left alone.
fn table(bytes: &[u8]) -> Result<Vec<OnboardItem>, Problem> {
    let invalid = |problem: String| Problem::invalid("file", problem);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let heading = reader.headers().map_err(|error| invalid(describe(&error, "the heading")))?;
    let heading: Vec<String> = heading.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    if let Some(missing) = REQUIRED.into_iter().find(|name| !heading.iter().any(|known| known == name)) {
        return Err(invalid(format!(
            "has no column `{missing}`; begin with a line of names: name,url,event_type,auth_username,auth_password"
        )));
    }
    let mut rows = Vec::new();
    // One more than there may be says that there are too many.
    for (at, record) in reader.records().take(MOST_ROWS + 1).enumerate() {
        let record = record.map_err(|error| invalid(describe(&error, &format!("row {}", at + 1))))?;
        let mut item = OnboardItem::default();
        for (name, value) in heading.iter().zip(record.iter()) {
            let place = match name.as_str() {
                "name" => &mut item.name,
                "url" => &mut item.url,
                "event_type" => &mut item.event_type,
                "auth_username" => &mut item.auth_username,
                "auth_password" => &mut item.auth_password,
                _ => continue,
            };
            *place = Some(value.to_owned());
        }
        rows.push(item);
    }
    Ok(rows)
}

fn describe(error: &csv::Error, place: &str) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => format!("{place} is not UTF-8"),
        _ => format!("{place} is not CSV"),
    }
}
