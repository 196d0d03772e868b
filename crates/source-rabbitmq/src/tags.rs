//! Which delivery tags may be acknowledged by one frame. Pure.
//!
//! Invariant: a `multiple` acknowledgement never covers a tag that is still open, since the broker takes it for
//! every tag up to the one it names (AMQP 0-9-1, `basic.ack`).

use std::collections::BTreeSet;

/// The tags of one channel that were handed out and are not settled. A channel numbers its deliveries 1, 2, 3, …
#[derive(Debug, Default)]
pub(crate) struct Tags {
    /// Open tags up to `seen`; every higher one is open too.
    open: BTreeSet<u64>,
    seen: u64,
}

/// The frames that acknowledge a set of tags.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Acks<'a> {
    /// Acknowledges this tag and every lower one that the broker still counts.
    pub(crate) up_to: Option<u64>,
    /// To be acknowledged one by one.
    pub(crate) singles: &'a [u64],
}

impl Tags {
    /// Notes that `tag` is settled; false when it was before, or is no tag at all.
    pub(crate) fn settle(&mut self, tag: u64) -> bool {
        if tag > self.seen {
            self.open.extend(self.seen + 1..tag);
            self.seen = tag;
            return true;
        }
        self.open.remove(&tag)
    }

    /// Splits `settled`, tags that [`Tags::settle`] has taken and the broker does not know of yet, into frames.
    pub(crate) fn plan<'a>(&self, settled: &'a mut [u64]) -> Acks<'a> {
        settled.sort_unstable();
        let below = self.open.first().map_or(settled.len(), |open| settled.partition_point(|tag| tag < open));
        let (covered, singles) = settled.split_at(below);
        Acks { up_to: covered.last().copied(), singles }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(tags: &mut Tags, settled: &[u64]) {
        for &tag in settled {
            assert!(tags.settle(tag), "{tag}");
        }
    }

    #[test]
    fn a_contiguous_prefix_is_one_frame() {
        let mut tags = Tags::default();
        let mut acked = [2, 1, 3];
        settle(&mut tags, &acked);

        assert_eq!(tags.plan(&mut acked), Acks { up_to: Some(3), singles: &[] });
    }

    #[test]
    fn an_open_tag_is_never_covered() {
        let mut tags = Tags::default();
        let mut acked = [1, 3, 5];
        settle(&mut tags, &acked);
        assert_eq!(tags.plan(&mut acked), Acks { up_to: Some(1), singles: &[3, 5] });

        // 2 goes back to the broker, 4 is held: 6 must not cover 4.
        settle(&mut tags, &[2]);
        let mut acked = [6];
        settle(&mut tags, &acked);
        assert_eq!(tags.plan(&mut acked), Acks { up_to: None, singles: &[6] });

        let mut acked = [4];
        settle(&mut tags, &acked);
        assert_eq!(tags.plan(&mut acked), Acks { up_to: Some(4), singles: &[] });
    }

    #[test]
    fn a_tag_is_settled_once() {
        let mut tags = Tags::default();

        assert!(tags.settle(2));
        assert!(!tags.settle(2));
        assert!(tags.settle(1));
        assert!(!tags.settle(1));
        assert!(!tags.settle(0));
    }
}
