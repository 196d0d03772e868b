//! A database of its own for each test, on the Postgres that `DATABASE_URL` names.
//!
//! It knows no schema: what goes into a database is the caller's. Databases are dropped with the value that
//! made them; those of a test run that was killed are dropped by the next run on the same machine.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::sync::OnceCell;

use crate::{server_url, unique};

/// A database of its own; dropped, with whoever is still connected, when the value is.
#[derive(Debug)]
pub struct TestDatabase {
    admin: PgConnectOptions,
    name: String,
}

impl TestDatabase {
    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.options().to_url_lossy().into()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How to connect to it.
    #[must_use]
    pub fn options(&self) -> PgConnectOptions {
        self.admin.clone().database(&self.name)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (admin, name) = (self.admin.clone(), std::mem::take(&mut self.name));
        // A thread of its own: the caller may be inside a runtime, where nothing can be waited for.
        let dropper = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(async { drop_database(&mut admin.connect().await.ok()?, &name).await.ok() })
        });
        let _ = dropper.join(); // best effort: the server may have been stopped by the test
    }
}

/// Creates an empty database.
///
/// # Panics
/// When `DATABASE_URL` is not set, the server does not answer, or its role may not create databases.
pub async fn fresh_database() -> TestDatabase {
    let admin = admin_options();
    let mut connection = connect(&admin).await;
    sweep(&mut connection).await;
    create(&mut connection, &admin, "db", "template1").await
}

/// Creates a database as a copy of one that `prepare` has filled, once in this process for each `label`.
///
/// `prepare` gets the URL of an empty database and must have closed its connections when it returns.
///
/// # Panics
/// As [`fresh_database`], and when `prepare` does.
pub async fn fresh_from_template<F>(label: &'static str, prepare: impl FnOnce(String) -> F) -> TestDatabase
where
    F: Future<Output = ()>,
{
    type Templates = Mutex<HashMap<&'static str, Arc<OnceCell<String>>>>;
    static TEMPLATES: LazyLock<Templates> = LazyLock::new(Mutex::default);

    let admin = admin_options();
    let mut connection = connect(&admin).await;
    let cell = Arc::clone(TEMPLATES.lock().unwrap_or_else(PoisonError::into_inner).entry(label).or_default());
    let prepared = cell.get_or_init(|| async {
        sweep(&mut connection).await;
        let template = create(&mut connection, &admin, "template", "template1").await;
        prepare(template.url()).await;
        let name = template.name.clone();
        // Lives as long as the process; the next run sweeps it.
        std::mem::forget(template);
        name
    });
    let template = prepared.await.clone();
    create(&mut connection, &admin, "db", &template).await
}

fn admin_options() -> PgConnectOptions {
    let url = server_url("DATABASE_URL");
    url.parse().unwrap_or_else(|error| panic!("DATABASE_URL is not a Postgres URL: {error}"))
}

async fn connect(admin: &PgConnectOptions) -> PgConnection {
    let connected = admin.connect().await;
    connected.unwrap_or_else(|error| panic!("the Postgres of DATABASE_URL does not answer: {error}"))
}

async fn create(
    connection: &mut PgConnection,
    admin: &PgConnectOptions,
    label: &str,
    template: &str,
) -> TestDatabase {
    let name = unique::name(label);
    let created = execute(connection, format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\"")).await;
    created.unwrap_or_else(|error| panic!("a test database cannot be created from `{template}`: {error}"));
    TestDatabase { admin: admin.clone(), name }
}

/// Drops the databases that dead processes of this machine left behind.
async fn sweep(connection: &mut PgConnection) {
    let query = "SELECT datname FROM pg_database WHERE starts_with(datname, $1)";
    let names: Vec<String> = sqlx::query_scalar(query)
        .bind(unique::machine_prefix())
        .fetch_all(&mut *connection)
        .await
        .unwrap_or_default();
    for name in names {
        let dead =
            unique::maker(&name).is_some_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists());
        if dead && std::path::Path::new("/proc/self").exists() {
            let _ = drop_database(connection, &name).await; // another process may be quicker
        }
    }
}

async fn drop_database(connection: &mut PgConnection, name: &str) -> sqlx::Result<()> {
    execute(connection, format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)")).await
}

async fn execute(connection: &mut PgConnection, sql: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
}

/// Runs one query that gives one number, e.g. a count, on a database of any schema.
///
/// # Panics
/// When the query fails.
pub async fn count(database: &TestDatabase, sql: &str) -> i64 {
    let mut connection = connect(&database.options()).await;
    let counted = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await;
    let _ = connection.close().await;
    counted.unwrap_or_else(|error| panic!("`{sql}` failed: {error}"))
}
