//! What an endpoint of the file authenticates with.

use longshore_core::endpoint::{Authentication, ClientCertificate, OAuth2, OAuth2Client};
use longshore_pipeline::dispatch::egress;

use super::Reader;
use crate::apply::document::{AuthenticationDocument, CertificateDocument, OAuth2Document};

/// Whether a text can be a header's name (RFC 9110 section 5.1).
pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

impl Reader {
    pub(super) fn authentication(
        &mut self,
        path: &str,
        document: AuthenticationDocument,
    ) -> Option<Authentication> {
        match (document.api_key, document.basic, document.oauth2) {
            (Some(key), None, None) => {
                let path = format!("{path}.api_key");
                if !is_token(&key.header) {
                    self.fault(format!("{path}.header"), "not a header's name");
                }
                let value = self.required(&path, "value", key.value, key.value_file.as_deref())?;
                Some(Authentication::ApiKey { header: key.header, value })
            }
            (None, Some(basic), None) => {
                let path = format!("{path}.basic");
                let password =
                    self.required(&path, "password", basic.password, basic.password_file.as_deref())?;
                Some(Authentication::Basic { username: basic.username, password })
            }
            (None, None, Some(oauth2)) => self.oauth2(&format!("{path}.oauth2"), oauth2),
            _ => {
                self.fault(path.to_owned(), "expected one of `api_key`, `basic` and `oauth2`");
                None
            }
        }
    }

    fn oauth2(&mut self, path: &str, document: OAuth2Document) -> Option<Authentication> {
        let url = self.url(format!("{path}.url"), &document.url);
        if document.client_id.is_empty() {
            self.fault(format!("{path}.client_id"), "must not be empty");
        }
        let has_key = document.signing_key.is_some() || document.signing_key_file.is_some();
        let has_secret = document.client_secret.is_some() || document.client_secret_file.is_some();
        let client = match (has_secret, has_key) {
            (true, false) => OAuth2Client::SharedSecret {
                secret: self.required(
                    path,
                    "client_secret",
                    document.client_secret,
                    document.client_secret_file.as_deref(),
                )?,
                in_header: document.secret_in_header,
            },
            (false, true) => {
                let Some(algorithm) = document.signing_algorithm else {
                    self.fault(format!("{path}.signing_algorithm"), "missing; write e.g. `RS256`");
                    return None;
                };
                OAuth2Client::ClientAssertion {
                    signing_key: self.required(
                        path,
                        "signing_key",
                        document.signing_key,
                        document.signing_key_file.as_deref(),
                    )?,
                    algorithm,
                    issuer: document.issuer,
                    subject: document.subject,
                }
            }
            _ => {
                self.fault(path.to_owned(), "expected either `client_secret` or `signing_key`");
                return None;
            }
        };
        let settings = OAuth2 {
            url: url?,
            client_id: document.client_id,
            client,
            scope: document.scope,
            audience: document.audience,
            fields: document.fields,
            expiry_unit: document.expiry_unit,
        };
        if let Err((field, problem)) = egress::check_oauth2(&settings) {
            self.fault(format!("{path}.{field}"), problem);
        }
        Some(Authentication::OAuth2(Box::new(settings)))
    }

    pub(super) fn certificate(
        &mut self,
        path: &str,
        document: CertificateDocument,
    ) -> Option<ClientCertificate> {
        let certificate = self.required(
            path,
            "certificate",
            document.certificate.map(longshore_core::Secret::new),
            document.certificate_file.as_deref(),
        )?;
        let key = self.required(path, "key", document.key, document.key_file.as_deref())?;
        let pair = ClientCertificate { certificate: certificate.expose().clone(), key };
        self.ok(path.to_owned(), egress::client_certificate(&pair))?;
        Some(pair)
    }
}
