//! What requests say of an endpoint.

use std::time::Duration;

use longshore_core::endpoint::{ContentType, Endpoint};
use longshore_core::signature::SigningKey;
use longshore_core::{RateLimit, Secret};
use longshore_store::control::StoredEndpoint;
use serde::Deserialize;
use url::Url;
use utoipa::ToSchema;

use super::authentication::{AuthenticationView, CertificateView, OAuth2View};
use crate::v1::body::Body;
use crate::v1::egress::Egress;
use crate::v1::problem::Problem;
use crate::v1::version::Shape;

/// The longest name, owner's id and contact.
const LONGEST_TEXT: usize = 255;
/// The longest description.
const LONGEST_DESCRIPTION: usize = 4_096;

/// An endpoint to be made or changed. What is left out of a change stays as it is.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct EndpointBody {
    /// For people; required for a new endpoint.
    pub(super) name: Option<String>,
    /// Where webhooks go; required for a new endpoint.
    pub(super) url: Option<String>,
    /// Signs its webhooks; one is made when a new endpoint has none. In a change, the only secret from then on.
    pub(super) secret: Option<String>,
    /// Whose it is: what `fanout` events name.
    pub(super) owner_id: Option<String>,
    /// The old name of `owner_id`.
    #[serde(rename = "appID", alias = "app_id")]
    pub(super) app_id: Option<String>,
    /// For people.
    pub(super) description: Option<String>,
    /// Whether the signature's header has a time (`t=…,v1=…`).
    pub(super) advanced_signatures: Option<bool>,
    /// Who is told when it is switched off.
    pub(super) support_email: Option<String>,
    /// The same, in Slack's format.
    pub(super) slack_webhook_url: Option<String>,
    /// The same, in Teams' format.
    pub(super) teams_webhook_url: Option<String>,
    /// Whether it takes no deliveries.
    pub(super) is_disabled: Option<bool>,
    /// Seconds an attempt may take, 1 to 120; 0 for the default.
    pub(super) http_timeout: Option<u64>,
    /// Requests per `rate_limit_duration`; 0 for no limit.
    pub(super) rate_limit: Option<u64>,
    /// Seconds.
    pub(super) rate_limit_duration: Option<u64>,
    /// `application/json` or `application/x-www-form-urlencoded`.
    pub(super) content_type: Option<String>,
    /// What its requests prove who sends them with.
    pub(super) authentication: Option<AuthenticationView>,
    /// The certificate that its requests are sent with.
    pub(super) mtls_client_cert: Option<CertificateView>,
}

impl Body for EndpointBody {
    const SHAPE: Option<Shape> = Some(Shape::Endpoint);
}

/// An endpoint to be made: the same, but older versions meant something else by what is left out.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct NewEndpoint(pub(super) EndpointBody);

impl Body for NewEndpoint {
    const SHAPE: Option<Shape> = Some(Shape::NewEndpoint);
}

/// A roll of an endpoint's secret.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct RollBody {
    /// The new secret; one is made when it is left out.
    pub(super) secret: Option<String>,
    /// For how many hours the old secrets go on signing; 0 ends them at once.
    pub(super) expiration: Option<i64>,
}

impl Body for RollBody {}

/// Client credentials that are to be tried.
#[derive(Default, Deserialize, ToSchema)]
pub(crate) struct TokenTestBody {
    /// As in an endpoint's `authentication`.
    pub(super) oauth2: Option<OAuth2View>,
}

impl Body for TokenTestBody {}

/// A text that people wrote, in bounds.
fn bounded(field: &str, text: String, most: usize) -> Result<String, Problem> {
    if text.chars().count() > most {
        return Err(Problem::invalid(field, format!("must have at most {most} characters")));
    }
    Ok(text)
}

/// A URL that takes messages for people.
fn contact(field: &str, text: String) -> Result<Secret<String>, Problem> {
    match Url::parse(&text) {
        _ if text.is_empty() => {}
        Ok(url) if url.scheme() == "https" => {}
        Ok(_) => return Err(Problem::invalid(field, "must begin with `https://`")),
        Err(_) => return Err(Problem::invalid(field, "is no URL")),
    }
    bounded(field, text, 2_048).map(Secret::new)
}

/// A secret that can sign.
///
/// # Errors
/// `400` names the field.
pub(super) fn secret(text: String) -> Result<Secret<String>, Problem> {
    SigningKey::parse(&text).map_err(|error| Problem::invalid("secret", error))?;
    Ok(Secret::new(text))
}

impl EndpointBody {
    /// Writes what is said over an endpoint; its secret and status are the caller's. `read_url` reads URLs that requests
    /// go to.
    ///
    /// # Errors
    /// `400` names the field.
    pub(super) fn apply(
        self,
        stored: &mut StoredEndpoint,
        egress: &dyn Egress,
        read_url: impl Fn(&str, &str) -> Result<Url, Problem> + Copy,
    ) -> Result<(), Problem> {
        let endpoint = &mut stored.endpoint;
        if let Some(name) = self.name {
            if name.trim().is_empty() {
                return Err(Problem::invalid("name", "must not be empty"));
            }
            endpoint.name = bounded("name", name, LONGEST_TEXT)?;
        }
        if let Some(url) = self.url {
            endpoint.url = read_url("url", &url)?;
        }
        if let Some(owner) = self.owner_id.or(self.app_id) {
            endpoint.owner_id =
                Some(bounded("owner_id", owner, LONGEST_TEXT)?).filter(|owner| !owner.is_empty());
        }
        if let Some(advanced) = self.advanced_signatures {
            endpoint.advanced_signatures = advanced;
        }
        if let Some(seconds) = self.http_timeout {
            endpoint.http_timeout = match seconds {
                0 => Endpoint::HTTP_TIMEOUT,
                1..=120 => Duration::from_secs(seconds),
                _ => return Err(Problem::invalid("http_timeout", "write seconds, 1 to 120")),
            };
        }
        let limit = (self.rate_limit, self.rate_limit_duration);
        endpoint.settings.rate_limit = rate_limit(endpoint.settings.rate_limit, limit)?;
        if let Some(text) = self.content_type {
            endpoint.settings.content_type = match text.as_str() {
                "" | "application/json" => ContentType::Json,
                "application/x-www-form-urlencoded" => ContentType::Form,
                _ => {
                    let problem = "write `application/json` or `application/x-www-form-urlencoded`";
                    return Err(Problem::invalid("content_type", problem));
                }
            };
        }
        if let Err(errors) = endpoint.settings.validate()
            && let Some(error) = errors.first()
        {
            return Err(Problem::invalid(error.field, error.problem));
        }
        let credentials = &mut endpoint.credentials;
        if let Some(authentication) = self.authentication {
            let before = credentials.authentication.take();
            credentials.authentication = authentication.parse(before.as_ref(), egress, read_url)?;
        }
        if let Some(certificate) = self.mtls_client_cert {
            let before = credentials.client_certificate.take();
            credentials.client_certificate = certificate.parse(before.as_ref(), egress)?;
        }
        if let Some(description) = self.description {
            stored.description = bounded("description", description, LONGEST_DESCRIPTION)?;
        }
        let contacts = &mut stored.contacts;
        if let Some(email) = self.support_email {
            if !email.is_empty() && !email.contains('@') {
                return Err(Problem::invalid("support_email", "is no e-mail address"));
            }
            contacts.support_email = bounded("support_email", email, LONGEST_TEXT)?;
        }
        if let Some(url) = self.slack_webhook_url {
            contacts.slack_webhook_url = contact("slack_webhook_url", url)?;
        }
        if let Some(url) = self.teams_webhook_url {
            contacts.teams_webhook_url = contact("teams_webhook_url", url)?;
        }
        Ok(())
    }
}

/// The limit that is meant, from what was said of its two halves.
fn rate_limit(
    stored: Option<RateLimit>,
    (count, seconds): (Option<u64>, Option<u64>),
) -> Result<Option<RateLimit>, Problem> {
    let (count, per) = match (count, seconds) {
        (None, None) => return Ok(stored),
        (Some(0), _) => return Ok(None),
        (Some(count), seconds) => {
            let before = stored.map_or(Duration::from_secs(60), RateLimit::per);
            let per = seconds.filter(|seconds| *seconds > 0).map_or(before, Duration::from_secs);
            (count, per)
        }
        // A span of time alone limits nothing, unless there is a limit already.
        (None, Some(seconds)) => match stored {
            Some(limit) if seconds > 0 => (u64::from(limit.count()), Duration::from_secs(seconds)),
            _ => return Ok(stored),
        },
    };
    let count = u32::try_from(count).map_err(|_| Problem::invalid("rate_limit", "is too large"))?;
    RateLimit::new(count, per).map(Some).map_err(|error| Problem::invalid("rate_limit", error))
}
