//! Writes notices down for the channels that want them.

use std::collections::{BTreeMap, HashMap};

use longshore_core::notice::Notice;
use longshore_core::ports::StoreError;
use longshore_core::project::ProjectSettings;
use longshore_core::{Clock, IdGenerator, ProjectId, SystemClock};
use rand::rngs::{OsRng, StdRng};
use rand::{SeedableRng, TryRngCore};
use sqlx::PgConnection;
use uuid::Uuid;

use super::alerts::{AlertKey, Channel};
use crate::error::sort;
use crate::rows::open_project;
use crate::seal::Keys;

/// Writes a row for each channel of each notice's project that wants its kind; alerts of one kind about one subject
/// are gathered into one row.
pub(crate) async fn tell(
    connection: &mut PgConnection,
    keys: &Keys,
    notices: &[Notice],
) -> Result<(), StoreError> {
    if notices.is_empty() {
        return Ok(());
    }
    let projects = projects(connection, keys, notices).await?;
    let ids = IdGenerator::new(SystemClock.now(), StdRng::from_rng(&mut OsRng.unwrap_err()));
    let mut events = EventColumns::default();
    let mut alerts: BTreeMap<AlertKey, (i64, String)> = BTreeMap::new();
    for notice in notices {
        let Some(Told { settings, has_slack }) = projects.get(&notice.project) else { continue };
        let data = without_nul(notice.data.to_string());
        if settings.meta_events.wants(notice.kind) {
            events.project.push(notice.project.as_uuid());
            events.id.push(Uuid::from_u128(ids.next(SystemClock.now())));
            events.event_type.push(notice.kind.as_str());
            events.data.push(data.clone());
        }
        if !settings.alerts.wants(notice.kind) {
            continue;
        }
        let email = (!settings.alerts.emails.is_empty()).then_some(Channel::Email);
        let slack = has_slack.then_some(Channel::Slack);
        for channel in email.into_iter().chain(slack) {
            let key =
                AlertKey { project: notice.project, channel, kind: notice.kind, subject: notice.subject };
            let entry = alerts.entry(key).or_default();
            entry.0 += 1;
            entry.1.clone_from(&data);
        }
    }
    events.write(connection).await?;
    super::alerts::gather(connection, &alerts).await
}

/// Who is told, by a project's settings.
struct Told {
    settings: ProjectSettings,
    has_slack: bool,
}

/// The projects of the notices. One whose row does not parse is told nothing: its deliveries matter more.
async fn projects(
    connection: &mut PgConnection,
    keys: &Keys,
    notices: &[Notice],
) -> Result<HashMap<ProjectId, Told>, StoreError> {
    let mut ids: Vec<Uuid> = notices.iter().map(|notice| notice.project.as_uuid()).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows = sqlx::query!("SELECT id, settings, sealed_credentials FROM projects WHERE id = ANY($1)", &ids)
        .fetch_all(connection)
        .await
        .map_err(sort)?;
    let mut projects = HashMap::new();
    for row in rows {
        let settings = match serde_json::from_value(row.settings) {
            Ok(settings) => settings,
            Err(error) => {
                tracing::warn!(project.id = %row.id, %error, "a project cannot be told of what happened");
                continue;
            }
        };
        // A command that has no key cannot look inside; whoever tells the alert can, and drops it if there is no URL.
        let has_slack = row.sealed_credentials.is_some_and(|sealed| {
            open_project(keys, &sealed, row.id).map_or(true, |credentials| credentials.slack_url.is_some())
        });
        projects.insert(ProjectId::from_uuid(row.id), Told { settings, has_slack });
    }
    Ok(projects)
}

/// `json` holds the escape of NUL, but whoever reads a member of it as text fails.
fn without_nul(text: String) -> String {
    if text.contains("\\u0000") { text.replace("\\u0000", "\\ufffd") } else { text }
}

#[derive(Default)]
struct EventColumns {
    project: Vec<Uuid>,
    id: Vec<Uuid>,
    event_type: Vec<&'static str>,
    data: Vec<String>,
}

impl EventColumns {
    async fn write(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        if self.id.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "INSERT INTO meta_events (project_id, id, event_type, data)
             SELECT project_id, id, event_type, data::json
             FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS t (project_id, id, event_type, data)",
            &self.project,
            &self.id,
            &self.event_type as _,
            &self.data,
        )
        .execute(connection)
        .await
        .map(drop)
        .map_err(sort)
    }
}
