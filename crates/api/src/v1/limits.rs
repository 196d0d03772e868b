//! How many requests a key may make: counted in this process, by key, so that one program's loop is not everybody's outage.
//!
//! A budget that holds the whole limit when it is full and fills up evenly. Invariant: only keys that exist have a budget,
//! and one that is full again is forgotten.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use longshore_core::RateLimit;
use uuid::Uuid;

use super::access::{Caller, Known};
use super::control::Control;
use super::problem::Problem;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// Full budgets are looked for when there are so many.
const SWEEP_AT: usize = 1_024;

/// The budgets of all keys.
#[derive(Debug)]
pub(crate) struct Limits {
    limit: RateLimit,
    /// When each is full again.
    full_at: Mutex<HashMap<Uuid, Instant>>,
}

/// How a key stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    limit: u32,
    remaining: u32,
    /// Until the whole limit is there again.
    full_in: Duration,
    /// When to come again; `None` for a request that is let through.
    retry_after: Option<Duration>,
}

impl Limits {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self { limit, full_at: Mutex::default() }
    }

    /// Takes a request of that key.
    pub(crate) fn take(&self, key: Uuid, now: Instant) -> Standing {
        let (per, each) = (self.limit.per(), self.limit.interval());
        let mut budgets = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if budgets.len() >= SWEEP_AT {
            budgets.retain(|_, full_at| *full_at > now);
        }
        let full_at = budgets.entry(key).or_insert(now);
        let spent = full_at.saturating_duration_since(now);
        let standing = |spent: Duration, retry_after| Standing {
            limit: self.limit.count(),
            remaining: whole(per.saturating_sub(spent), each),
            full_in: spent,
            retry_after,
        };
        // Intervals are rounded down, so the last of a limit fits.
        if spent + each > per {
            return standing(spent, Some(spent + each - per));
        }
        *full_at = now + spent + each;
        standing(spent + each, None)
    }
}

/// How many of `each` there are in a time.
fn whole(time: Duration, each: Duration) -> u32 {
    u32::try_from(time.as_nanos() / each.as_nanos().max(1)).unwrap_or(u32::MAX)
}

/// Finds out who asks, once for all that follows, and whether that key has asked too much.
pub(crate) async fn limit(State(control): State<Control>, request: Request, next: Next) -> Response {
    if !request.headers().contains_key(AUTHORIZATION) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let known = Caller::identify(&mut parts, &control).await;
    let key = known.as_ref().ok().and_then(|caller| caller.actor.id);
    parts.extensions.insert(Known(known));
    let request = Request::from_parts(parts, body);
    let (Some(limits), Some(key)) = (control.limits(), key) else { return next.run(request).await };
    let standing = limits.take(key, Instant::now());
    let mut response = match standing.retry_after {
        None => next.run(request).await,
        Some(_) => {
            let message = "this key has made too many requests; come again after `Retry-After` seconds";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, message).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(LIMIT, HeaderValue::from(standing.limit));
    headers.insert(REMAINING, HeaderValue::from(standing.remaining));
    headers.insert(RESET, HeaderValue::from(seconds(standing.full_in)));
    if let Some(after) = standing.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds(after).max(1)));
    }
    response
}

/// Whole seconds, rounded up.
const fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + (duration.subsec_nanos() > 0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_whole_limit_at_once_and_then_as_it_fills_up() {
        let limits = Limits::new(RateLimit::new(3, Duration::from_secs(3)).unwrap());
        let (now, key) = (Instant::now(), Uuid::from_u128(1));
        let left = |key: Uuid, now: Instant| {
            let standing = limits.take(key, now);
            (standing.remaining, standing.retry_after)
        };

        assert_eq!([0; 3].map(|_| left(key, now)), [(2, None), (1, None), (0, None)]);
        assert_eq!(left(key, now), (0, Some(Duration::from_secs(1))));
        assert_eq!(left(Uuid::from_u128(2), now), (2, None), "another key has its own");
        assert_eq!(left(key, now + Duration::from_secs(1)), (0, None));
        assert_eq!(left(key, now + Duration::from_secs(60)), (2, None));
    }

    #[test]
    fn full_budgets_are_forgotten() {
        let limits = Limits::new(RateLimit::new(7, Duration::from_secs(1)).unwrap());
        let now = Instant::now();
        for key in 0..10 * SWEEP_AT as u128 {
            limits.take(Uuid::from_u128(key), now + Duration::from_secs(u64::try_from(key / 512).unwrap()));
        }
        assert!(limits.full_at.lock().unwrap().len() <= SWEEP_AT);
    }
}
