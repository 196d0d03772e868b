//! Bearer tokens by OAuth 2.0 client credentials (RFC 6749 section 4.4), kept until shortly before they expire.
//!
//! What it does not do: send the token; the transport does, and says when one was refused. Invariants: at most one
//! request for an endpoint's token is under way; a token goes to the endpoint whose settings it was got with, and to no
//! other; nothing of a secret, a token or an answer's body gets into an error.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};
use longshore_core::clock::{Clock, SystemClock};
use longshore_core::endpoint::{Authentication, Endpoint, ExpiryUnit, OAuth2, OAuth2Client};
use longshore_core::{EndpointId, Secret};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::assertion::AssertionKey;
use super::cache::Cache;

/// Tokens kept at most.
const MOST: usize = 10_000;
/// No token is kept longer, whatever the answer says.
const LONGEST: Duration = Duration::from_secs(3_600);
/// A token is not used in its last moments: its way to the receiver takes time. A tenth of its life, at most this.
const MARGIN: Duration = Duration::from_secs(30);
/// After a failure nobody asks again for so long: an authorization server in trouble is not helped by a crowd.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long an assertion holds.
const ASSERTION_LIFE: Duration = Duration::from_secs(300);
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What goes into `Authorization`, marked as sensitive.
pub(super) type Token = HeaderValue;

/// A token or why there is none, with the endpoint it was got for.
type Kept = (Arc<Endpoint>, Result<Token, Arc<str>>);

/// Every token.
pub(super) struct Tokens(Cache<EndpointId, Kept>);

/// The settings of an endpoint that authenticates with tokens.
pub(super) fn settings(endpoint: &Endpoint) -> Option<&OAuth2> {
    match &endpoint.credentials.authentication {
        Some(Authentication::OAuth2(settings)) => Some(settings),
        _ => None,
    }
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self(Cache::new(MOST))
    }

    /// The endpoint's token; `exchange` sends a request to its authorization server and returns status and body.
    pub(super) async fn get<F>(
        &self,
        endpoint: &Arc<Endpoint>,
        settings: &OAuth2,
        exchange: impl FnOnce(Request<Bytes>) -> F,
    ) -> Result<Token, Arc<str>>
    where
        F: Future<Output = Result<(u16, Bytes), String>>,
    {
        let is_same = |(owner, _): &Kept| {
            Arc::ptr_eq(owner, endpoint)
                || owner.credentials.authentication == endpoint.credentials.authentication
        };
        let make = async {
            let fetched = async {
                let (status, body) = exchange(request(settings)?).await?;
                read(settings, status, &body)
            };
            match fetched.await {
                Ok((token, life)) => ((Arc::clone(endpoint), Ok(token)), life),
                Err(problem) => ((Arc::clone(endpoint), Err(problem.into())), AFTER_FAILURE),
            }
        };
        self.0.get(&endpoint.id, is_same, make).await.1
    }

    /// Forgets a token that the endpoint refused.
    pub(super) fn refused(&self, endpoint: EndpointId, token: &Token) {
        self.0.forget(&endpoint, |(_, kept)| kept.as_ref().is_ok_and(|kept| kept == token));
    }
}

/// Checks what only the sending would find out: the key of a client assertion.
///
/// # Errors
/// The field and what is wrong with it.
pub fn check(settings: &OAuth2) -> Result<(), (&'static str, String)> {
    if let OAuth2Client::ClientAssertion { signing_key, algorithm, .. } = &settings.client {
        AssertionKey::parse(signing_key.expose(), algorithm).map_err(|problem| ("signing_key", problem))?;
    }
    for (name, field) in [
        ("fields.access_token", &settings.fields.access_token),
        ("fields.expires_in", &settings.fields.expires_in),
        ("fields.token_type", &settings.fields.token_type),
    ] {
        if field.is_empty() {
            return Err((name, "must not be empty".to_owned()));
        }
    }
    Ok(())
}

pub(super) fn request(settings: &OAuth2) -> Result<Request<Bytes>, String> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    let mut builder = Request::post(settings.url.as_str());
    match &settings.client {
        OAuth2Client::SharedSecret { secret, in_header: true } => {
            builder = builder.header(AUTHORIZATION, basic(&settings.client_id, secret)?);
        }
        OAuth2Client::SharedSecret { secret, in_header: false } => {
            form.append_pair("client_id", &settings.client_id).append_pair("client_secret", secret.expose());
        }
        OAuth2Client::ClientAssertion { signing_key, algorithm, issuer, subject } => {
            let key = AssertionKey::parse(signing_key.expose(), algorithm)?;
            let name = |given: &Option<String>| given.clone().unwrap_or_else(|| settings.client_id.clone());
            let now = SystemClock.now().as_secs();
            let mut id = [0; 16];
            aws_lc_rs::rand::fill(&mut id).map_err(|_| "no random numbers".to_owned())?;
            let assertion = key.sign(&json!({
                "iss": name(issuer),
                "sub": name(subject),
                "aud": settings.url.as_str(),
                "jti": URL_SAFE_NO_PAD.encode(id),
                "iat": now,
                "exp": now.saturating_add(i64::try_from(ASSERTION_LIFE.as_secs()).unwrap_or(i64::MAX)),
            }))?;
            form.append_pair("client_id", &settings.client_id)
                .append_pair("client_assertion_type", ASSERTION_TYPE)
                .append_pair("client_assertion", &assertion);
        }
    }
    for (name, value) in [("scope", &settings.scope), ("audience", &settings.audience)] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            form.append_pair(name, value);
        }
    }
    builder
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(form.finish().into())
        .map_err(|error| format!("the authorization server's URL: {error}"))
}

/// RFC 6749 section 2.3.1: both parts are form-encoded before they are joined.
fn basic(id: &str, secret: &Secret<String>) -> Result<HeaderValue, String> {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret.expose())));
    sensitive(&format!("Basic {pair}"))
}

fn sensitive(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(text).map_err(|_| "the token is no header's value".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The token of an answer, and how long to keep it.
pub(super) fn read(settings: &OAuth2, status: u16, body: &[u8]) -> Result<(Token, Duration), String> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if !(200..300).contains(&status) {
        // RFC 6749 section 5.2: a code of few, plain words.
        let is_code = |code: &&str| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_graphic());
        let code = answer.get("error").and_then(Value::as_str).filter(is_code);
        let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
        return Err(format!("the authorization server answered {status}{code}"));
    }
    let fields = &settings.fields;
    let token = answer.get(&fields.access_token).and_then(Value::as_str).filter(|token| !token.is_empty());
    let Some(token) = token else {
        return Err(format!("the authorization server's answer has no `{}`", fields.access_token));
    };
    let kind = match answer.get(&fields.token_type).and_then(Value::as_str) {
        None | Some("") => "Bearer",
        // Most answers have it in lower case, and some receivers compare.
        Some(kind) if kind.eq_ignore_ascii_case("bearer") => "Bearer",
        Some(kind) => kind,
    };
    let life = match answer.get(&fields.expires_in) {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    let seconds = life.map(|life: f64| match settings.expiry_unit {
        ExpiryUnit::Seconds => life,
        ExpiryUnit::Milliseconds => life / 1_000.0,
        ExpiryUnit::Minutes => life * 60.0,
        ExpiryUnit::Hours => life * 3_600.0,
    });
    let life = seconds.map_or(LONGEST, |seconds| {
        Duration::try_from_secs_f64(seconds.clamp(0.0, LONGEST.as_secs_f64())).unwrap_or(LONGEST)
    });
    Ok((sensitive(&format!("{kind} {token}"))?, life.saturating_sub(MARGIN.min(life / 10))))
}

#[cfg(test)]
mod tests;
