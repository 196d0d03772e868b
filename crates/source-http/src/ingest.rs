//! One request from head to answer: admitted, checked, read, handed over, awaited.
//!
//! The order is deliberate: nothing is said about a project before the key is checked, nothing is read before
//! there is room for it, and nothing is awaited past the deadline.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use longshore_source::{Route, Settled};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::answer::Answer;
use crate::batch::{self, Format, ItemResult};
use crate::body;
use crate::config::HttpIngestConfig;
use crate::gate::{Admission, Gate};
use crate::inbox::Inbox;
use crate::media::{self, Media};
use crate::rejection::Rejection;
use crate::slots::Held;
use crate::source::{Intake, Queued, Reply};

/// Above this a batch is cut on a thread where it may take its time: it is about half a millisecond's work.
const INLINE_BATCH_BYTES: usize = 128 * 1024;
/// The kind of a batch's messages: each body says its own.
const BATCH: &str = "batch";
/// What the routes take, for those who sent something else.
const EVENT_TYPES: &str = "`application/json` or `application/cloudevents+json`";
const BATCH_TYPES: &str = "`application/json`, `application/x-ndjson`, `application/jsonl` or \
     `application/cloudevents-batch+json`";

/// What its producer calls an event, when the body does not say.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Its length at most: the events of a batch each have a copy.
const LONGEST_KEY: usize = 255;

/// What every request needs.
pub(crate) struct Ingest {
    pub(crate) config: HttpIngestConfig,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) intake: Intake,
}

/// The events of a batch, and what they have in common.
struct Items {
    bodies: Vec<Bytes>,
    media: Media,
    key: Option<String>,
}

impl Ingest {
    /// Takes one event of `kind`; `stored` is the contract's message for success.
    pub(crate) async fn event(
        &self,
        kind: &'static str,
        stored: &'static str,
        project: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Answer, Rejection> {
        let deadline = Instant::now() + self.config.deadline;
        let admission = self.gate.admit(project, bearer(headers))?;
        let key = idempotency_key(headers)?;
        let headers = match Media::of(headers)? {
            media @ (Media::Json | Media::Structured | Media::Binary) => media.headers(headers)?,
            Media::CloudEvents => return Err(Rejection::CloudEventBatch),
            Media::Lines | Media::Other => return Err(Rejection::MediaType(EVENT_TYPES)),
        };
        let beside = media::bytes(&headers);
        let limit = admission.max_body_bytes.min(self.intake.slots.max_bytes().saturating_sub(beside));
        let (body, held) = body::read(&self.intake, body, limit, beside, deadline).await?;

        let (reply, settled) = oneshot::channel();
        let route = Route { project: admission.project, kind, inbound: None };
        if let Some(slot) = held.into_slots().next() {
            self.intake.put(Queued { body, headers, key, route, reply: Reply::One(reply), slot });
        }
        tokio::select! {
            // A settlement that is there wins over a deadline that passed meanwhile.
            biased;
            // The reply is dropped unsent when the message was never handed out.
            settled = settled => {
                let answer = Answer::to_event(settled.unwrap_or(Settled::Retry(None)), stored);
                Ok(answer.with_rate(admission.rate))
            }
            () = self.given_up(deadline) => Err(Rejection::Unknown),
        }
    }

    /// Takes a batch of events.
    pub(crate) async fn batch(
        &self,
        project: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Answer, Rejection> {
        let deadline = Instant::now() + self.config.deadline;
        let admission = self.gate.admit(project, bearer(headers))?;
        let key = idempotency_key(headers)?;
        let media = Media::of(headers)?;
        let format = match media {
            Media::Json => Format::Json,
            Media::Lines => Format::Lines,
            Media::CloudEvents => Format::Array,
            Media::Structured | Media::Binary => return Err(Rejection::SingleCloudEvent),
            Media::Other => return Err(Rejection::MediaType(BATCH_TYPES)),
        };
        let limit = self.config.max_batch_bytes.min(self.intake.slots.max_bytes());
        let (body, held) = body::read(&self.intake, body, limit, 0, deadline).await?;
        let items = self.cut(body, format).await?;
        self.gate.spend(&admission, items.len().saturating_sub(1));

        let mut results: Vec<Option<ItemResult>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let limit = admission.max_body_bytes;
                (item.len() > limit).then(|| ItemResult::rejected(index, &Rejection::ItemTooLarge(limit)))
            })
            .collect();
        let retry_after =
            self.store(Items { bodies: items, media, key }, held, admission, deadline, &mut results).await?;
        let results: Vec<_> = results
            .into_iter()
            .enumerate()
            .map(|(index, result)| result.unwrap_or_else(|| ItemResult::rejected(index, &Rejection::Unknown)))
            .collect();
        Ok(batch::answer(&results, retry_after).with_rate(admission.rate))
    }

    async fn cut(&self, body: Bytes, format: Format) -> Result<Vec<Bytes>, Rejection> {
        let max = self.config.max_batch_items.get().min(self.intake.slots.max_messages());
        if body.len() <= INLINE_BATCH_BYTES {
            return batch::split(&body, format, max);
        }
        // It can only fail when the runtime goes down, and nothing was stored.
        tokio::task::spawn_blocking(move || batch::split(&body, format, max))
            .await
            .unwrap_or(Err(Rejection::Stopping))
    }

    /// Hands over each item that has no result yet and fills in the results until `deadline`. Returns the
    /// seconds after which those that were not stored may be repeated.
    async fn store(
        &self,
        items: Items,
        mut held: Held,
        admission: Admission,
        deadline: Instant,
        results: &mut [Option<ItemResult>],
    ) -> Result<u64, Rejection> {
        let mut missing = results.iter().filter(|result| result.is_none()).count();
        // All together or not at all, without waiting: two batches can never hold half of each other's room.
        if !held.grow_messages(missing.saturating_sub(1)) {
            return Err(Rejection::Full);
        }
        let (reply, mut settled) = mpsc::unbounded_channel();
        let route = Route { project: admission.project, kind: BATCH, inbound: None };
        let Items { bodies, media, key } = items;
        let accepted = bodies.into_iter().enumerate().filter(|(index, _)| results[*index].is_none());
        for ((index, body), slot) in accepted.zip(held.into_slots()) {
            self.intake.put(Queued {
                body,
                headers: media.item_headers(),
                // Each event of a repeated batch is recognised by its place.
                key: key.as_ref().map(|key| format!("{key}/{index}")),
                route: route.clone(),
                reply: Reply::Item(index, reply.clone()),
                slot,
            });
        }
        drop(reply);

        let given_up = self.given_up(deadline);
        tokio::pin!(given_up);
        let mut retry_after = 1;
        while missing > 0 {
            let next = tokio::select! {
                // A settlement that is there wins over a deadline that passed meanwhile.
                biased;
                next = settled.recv() => next,
                () = &mut given_up => return Ok(retry_after),
            };
            // The replies that are left were dropped unsent: their messages were never handed out.
            let Some((index, how)) = next else { break };
            if let Settled::Retry(after) = &how {
                retry_after = retry_after.max(Rejection::NotStored(*after).retry_after().unwrap_or(1));
            }
            results[index] = Some(ItemResult::settled(index, how));
            missing -= 1;
        }
        for (index, result) in results.iter_mut().enumerate() {
            result.get_or_insert_with(|| ItemResult::settled(index, Settled::Retry(None)));
        }
        Ok(retry_after)
    }

    /// Waits until waiting for a settlement has no sense any more.
    async fn given_up(&self, deadline: Instant) {
        tokio::select! {
            () = sleep_until(deadline) => {}
            () = self.intake.abandoned() => {}
        }
    }
}

/// The value of `Idempotency-Key`.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Rejection> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY).filter(|value| !value.is_empty()) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if text.len() <= LONGEST_KEY => Ok(Some(text.to_owned())),
        _ => Err(Rejection::IdempotencyKey(LONGEST_KEY)),
    }
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
