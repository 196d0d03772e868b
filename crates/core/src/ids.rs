//! Ids: 128 bits, time-ordered, ULID text outside, [`Uuid`] inside.
//!
//! The first 48 bits are milliseconds since the Unix epoch (the ULID layout), so that keys land on the
//! right edge of a b-tree, rows can be partitioned by id, and a list sorted by id is sorted by time. Ids made by a
//! generator go on with ten bits of microseconds.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use rand::RngCore;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::Timestamp;

/// Crockford's base 32, the alphabet of ULID text.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const RANDOM_BITS: u32 = 80;
const RANDOM_MASK: u128 = (1 << RANDOM_BITS) - 1;
/// Of the 80 bits, the first ten count microseconds within the millisecond in ids that a generator made.
const CHANCE_BITS: u32 = 70;
const CHANCE_MASK: u128 = (1 << CHANCE_BITS) - 1;

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id: expected 26 characters of Crockford base 32 (a ULID)")]
pub struct ParseIdError(String);

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// From raw bits.
            #[must_use]
            pub const fn from_u128(bits: u128) -> Self {
                Self(bits)
            }

            /// The raw bits.
            #[must_use]
            pub const fn as_u128(self) -> u128 {
                self.0
            }

            /// As stored in Postgres.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                Uuid::from_u128(self.0)
            }

            /// From a stored value.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid.as_u128())
            }

            /// The instant in the id's first 48 bits, to the millisecond.
            #[must_use]
            pub const fn timestamp(self) -> Timestamp {
                Timestamp::from_millis((self.0 >> RANDOM_BITS) as i64)
            }

            /// The smallest id of that instant: the lower bound of a time range.
            #[must_use]
            pub fn floor(at: Timestamp) -> Self {
                Self(time_bits(at))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(std::str::from_utf8(&to_text(self.0)).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse(text).map(Self).ok_or_else(|| ParseIdError(text.chars().take(64).collect()))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

id! {
    /// Id of a project (tenant).
    ProjectId,
    /// Id of a source.
    SourceId,
    /// Id of an event.
    EventId,
    /// Id of an endpoint.
    EndpointId,
    /// Id of a subscription.
    SubscriptionId,
    /// Id of a subscription's filter for some event types.
    FilterId,
    /// Id of a type of events in a project's catalogue.
    EventTypeId,
    /// Id of a delivery.
    DeliveryId,
    /// Id of an attempt.
    AttemptId,
    /// Id of a request that carries several deliveries.
    BatchId,
    /// Id of a quarantined message.
    QuarantineId,
    /// Id of a meta event.
    MetaEventId,
    /// Id of an API key.
    ApiKeyId,
    /// Id of a portal link.
    PortalLinkId,
    /// Id of an organisation.
    OrganisationId,
    /// Id of a person.
    UserId,
    /// Id of bulk work on quarantined messages.
    OperationId,
    /// Id of a line of the audit log.
    AuditId,
    /// Id of a lane: deliveries of one subscription with one key, kept in order. Not of a time.
    LaneId,
    /// Id of one run of one Longshore process: the owner of claims. A restart gets a new one.
    ProcessId,
}

impl EventId {
    /// The id of the event that a broker message becomes, derived from where the message came from.
    ///
    /// The same position always gives the same id, so that a redelivered message inserts nothing.
    /// `position` is what the broker calls the message (RabbitMQ: the `message-id` property) and `at` the
    /// producer's timestamp, which places the row in the same partition each time.
    ///
    /// Frozen: changing this causes duplicates for every message in flight during an upgrade.
    #[must_use]
    pub fn derive(source: SourceId, position: &[u8], at: Timestamp) -> Self {
        Self(time_bits(at) | (digest(&[b"event", &source.0.to_be_bytes(), position]) & RANDOM_MASK))
    }
}

impl BatchId {
    /// The id of a request with these deliveries: the same for the same set, in whatever order.
    ///
    /// Frozen: receivers recognise a repeated request by it.
    #[must_use]
    pub fn derive(deliveries: impl IntoIterator<Item = DeliveryId>) -> Self {
        let mut ids: Vec<u128> = deliveries.into_iter().map(DeliveryId::as_u128).collect();
        ids.sort_unstable();
        let time = ids.first().copied().unwrap_or_default() & !RANDOM_MASK;
        let bytes: Vec<u8> = ids.into_iter().flat_map(u128::to_be_bytes).collect();
        Self(time | (digest(&[b"batch", &bytes]) & RANDOM_MASK))
    }
}

impl EndpointId {
    /// The id of the endpoint that a `dynamic` event creates for a URL nobody registered, the same in every
    /// process. Frozen: changing this registers such endpoints a second time.
    #[must_use]
    pub fn derive(project: ProjectId, url: &str) -> Self {
        Self(digest(&[b"endpoint", &project.0.to_be_bytes(), url.as_bytes()]))
    }
}

impl SubscriptionId {
    /// The id of the subscription that a `dynamic` event creates beside its endpoint. Frozen.
    #[must_use]
    pub fn derive(endpoint: EndpointId) -> Self {
        Self(digest(&[b"subscription", &endpoint.0.to_be_bytes()]))
    }
}

impl FilterId {
    /// The id of a filter that came with a resource file, which gives it none.
    #[must_use]
    pub fn derive(subscription: SubscriptionId, event_type: &str) -> Self {
        Self(digest(&[b"filter", &subscription.0.to_be_bytes(), event_type.as_bytes()]))
    }
}

impl LaneId {
    /// The lane of a key within a subscription, the same in every process. Frozen: changing this splits lanes that hold
    /// deliveries during an upgrade.
    #[must_use]
    pub fn derive(subscription: SubscriptionId, key: &str) -> Self {
        Self(digest(&[b"lane", &subscription.0.to_be_bytes(), key.as_bytes()]))
    }
}

impl DeliveryId {
    /// Where it stands among all deliveries: the microsecond in which its id was made, no two of one generator being
    /// of the same. Below 2^53 until the year 2255, so that any language reads it exactly.
    #[must_use]
    pub const fn sequence(self) -> u64 {
        tick(self.0)
    }
}

/// The identity of a message whose position alone cannot be an id: 128 bits over `parts`, each length-prefixed.
///
/// Frozen: changing this causes duplicates for messages redelivered across an upgrade.
#[must_use]
pub fn digest(parts: &[&[u8]]) -> u128 {
    let mut first = [0; 16];
    first.copy_from_slice(&hash(parts)[..16]);
    u128::from_be_bytes(first)
}

/// The whole SHA-256 over the parts, each with its length, as text: what stands for a text that is too long to be a key.
#[must_use]
pub fn digest_text(parts: &[&[u8]]) -> String {
    format!("sha256:{}", hex::encode(hash(parts)))
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Hands out ids that only ever grow within one generator, however many share a millisecond.
pub struct IdGenerator {
    state: Mutex<State>,
}

struct State {
    last: u128,
    rng: Box<dyn RngCore + Send>,
}

impl IdGenerator {
    /// A generator that draws its random bits from `rng`; its first id is later than `start`.
    pub fn new(start: Timestamp, rng: impl RngCore + Send + 'static) -> Self {
        Self { state: Mutex::new(State { last: time_bits(start), rng: Box::new(rng) }) }
    }

    /// The next 128 bits: greater than all before, and of the time `at` unless that microsecond is taken: then of the
    /// first free one after it. The last 70 bits are random.
    pub fn next(&self, at: Timestamp) -> u128 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = u64::try_from(at.as_micros()).unwrap_or(0);
        let micros = wanted.max(tick(state.last) + 1);
        let time = time_bits(Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX)));
        let within = u128::from(micros % 1_000) << CHANCE_BITS;
        state.last = time | within | (random_bits(&mut *state.rng) & CHANCE_MASK);
        state.last
    }

    /// A lower bound of every id that [`Self::next`] will hand out from now on.
    pub fn watermark(&self) -> u128 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).last + 1
    }

    /// A new event id.
    pub fn event(&self, at: Timestamp) -> EventId {
        EventId(self.next(at))
    }

    /// A new delivery id.
    pub fn delivery(&self, at: Timestamp) -> DeliveryId {
        DeliveryId(self.next(at))
    }

    /// A new attempt id.
    pub fn attempt(&self, at: Timestamp) -> AttemptId {
        AttemptId(self.next(at))
    }
}

impl fmt::Debug for IdGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdGenerator").finish_non_exhaustive()
    }
}

fn random_bits(rng: &mut dyn RngCore) -> u128 {
    (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64())
}

fn time_bits(at: Timestamp) -> u128 {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0).min((1 << 48) - 1);
    u128::from(millis) << RANDOM_BITS
}

/// The microseconds since the epoch in an id's first 58 bits.
const fn tick(bits: u128) -> u64 {
    let millis = (bits >> RANDOM_BITS) as u64;
    // Ids made before these bits counted anything may have more here.
    let within = ((bits >> CHANCE_BITS) & 1_023) as u64;
    millis * 1_000 + if within > 999 { 999 } else { within }
}

fn to_text(bits: u128) -> [u8; 26] {
    std::array::from_fn(|at| {
        let shift = 5 * (25 - at);
        ALPHABET[((bits >> shift) & 31) as usize]
    })
}

fn parse(text: &str) -> Option<u128> {
    if text.len() != 26 || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes().try_fold(0, |bits: u128, byte| {
        let digit = ALPHABET.iter().position(|&letter| letter == byte.to_ascii_uppercase())?;
        Some(bits << 5 | digit as u128)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn text_is_a_ulid() {
        // From the ULID specification: 01ARZ3NDEKTSV4RRFFQ69G5FAV.
        let id: EventId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();

        assert_eq!(id.to_string(), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
        assert_eq!(id.timestamp().as_millis(), 1_469_922_850_259);
        assert_eq!("01arz3ndektsv4rrffq69g5fav".parse::<EventId>().unwrap(), id);
    }

    #[test]
    fn what_is_no_ulid_is_refused() {
        for text in
            ["", "01ARZ3NDEKTSV4RRFFQ69G5FA", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAU"]
        {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_derived_id_is_frozen() {
        let source = SourceId::from_u128(7);
        let id = EventId::derive(source, b"m-1", Timestamp::from_secs(1_700_000_000));

        assert_eq!(
            id.to_string(),
            EventId::derive(source, b"m-1", Timestamp::from_secs(1_700_000_000)).to_string()
        );
        assert_eq!(id.timestamp(), Timestamp::from_secs(1_700_000_000));
        assert_ne!(id, EventId::derive(SourceId::from_u128(8), b"m-1", Timestamp::from_secs(1_700_000_000)));
        assert_ne!(id, EventId::derive(source, b"m-2", Timestamp::from_secs(1_700_000_000)));
    }

    #[test]
    fn a_batch_has_one_id_for_one_set_of_deliveries() {
        let of = |ids: &[u128]| BatchId::derive(ids.iter().copied().map(DeliveryId::from_u128));
        let first = 1_700_000_000_000 << RANDOM_BITS | 5;

        assert_eq!(of(&[first, 7 << 100]), of(&[7 << 100, first]));
        assert_eq!(of(&[first]).timestamp(), Timestamp::from_secs(1_700_000_000));
        assert_ne!(of(&[first]), of(&[first, first + 1]));
        assert_eq!(of(&[first, first + 1]).to_string(), "01HF7YAT0097FW2KE8WX3693CW");
    }

    #[test]
    fn an_id_is_of_the_microsecond_it_was_made_in_or_the_next_that_is_free() {
        let ids = IdGenerator::new(Timestamp::EPOCH, StdRng::seed_from_u64(1));
        let at = Timestamp::from_micros(1_700_000_000_123_998);

        let sequences: Vec<u64> =
            (0..4).map(|_| ids.delivery(at).sequence() - 1_700_000_000_000_000).collect();

        assert_eq!(sequences, [123_998, 123_999, 124_000, 124_001]);
    }

    #[test]
    fn a_lane_is_one_key_of_one_subscription() {
        let one = SubscriptionId::from_u128(1);

        assert_eq!(LaneId::derive(one, "a"), LaneId::derive(one, "a"));
        assert_eq!(LaneId::derive(one, "a").to_string(), "0PMVRNVKWA8EN5VPWRR0D88T7W");
        assert_ne!(LaneId::derive(one, "a"), LaneId::derive(one, "b"));
        assert_ne!(LaneId::derive(one, "a"), LaneId::derive(SubscriptionId::from_u128(2), "a"));
    }

    proptest! {
        #[test]
        fn text_round_trips(bits: u128) {
            let id = EventId::from_u128(bits);
            prop_assert_eq!(id.to_string().parse::<EventId>().unwrap(), id);
            prop_assert_eq!(EventId::from_uuid(id.as_uuid()), id);
        }

        #[test]
        fn text_sorts_like_the_bits(a: u128, b: u128) {
            let (a, b) = (EventId::from_u128(a), EventId::from_u128(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn generated_ids_grow_even_when_the_clock_goes_back(steps in prop::collection::vec(-5_000i64..5_000, 1..200)) {
            let ids = IdGenerator::new(Timestamp::EPOCH, StdRng::seed_from_u64(1));
            let (mut now, mut last) = (1_700_000_000_000i64, 0);
            for step in steps {
                now += step;
                let watermark = ids.watermark();
                let next = ids.next(Timestamp::from_millis(now));
                prop_assert!(next > last);
                prop_assert!(watermark <= next);
                let (before, after) = (DeliveryId::from_u128(last).sequence(), DeliveryId::from_u128(next).sequence());
                prop_assert!(before < after && after < 1 << 53);
                last = next;
            }
        }
    }
}
