//! What endpoints may be, for the public API: the rules that hold when they are sent to.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use longshore_api::v1::{Answering, Egress, FetchedToken};
use longshore_core::endpoint::{ClientCertificate, OAuth2};
use longshore_core::project::EgressSettings;
use longshore_core::{Project, Secret};
use longshore_pipeline::dispatch::HttpTransport;
use longshore_pipeline::dispatch::egress::{EgressRules, check_oauth2, client_certificate};
use url::Url;

use crate::config::Config;
use crate::egress;

/// How long an authorization server that is tried may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The rules, and a client of their own for what is tried.
pub(crate) struct Registration {
    rules: EgressRules,
    transport: HttpTransport,
}

impl Registration {
    /// # Errors
    /// There is no HTTP client, e.g. for lack of root certificates.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        let transport = HttpTransport::new(&egress::settings(config)).context("cannot check endpoints")?;
        Ok(Self { rules: egress::rules(config), transport })
    }
}

impl Egress for Registration {
    fn url(&self, text: &str, project: &EgressSettings) -> Result<Url, String> {
        self.rules.parse(text, project).map_err(|error| error.to_string())
    }

    fn certificate(&self, pair: &ClientCertificate) -> Result<(), String> {
        client_certificate(pair).map(drop)
    }

    fn oauth2(&self, settings: &OAuth2) -> Result<(), (&'static str, String)> {
        check_oauth2(settings)
    }

    fn token<'a>(
        &'a self,
        project: &'a Project,
        settings: &'a OAuth2,
    ) -> Answering<'a, Result<FetchedToken, String>> {
        let project = Arc::new(project.clone());
        Box::pin(async move {
            let (token, life) = self.transport.fetch_token(&project, settings, PATIENCE).await?;
            let text = token.to_str().map_err(|_| "the token is no header's value".to_owned())?;
            let (kind, token) = text.split_once(' ').unwrap_or(("Bearer", text));
            Ok(FetchedToken {
                token_type: kind.to_owned(),
                access_token: Secret::new(token.to_owned()),
                life,
            })
        })
    }
}
