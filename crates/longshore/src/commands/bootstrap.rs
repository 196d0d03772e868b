//! `longshore bootstrap`: the first organisation, its owner and the owner's key.
//!
//! Invariant: repeating it makes nothing twice, and prints no key but one that it has just made.

use anyhow::{Context, bail};
use longshore_core::access::Role;
use longshore_core::project::{ProjectCredentials, ProjectSettings};
use longshore_store::control::{Actor, AuditEntry, Changing, KeyGrant, ProjectDraft};
use longshore_store::{ApiKeyHasher, ApiKeyText};
use serde_json::json;

use crate::cli::BootstrapArgs;
use crate::commands::{open_store, require_schema};
use crate::config::Config;
use crate::failure::say;

pub(super) async fn run(args: &BootstrapArgs, config: &Config) -> anyhow::Result<()> {
    let (organisation, email) = (args.organisation.trim(), args.email.trim());
    if organisation.is_empty() {
        bail!("`--organisation` is empty: write a name");
    }
    if !email.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty()) {
        bail!("`--email`: `{email}` is no e-mail address");
    }
    let store = open_store(config).await?;
    require_schema(&store).await?;
    let hasher = store.api_key_hasher().await.context("cannot make API keys")?;
    let mut change = store.change(Actor::command_line()).await.context("cannot begin the change")?;
    let mut said = Vec::new();
    let key = make(&mut change, args, (organisation, email), &hasher, &mut said).await;
    let key = key.context("nothing was made")?;
    change.commit().await.context("nothing was made, unless the connection broke at the very end")?;
    store.close().await;
    for line in said {
        say(&line);
    }
    match key {
        Some(key) => {
            say(&format!("personal key of {email}, shown this once: {}", key.expose()));
        }
        None => say(&format!(
            "{email} has a key already; `longshore keys create --email {email} --name NAME` makes another"
        )),
    }
    Ok(())
}

/// Makes what is not there, says what is, and returns the owner's key if it is new.
async fn make(
    change: &mut Changing,
    args: &BootstrapArgs,
    (organisation, email): (&str, &str),
    hasher: &ApiKeyHasher,
    said: &mut Vec<String>,
) -> anyhow::Result<Option<ApiKeyText>> {
    let found = change.organisation_named(organisation).await?;
    let id = match found {
        Some(id) => id,
        None => change.add_organisation(organisation).await?,
    };
    said.push(format!("organisation `{organisation}`: {id}{}", there(found.is_some())));
    let entry = |action, resource: String, detail| AuditEntry {
        organisation: id,
        project: None,
        action,
        resource,
        detail,
    };
    if found.is_none() {
        let detail = json!({"name": organisation});
        change.audit(&entry("organisation.created", id.to_string(), detail)).await?;
    }

    let user = change.user(email).await?;
    let before = change.member_role(id, user).await?;
    if before != Some(Role::Owner) {
        change.put_member(id, user, Role::Owner).await?;
        let detail = json!({"email": email, "role": Role::Owner, "before": before});
        let action = if before.is_some() { "member.updated" } else { "member.added" };
        change.audit(&entry(action, user.to_string(), detail)).await?;
    }
    said.push(format!("owner {email}: {user}{}", there(before == Some(Role::Owner))));

    if let Some(name) = args.project.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
        let found = change.project_named(id, name).await?;
        let project = match found {
            Some(project) => project,
            None => {
                let version = longshore_api::v1::newest_version();
                let project = change.add_project(id, "outgoing", version, &draft(name)).await?;
                let mut line = entry("project.created", project.to_string(), json!({"name": name}));
                line.project = Some(project);
                change.audit(&line).await?;
                project
            }
        };
        said.push(format!("project `{name}`: {project}{}", there(found.is_some())));
    }

    if change.has_full_key(user).await? {
        return Ok(None);
    }
    let grant = KeyGrant { role: None, scopes: Vec::new(), expires_at: None };
    let made = change.add_personal_key(user, "bootstrap", grant, hasher).await?;
    let detail = json!({"name": made.listed.name, "mask": made.listed.mask});
    change.audit(&entry("personal_key.created", made.listed.id.to_string(), detail)).await?;
    Ok(Some(made.text))
}

const fn there(is_there: bool) -> &'static str {
    if is_there { " (was there already)" } else { "" }
}

fn draft(name: &str) -> ProjectDraft {
    ProjectDraft {
        name: name.to_owned(),
        logo_url: String::new(),
        settings: ProjectSettings::default(),
        credentials: ProjectCredentials::default(),
        contract_settings: json!({}),
    }
}
