//! `longshore keys list|create|revoke`: API keys of projects and of people.

use anyhow::{Context, anyhow, bail};
use longshore_core::access::Role;
use longshore_core::{ApiKeyId, Clock, OrganisationId, ProjectId, SystemClock, UserId};
use longshore_store::Store;
use longshore_store::control::{Actor, AuditEntry, Changing, KeyGrant, ListedKey};
use serde_json::{Value, json};

use super::table::table;
use crate::cli::{CreateKeyArgs, KeyOwnerArgs, ListKeysArgs, RevokeKeyArgs};
use crate::commands::{open_schema, open_store, require_schema};
use crate::config::Config;
use crate::failure::say;

/// Whose keys are meant, and which organisations are told of changes.
struct Owner {
    kind: Kind,
    organisations: Vec<OrganisationId>,
}

enum Kind {
    Project(ProjectId),
    User(UserId),
}

impl Owner {
    /// The line of the audit log for one of the organisations.
    fn entry(
        &self,
        organisation: OrganisationId,
        what: (&'static str, &'static str),
        id: ApiKeyId,
        detail: &Value,
    ) -> AuditEntry {
        let (project, action) = match self.kind {
            Kind::Project(project) => (Some(project), what.0),
            Kind::User(_) => (None, what.1),
        };
        AuditEntry { organisation, project, action, resource: id.to_string(), detail: detail.clone() }
    }

    async fn audit(
        &self,
        change: &mut Changing,
        what: (&'static str, &'static str),
        id: ApiKeyId,
        detail: &Value,
    ) -> anyhow::Result<()> {
        for organisation in &self.organisations {
            change.audit(&self.entry(*organisation, what, id, detail)).await?;
        }
        Ok(())
    }
}

pub(super) async fn list(args: &ListKeysArgs, config: &Config) -> anyhow::Result<()> {
    let store = open_schema(config).await?;
    require_schema(&store).await?;
    let keys = match find(&store, &args.owner).await?.kind {
        Kind::Project(project) => store.project_keys(project).await,
        Kind::User(user) => store.personal_keys(user).await,
    };
    let keys = keys.context("cannot read the keys")?;
    store.close().await;
    if args.list.json {
        let keys: Vec<Value> = keys.iter().map(as_json).collect();
        say(&serde_json::to_string_pretty(&keys)?);
    } else {
        let rows: Vec<_> = keys.iter().map(row).collect();
        say(&table(["ID", "NAME", "KEY", "ROLE", "SCOPES", "EXPIRES"], &rows));
    }
    Ok(())
}

pub(super) async fn create(args: &CreateKeyArgs, config: &Config) -> anyhow::Result<()> {
    let name = args.name.trim();
    if name.is_empty() {
        bail!("`--name` is empty: write a name");
    }
    if args.expires_at.is_some_and(|end| end <= SystemClock.now()) {
        bail!("`--expires-at` is past: write a time to come");
    }
    let store = open_store(config).await?;
    require_schema(&store).await?;
    let owner = find(&store, &args.owner).await?;
    let hasher = store.api_key_hasher().await.context("cannot make API keys")?;
    let grant = KeyGrant { role: args.role, scopes: args.scopes.clone(), expires_at: args.expires_at };
    let mut change = store.change(Actor::command_line()).await.context("cannot begin the change")?;
    let made = match owner.kind {
        Kind::Project(project) => change.add_project_key(project, name, grant, &hasher).await,
        Kind::User(user) => change.add_personal_key(user, name, grant, &hasher).await,
    };
    let made = made.context("no key was made")?;
    let what = ("api_key.created", "personal_key.created");
    owner.audit(&mut change, what, made.listed.id, &as_json(&made.listed)).await?;
    change.commit().await.context("no key was made, unless the connection broke at the very end")?;
    store.close().await;
    say(&format!("key {}, shown this once: {}", made.listed.id, made.text.expose()));
    Ok(())
}

pub(super) async fn revoke(args: &RevokeKeyArgs, config: &Config) -> anyhow::Result<()> {
    let store = open_schema(config).await?;
    require_schema(&store).await?;
    let owner = find(&store, &args.owner).await?;
    let mut change = store.change(Actor::command_line()).await.context("cannot begin the change")?;
    let name = match owner.kind {
        Kind::Project(project) => change.delete_project_key(project, args.id).await?.map(|(_, name)| name),
        Kind::User(user) => change.delete_personal_key(user, args.id).await?,
    };
    let name =
        name.ok_or_else(|| anyhow!("there is no such key `{}`; `longshore keys list` shows them", args.id))?;
    let what = ("api_key.revoked", "personal_key.revoked");
    owner.audit(&mut change, what, args.id, &json!({"name": name})).await?;
    change.commit().await.context("cannot revoke the key")?;
    store.close().await;
    say(&format!("key `{name}` is revoked"));
    Ok(())
}

async fn find(store: &Store, args: &KeyOwnerArgs) -> anyhow::Result<Owner> {
    if let Some(email) = &args.email {
        let user = store.user_by_email(email).await.context("cannot read the people")?;
        let user = user.ok_or_else(|| anyhow!("nobody has the address `{email}`"))?;
        let organisations = store.organisations_of(user).await.context("cannot read the organisations")?;
        let organisations = organisations.into_iter().map(|(organisation, _)| organisation.id).collect();
        return Ok(Owner { kind: Kind::User(user), organisations });
    }
    let text = args.project.as_deref().unwrap_or_default();
    let found = store.projects_called(text).await.context("cannot read the projects")?;
    match found.as_slice() {
        [] => bail!("no project `{text}`"),
        [(project, organisation)] => {
            Ok(Owner { kind: Kind::Project(*project), organisations: vec![*organisation] })
        }
        _ => bail!("several organisations have a project `{text}`; name it by its id"),
    }
}

fn row(key: &ListedKey) -> [String; 6] {
    let scopes: Vec<String> = key.grant.scopes.iter().map(ToString::to_string).collect();
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    [
        key.id.to_string(),
        key.name.clone(),
        or_dash(key.mask.clone()),
        or_dash(key.grant.role.map(|role| role.to_string()).unwrap_or_default()),
        or_dash(scopes.join(",")),
        or_dash(key.grant.expires_at.map(|at| at.to_string()).unwrap_or_default()),
    ]
}

fn as_json(key: &ListedKey) -> Value {
    let scopes: Vec<String> = key.grant.scopes.iter().map(ToString::to_string).collect();
    json!({
        "id": key.id.to_string(),
        "name": key.name,
        "mask": key.mask,
        "role": key.grant.role.map(Role::as_str),
        "scopes": scopes,
        "expires_at": key.grant.expires_at.map(|at| at.to_string()),
        "created_at": key.created_at.to_string(),
    })
}
