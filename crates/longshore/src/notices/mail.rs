//! Alerts by e-mail, through the installation's SMTP server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use longshore_core::Project;

use super::alerts::Messenger;
use super::text::Text;
use crate::config::{Smtp, SmtpTls};

/// For one exchange with the server.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The way to the server.
#[derive(Clone, Debug)]
pub(super) struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mail {
    /// `None` when no server is configured.
    ///
    /// # Errors
    /// An address or a name that is none.
    pub(super) fn new(smtp: &Smtp) -> anyhow::Result<Option<Self>> {
        if smtp.host.is_empty() {
            return Ok(None);
        }
        let from = smtp.from.parse().context("`smtp.from` is not an address")?;
        let builder = match smtp.tls {
            SmtpTls::Starttls => AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(&smtp.host),
            SmtpTls::Tls => AsyncSmtpTransport::<Tokio1Executor>::relay(&smtp.host),
            SmtpTls::None => Ok(AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)),
        };
        let mut builder = builder
            .context("`smtp.host` is not a name to speak TLS with")?
            .port(smtp.port)
            .timeout(Some(TIMEOUT));
        if let Some(username) = &smtp.username {
            let password = smtp.password.as_ref().map(|password| password.expose().clone());
            builder = builder.credentials(Credentials::new(username.clone(), password.unwrap_or_default()));
        }
        Ok(Some(Self { transport: builder.build(), from }))
    }

    async fn send(&self, to: &str, text: &Text) -> Result<(), String> {
        let to: Mailbox = to.parse().map_err(|_| format!("`{to}` is not an address"))?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(&text.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text.body.clone())
            .map_err(|error| error.to_string())?;
        self.transport.send(message).await.map(drop).map_err(|error| error.to_string())
    }
}

impl Messenger for Mail {
    fn has_anybody(&self, project: &Project) -> bool {
        !project.settings.alerts.emails.is_empty()
    }

    /// Everybody gets a message of their own: one address that the server refuses keeps nobody else from theirs. Told
    /// is told when one of them has it.
    async fn tell(&self, project: &Arc<Project>, text: &Text) -> Result<(), String> {
        let mut told = Err("the project names no addresses any more".to_owned());
        for to in &project.settings.alerts.emails {
            match self.send(to, text).await {
                Ok(()) => told = Ok(()),
                Err(problem) => {
                    tracing::warn!(%problem, project = %project.name, "an e-mail was not sent");
                    if told.is_err() {
                        told = Err(problem);
                    }
                }
            }
        }
        told
    }
}
