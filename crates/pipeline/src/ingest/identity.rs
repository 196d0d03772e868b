//! The event's id, and how a redelivery of its message is recognised.
//!
//! From the position when the broker gives a name and a usable time; by the name alone when the time is missing or
//! outside the partitions that exist; by content when there is no name. `docs/adr/0001-event-ids.md` has the reasons.

use longshore_core::ids::digest;
use longshore_core::ports::Identity;
use longshore_core::{EventId, IdGenerator, SourceId, Timestamp};
use longshore_source::{Headers, Position};

/// Headers that a broker adds or changes when it delivers a message again; no part of the message's identity.
///
/// RabbitMQ counts in its own headers. SQS counts in system attributes, Pub/Sub in `googclient_deliveryattempt` (which
/// its client libraries add) and, when it forwards to a dead-letter topic, in `CloudPubSubDeadLetterSource…`. A Kafka
/// record never changes.
const CHANGING: [&str; 10] = [
    "x-delivery-count",
    "x-acquired-count",
    "x-death",
    "x-first-death",
    "x-last-death",
    "x-opt-",
    "approximatereceivecount",
    "approximatefirstreceivetimestamp",
    "googclient_deliveryattempt",
    "cloudpubsubdeadlettersource",
];

/// The parts of a message that its identity is made of.
pub(super) struct Named<'a> {
    pub(super) source: SourceId,
    pub(super) position: &'a Position,
    pub(super) headers: &'a Headers,
    pub(super) body: &'a [u8],
    pub(super) redelivered: bool,
}

/// An id and how a second copy is found. `window` is the time range in which partitions exist.
pub(super) fn identify(
    message: &Named<'_>,
    window: (Timestamp, Timestamp),
    ids: &IdGenerator,
    now: Timestamp,
) -> (EventId, Identity) {
    let source = message.source.as_u128().to_be_bytes();
    let redelivered = message.redelivered;
    match (&message.position.message_id, message.position.timestamp_ms) {
        (Some(name), Some(millis)) if in_window(Timestamp::from_millis(millis), window) => {
            (EventId::derive(message.source, name.as_bytes(), Timestamp::from_millis(millis)), Identity::Id)
        }
        (Some(name), _) => {
            let digest = digest(&[b"name", &source, name.as_bytes()]);
            (ids.event(now), Identity::Named { digest, redelivered })
        }
        (None, _) => {
            let mut parts: Vec<&[u8]> =
                vec![b"content", &source, message.position.address.as_bytes(), message.body];
            for (name, value) in message.headers {
                if !CHANGING.iter().any(|changing| name.to_ascii_lowercase().starts_with(changing)) {
                    parts.extend([name.as_bytes(), value.as_bytes()]);
                }
            }
            (ids.event(now), Identity::Content { digest: digest(&parts), redelivered })
        }
    }
}

fn in_window(at: Timestamp, (floor, ceiling): (Timestamp, Timestamp)) -> bool {
    floor <= at && at < ceiling
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const WINDOW: (Timestamp, Timestamp) = (Timestamp::from_secs(1_000), Timestamp::from_secs(2_000));
    const NOW: Timestamp = Timestamp::from_secs(1_500);

    fn identity(
        position: &Position,
        headers: &Headers,
        body: &[u8],
        redelivered: bool,
    ) -> (EventId, Identity) {
        let ids = IdGenerator::new(Timestamp::EPOCH, StdRng::seed_from_u64(1));
        let source = SourceId::from_u128(1);
        identify(&Named { source, position, headers, body, redelivered }, WINDOW, &ids, NOW)
    }

    fn named(secs: Option<i64>) -> Position {
        Position {
            message_id: Some("m".to_owned()),
            timestamp_ms: secs.map(|secs| secs * 1_000),
            address: "/q".to_owned(),
            ..Position::default()
        }
    }

    #[test]
    fn a_named_and_dated_message_has_its_id_by_position() {
        let first = identity(&named(Some(1_200)), &Headers::new(), b"1", false);
        let again = identity(&named(Some(1_200)), &Headers::new(), b"1", true);

        assert_eq!(first, again);
        assert_eq!(first.1, Identity::Id);
        assert_eq!(first.0.timestamp(), Timestamp::from_secs(1_200));
    }

    #[test]
    fn a_time_outside_the_partitions_is_not_used() {
        for secs in [None, Some(999), Some(2_000), Some(i64::MAX / 1_000)] {
            let (id, identity) = identity(&named(secs), &Headers::new(), b"1", false);

            assert!(matches!(identity, Identity::Named { redelivered: false, .. }), "{secs:?}");
            assert_eq!(id.timestamp(), NOW);
        }
    }

    #[test]
    fn a_nameless_message_is_known_by_its_content_whatever_the_broker_counts() {
        let position = Position::default();
        let with = |name: &str| vec![("a".to_owned(), "1".to_owned()), (name.to_owned(), "2".to_owned())];
        let digest_of = |headers: &Headers, body: &[u8]| match identity(&position, headers, body, true).1 {
            Identity::Content { digest, redelivered: true } => digest,
            other => panic!("{other:?}"),
        };

        for counted in [
            "X-Death",
            "x-first-death-queue",
            "ApproximateReceiveCount",
            "ApproximateFirstReceiveTimestamp",
            "googclient_deliveryattempt",
            "CloudPubSubDeadLetterSourceDeliveryCount",
        ] {
            assert_eq!(
                digest_of(&with("x-delivery-count"), b"1"),
                digest_of(&with(counted), b"1"),
                "{counted}"
            );
        }
        assert_ne!(digest_of(&with("b"), b"1"), digest_of(&with("c"), b"1"));
        assert_ne!(digest_of(&with("b"), b"1"), digest_of(&with("b"), b"2"));
    }
}
