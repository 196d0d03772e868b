//! Settings, the pool and the handle that everything else hangs on.

use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use longshore_core::ports::StoreError;
use longshore_core::{Clock, ProcessId, Secret, SystemClock, Timestamp};
use rand::{RngCore, TryRngCore};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Executor};

use crate::error::sort;
use crate::notices::Failing;
use crate::seal::Keys;

/// How to reach Postgres and how to behave there.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `postgres://user:password@host:port/database?sslmode=…`
    pub url: Secret<String>,
    /// Connections at most.
    pub max_connections: u32,
    /// To wait for a connection before the database counts as away.
    pub connect_timeout: Duration,
    /// No statement may take longer.
    pub statement_timeout: Duration,
    /// How long this process's claims outlive its last heartbeat. A dead process's work is picked up after it.
    pub lease: Duration,
    /// What the connections are for.
    pub profile: Profile,
}

/// How Postgres plans what is asked on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// The hot path: few statements, each planned once for each connection.
    #[default]
    Hot,
    /// The public API: many statements, planned for the filters that are there.
    Control,
}

/// A handle on Postgres; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) pool: PgPool,
    pub(crate) keys: Keys,
    pub(crate) lease: Duration,
    /// No call of the hot path takes longer: a connection, a statement, and a moment on the wire.
    pub(crate) deadline: Duration,
    pub(crate) owner: RwLock<ProcessId>,
    /// Lower bound, in milliseconds, of the oldest partition: where derived ids begin to find a place.
    pub(crate) floor_ms: AtomicI64,
    /// Which endpoints fail, as far as this process knows.
    pub(crate) failing: Failing,
}

/// How far into the future a producer's timestamp may lie and still place its event: partitions are there.
const FUTURE: Duration = Duration::from_secs(3_600);
/// How long connections may take to come back when all are closed.
const CLOSING: Duration = Duration::from_secs(2);

/// Connects to Postgres. Fails when the first connection does; later the pool reconnects by itself.
///
/// # Errors
/// [`StoreError::Misconfigured`] for a bad URL or bad credentials, [`StoreError::Unavailable`] otherwise.
pub async fn connect(settings: &Settings, keys: Keys) -> Result<Store, StoreError> {
    let options = PgConnectOptions::from_str(settings.url.expose())
        .map_err(|_| StoreError::Misconfigured("`database.url` is not a Postgres URL".to_owned()))?
        .application_name("longshore")
        .statement_cache_capacity(64)
        .disable_statement_logging();
    // Set after connecting, not as start-up parameters: a transaction pooler would refuse those.
    // Hot:
    // `plan_cache_mode`: one plan per statement and connection; planning a statement over partitioned tables anew costs
    // more than running it. Partitions are left out when it runs.
    // `enable_seqscan`: every statement of the hot path has its index; a plan made while the tables were small and
    // kept must not scan them when they have grown.
    let prepare = format!(
        "SET statement_timeout = {}; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '30s'; \
         SET jit = off; {}",
        settings.statement_timeout.as_millis(),
        match settings.profile {
            Profile::Hot => "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan",
            Profile::Control => "SET plan_cache_mode = force_custom_plan",
        }
    );
    let pool = PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .min_connections(1)
        .acquire_timeout(settings.connect_timeout)
        // A ping before each use would double the round trips; a dead connection shows at its first statement and
        // the caller repeats.
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let prepare = sqlx::AssertSqlSafe(prepare.clone());
            Box::pin(async move { connection.execute(prepare).await.map(drop) })
        })
        .connect_with(options)
        .await
        .map_err(sort)?;
    let inner = Inner {
        pool,
        keys,
        lease: settings.lease,
        deadline: settings.connect_timeout + settings.statement_timeout + Duration::from_secs(2),
        owner: RwLock::new(new_process_id()),
        floor_ms: AtomicI64::new(i64::MAX),
        failing: Failing::default(),
    };
    Ok(Store { inner: Arc::new(inner) })
}

impl Store {
    pub(crate) fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    pub(crate) fn failing(&self) -> &Failing {
        &self.inner.failing
    }

    /// The keys that seal credentials and hash API keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    /// Whether Postgres answers.
    ///
    /// # Errors
    /// [`StoreError`]: it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.within(async {
            let mut connection = self.checkout().await?;
            let answer = sqlx::query("SELECT 1").execute(&mut *connection).await.map(drop).map_err(sort);
            connection.end(answer)
        })
        .await
    }

    /// Closes every connection. One that does not come back within a moment, as after an outage, ends with the process.
    pub async fn close(&self) {
        if tokio::time::timeout(CLOSING, self.pool().close()).await.is_err() {
            tracing::debug!("a connection to Postgres was not closed in time");
        }
    }

    pub(crate) fn current_owner(&self) -> ProcessId {
        *self.inner.owner.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change_owner(&self) -> ProcessId {
        let mut owner = self.inner.owner.write().unwrap_or_else(PoisonError::into_inner);
        *owner = new_process_id();
        *owner
    }

    pub(crate) fn window(&self) -> (Timestamp, Timestamp) {
        let floor = Timestamp::from_millis(self.inner.floor_ms.load(Ordering::Relaxed));
        (floor, SystemClock.now().after(FUTURE))
    }
}

/// Ids of processes come straight from the operating system's randomness: two processes started in the same
/// instant must differ.
pub(crate) fn new_process_id() -> ProcessId {
    let mut random = rand::rngs::OsRng.unwrap_err();
    let low = (u128::from(random.next_u64()) << 16) | u128::from(random.next_u32() & 0xFFFF);
    ProcessId::from_u128(ProcessId::floor(SystemClock.now()).as_u128() | low)
}
