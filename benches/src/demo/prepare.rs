//! What a run needs before the gateway starts: a database, and the example with this run's addresses.

use std::net::SocketAddr;

use anyhow::Context;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};

use super::EXAMPLE_RECEIVER;
use super::channel::Channel;

const EXAMPLE: &str = include_str!("../../../examples/demo.yaml");
/// The last section of the example, which is replaced as a whole.
const SOURCES: &str = "    sources:\n";

/// Makes a database named `name` and returns its URL.
///
/// # Errors
/// Postgres'.
pub async fn database(name: &str, postgres: &str) -> anyhow::Result<String> {
    let admin: PgConnectOptions = postgres.parse().context("DATABASE_URL is not a Postgres URL")?;
    let mut connection = admin.connect().await.context("Postgres does not answer")?;
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE \"{name}\""))).execute(&mut connection).await?;
    Ok(admin.database(name).to_url_lossy().into())
}

/// Removes the database. What is gone already is no error.
///
/// # Errors
/// Postgres'.
pub async fn clean(name: &str, postgres: &str) -> anyhow::Result<()> {
    let admin: PgConnectOptions = postgres.parse().context("DATABASE_URL is not a Postgres URL")?;
    let mut connection = admin.connect().await.context("Postgres does not answer")?;
    let drop = format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)");
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await?;
    Ok(())
}

/// The example with this run's receiver and source.
///
/// # Errors
/// When the example has changed its form.
pub fn resources(channel: &Channel, receiver: SocketAddr) -> anyhow::Result<String> {
    let (kind, settings) = channel.source();
    with_addresses(receiver, kind, &settings.to_string())
}

fn with_addresses(receiver: SocketAddr, kind: &str, settings: &str) -> anyhow::Result<String> {
    let (rest, _) = EXAMPLE.split_once(SOURCES).context("examples/demo.yaml has no sources any more")?;
    anyhow::ensure!(rest.contains(EXAMPLE_RECEIVER), "examples/demo.yaml no longer has `{EXAMPLE_RECEIVER}`");
    let rest = rest.replace(EXAMPLE_RECEIVER, &format!("http://{receiver}"));
    Ok(format!("{rest}{SOURCES}      - {{name: orders, kind: {kind}, {kind}: {settings}}}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_keeps_everything_but_its_addresses() {
        let text = with_addresses("127.0.0.1:1".parse().unwrap(), "kafka", r#"{"topic_name":"t"}"#).unwrap();

        assert!(text.contains("url: http://127.0.0.1:1/accounting"), "{text}");
        assert!(text.ends_with("- {name: orders, kind: kafka, kafka: {\"topic_name\":\"t\"}}\n"), "{text}");
        assert!(!text.contains("rabbitmq"), "{text}");
    }
}
