//! A database of one's own, and the program run against it.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use longshore_core::Secret;
use longshore_store::{Keys, Profile, Settings, Store};
use longshore_testkit::database::{TestDatabase, fresh_database};
use tempfile::NamedTempFile;

pub(crate) const MASTER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// An API key in the v1 contract's form.
pub(crate) const API_KEY: &str =
    "CO.0123456789abcdef.0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A database that no other test sees.
#[derive(Debug)]
pub(crate) struct Database(TestDatabase);

impl Database {
    pub(crate) async fn create() -> Self {
        Self(fresh_database().await)
    }

    /// For queries of a test's own.
    pub(crate) const fn inner(&self) -> &TestDatabase {
        &self.0
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        self.0.url()
    }

    /// What a process needs: this database, and webhooks to this machine.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LONGSHORE__DATABASE__URL", self.0.url()),
            ("LONGSHORE__SECURITY__MASTER_KEY", MASTER_KEY.to_owned()),
            ("LONGSHORE__SECURITY__ALLOW_HTTP_ENDPOINTS", "true".to_owned()),
            ("LONGSHORE__SECURITY__ALLOWED_NETWORKS", "127.0.0.0/8".to_owned()),
            ("LONGSHORE__OPS__BIND", "127.0.0.1:0".to_owned()),
            ("LONGSHORE__HTTP__BIND", "127.0.0.1:0".to_owned()),
        ]
    }

    pub(crate) async fn store(&self) -> Store {
        let settings = Settings {
            url: Secret::new(self.0.url()),
            max_connections: 2,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(5),
            lease: Duration::from_secs(4),
            profile: Profile::Hot,
        };
        longshore_store::connect(&settings, Keys::parse(MASTER_KEY).unwrap()).await.unwrap()
    }
}

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program to its end, with nothing in its environment but what it needs.
pub(crate) fn longshore(database: &Database, args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_longshore"))
        .args(args)
        .env_clear()
        .envs(database.environment())
        .output()
        .unwrap();
    Output {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}
