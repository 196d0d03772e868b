//! Alerts as messages in Slack's format (`{"text": …}`), which other chats take too.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use longshore_core::Project;
use longshore_pipeline::dispatch::egress::Route;
use longshore_pipeline::dispatch::{SignedRequest, Transport};
use serde_json::json;

use super::alerts::Messenger;
use super::text::Text;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Posts to the URL that the project's credentials hold; the guard looks at it as at any endpoint's.
#[derive(Clone, Debug)]
pub(super) struct Slack<T> {
    pub(super) transport: T,
}

impl<T: Transport> Messenger for Slack<T> {
    fn has_anybody(&self, project: &Project) -> bool {
        project.credentials.slack_url.is_some()
    }

    async fn tell(&self, project: &Arc<Project>, text: &Text) -> Result<(), String> {
        let url = project.credentials.slack_url.as_ref();
        let url = url.ok_or("the project has no `credentials.slack_url` any more")?;
        let url = url.expose().parse().map_err(|_| "`credentials.slack_url` is not a URL")?;
        let headers: HeaderMap =
            [(CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
        let body = body(text);
        let route = Route::of_project(project);
        let request = SignedRequest { url, headers, body: body.into(), timeout: TIMEOUT, route };
        let answer = self.transport.send(request).await;
        match answer.outcome.status() {
            _ if answer.outcome.is_success() => Ok(()),
            Some(status) => Err(format!("answered {status}")),
            None => Err(answer.error),
        }
    }
}

/// `&`, `<` and `>` have a meaning there.
fn body(text: &Text) -> String {
    let plain = format!("*{}*\n{}", text.subject, text.body);
    let escaped = plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({ "text": escaped }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_an_alert_is_markup() {
        let text = Text { subject: "a & b".to_owned(), body: "<!channel>".to_owned() };

        assert_eq!(body(&text), r#"{"text":"*a &amp; b*\n&lt;!channel&gt;"}"#);
    }
}
