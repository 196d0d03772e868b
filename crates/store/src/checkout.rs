//! A connection in use, with a deadline on every call.
//!
//! A server that vanished without a word (a cut cable, a lost machine) never answers, and TCP may take forever to
//! notice. So every call of the hot path is bounded, and a connection whose call did not end well is closed instead of
//! going back to the pool, where it would be waited for again.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use longshore_core::ports::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};

use crate::connect::Store;
use crate::error::sort;

/// A connection that is closed unless its use ends well; also when its user is dropped midway.
pub(crate) struct Checkout {
    connection: PoolConnection<Postgres>,
    is_clean: bool,
}

impl Store {
    /// Takes a connection from the pool.
    pub(crate) async fn checkout(&self) -> Result<Checkout, StoreError> {
        let connection = self.pool().acquire().await.map_err(sort)?;
        Ok(Checkout { connection, is_clean: false })
    }

    /// Bounds a call. What it was doing is unknown when it did not end in time.
    pub(crate) async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let deadline: Duration = self.inner.deadline;
        tokio::time::timeout(deadline, call).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!("no answer from Postgres within {} s", deadline.as_secs())))
        })
    }
}

impl Checkout {
    /// Ends the use: a connection that served, or whose data were refused, goes back to the pool.
    pub(crate) fn end<T>(mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.is_clean = matches!(result, Ok(_) | Err(StoreError::Rejected(_)));
        result
    }
}

impl Deref for Checkout {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Checkout {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if !self.is_clean {
            self.connection.close_on_drop();
        }
    }
}
