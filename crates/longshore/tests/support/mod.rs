//! A database of one's own, and the program run against it.

use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use longshore_core::Secret;
use longshore_store::{Keys, Settings, Store};
use tempfile::NamedTempFile;

pub const MASTER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A database that no other test sees.
#[derive(Debug)]
pub struct Database {
    admin_url: String,
    name: String,
    pub url: String,
}

impl Database {
    pub async fn create() -> Self {
        let admin_url =
            std::env::var("DATABASE_URL").expect("DATABASE_URL names a Postgres to make databases in");
        let name = format!("bin_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (server, _) = admin_url.rsplit_once('/').expect("DATABASE_URL ends with a database's name");
        let database = Self { url: format!("{server}/{name}"), name, admin_url };
        database.psql(&format!("CREATE DATABASE {}", database.name)).await;
        database
    }

    pub async fn drop(self) {
        self.psql(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }

    pub async fn store(&self) -> Store {
        let settings = Settings {
            url: Secret::new(self.url.clone()),
            max_connections: 2,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(5),
            lease: Duration::from_secs(4),
        };
        longshore_store::connect(&settings, Keys::parse(MASTER_KEY).unwrap()).await.unwrap()
    }

    async fn psql(&self, sql: &str) {
        let (url, sql) = (self.admin_url.clone(), sql.to_owned());
        let run = move || Command::new("psql").args(["-q", "-d", &url, "-c", &sql]).status().unwrap();
        assert!(tokio::task::spawn_blocking(run).await.unwrap().success());
    }
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program to its end, with nothing in its environment but what it needs.
pub fn longshore(database: &Database, args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_longshore"))
        .args(args)
        .env_clear()
        .env("LONGSHORE__DATABASE__URL", &database.url)
        .env("LONGSHORE__SECURITY__MASTER_KEY", MASTER_KEY)
        .output()
        .unwrap();
    Output {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}
