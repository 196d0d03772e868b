//! What requests say of a source, and what they are told of one.

use longshore_core::inbound::HttpSource;
use longshore_core::{Mapping, ProjectId, SourceId};
use longshore_store::control::{HTTP, StoredSource};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::http::{CustomResponseView, VerifierConfig};
use super::{broker, http};
use crate::v1::body::Body;
use crate::v1::problem::Problem;

/// A source to be made or changed. What is left out of a change stays as it is.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct SourceBody {
    /// For people; required for a new source.
    pub(super) name: Option<String>,
    /// `pub_sub` or `http`; required for a new source, and it does not change.
    pub(super) r#type: Option<String>,
    /// Whose webhooks an HTTP source receives: `github`, `shopify`, `twitter`.
    pub(super) provider: Option<String>,
    /// Whether it rests.
    pub(super) is_disabled: Option<bool>,
    /// How an HTTP source verifies requests.
    pub(super) verifier: Option<VerifierConfig>,
    /// What an HTTP source answers in place of the contract's envelope.
    pub(super) custom_response: Option<CustomResponseView>,
    /// The parts of a request that an HTTP source recognises a repeated one by.
    pub(super) idempotency_keys: Option<Vec<String>>,
    /// Where requests to an HTTP source say what happened.
    pub(super) event_type_location: Option<String>,
    /// The headers that an HTTP source keeps and sends on; all when empty.
    pub(super) forward_headers: Option<Vec<String>>,
    /// The broker: `type`, `workers`, and a member of that type's name.
    #[schema(value_type = Option<Object>)]
    pub(super) pub_sub: Option<Value>,
    /// How a broker's messages become events.
    #[schema(value_type = Option<Object>)]
    pub(super) mapping: Option<Value>,
    /// Refused: functions are not part of this version.
    pub(super) body_function: Option<String>,
    /// Refused: functions are not part of this version.
    pub(super) header_function: Option<String>,
}

impl Body for SourceBody {}

/// A source. Credentials are shown as `[REDACTED]`; sending that back keeps them.
#[derive(Serialize, ToSchema)]
pub(crate) struct SourceView {
    /// Its id.
    uid: String,
    /// Whose it is.
    project_id: String,
    /// The end of its URL.
    mask_id: String,
    /// For people.
    name: String,
    /// Where an HTTP source receives; empty for a broker.
    url: String,
    /// `pub_sub` or `http`.
    r#type: String,
    /// Whose webhooks it receives; empty for nobody in particular.
    provider: String,
    /// Whether it rests.
    is_disabled: bool,
    /// How it verifies requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    verifier: Option<VerifierConfig>,
    /// What it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_response: Option<CustomResponseView>,
    /// The headers that it keeps and sends on; all when empty.
    forward_headers: Vec<String>,
    /// The parts of a request that a repeated one is recognised by.
    idempotency_keys: Vec<String>,
    /// Where requests say what happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type_location: Option<String>,
    /// The broker: `type`, `workers`, and a member of that type's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub_sub: Option<Value>,
    /// How a broker's messages become events; absent for the envelope.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    mapping: Option<Value>,
    /// What works at the broker but should be changed; with the answer to a change alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// When it was made.
    created_at: String,
    /// When it was changed last.
    updated_at: String,
}

impl SourceView {
    pub(super) fn with_warnings(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }

    pub(super) fn new(project: ProjectId, source: &StoredSource, public_url: &str) -> Self {
        let is_http = source.kind == HTTP;
        let http: Option<HttpSource> =
            is_http.then(|| serde_json::from_str(source.config.expose()).unwrap_or_default());
        let mask = source.mask_id.clone().unwrap_or_default();
        let mapping = serde_json::from_str(&source.mapping).ok();
        Self {
            uid: source.id.to_string(),
            project_id: project.to_string(),
            name: source.name.clone(),
            url: if is_http { format!("{public_url}/ingest/{mask}") } else { String::new() },
            mask_id: mask,
            r#type: if is_http { HTTP } else { "pub_sub" }.to_owned(),
            provider: source.provider.clone(),
            is_disabled: source.is_disabled,
            verifier: http.as_ref().map(http::show),
            custom_response: http.as_ref().and_then(|http| http.custom_response.as_ref()).map(|custom| {
                CustomResponseView {
                    body: Some(custom.body.clone()),
                    content_type: Some(custom.content_type.clone()),
                }
            }),
            forward_headers: http.as_ref().map(|http| http.forward_headers.clone()).unwrap_or_default(),
            idempotency_keys: http
                .as_ref()
                .map(|http| http.idempotency_keys.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            event_type_location: http
                .as_ref()
                .and_then(|http| http.event_type_location.as_ref())
                .map(ToString::to_string),
            pub_sub: (!is_http).then(|| broker::show(source)),
            mapping: mapping
                .filter(|mapping: &Value| mapping.as_object().is_some_and(|known| !known.is_empty())),
            warnings: Vec::new(),
            created_at: source.created_at.to_string(),
            updated_at: source.updated_at.to_string(),
        }
    }
}

/// A source as a request wants it, over what is stored; of a new one that is an empty one with its id.
///
/// # Errors
/// `400` names the field.
pub(super) fn wanted(body: &SourceBody, stored: StoredSource, is_new: bool) -> Result<StoredSource, Problem> {
    for (field, function) in
        [("body_function", &body.body_function), ("header_function", &body.header_function)]
    {
        if function.as_ref().is_some_and(|text| !text.is_empty()) {
            let problem = "functions are not part of this version of Longshore; a `mapping` may do";
            return Err(Problem::invalid(field, problem));
        }
    }
    let mut wanted = stored;
    match &body.name {
        Some(name) if name.trim().is_empty() => return Err(Problem::invalid("name", "is empty")),
        Some(name) => wanted.name.clone_from(name),
        None if is_new => return Err(Problem::invalid("name", "is required")),
        None => {}
    }
    if let Some(is_disabled) = body.is_disabled {
        wanted.is_disabled = is_disabled;
    }
    let is_http = match body.r#type.as_deref() {
        None | Some("") if is_new => {
            return Err(Problem::invalid("type", "is required: `pub_sub` or `http`"));
        }
        None | Some("") => wanted.kind == HTTP,
        Some("http") => true,
        Some("pub_sub") => false,
        Some(_) => return Err(Problem::invalid("type", "write `pub_sub` or `http`")),
    };
    if !is_new && is_http != (wanted.kind == HTTP) {
        return Err(Problem::invalid("type", "a source's type does not change; make another source"));
    }
    if is_http { http_source(body, wanted, is_new) } else { broker_source(body, wanted, is_new) }
}

fn http_source(body: &SourceBody, mut wanted: StoredSource, is_new: bool) -> Result<StoredSource, Problem> {
    if body.pub_sub.is_some() || body.mapping.is_some() {
        let field = if body.pub_sub.is_some() { "pub_sub" } else { "mapping" };
        return Err(Problem::invalid(field, "an HTTP source has none; leave it out"));
    }
    let known = if is_new {
        HttpSource::default()
    } else {
        serde_json::from_str(wanted.config.expose()).unwrap_or_default()
    };
    let http = http::read(body, known)?;
    wanted.provider = http.provider.map(|provider| provider.as_str().to_owned()).unwrap_or_default();
    wanted.kind = HTTP.to_owned();
    let text = serde_json::to_string(&http).map_err(|error| Problem::invalid("verifier", error))?;
    wanted.config = text.into();
    Ok(wanted)
}

fn broker_source(body: &SourceBody, mut wanted: StoredSource, is_new: bool) -> Result<StoredSource, Problem> {
    let is_there = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let is_text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let is_verified = body.verifier.as_ref().is_some_and(|verifier| !verifier.is_noop());
    for (field, is_given) in [
        ("verifier", is_verified),
        ("provider", is_text(&body.provider)),
        ("idempotency_keys", is_there(&body.idempotency_keys)),
        ("event_type_location", is_text(&body.event_type_location)),
    ] {
        if is_given {
            let problem =
                "is of HTTP sources alone; the `mapping` of a broker's source says where things are";
            return Err(Problem::invalid(field, problem));
        }
    }
    match &body.pub_sub {
        Some(pub_sub) => {
            let read = broker::read(pub_sub, Some(&wanted).filter(|_| !is_new))?;
            wanted.kind = read.kind.to_owned();
            wanted.workers = read.workers;
            wanted.config = read.settings.to_string().into();
        }
        None if is_new => return Err(Problem::invalid("pub_sub", "is required: the broker")),
        None => {}
    }
    if let Some(mapping) = &body.mapping {
        let mapping: Mapping =
            serde_json::from_value(mapping.clone()).map_err(|error| Problem::invalid("mapping", error))?;
        wanted.mapping =
            serde_json::to_string(&mapping).map_err(|error| Problem::invalid("mapping", error))?;
    }
    Ok(wanted)
}

/// A source of which nothing is known but its ids.
pub(super) fn blank(id: SourceId, mask_id: String) -> StoredSource {
    StoredSource {
        id,
        name: String::new(),
        kind: String::new(),
        provider: String::new(),
        mask_id: Some(mask_id),
        workers: 1,
        is_disabled: false,
        config: "{}".to_owned().into(),
        mapping: "{}".to_owned(),
        created_at: longshore_core::Timestamp::EPOCH,
        updated_at: longshore_core::Timestamp::EPOCH,
    }
}
