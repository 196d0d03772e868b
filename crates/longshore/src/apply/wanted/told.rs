//! Who is told what: meta events and alerts, checked.

use std::time::Duration;

use longshore_core::project::{ProjectCredentials, ProjectSettings};
use longshore_core::signature::SigningKey;

use super::Reader;

const MOST_ADDRESSES: usize = 20;
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3_600);

impl Reader {
    /// What can be said of the settings alone.
    pub(super) fn told(&mut self, path: &str, settings: &ProjectSettings) {
        let at = |key: &str| format!("{path}.settings.{key}");
        if settings.meta_events.enabled && settings.meta_events.url.is_none() {
            self.fault(at("meta_events.url"), "is missing: where meta events are posted to");
        }
        if let Some(url) = &settings.meta_events.url {
            self.url(at("meta_events.url"), url.as_str());
        }
        let alerts = &settings.alerts;
        if alerts.emails.len() > MOST_ADDRESSES {
            self.fault(at("alerts.emails"), format!("more than {MOST_ADDRESSES}; use a list's address"));
        }
        for (index, email) in alerts.emails.iter().enumerate() {
            if email.parse::<lettre::Address>().is_err() {
                self.fault(at(&format!("alerts.emails[{index}]")), format!("`{email}` is not an address"));
            }
        }
        if !(SHORTEST..=LONGEST).contains(&alerts.every.0) {
            self.fault(at("alerts.every"), "write a duration from `1s` to `7d`");
        }
    }

    /// What takes the credentials as well.
    pub(super) fn told_with(
        &mut self,
        path: &str,
        settings: &ProjectSettings,
        credentials: &ProjectCredentials,
    ) {
        let at = |key: &str| format!("{path}.credentials.{key}");
        match &credentials.meta_event_secret {
            Some(secret) => drop(self.ok(at("meta_event_secret"), SigningKey::parse(secret.expose()))),
            None if settings.meta_events.enabled => {
                self.fault(at("meta_event_secret"), "is missing: meta events are signed with it");
            }
            None => {}
        }
        if let Some(url) = &credentials.slack_url {
            self.url(at("slack_url"), url.expose());
        }
    }
}
