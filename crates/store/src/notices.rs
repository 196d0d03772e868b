//! Endpoints that are switched off for failing, and who is told of what.
//!
//! What it is for: what follows from outcomes beyond their deliveries, in the same transaction; the outbox of meta
//! events and the gathered alerts, which a task of each process empties. What it does not do: send. Invariants: of
//! several processes one switches an endpoint off and one notice tells it; an outcome that was refused (its claim was
//! lost) is followed by nothing; a batch whose outcomes say nothing costs nothing here.

mod alerts;
mod disable;
mod failing;
mod follow;
mod outbox;
mod sources;
mod tell;

use longshore_core::EndpointId;
use longshore_core::notice::{DisableReason, Notice};
use longshore_core::ports::{Notices, StoreError};
use sqlx::Connection;

use crate::connect::Store;
use crate::error::sort;

pub use alerts::{AlertKey, Channel, DueAlert};
pub use outbox::{DueMetaEvent, MetaAttempt, MetaNext};

pub(crate) use disable::{disable, endpoint_data};
pub(crate) use failing::Failing;
pub(crate) use follow::follow;
pub(crate) use tell::tell;

impl Notices for Store {
    async fn disable(&self, endpoint: EndpointId, reason: DisableReason) -> Result<bool, StoreError> {
        self.within(async {
            let mut connection = self.checkout().await?;
            let done = async {
                let mut transaction = connection.begin().await.map_err(sort)?;
                let notices = disable(&mut transaction, &[(endpoint, reason)]).await?;
                tell(&mut transaction, self.keys(), &notices).await?;
                transaction.commit().await.map_err(sort)?;
                Ok(!notices.is_empty())
            }
            .await;
            connection.end(done)
        })
        .await
    }

    async fn tell(&self, notices: &[Notice]) -> Result<(), StoreError> {
        if notices.is_empty() {
            return Ok(());
        }
        self.within(async {
            let mut connection = self.checkout().await?;
            let done = async {
                let mut transaction = connection.begin().await.map_err(sort)?;
                tell(&mut transaction, self.keys(), notices).await?;
                transaction.commit().await.map_err(sort)
            }
            .await;
            connection.end(done)
        })
        .await
    }
}
