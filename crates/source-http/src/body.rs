//! Reads a request's body into room that was taken for it.
//!
//! The bytes are copied once, out of the server's read buffer: a slice of that buffer would keep all of it in
//! memory for as long as the message lives, many times what was counted.

use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::rejection::Rejection;
use crate::slots::Held;
use crate::source::Intake;

/// Reads at most `limit` bytes until `deadline`, and takes room for `beside` more that go with them. Both together must
/// not be above what fits into all slots.
///
/// A body whose length is declared is refused before the first byte is read, when it is too long or when there
/// is no room for it.
pub(crate) async fn read(
    intake: &Intake,
    body: Body,
    limit: usize,
    beside: usize,
    deadline: Instant,
) -> Result<(Bytes, Held), Rejection> {
    let declared = body.size_hint();
    if declared.lower() > limit as u64 {
        return Err(Rejection::TooLarge(limit));
    }
    let expected = declared.exact().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let held = intake.take(expected.saturating_add(beside))?;
    tokio::select! {
        // What is there wins over a deadline that passed meanwhile.
        biased;
        read = collect(body, held, limit, beside, expected) => read,
        () = sleep_until(deadline) => Err(Rejection::Late),
        () = intake.draining() => Err(Rejection::Stopping),
    }
}

async fn collect(
    mut body: Body,
    mut held: Held,
    limit: usize,
    beside: usize,
    expected: usize,
) -> Result<(Bytes, Held), Rejection> {
    let mut bytes = Vec::with_capacity(expected);
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(data) = frame.map_err(|_| Rejection::Broken)?.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > limit {
            return Err(Rejection::TooLarge(limit));
        }
        if !held.grow_bytes((length + beside).saturating_sub(held.bytes())) {
            return Err(Rejection::Full);
        }
        bytes.extend_from_slice(&data);
    }
    // Without the spare room that growing leaves behind.
    Ok((bytes.into_boxed_slice().into(), held))
}
