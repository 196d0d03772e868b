//! What an alert says to people. Pure.

use longshore_core::{NoticeKind, Project};
use longshore_store::notices::DueAlert;
use serde_json::Value;

/// Longest line of a fact.
const LONGEST: usize = 300;

/// An alert in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// One line.
    pub(super) subject: String,
    /// What happened, how often, and what is known.
    pub(super) body: String,
}

impl Text {
    pub(super) fn of(project: &Project, alert: &DueAlert) -> Self {
        let data: Value = serde_json::from_str(&alert.data).unwrap_or_default();
        let fact = |name: &str| data.get(name).and_then(Value::as_str).map(printable);
        let endpoint = fact("name").or_else(|| fact("endpoint_id")).or_else(|| fact("uid"));
        let who = endpoint.unwrap_or_else(|| "?".to_owned());
        let what = match alert.key.kind {
            NoticeKind::EndpointCreated => format!("endpoint {who} was created"),
            NoticeKind::EndpointUpdated => format!("endpoint {who} was changed"),
            NoticeKind::EndpointDeleted => format!("endpoint {who} was deleted"),
            NoticeKind::EndpointDisabled => format!("endpoint {who} was disabled"),
            NoticeKind::EndpointEnabled => format!("endpoint {who} is active again"),
            NoticeKind::BreakerOpened => format!("deliveries to endpoint {who} wait: it keeps failing"),
            NoticeKind::BreakerClosed => format!("deliveries to endpoint {who} go out again"),
            NoticeKind::DeliverySuccess => format!("a delivery to endpoint {who} succeeded"),
            NoticeKind::DeliveryFailed => format!("a delivery to endpoint {who} was given up"),
            NoticeKind::SourceFailing => format!("source {who} is failing"),
            NoticeKind::SourceRecovered => format!("source {who} consumes again"),
        };
        let name = printable(&project.name);
        let mut body = format!("Project {name}: {what}.\n");
        if alert.pending > 1 {
            let times = alert.pending;
            body.push_str(&format!("{times} times since the last message; this is the latest.\n"));
        }
        body.push('\n');
        for (key, value) in data.as_object().into_iter().flatten() {
            let shown = match value {
                Value::Null => continue,
                Value::String(text) => printable(text),
                other => printable(&other.to_string()),
            };
            body.push_str(&format!("{key}: {shown}\n"));
        }
        body.push_str(&format!("kind: {}\nhappened at: {}\n", alert.key.kind, alert.happened_at));
        Self { subject: format!("[Longshore] {name}: {what}"), body }
    }
}

/// One line without control characters, not too long.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use longshore_core::{ProjectId, Timestamp};
    use longshore_store::notices::{AlertKey, Channel};

    use super::*;

    fn alert(kind: NoticeKind, pending: i64, data: &str) -> DueAlert {
        let project = ProjectId::from_u128(1);
        DueAlert {
            key: AlertKey { project, channel: Channel::Email, kind, subject: 1 },
            pending,
            data: data.to_owned(),
            happened_at: Timestamp::EPOCH,
            attempt: 1,
        }
    }

    #[test]
    fn an_alert_names_what_happened_to_whom_and_how_often() {
        let project = Project::new(ProjectId::from_u128(1), "shop".to_owned());
        let data = r#"{"name": "accounting", "status_reason": "gone", "owner_id": null}"#;

        let once = Text::of(&project, &alert(NoticeKind::EndpointDisabled, 1, data));
        let often = Text::of(&project, &alert(NoticeKind::EndpointDisabled, 41, data));

        assert_eq!(once.subject, "[Longshore] shop: endpoint accounting was disabled");
        assert!(once.body.contains("status_reason: gone\n") && !once.body.contains("owner_id"));
        assert!(!once.body.contains("times since") && often.body.contains("41 times since"));
    }

    #[test]
    fn nobody_writes_lines_of_their_own_into_an_alert() {
        let project = Project::new(ProjectId::from_u128(1), "shop\r\nBcc: all".to_owned());
        let data = r#"{"name": "a\r\nTo: b", "problem": "c\nd"}"#;

        let text = Text::of(&project, &alert(NoticeKind::SourceFailing, 1, data));

        assert_eq!(text.subject.lines().count(), 1);
        assert!(text.body.contains("problem: cd\n"));
    }
}
