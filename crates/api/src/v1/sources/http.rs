//! An HTTP source on the wire, and as it is stored.

use longshore_core::Secret;
use longshore_core::inbound::{CustomResponse, HttpSource, Provider, RequestPath, Verifier};
use longshore_core::signature::{Encoding, Hash};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::SourceBody;
use super::redact::REDACTED;
use crate::v1::problem::Problem;

/// How a source verifies requests.
#[derive(Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct VerifierConfig {
    /// `noop`, `hmac`, `basic_auth` or `api_key`: which of the others counts.
    #[serde(default)]
    r#type: Option<String>,
    /// A signature over the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hmac: Option<HMac>,
    /// A name and a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    basic_auth: Option<BasicAuth>,
    /// A fixed header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    api_key: Option<ApiKey>,
}

impl VerifierConfig {
    /// Whether it verifies nothing.
    pub(super) fn is_noop(&self) -> bool {
        matches!(self.r#type.as_deref(), None | Some("" | "noop"))
    }
}

/// A signature over the body.
#[derive(Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct HMac {
    /// The header that holds it.
    #[serde(default)]
    header: Option<String>,
    /// `SHA256` or `SHA512`.
    #[serde(default)]
    hash: Option<String>,
    /// The key; `[REDACTED]` when it is shown.
    #[serde(default)]
    secret: Option<String>,
    /// `hex` or `base64`.
    #[serde(default)]
    encoding: Option<String>,
}

/// A name and a password.
#[derive(Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct BasicAuth {
    /// The name.
    #[serde(default)]
    username: Option<String>,
    /// The password; `[REDACTED]` when it is shown.
    #[serde(default)]
    password: Option<String>,
}

/// A fixed header.
#[derive(Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct ApiKey {
    /// Its name.
    #[serde(default)]
    header_name: Option<String>,
    /// Its value; `[REDACTED]` when it is shown.
    #[serde(default)]
    header_value: Option<String>,
}

/// What is answered in place of the contract's envelope.
#[derive(Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct CustomResponseView {
    /// The body.
    #[serde(default)]
    pub(super) body: Option<String>,
    /// Its media type.
    #[serde(default)]
    pub(super) content_type: Option<String>,
}

/// What a body says of an HTTP source, over what is stored.
///
/// # Errors
/// `400` names the field.
pub(super) fn read(body: &SourceBody, stored: HttpSource) -> Result<HttpSource, Problem> {
    let mut source = stored;
    if let Some(provider) = &body.provider {
        source.provider = read_provider(provider)?;
    }
    if let Some(verifier) = &body.verifier {
        source.verifier = read_verifier(verifier, source.provider, &source.verifier)?;
    }
    if let Some(provider) = source.provider
        && !source.verifies_the_body()
    {
        let problem = format!(
            "a `{}` source verifies by `hmac`, with the secret that you gave them",
            provider.as_str()
        );
        return Err(Problem::invalid("verifier", problem));
    }
    if let Some(custom) = &body.custom_response {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        let custom = CustomResponse { body: part(&custom.body), content_type: part(&custom.content_type) };
        if http::HeaderValue::try_from(custom.content_type.as_str()).is_err() {
            return Err(Problem::invalid("custom_response.content_type", "write a media type"));
        }
        source.custom_response = Some(custom).filter(|custom| *custom != CustomResponse::default());
    }
    if let Some(keys) = &body.idempotency_keys {
        let keys: Result<Vec<RequestPath>, Problem> =
            keys.iter().map(|text| read_path("idempotency_keys", text)).collect();
        source.idempotency_keys = keys?;
    }
    if let Some(location) = &body.event_type_location {
        source.event_type_location = Some(location)
            .filter(|text| !text.is_empty())
            .map(|text| read_path("event_type_location", text))
            .transpose()?;
    }
    let is_beside = source.event_type_location.as_ref().is_some_and(RequestPath::is_beside_the_body);
    if is_beside && source.verifies_the_body() {
        let problem = "a signature over the body does not cover headers and query; write `request.body.…`";
        return Err(Problem::invalid("event_type_location", problem));
    }
    if let Some(headers) = &body.forward_headers {
        source.forward_headers =
            headers.iter().map(|name| header("forward_headers", Some(name))).collect::<Result<_, _>>()?;
    }
    Ok(source)
}

fn read_provider(text: &str) -> Result<Option<Provider>, Problem> {
    Ok(match text {
        "" => None,
        "github" => Some(Provider::Github),
        "shopify" => Some(Provider::Shopify),
        "twitter" => Some(Provider::Twitter),
        _ => {
            return Err(Problem::invalid(
                "provider",
                "write `github`, `shopify` or `twitter`, or leave it out",
            ));
        }
    })
}

fn read_path(field: &str, text: &str) -> Result<RequestPath, Problem> {
    text.parse().map_err(|error| Problem::invalid(field, error))
}

fn read_verifier(
    given: &VerifierConfig,
    provider: Option<Provider>,
    stored: &Verifier,
) -> Result<Verifier, Problem> {
    let missing = |name: &str| Problem::invalid(&format!("verifier.{name}"), "is required: its type says so");
    match given.r#type.as_deref().unwrap_or_default() {
        "" | "noop" => Ok(Verifier::Noop),
        "hmac" => {
            let hmac = given.hmac.as_ref().ok_or_else(|| missing("hmac"))?;
            let known = match stored {
                Verifier::Hmac { secret, .. } => Some(secret),
                _ => None,
            };
            let has_scheme = provider.is_some();
            Ok(Verifier::Hmac {
                header: if has_scheme {
                    String::new()
                } else {
                    header("verifier.hmac.header", hmac.header.as_deref())?
                },
                hash: match hmac.hash.as_deref().unwrap_or_default().to_ascii_uppercase().as_str() {
                    "SHA256" => Hash::Sha256,
                    "SHA512" => Hash::Sha512,
                    _ if has_scheme => Hash::Sha256,
                    _ => return Err(Problem::invalid("verifier.hmac.hash", "write `SHA256` or `SHA512`")),
                },
                encoding: match hmac.encoding.as_deref().unwrap_or_default() {
                    "hex" => Encoding::Hex,
                    "base64" => Encoding::Base64,
                    _ if has_scheme => Encoding::Hex,
                    _ => return Err(Problem::invalid("verifier.hmac.encoding", "write `hex` or `base64`")),
                },
                secret: secret("verifier.hmac.secret", hmac.secret.as_deref(), known)?,
            })
        }
        "basic_auth" => {
            let basic = given.basic_auth.as_ref().ok_or_else(|| missing("basic_auth"))?;
            let known = match stored {
                Verifier::BasicAuth { password, .. } => Some(password),
                _ => None,
            };
            let username = basic.username.clone().filter(|text| !text.is_empty() && !text.contains(':'));
            Ok(Verifier::BasicAuth {
                username: username.ok_or_else(|| {
                    Problem::invalid("verifier.basic_auth.username", "is required, without a colon")
                })?,
                password: secret("verifier.basic_auth.password", basic.password.as_deref(), known)?,
            })
        }
        "api_key" => {
            let key = given.api_key.as_ref().ok_or_else(|| missing("api_key"))?;
            let known = match stored {
                Verifier::ApiKey { header_value, .. } => Some(header_value),
                _ => None,
            };
            Ok(Verifier::ApiKey {
                header_name: header("verifier.api_key.header_name", key.header_name.as_deref())?,
                header_value: secret("verifier.api_key.header_value", key.header_value.as_deref(), known)?,
            })
        }
        _ => Err(Problem::invalid("verifier.type", "write `noop`, `hmac`, `basic_auth` or `api_key`")),
    }
}

fn secret(
    field: &str,
    given: Option<&str>,
    known: Option<&Secret<String>>,
) -> Result<Secret<String>, Problem> {
    match given {
        None | Some("") => Err(Problem::invalid(field, "is required")),
        Some(REDACTED) => known.cloned().ok_or_else(|| {
            Problem::invalid(field, "there is nothing stored to keep; write the credential itself")
        }),
        Some(text) => Ok(Secret::new(text.to_owned())),
    }
}

/// A header's name in lower case.
fn header(field: &str, given: Option<&str>) -> Result<String, Problem> {
    let name = given.filter(|text| !text.is_empty()).ok_or_else(|| Problem::invalid(field, "is required"))?;
    let name = http::HeaderName::try_from(name)
        .map_err(|_| Problem::invalid(field, "write the name of a header"))?;
    Ok(name.as_str().to_owned())
}

/// The verifier as it is shown.
pub(super) fn show(source: &HttpSource) -> VerifierConfig {
    let hidden = || Some(REDACTED.to_owned());
    let of = |name: &str| VerifierConfig { r#type: Some(name.to_owned()), ..VerifierConfig::default() };
    match &source.verifier {
        Verifier::Noop => of("noop"),
        Verifier::Hmac { header, hash, encoding, .. } => {
            let hash = match hash {
                Hash::Sha256 => "SHA256",
                Hash::Sha512 => "SHA512",
            };
            let encoding = match encoding {
                Encoding::Hex => "hex",
                Encoding::Base64 => "base64",
            };
            let hmac = HMac {
                header: Some(header.clone()),
                hash: Some(hash.to_owned()),
                secret: hidden(),
                encoding: Some(encoding.to_owned()),
            };
            VerifierConfig { hmac: Some(hmac), ..of("hmac") }
        }
        Verifier::BasicAuth { username, .. } => {
            let basic = BasicAuth { username: Some(username.clone()), password: hidden() };
            VerifierConfig { basic_auth: Some(basic), ..of("basic_auth") }
        }
        Verifier::ApiKey { header_name, .. } => {
            let key = ApiKey { header_name: Some(header_name.clone()), header_value: hidden() };
            VerifierConfig { api_key: Some(key), ..of("api_key") }
        }
    }
}
