//! Tokens for SASL/OAUTHBEARER: given, read from a file, or exchanged for client credentials.
//!
//! librdkafka could do the exchange itself, with libcurl: a second HTTP and TLS stack and a package more on every
//! machine that builds this. The client that delivers webhooks does it as well.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rdkafka::client::OAuthToken;
use serde::Deserialize;

use crate::config::OauthBearer;

/// How long the exchange may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long before its end a token is said to end, at most.
const EARLY_MS: i64 = 5_000;
/// How long a token is believed in that does not say when it ends.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(crate) struct Tokens(Option<OauthBearer>);

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

/// What a token says of itself, if it is a JWT (RFC 7519).
#[derive(Default, Deserialize)]
struct Claims {
    exp: Option<f64>,
    sub: Option<String>,
}

impl Tokens {
    pub(crate) const fn new(from: Option<OauthBearer>) -> Self {
        Self(from)
    }

    /// A token that is good now. The error is a sentence and holds no secret.
    pub(crate) async fn next(&self) -> Result<OAuthToken, String> {
        let Some(from) = &self.0 else { return Err("no token is configured".to_owned()) };
        let (token, lifetime) = if let Some(token) = &from.token {
            (token.reveal().to_owned(), None)
        } else if let Some(file) = &from.token_file {
            let text = std::fs::read_to_string(file)
                .map_err(|error| format!("the token file `{}` cannot be read: {error}", file.display()))?;
            (text.trim().to_owned(), None)
        } else {
            exchange(from).await?
        };
        let claims = claims(&token);
        let expires_ms = match (lifetime, claims.exp) {
            (Some(lifetime), _) => now_ms() + millis(lifetime),
            (None, Some(exp)) => (exp * 1000.0) as i64,
            (None, None) => now_ms() + millis(UNKNOWN_LIFETIME),
        };
        let principal_name = claims.sub.unwrap_or_else(|| "longshore".to_owned());
        // The client asks for the next one when four fifths of the time are over, but looks once a second only. With one
        // that has just ended it is refused, and waits the longer the more often.
        let early_ms = ((expires_ms - now_ms()) / 3).clamp(0, EARLY_MS);
        Ok(OAuthToken { token, principal_name, lifetime_ms: expires_ms - early_ms })
    }
}

async fn exchange(from: &OauthBearer) -> Result<(String, Option<Duration>), String> {
    let endpoint = from.token_endpoint.as_deref().unwrap_or_default();
    let failed = |problem: &dyn std::fmt::Display| format!("no token from `{endpoint}`: {problem}");
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if let Some(scope) = &from.scope {
        form.append_pair("scope", scope);
    }
    // RFC 6749, section 2.3.1: both parts are form-encoded before they are put together.
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let credentials = format!("{}:{}", encoded(&from.client_id), encoded(from.client_secret.reveal()));
    let client =
        reqwest::Client::builder().timeout(PATIENCE).build().map_err(|error| failed(&error.without_url()))?;
    let answer = client
        .post(endpoint)
        .header("authorization", format!("Basic {}", STANDARD.encode(credentials)))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json")
        .body(form.finish())
        .send()
        .await
        .map_err(|error| failed(&error.without_url()))?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|error| failed(&error.without_url()))?;
    if !status.is_success() {
        // The body may repeat the credentials.
        return Err(failed(&format!("it answers {status}")));
    }
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|_| failed(&"its answer is not JSON with an `access_token`"))?;
    Ok((answer.access_token, answer.expires_in.map(Duration::from_secs)))
}

fn claims(token: &str) -> Claims {
    let payload = token.split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "librdkafka wants to know when a token ends, by the wall clock"
)]
fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    millis(now.unwrap_or_default())
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
