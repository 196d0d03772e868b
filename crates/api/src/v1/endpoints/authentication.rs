//! How an endpoint's requests prove who sends them, in the contract's shapes.
//!
//! Invariant: what is shown holds no credential but what the contract shows; what was shown hidden and comes back is kept.

use longshore_core::Secret;
use longshore_core::endpoint::{
    Authentication, ClientCertificate, ExpiryUnit, OAuth2, OAuth2Client, TokenFields,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::v1::egress::Egress;
use crate::v1::problem::Problem;
use crate::v1::sources::redact::REDACTED;

/// What is sent besides the signature to prove who sends.
#[derive(Clone, Default, Deserialize, Serialize, ToSchema)]
pub(crate) struct AuthenticationView {
    /// `api_key`, `basic_auth` or `oauth2`; empty for none.
    #[serde(default)]
    r#type: String,
    /// A header with a fixed value.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<ApiKeyView>,
    /// HTTP Basic.
    #[serde(skip_serializing_if = "Option::is_none")]
    basic_auth: Option<BasicView>,
    /// A bearer token by client credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    oauth2: Option<OAuth2View>,
}

/// A header with a fixed value.
#[derive(Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub(crate) struct ApiKeyView {
    /// The header's name.
    header_name: String,
    /// Its value; shown as `[REDACTED]`.
    header_value: String,
}

/// HTTP Basic.
#[derive(Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub(crate) struct BasicView {
    /// Who.
    username: String,
    /// Shown as `[REDACTED]`.
    password: String,
}

/// OAuth 2.0 client credentials.
#[derive(Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub(crate) struct OAuth2View {
    /// The token endpoint.
    url: String,
    /// Who asks.
    client_id: String,
    /// `shared_secret` or `client_assertion`.
    authentication_type: String,
    /// With `shared_secret`; shown as `[REDACTED]`.
    client_secret: String,
    /// `client_credentials`, the only one there is.
    grant_type: String,
    /// Asked for.
    scope: String,
    /// Asked for.
    audience: String,
    /// With `client_assertion`: the private key as a JWK; only `kty`, `kid` and `crv` are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    signing_key: Option<Value>,
    /// With `client_assertion`, e.g. `RS256`.
    signing_algorithm: String,
    /// `iss`; the client's id when empty.
    issuer: String,
    /// `sub`; the client's id when empty.
    subject: String,
    /// Where the token's answer has what.
    #[serde(skip_serializing_if = "Option::is_none")]
    field_mapping: Option<FieldMappingView>,
    /// `seconds`, `milliseconds`, `minutes` or `hours`.
    expiry_time_unit: String,
}

/// Where a token's answer has what.
#[derive(Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub(crate) struct FieldMappingView {
    /// The token.
    access_token: String,
    /// What to write before it.
    token_type: String,
    /// How long it lives.
    expires_in: String,
}

/// A client certificate.
#[derive(Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub(crate) struct CertificateView {
    /// The chain, PEM.
    client_cert: String,
    /// The private key, PEM; shown as `[REDACTED]`.
    client_key: String,
}

/// What was sent, or what is stored when that was sent back as it was shown.
fn kept(field: &str, sent: String, stored: Option<&Secret<String>>) -> Result<Secret<String>, Problem> {
    match (sent.as_str(), stored) {
        ("", _) => Err(Problem::invalid(field, "is missing")),
        (REDACTED, Some(stored)) => Ok(stored.clone()),
        (REDACTED, None) => Err(Problem::invalid(field, "is hidden, and nothing is stored; write it out")),
        _ => Ok(Secret::new(sent)),
    }
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl AuthenticationView {
    /// What is stored, with its credentials hidden.
    pub(super) fn of(stored: &Authentication) -> Self {
        let hidden = || REDACTED.to_owned();
        match stored {
            Authentication::ApiKey { header, .. } => Self {
                r#type: "api_key".to_owned(),
                api_key: Some(ApiKeyView { header_name: header.clone(), header_value: hidden() }),
                ..Self::default()
            },
            Authentication::Basic { username, .. } => Self {
                r#type: "basic_auth".to_owned(),
                basic_auth: Some(BasicView { username: username.clone(), password: hidden() }),
                ..Self::default()
            },
            Authentication::OAuth2(settings) => Self {
                r#type: "oauth2".to_owned(),
                oauth2: Some(OAuth2View::of(settings)),
                ..Self::default()
            },
        }
    }

    /// What is meant: `None` for no authentication. `read_url` reads the token endpoint's URL.
    ///
    /// # Errors
    /// `400` names the field.
    pub(super) fn parse(
        self,
        stored: Option<&Authentication>,
        egress: &dyn Egress,
        read_url: impl Fn(&str, &str) -> Result<url::Url, Problem>,
    ) -> Result<Option<Authentication>, Problem> {
        let missing = |what: &str| Problem::invalid(&format!("authentication.{what}"), "is missing");
        match self.r#type.as_str() {
            "" => Ok(None),
            "api_key" => {
                let key = self.api_key.ok_or_else(|| missing("api_key"))?;
                if http::HeaderName::try_from(key.header_name.as_str()).is_err() {
                    return Err(Problem::invalid(
                        "authentication.api_key.header_name",
                        "is not a header's name",
                    ));
                }
                let before = match stored {
                    Some(Authentication::ApiKey { value, .. }) => Some(value),
                    _ => None,
                };
                let value = kept("authentication.api_key.header_value", key.header_value, before)?;
                if http::HeaderValue::try_from(value.expose().as_str()).is_err() {
                    return Err(Problem::invalid(
                        "authentication.api_key.header_value",
                        "must not hold control characters",
                    ));
                }
                Ok(Some(Authentication::ApiKey { header: key.header_name, value }))
            }
            "basic_auth" | "basic" => {
                let basic = self.basic_auth.ok_or_else(|| missing("basic_auth"))?;
                if basic.username.is_empty() || basic.username.contains(':') {
                    let problem = "must not be empty, nor hold a colon (RFC 7617)";
                    return Err(Problem::invalid("authentication.basic_auth.username", problem));
                }
                let before = match stored {
                    Some(Authentication::Basic { password, .. }) => Some(password),
                    _ => None,
                };
                let password = kept("authentication.basic_auth.password", basic.password, before)?;
                Ok(Some(Authentication::Basic { username: basic.username, password }))
            }
            "oauth2" => {
                let settings = self.oauth2.ok_or_else(|| missing("oauth2"))?;
                let before = match stored {
                    Some(Authentication::OAuth2(before)) => Some(&**before),
                    _ => None,
                };
                let settings = settings.parse("authentication.oauth2", before, egress, read_url)?;
                Ok(Some(Authentication::OAuth2(Box::new(settings))))
            }
            _ => Err(Problem::invalid("authentication.type", "write `api_key`, `basic_auth` or `oauth2`")),
        }
    }
}

impl OAuth2View {
    fn of(settings: &OAuth2) -> Self {
        let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
        let unit = match settings.expiry_unit {
            ExpiryUnit::Seconds => "seconds",
            ExpiryUnit::Milliseconds => "milliseconds",
            ExpiryUnit::Minutes => "minutes",
            ExpiryUnit::Hours => "hours",
        };
        let view = Self {
            url: settings.url.to_string(),
            client_id: settings.client_id.clone(),
            grant_type: "client_credentials".to_owned(),
            scope: or_empty(&settings.scope),
            audience: or_empty(&settings.audience),
            field_mapping: Some(FieldMappingView {
                access_token: settings.fields.access_token.clone(),
                token_type: settings.fields.token_type.clone(),
                expires_in: settings.fields.expires_in.clone(),
            }),
            expiry_time_unit: unit.to_owned(),
            ..Self::default()
        };
        match &settings.client {
            OAuth2Client::SharedSecret { .. } => Self {
                authentication_type: "shared_secret".to_owned(),
                client_secret: REDACTED.to_owned(),
                ..view
            },
            OAuth2Client::ClientAssertion { signing_key, algorithm, issuer, subject } => Self {
                authentication_type: "client_assertion".to_owned(),
                signing_key: Some(public_members(signing_key)),
                signing_algorithm: algorithm.clone(),
                issuer: or_empty(issuer),
                subject: or_empty(subject),
                ..view
            },
        }
    }

    /// What is meant; `at` is where it stands in the body.
    ///
    /// # Errors
    /// `400` names the field.
    pub(super) fn parse(
        self,
        at: &str,
        stored: Option<&OAuth2>,
        egress: &dyn Egress,
        read_url: impl Fn(&str, &str) -> Result<url::Url, Problem>,
    ) -> Result<OAuth2, Problem> {
        let field = |name: &str| format!("{at}.{name}");
        let url = read_url(&field("url"), &self.url)?;
        if self.client_id.is_empty() {
            return Err(Problem::invalid(&field("client_id"), "is missing"));
        }
        if !matches!(self.grant_type.as_str(), "" | "client_credentials") {
            return Err(Problem::invalid(&field("grant_type"), "write `client_credentials`"));
        }
        let client = match self.authentication_type.as_str() {
            "shared_secret" => {
                let before = match stored.map(|before| &before.client) {
                    Some(OAuth2Client::SharedSecret { secret, .. }) => Some(secret),
                    _ => None,
                };
                let secret = kept(&field("client_secret"), self.client_secret, before)?;
                OAuth2Client::SharedSecret { secret, in_header: false }
            }
            "client_assertion" => {
                let before = match stored.map(|before| &before.client) {
                    Some(OAuth2Client::ClientAssertion { signing_key, .. }) => Some(signing_key),
                    _ => None,
                };
                let signing_key = signing_key(&field("signing_key"), self.signing_key, before)?;
                let algorithm = given(self.signing_algorithm).ok_or_else(|| {
                    Problem::invalid(&field("signing_algorithm"), "is missing; write e.g. `RS256`")
                })?;
                let (issuer, subject) = (given(self.issuer), given(self.subject));
                OAuth2Client::ClientAssertion { signing_key, algorithm, issuer, subject }
            }
            _ => {
                let problem = "write `shared_secret` or `client_assertion`";
                return Err(Problem::invalid(&field("authentication_type"), problem));
            }
        };
        let expiry_unit = match self.expiry_time_unit.as_str() {
            "" | "seconds" => ExpiryUnit::Seconds,
            "milliseconds" => ExpiryUnit::Milliseconds,
            "minutes" => ExpiryUnit::Minutes,
            "hours" => ExpiryUnit::Hours,
            _ => {
                let problem = "write `seconds`, `milliseconds`, `minutes` or `hours`";
                return Err(Problem::invalid(&field("expiry_time_unit"), problem));
            }
        };
        let names = TokenFields::default();
        let mapping = self.field_mapping.unwrap_or_default();
        let fields = TokenFields {
            access_token: given(mapping.access_token).unwrap_or(names.access_token),
            token_type: given(mapping.token_type).unwrap_or(names.token_type),
            expires_in: given(mapping.expires_in).unwrap_or(names.expires_in),
        };
        let settings = OAuth2 {
            url,
            client_id: self.client_id,
            client,
            scope: given(self.scope),
            audience: given(self.audience),
            fields,
            expiry_unit,
        };
        egress.oauth2(&settings).map_err(|(name, problem)| Problem::invalid(&field(name), problem))?;
        Ok(settings)
    }
}

impl CertificateView {
    pub(super) fn of(stored: &ClientCertificate) -> Self {
        Self { client_cert: stored.certificate.clone(), client_key: REDACTED.to_owned() }
    }

    /// What is meant; `None` when both are empty.
    ///
    /// # Errors
    /// `400` names the field.
    pub(super) fn parse(
        self,
        stored: Option<&ClientCertificate>,
        egress: &dyn Egress,
    ) -> Result<Option<ClientCertificate>, Problem> {
        if self.client_cert.is_empty() && self.client_key.is_empty() {
            return Ok(None);
        }
        if self.client_cert.is_empty() {
            return Err(Problem::invalid("mtls_client_cert.client_cert", "is missing"));
        }
        let key = kept("mtls_client_cert.client_key", self.client_key, stored.map(|stored| &stored.key))?;
        let pair = ClientCertificate { certificate: self.client_cert, key };
        egress.certificate(&pair).map_err(|problem| Problem::invalid("mtls_client_cert", problem))?;
        Ok(Some(pair))
    }
}

/// The members of a private key that are no secret.
fn public_members(key: &Secret<String>) -> Value {
    let parsed: Value = serde_json::from_str(key.expose()).unwrap_or_default();
    let members = parsed.as_object().into_iter().flatten();
    members
        .filter(|(name, _)| matches!(name.as_str(), "kty" | "kid" | "crv" | "alg" | "use"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// A key that was sent, or the stored one when it comes back without what is secret of it.
fn signing_key(
    field: &str,
    sent: Option<Value>,
    stored: Option<&Secret<String>>,
) -> Result<Secret<String>, Problem> {
    let sent = sent.filter(|key| !key.is_null()).ok_or_else(|| Problem::invalid(field, "is missing"))?;
    match stored {
        Some(stored) if public_members(stored) == sent => Ok(stored.clone()),
        _ => Ok(Secret::new(sent.to_string())),
    }
}
