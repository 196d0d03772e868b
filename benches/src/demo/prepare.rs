//! What a run needs before the gateway starts: a database, a queue, and the example with this run's addresses.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};

use super::{EXAMPLE_BROKER, EXAMPLE_QUEUE, EXAMPLE_RECEIVER};

const EXAMPLE: &str = include_str!("../../../examples/demo.yaml");

/// Makes database and queue named `name`, and `demo.yaml` in `dir`; returns the database's URL.
///
/// # Errors
/// A server's.
pub async fn prepare(
    dir: &Path,
    name: &str,
    postgres: &str,
    broker: &str,
    receiver: SocketAddr,
) -> anyhow::Result<String> {
    let admin: PgConnectOptions = postgres.parse().context("DATABASE_URL is not a Postgres URL")?;
    let mut connection = admin.connect().await.context("Postgres does not answer")?;
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE \"{name}\""))).execute(&mut connection).await?;
    // As the example's source declares it, but before anybody publishes.
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    let connection = connect(broker).await?;
    let channel = connection.create_channel().await?;
    channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await?;
    std::fs::write(dir.join("demo.yaml"), resources(name, broker, receiver)?)?;
    Ok(admin.database(name).to_url_lossy().into())
}

/// Removes database and queue. What is gone already is no error.
///
/// # Errors
/// A server's.
pub async fn clean(name: &str, postgres: &str, broker: &str) -> anyhow::Result<()> {
    let admin: PgConnectOptions = postgres.parse().context("DATABASE_URL is not a Postgres URL")?;
    let mut connection = admin.connect().await.context("Postgres does not answer")?;
    let drop = format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)");
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await?;
    let channel = connect(broker).await?.create_channel().await?;
    channel.queue_delete(name.into(), QueueDeleteOptions::default()).await?;
    Ok(())
}

async fn connect(broker: &str) -> anyhow::Result<Connection> {
    let options = ConnectionProperties::default().with_connection_name("longshore-demo".into());
    Connection::connect(broker, options).await.context("RabbitMQ does not answer")
}

fn resources(name: &str, broker: &str, receiver: SocketAddr) -> anyhow::Result<String> {
    let mut text = EXAMPLE.to_owned();
    let queue = format!("queue: {EXAMPLE_QUEUE}");
    for (written, meant) in [
        (EXAMPLE_RECEIVER, format!("http://{receiver}")),
        (EXAMPLE_BROKER, broker.to_owned()),
        (queue.as_str(), format!("queue: {name}")),
    ] {
        anyhow::ensure!(text.contains(written), "examples/demo.yaml no longer has `{written}`");
        text = text.replace(written, &meant);
    }
    Ok(text)
}
