//! The handles on real servers; `make test` starts them.

use longshore_testkit::database::{TestDatabase, count, fresh_database, fresh_from_template};
use longshore_testkit::rabbitmq::{Outgoing, QueueKind, Rabbit};
use longshore_testkit::servers::{OwnServers, Server, Stop};

async fn fill(url: String) {
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE things AS SELECT 7 AS thing").execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
}

async fn exists(database: &TestDatabase, name: &str) -> bool {
    count(database, &format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'")).await == 1
}

#[tokio::test]
async fn a_database_is_empty_and_gone_after_use() {
    let witness = fresh_database().await;
    let database = fresh_database().await;
    let name = database.name().to_owned();

    assert_eq!(
        count(&database, "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
            .await,
        0
    );
    assert!(exists(&witness, &name).await);
    drop(database);
    assert!(!exists(&witness, &name).await);
}

#[tokio::test]
async fn a_template_is_filled_once_and_its_copies_are_apart() {
    let (first, second) = tokio::join!(fresh_from_template("kit", fill), fresh_from_template("kit", fill));

    assert_ne!(first.name(), second.name());
    for database in [first, second] {
        assert_eq!(count(&database, "SELECT thing::bigint FROM things").await, 7);
    }
}

#[tokio::test]
async fn queues_of_every_kind_hold_what_was_published() {
    let rabbit = Rabbit::connect().await;
    for kind in QueueKind::ALL {
        let queue = rabbit.queue(kind).await;

        let messages = (0..2_500).map(|n| {
            Outgoing::new(format!("{n}")).identified(format!("m-{n}"), 1_700_000_000).header("x-kind", "test")
        });
        let mut confirmed = Vec::new();
        queue.try_publish(messages, |position| confirmed.push(position)).await.unwrap();

        assert_eq!(confirmed, (0..2_500).collect::<Vec<_>>());
        assert_eq!((kind, queue.consumers().await), (kind, 0));
        if kind == QueueKind::Classic {
            assert_eq!(queue.depth().await, 2_500);
        }
        queue.delete().await;
    }
}

#[tokio::test]
async fn own_servers_keep_durable_data_over_a_loss_of_power() {
    let servers = OwnServers::start(&[Server::Postgres]).await;
    fill(servers.database_url().to_owned()).await;

    servers.stop(Server::Postgres, Stop::Immediate).await;
    let refused = <sqlx::PgConnection as sqlx::Connection>::connect(servers.database_url()).await;
    assert!(refused.is_err());
    servers.start_again(Server::Postgres).await;

    let mut connection =
        <sqlx::PgConnection as sqlx::Connection>::connect(servers.database_url()).await.unwrap();
    let thing: i32 = sqlx::query_scalar("SELECT thing FROM things").fetch_one(&mut connection).await.unwrap();
    assert_eq!(thing, 7);
}
