//! JSON bodies of requests, with errors that name the field.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::Problem;
use super::version::{self, ApiVersion, Shape};

/// A NUL character as JSON writes it.
const NUL: &[u8] = b"\\u0000";

/// What a request's body may be decoded into.
pub(crate) trait Body: DeserializeOwned {
    /// What of it older versions of the API had otherwise.
    const SHAPE: Option<Shape> = None;
}

impl<T: Body> Body for Vec<T> {}

/// A JSON body. Members nobody knows are left alone, as that contract's clients expect.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: Body> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
        if !essence.is_some_and(|text| text.eq_ignore_ascii_case("application/json")) {
            let message = "send JSON, with the header `Content-Type: application/json`";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let version = version::noted(request.extensions());
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|error| Problem::new(error.status(), format!("the body: {}", error.body_text())))?;
        refuse_nul(&bytes)?;
        match T::SHAPE {
            Some(shape) if version != ApiVersion::default() => decode_older(&bytes, shape, version).map(Self),
            _ => decode(&bytes).map(Self),
        }
    }
}

/// Postgres holds no NUL character, in texts or in JSON: whoever sends one is told where, whatever the field.
fn refuse_nul(bytes: &[u8]) -> Result<(), Problem> {
    // Rare enough that looking closer costs nothing; a backslash before it makes it something else.
    if !bytes.windows(NUL.len()).any(|window| window == NUL) {
        return Ok(());
    }
    let value: Value = decode(bytes)?;
    match find_nul(&value, String::new()) {
        Some(path) if path.is_empty() => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "the body: must not hold NUL characters"))
        }
        Some(path) => Err(Problem::invalid(&path, "must not hold NUL characters")),
        None => Ok(()),
    }
}

/// Where a text or a name with a NUL is. What was parsed is not deep, so neither is this.
fn find_nul(value: &Value, path: String) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then_some(path),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| find_nul(item, format!("{path}[{index}]")))
        }
        Value::Object(members) => members.iter().find_map(|(name, member)| match name.contains('\0') {
            true => Some(path.clone()),
            false if path.is_empty() => find_nul(member, name.clone()),
            false => find_nul(member, format!("{path}.{name}")),
        }),
        _ => None,
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let decoded = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| undecoded(&error))?;
    deserializer
        .end()
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body: {error}")))?;
    Ok(decoded)
}

/// Decodes what a client of an older version sent.
fn decode_older<T: DeserializeOwned>(bytes: &[u8], shape: Shape, version: ApiVersion) -> Result<T, Problem> {
    let mut value: Value = decode(bytes)?;
    version::upgrade(shape, version, &mut value)?;
    serde_path_to_error::deserialize(value).map_err(|error| undecoded(&error))
}

fn undecoded(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path = error.path().to_string();
    let problem = error.inner().to_string();
    match path.as_str() {
        "." | "" => Problem::new(StatusCode::BAD_REQUEST, format!("the body: {problem}")),
        _ => Problem::invalid(&path, problem),
    }
}
