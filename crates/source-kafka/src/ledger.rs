//! What is known of each partition that is ours: what was handed out, what is settled, what may be committed; and the
//! records that wait to be handed out.
//!
//! Pure but for the clock it is told; it talks to no broker. Invariants: a settlement counts only for the claim it
//! was handed out under, so that one that comes late, after the partition went to somebody else, commits nothing;
//! records leave in the order of their offsets.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use longshore_source::offsets::Contiguous;
use tokio::time::Instant;

use crate::record::Record;

/// One time that a partition was ours.
pub(crate) type Claim = u64;

/// What a settlement is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handle {
    pub(crate) claim: Claim,
    pub(crate) offset: u64,
}

/// What became of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Acked,
    Returned,
    /// The partition is not ours any more.
    Stale,
}

/// A partition that is ours.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) topic: Arc<str>,
    pub(crate) number: i32,
    /// `<topic>/<partition>`.
    pub(crate) log: Arc<str>,
    offsets: Contiguous,
    /// Offsets that were given back and are to be read again.
    returned: BTreeSet<u64>,
    /// When to go back for them.
    pub(crate) rewind_at: Option<Instant>,
    /// Whether the client was told to read nothing until then.
    pub(crate) held: bool,
    /// What may be committed: the offset to read next.
    wanted: Option<u64>,
    /// What was sent to be committed and has not failed.
    sent: Option<u64>,
    /// What the broker has confirmed.
    confirmed: Option<u64>,
    /// A stored watermark that belongs to an earlier topic of the same name; kept beside the committed offset.
    pub(crate) stale_watermark: Option<u64>,
    /// Records waiting to be handed out.
    buffered: usize,
    /// Messages handed out and not settled.
    out: usize,
    /// Records read, for telling whether anything moved.
    reads: u64,
    pub(crate) last_read: Instant,
    /// What the last statistics said, while nothing has moved since.
    quiet: Option<Quiet>,
    /// Where the partition ends, as far as the client has learnt by fetching.
    known_end: Option<u64>,
}

/// A look at a partition in which nothing was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quiet {
    pub(crate) next: u64,
    reads: u64,
    disturbances: u64,
}

/// What the client's statistics say of a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The next offset to fetch.
    pub(crate) next: i64,
    /// The end of what can be read.
    pub(crate) end: i64,
    /// The end, open transactions included.
    pub(crate) high: i64,
    /// Records fetched and not handed to us.
    pub(crate) fetched: i64,
}

/// A position to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) topic: Arc<str>,
    pub(crate) number: i32,
    pub(crate) next: u64,
    pub(crate) stale_watermark: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    partitions: HashMap<Claim, Partition>,
    claims: HashMap<(Arc<str>, i32), Claim>,
    last_claim: Claim,
    buffer: VecDeque<Record>,
    buffered_bytes: usize,
    /// Counts what makes the client's positions jump: pauses, seeks, assignments.
    disturbances: u64,
}

impl Ledger {
    /// A partition became ours. `start` is where it is read from and what is to be committed at once, if known.
    pub(crate) fn claim(&mut self, topic: Arc<str>, number: i32, start: Start, now: Instant) -> Claim {
        self.forget(&topic, number);
        self.last_claim += 1;
        self.disturbances += 1;
        let log: Arc<str> = format!("{topic}/{number}").into();
        let partition = Partition {
            topic: Arc::clone(&topic),
            number,
            log,
            offsets: Contiguous::new(),
            returned: BTreeSet::new(),
            rewind_at: None,
            held: false,
            wanted: start.next,
            sent: if start.commit { None } else { start.next },
            confirmed: if start.commit { None } else { start.next },
            stale_watermark: start.stale_watermark,
            buffered: 0,
            out: 0,
            reads: 0,
            last_read: now,
            quiet: None,
            known_end: None,
        };
        self.partitions.insert(self.last_claim, partition);
        self.claims.insert((topic, number), self.last_claim);
        self.last_claim
    }

    pub(crate) fn find(&self, topic: &str, number: i32) -> Option<(Claim, &Partition)> {
        // Few partitions are asked for at a time, and an owned key per look would cost more.
        let claim = self.claims.get(&(Arc::from(topic), number)).copied()?;
        Some((claim, self.partitions.get(&claim)?))
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = (Claim, &Partition)> {
        self.partitions.iter().map(|(claim, partition)| (*claim, partition))
    }

    pub(crate) fn partition_mut(&mut self, claim: Claim) -> Option<&mut Partition> {
        self.partitions.get_mut(&claim)
    }

    /// Takes records from the client, in the order of their offsets. Those of a partition that is not ours, or that
    /// is to be read again from further back, are not for us: they come again.
    pub(crate) fn put(&mut self, records: impl IntoIterator<Item = Record>, now: Instant) {
        for record in records {
            let Some(partition) = self.partitions.get_mut(&record.claim) else { continue };
            if partition.rewind_at.is_some() {
                continue;
            }
            partition.buffered += 1;
            partition.reads += 1;
            partition.last_read = now;
            partition.quiet = None;
            self.buffered_bytes += record.size;
            self.buffer.push_back(record);
        }
    }

    /// How many records wait, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.buffer.len(), self.buffered_bytes)
    }

    /// The next record to hand out; what was settled before, or is still out, is passed over.
    pub(crate) fn take(&mut self) -> Option<Record> {
        while let Some(record) = self.buffer.pop_front() {
            self.buffered_bytes -= record.size;
            let Some(partition) = self.partitions.get_mut(&record.claim) else { continue };
            partition.buffered -= 1;
            partition.give_up_returned_below(record.offset);
            let again = partition.returned.remove(&record.offset);
            if !again && !partition.offsets.track(record.offset) {
                continue;
            }
            if record.skip {
                partition.settle(record.offset);
                continue;
            }
            partition.out += 1;
            return Some(record);
        }
        None
    }

    /// The message is durable.
    pub(crate) fn acked(&mut self, handle: Handle) -> Effect {
        let Some(partition) = self.partitions.get_mut(&handle.claim) else { return Effect::Stale };
        partition.out = partition.out.saturating_sub(1);
        partition.settle(handle.offset);
        Effect::Acked
    }

    /// The message is to come again, not before `due`: its partition is read again from there, and in order.
    pub(crate) fn returned(&mut self, handle: Handle, due: Instant) -> Effect {
        let Some(partition) = self.partitions.get_mut(&handle.claim) else { return Effect::Stale };
        partition.out = partition.out.saturating_sub(1);
        partition.returned.insert(handle.offset);
        partition.rewind_at = Some(partition.rewind_at.map_or(due, |at| at.max(due)));
        partition.quiet = None;
        self.purge(handle.claim);
        Effect::Returned
    }

    /// From which offset a partition is read again: the first that was given back.
    pub(crate) fn rewind_to(&self, claim: Claim) -> Option<u64> {
        self.partitions.get(&claim)?.returned.first().copied()
    }

    /// The client has gone back.
    pub(crate) fn rewound(&mut self, claim: Claim) {
        self.disturbances += 1;
        if let Some(partition) = self.partitions.get_mut(&claim) {
            partition.rewind_at = None;
            partition.held = false;
        }
    }

    /// The client's positions may jump now.
    pub(crate) fn disturb(&mut self) {
        self.disturbances += 1;
    }

    /// What is to be committed and is not on its way.
    pub(crate) fn uncommitted(&mut self) -> Vec<Commit> {
        self.partitions.values_mut().filter_map(Partition::commit).collect()
    }

    /// What is to be committed and is not known to be.
    pub(crate) fn unconfirmed(&mut self) -> Vec<Commit> {
        self.partitions.values_mut().filter_map(Partition::commit_unconfirmed).collect()
    }

    /// The broker has a position.
    pub(crate) fn confirmed(&mut self, topic: &str, number: i32, next: u64) {
        if let Some((claim, _)) = self.find(topic, number)
            && let Some(partition) = self.partitions.get_mut(&claim)
        {
            partition.confirmed = Some(next);
        }
    }

    /// A commit failed: it is made again.
    pub(crate) fn commit_failed(&mut self, topic: &str, number: i32) {
        if let Some((claim, _)) = self.find(topic, number)
            && let Some(partition) = self.partitions.get_mut(&claim)
        {
            partition.sent = None;
        }
    }

    /// Nothing more of these partitions is handed out.
    pub(crate) fn withhold(&mut self, of: impl Fn(&str, i32) -> bool) {
        let claims: Vec<Claim> = self.of(of).collect();
        for claim in claims {
            self.purge(claim);
        }
    }

    /// Whether something of these partitions is out and may still be settled.
    pub(crate) fn is_out(&self, of: impl Fn(&str, i32) -> bool) -> bool {
        self.of(of).filter_map(|claim| self.partitions.get(&claim)).any(|partition| partition.out > 0)
    }

    /// Gives these partitions away: what is settled later counts no more. Returns what is to be committed.
    pub(crate) fn revoke(&mut self, of: impl Fn(&str, i32) -> bool) -> Vec<Commit> {
        let claims: Vec<Claim> = self.of(of).collect();
        let mut commits = Vec::new();
        for claim in claims {
            self.purge(claim);
            if let Some(mut partition) = self.partitions.remove(&claim) {
                self.claims.remove(&(Arc::clone(&partition.topic), partition.number));
                commits.extend(partition.commit_unconfirmed());
            }
        }
        commits
    }

    /// What the client's statistics say. Returns how far the partition is behind.
    ///
    /// When nothing of it moved since the last time, and the client has read to the end, then what lies between the
    /// last record and the end are marks of transactions or gaps, and the end may be committed.
    pub(crate) fn seen(&mut self, topic: &str, number: i32, seen: Seen, paused: bool) -> Option<u64> {
        let disturbances = self.disturbances;
        let claim = self.find(topic, number)?.0;
        let partition = self.partitions.get_mut(&claim)?;
        partition.known_end = u64::try_from(seen.high).ok();
        let end = u64::try_from(seen.end).ok()?;
        let next = u64::try_from(seen.next).ok();
        let at_end = next == Some(end) && seen.fetched == 0 && !paused;
        if at_end && partition.is_idle() {
            let now = Quiet { next: end, reads: partition.reads, disturbances };
            if partition.quiet == Some(now) && partition.wanted.is_none_or(|wanted| wanted < end) {
                partition.wanted = Some(end);
            }
            partition.quiet = Some(now);
        } else {
            partition.quiet = None;
        }
        Some(end.saturating_sub(partition.wanted.or(next)?))
    }

    fn of(&self, of: impl Fn(&str, i32) -> bool) -> impl Iterator<Item = Claim> {
        self.partitions
            .iter()
            .filter(move |(_, partition)| of(&partition.topic, partition.number))
            .map(|(claim, _)| *claim)
    }

    fn forget(&mut self, topic: &Arc<str>, number: i32) {
        if let Some(claim) = self.claims.remove(&(Arc::clone(topic), number)) {
            self.purge(claim);
            self.partitions.remove(&claim);
        }
    }

    fn purge(&mut self, claim: Claim) {
        let Some(partition) = self.partitions.get_mut(&claim) else { return };
        if partition.buffered == 0 {
            return;
        }
        partition.buffered = 0;
        self.buffer.retain(|record| record.claim != claim);
        self.buffered_bytes = self.buffer.iter().map(|record| record.size).sum();
    }
}

/// Where a partition is read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Start {
    /// The first offset; `None`: where the client finds that the group stands.
    pub(crate) next: Option<u64>,
    /// Whether that is to be committed.
    pub(crate) commit: bool,
    pub(crate) stale_watermark: Option<u64>,
}

impl Partition {
    fn settle(&mut self, offset: u64) {
        if let Some(last) = self.offsets.settle(offset) {
            self.wanted = Some(last + 1);
        }
    }

    fn commit(&mut self) -> Option<Commit> {
        self.wanted.filter(|wanted| self.sent != Some(*wanted))?;
        self.commit_unconfirmed()
    }

    fn commit_unconfirmed(&mut self) -> Option<Commit> {
        let next = self.wanted.filter(|wanted| self.confirmed != Some(*wanted))?;
        self.sent = Some(next);
        Some(Commit {
            topic: Arc::clone(&self.topic),
            number: self.number,
            next,
            stale_watermark: self.stale_watermark,
        })
    }

    pub(crate) const fn known_end(&self) -> Option<u64> {
        self.known_end
    }

    fn is_idle(&self) -> bool {
        self.offsets.is_empty() && self.buffered == 0 && self.rewind_at.is_none()
    }

    /// What was given back and does not come although later ones do is gone: retention or compaction took it.
    fn give_up_returned_below(&mut self, offset: u64) {
        while let Some(gone) = self.returned.first().copied().filter(|first| *first < offset) {
            self.returned.remove(&gone);
            tracing::error!(log = %self.log, offset = gone, "a record that was given back is gone from the broker");
            self.settle(gone);
        }
    }
}
