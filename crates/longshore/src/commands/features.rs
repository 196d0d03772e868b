//! `longshore features`: what is not done yet, and where it is on.

use anyhow::{Context, anyhow};
use longshore_core::ProjectId;
use longshore_core::features::{Feature, FeatureSwitches};
use serde_json::json;

use crate::cli::FeaturesArgs;
use crate::commands::table::table;
use crate::commands::{open_schema, require_schema};
use crate::config::Config;
use crate::failure::say;

/// Lists. Without a project the database is not asked.
pub(super) async fn run(args: &FeaturesArgs, config: &Config) -> anyhow::Result<()> {
    let switches = config.features.switches()?;
    let decided = match &args.project {
        Some(project) => Some(decided(config, project).await?),
        None => None,
    };
    let is_on = |feature: Feature| match &decided {
        None => switches.offers(feature),
        Some(decided) => {
            let decided = decided.iter().find(|(known, _)| *known == feature).map(|(_, is_on)| *is_on);
            switches.is_on(feature, decided)
        }
    };
    if args.json {
        let lines = Feature::ALL.map(|feature| {
            json!({
                "name": feature.as_str(),
                "stage": feature.stage().as_str(),
                "description": feature.description(),
                "enabled": is_on(feature),
            })
        });
        say(&serde_json::to_string_pretty(&lines)?);
    } else {
        say(&table_of(&switches, args.project.is_some(), is_on));
    }
    Ok(())
}

fn table_of(switches: &FeatureSwitches, in_project: bool, is_on: impl Fn(Feature) -> bool) -> String {
    let rows = Feature::ALL.map(|feature| {
        let state = match (in_project, is_on(feature)) {
            (true, true) => "on",
            (true, false) if switches.offers(feature) => "off; the project can turn it on",
            (false, true) => "offered to projects",
            (_, false) => "off; see `features.enabled`",
        };
        [feature.as_str(), feature.stage().as_str(), state, feature.description()].map(str::to_owned)
    });
    table(["NAME", "STAGE", "STATE", "WHAT IT IS"], &rows)
}

async fn decided(config: &Config, project: &str) -> anyhow::Result<Vec<(Feature, bool)>> {
    let store = open_schema(config).await?;
    require_schema(&store).await?;
    let directory = store.directory().await.context("cannot read the projects")?;
    let id: Option<ProjectId> = project.parse().ok();
    let found = directory.projects.iter().find(|(known, name)| Some(*known) == id || name == project);
    let (id, _) = found.ok_or_else(|| anyhow!("no project has the name or id `{project}`"))?;
    let decided = store.project_features(*id).await.context("cannot read the features")?;
    store.close().await;
    Ok(decided)
}
