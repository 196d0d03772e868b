//! What a given `config.meta_event` makes of a project.

use longshore_core::Secret;
use longshore_core::notice::NoticeKind;
use longshore_core::signature::SigningKey;
use longshore_store::control::ProjectDraft;
use rand::rngs::StdRng;

use super::config::MetaEventConfig;
use crate::v1::problem::Problem;

impl MetaEventConfig {
    pub(super) fn apply(self, draft: &mut ProjectDraft, rng: &mut StdRng) -> Result<(), Problem> {
        let invalid = |field: &str, problem: &str| {
            Err(Problem::invalid(&format!("config.meta_event.{field}"), problem))
        };
        let meta = &mut draft.settings.meta_events;
        if !matches!(self.r#type.as_deref(), None | Some("" | "http")) {
            return invalid("type", "write `http`: meta events are posted to a URL");
        }
        if let Some(names) = self.event_type {
            let kinds: Result<Vec<NoticeKind>, _> = names.iter().map(|name| name.parse()).collect();
            meta.event_types =
                kinds.map_err(|error| Problem::invalid("config.meta_event.event_type", error))?;
        }
        if let Some(text) = self.url {
            meta.url = match text.as_str() {
                "" => None,
                text => match text.parse() {
                    Ok(url) => Some(url),
                    Err(_) => return invalid("url", "is no URL"),
                },
            };
        }
        let has_scheme = meta.url.as_ref().is_none_or(|url| matches!(url.scheme(), "http" | "https"));
        if !has_scheme {
            return invalid("url", "must begin with `https://`");
        }
        meta.enabled = self.is_enabled.unwrap_or(meta.enabled);
        if meta.enabled && meta.url.is_none() {
            return invalid("url", "is missing: where meta events are posted to");
        }
        if let Some(secret) = self.secret.filter(|secret| !secret.is_empty()) {
            SigningKey::parse(&secret)
                .map_err(|error| Problem::invalid("config.meta_event.secret", error))?;
            draft.credentials.meta_event_secret = Some(Secret::new(secret));
        }
        if meta.enabled && draft.credentials.meta_event_secret.is_none() {
            let secret = SigningKey::generate(rng);
            draft.credentials.meta_event_secret = Some(Secret::new(secret));
        }
        Ok(())
    }
}
