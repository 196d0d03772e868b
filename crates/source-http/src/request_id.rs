//! Ids of requests that came without one: one random half for the process, one that counts.
//!
//! Not ids of anything that is stored. Made for every answer of the hot path: no lock, no system call.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

const HEX: &[u8; 16] = b"0123456789abcdef";
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken over.
const LONGEST: usize = 128;

/// The producer's own id if it sent one of a sensible length, or a fresh one.
pub(crate) fn of(headers: &HeaderMap) -> HeaderValue {
    match headers.get(REQUEST_ID) {
        Some(id) if (1..=LONGEST).contains(&id.len()) => id.clone(),
        _ => fresh(),
    }
}

fn fresh() -> HeaderValue {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let id = (u128::from(*PROCESS) << 64) | u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
    let text: [u8; 32] = std::array::from_fn(|at| HEX[(id >> (4 * (31 - at)) & 15) as usize]);
    HeaderValue::from_bytes(&text).expect("hexadecimal digits make a header's value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensible_id_is_taken_over_and_others_are_made() {
        let with = |id: &str| HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(id).unwrap())]);

        assert_eq!(of(&with("mine")), "mine");
        for headers in [HeaderMap::new(), with(""), with(&"x".repeat(129))] {
            let (one, two) = (of(&headers), of(&headers));
            assert_eq!((one.len(), two.len()), (32, 32));
            assert_ne!(one, two);
        }
    }
}
