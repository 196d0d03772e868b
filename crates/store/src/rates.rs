//! Budgets that the fleet shares: the timelines of endpoints with a rate limit, the ingest budgets of projects.

use std::collections::HashMap;
use std::time::Duration;

use longshore_core::EndpointId;
use longshore_core::ports::{RateLanes, SlotAsk, SlotGrant, StoreError, TokenAsk, TokenGrant};
use longshore_core::rate::Budget;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::connect::Store;
use crate::error::sort;

impl RateLanes for Store {
    async fn take_slots(&self, asks: &[SlotAsk], horizon: Duration) -> Result<Vec<SlotGrant>, StoreError> {
        let ids: Vec<Uuid> = asks.iter().map(|ask| ask.endpoint.as_uuid()).collect();
        let spacing: Vec<i64> = asks.iter().map(|ask| nanos(ask.spacing)).collect();
        let counts: Vec<i64> = asks.iter().map(|ask| i64::from(ask.count)).collect();
        let rows = self
            .within(async {
                let mut connection = self.checkout().await?;
                let rows = sqlx::query_file!(
                    "queries/take_slots.sql",
                    &ids,
                    &spacing,
                    &counts,
                    horizon.as_secs_f64()
                )
                .fetch_all(&mut *connection)
                .await
                .map_err(sort);
                connection.end(rows)
            })
            .await?;
        let counts: HashMap<Uuid, u32> = asks.iter().map(|ask| (ask.endpoint.as_uuid(), ask.count)).collect();
        let grants = rows.into_iter().map(|row| SlotGrant {
            endpoint: EndpointId::from_uuid(row.endpoint_id),
            count: if row.is_taken { counts.get(&row.endpoint_id).copied().unwrap_or(0) } else { 0 },
            starts_in: Duration::from_secs_f64(row.starts_in.clamp(0.0, 1e9)),
        });
        Ok(grants.collect())
    }

    async fn take_tokens(&self, asks: &[TokenAsk]) -> Result<Vec<TokenGrant>, StoreError> {
        self.within(async {
            let mut connection = self.checkout().await?;
            let grants = take_tokens(&mut connection, asks).await;
            connection.end(grants)
        })
        .await
    }
}

/// One transaction: the rule is [`Budget`]'s, the rows are locked meanwhile.
async fn take_tokens(
    connection: &mut PgConnection,
    asks: &[TokenAsk],
) -> Result<Vec<TokenGrant>, StoreError> {
    let mut asks: Vec<&TokenAsk> = asks.iter().collect();
    asks.sort_unstable_by_key(|ask| ask.project);
    let ids: Vec<Uuid> = asks.iter().map(|ask| ask.project.as_uuid()).collect();
    let mut transaction = connection.begin().await.map_err(sort)?;
    let rows = sqlx::query!(
        r#"INSERT INTO ingest_budgets AS b (project_id, next_at)
           SELECT id, now() - interval '2 days' FROM unnest($1::uuid[]) AS t (id) ORDER BY id
           ON CONFLICT (project_id) DO UPDATE SET next_at = GREATEST(b.next_at, now() - interval '2 days')
           RETURNING project_id,
               extract(epoch FROM next_at - clock_timestamp())::float8 AS "next_in!""#,
        &ids
    )
    .fetch_all(&mut *transaction)
    .await
    .map_err(sort)?;
    let next: HashMap<Uuid, f64> = rows.into_iter().map(|row| (row.project_id, row.next_in)).collect();
    let mut grants = Vec::with_capacity(asks.len());
    let mut next_in = Vec::with_capacity(asks.len());
    for ask in asks {
        let used_ahead = next.get(&ask.project.as_uuid()).copied().unwrap_or(f64::NEG_INFINITY);
        let mut budget = Budget::of(ask.limit, used_ahead);
        grants.push(budget.take(ask.project, ask.owed, ask.wanted));
        next_in.push(budget.next_in());
    }
    sqlx::query!(
        "UPDATE ingest_budgets b SET next_at = clock_timestamp() + make_interval(secs => t.next_in)
         FROM unnest($1::uuid[], $2::float8[]) AS t (id, next_in) WHERE b.project_id = t.id",
        &ids,
        &next_in
    )
    .execute(&mut *transaction)
    .await
    .map_err(sort)?;
    transaction.commit().await.map_err(sort)?;
    Ok(grants)
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
