//! An endpoint of the file.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_core::endpoint::{EndpointCredentials, EndpointSettings};
use longshore_core::{EndpointStatus, Secret};
use longshore_pipeline::dispatch::egress;
use longshore_store::admin::EndpointSpec;
use url::Url;

use super::authentication::is_token;
use super::{Reader, WantedEndpoint};
use crate::apply::document::EndpointDocument;

/// Headers that are ours to write: a fixed value would break the request or the signature.
const RESERVED: [&str; 11] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

impl Reader {
    pub(super) fn endpoint(&mut self, path: &str, endpoint: EndpointDocument) -> Option<WantedEndpoint> {
        let url = self.url(format!("{path}.url"), &endpoint.url);
        let timeout = endpoint.http_timeout.0;
        if !(Duration::from_millis(100)..=Duration::from_secs(120)).contains(&timeout) {
            self.fault(format!("{path}.http_timeout"), "expected 100ms to 120s");
        }
        if !(1..=1000).contains(&endpoint.max_concurrency) {
            self.fault(format!("{path}.max_concurrency"), "expected 1 to 1000");
        }
        let secrets = match (endpoint.secret, endpoint.secrets) {
            (Some(_), Some(_)) => {
                self.fault(format!("{path}.secret"), "`secrets` is given as well; keep one");
                None
            }
            (Some(secret), None) => Some(vec![(format!("{path}.secret"), secret)]),
            (None, Some(secrets)) => {
                let secrets = secrets.into_iter().enumerate();
                Some(secrets.map(|(index, secret)| (format!("{path}.secrets[{index}]"), secret)).collect())
            }
            (None, None) => None,
        };
        let secrets = secrets.map(|secrets| {
            secrets.into_iter().filter_map(|(path, secret)| self.secret(&path, secret)).collect()
        });
        let settings = EndpointSettings {
            rate_limit: endpoint.rate_limit,
            adaptive_concurrency: endpoint.adaptive_concurrency,
            content_type: endpoint.content_type,
            user_agent: endpoint.user_agent,
            cloudevents: endpoint.cloudevents,
            batch: endpoint.batch,
        };
        for error in settings.validate().err().unwrap_or_default() {
            self.fault(format!("{path}.{}", error.field), error.problem);
        }
        let authentication = match endpoint.authentication {
            Some(document) => Some(self.authentication(&format!("{path}.authentication"), document)?),
            None => None,
        };
        let client_certificate = match endpoint.client_certificate {
            Some(document) => Some(self.certificate(&format!("{path}.client_certificate"), document)?),
            None => None,
        };
        let ca = self.inline_or_file(path, "ca", endpoint.ca.map(Secret::new), endpoint.ca_file.as_deref());
        if let Some(ca) = &ca {
            self.ok(format!("{path}.ca"), egress::authorities(ca.expose()));
        }
        let credentials = EndpointCredentials {
            authentication,
            client_certificate,
            ca: ca.map(|ca| ca.expose().clone()),
            headers: self.headers(&format!("{path}.headers"), endpoint.headers),
        };
        let spec = EndpointSpec {
            name: endpoint.name,
            url: url?,
            owner_id: endpoint.owner_id,
            status: endpoint.status.unwrap_or(EndpointStatus::Active),
            advanced_signatures: endpoint.advanced_signatures,
            http_timeout: timeout,
            max_concurrency: endpoint.max_concurrency,
            settings,
            credentials,
        };
        Some(WantedEndpoint { id: endpoint.id, spec, keeps_status: endpoint.status.is_none(), secrets })
    }

    pub(super) fn url(&mut self, path: String, text: &str) -> Option<Url> {
        let read = self.rules.parse(text, &self.egress);
        self.ok(path, read)
    }

    fn headers(
        &mut self,
        path: &str,
        headers: BTreeMap<String, Secret<String>>,
    ) -> BTreeMap<String, Secret<String>> {
        for (name, value) in &headers {
            let path = format!("{path}.{name}");
            let lower = name.to_ascii_lowercase();
            if !is_token(name) {
                self.fault(path, "not a header's name");
            } else if RESERVED.contains(&lower.as_str()) || lower.starts_with("webhook-") {
                self.fault(path, "is written by the gateway; see `content_type`, `user_agent` and `secrets`");
            } else if value.expose().bytes().any(|byte| byte != b'\t' && byte.is_ascii_control()) {
                self.fault(path, "must not hold control characters");
            }
        }
        headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
    }
}
