//! Owns what one node appends to a shared log, and what those who await its flushes are told.
//! It must never confirm what the engine has not acknowledged.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::awaited::Awaited;
use super::receipts::Receipts;
use super::{APPENDED_AGAIN, Confirmed, Epoch, RegistryRead, Standing};
use crate::Time;
use crate::planted::{Fault, planted};
use crate::wire::Seq;

/// What is to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// To the log of this epoch: an engine that can refuses it in another one.
    pub epoch: Epoch,
    /// These, in this order, in one call or in several that keep it. What an adapter has no more of, it
    /// appends as a flush of everything.
    pub numbers: RangeInclusive<Seq>,
}

/// What one node appends.
#[derive(Debug, Default)]
pub struct Appends {
    standing: Option<Standing>,
    head: Seq,
    /// Up to there all is acknowledged in the epoch in which it stands, or was long before it.
    acknowledged: Seq,
    /// When the last acknowledgement was received.
    received: Time,
    /// Up to here an append is under way.
    under_way: Option<Seq>,
    receipts: Receipts,
    registry: Option<RegistryRead>,
    awaited: BTreeMap<u64, Awaited>,
    drawn: u64,
}

impl Appends {
    /// A flush was applied here: its number in this node's own log.
    pub fn announce(&mut self) -> Seq {
        self.head = self.head.next();
        self.head
    }

    /// Has [`due`](Self::due) tell what becomes of a flush, at `deadline` at the latest. `lease` is how long a
    /// cache that it names serves what it has without a new proof, on any node.
    pub fn await_applied(&mut self, seq: Seq, deadline: Time, lease: Duration) -> u64 {
        self.drawn += 1;
        let is_acknowledged = self.standing.is_some() && seq <= self.acknowledged;
        let received = is_acknowledged.then_some(self.received);
        self.awaited.insert(self.drawn, Awaited { seq, lease, deadline, received });
        self.drawn
    }

    /// Nobody waits for that any more.
    pub fn forget(&mut self, id: u64) {
        self.awaited.remove(&id);
    }

    /// Where the node stands, by [`Follower::standing`](super::Follower::standing): to be told of behind each
    /// answer. In a new epoch what the one before may have lost is appended again.
    pub fn stand(&mut self, standing: Standing) {
        let before = self.standing.replace(standing);
        if let Some(before) = before.filter(|it| it.epoch != standing.epoch) {
            self.begin(&before, &standing);
        }
    }

    /// E8: the epoch before was the engine's when the last question was asked that it answered, but for an
    /// overlap. What was acknowledged long before that is not lost.
    fn begin(&mut self, before: &Standing, standing: &Standing) {
        let overlap = before.epoch.rules.overlap.wait().unwrap_or_default();
        let lost = self.receipts.first_within(APPENDED_AGAIN + overlap, before.answered);
        let awaited = self.awaited.values().map(|it| it.seq).min();
        let first = lost.into_iter().chain(awaited).min().unwrap_or(self.acknowledged.next());
        if !planted(Fault::NotAppendedAgain) {
            self.acknowledged = self.acknowledged.min(Seq(first.0.saturating_sub(1)));
        }
        self.receipts.forget_behind(self.acknowledged);
        self.received = standing.since;
        self.under_way = None;
        self.registry = None;
        for awaited in self.awaited.values_mut() {
            awaited.received = (awaited.seq <= self.acknowledged).then_some(self.received);
        }
    }

    /// What is to be appended now: nothing before the first answer, and while an append is under way.
    pub fn to_append(&mut self) -> Option<Append> {
        let epoch = self.standing.as_ref()?.epoch;
        if self.under_way.is_some() || self.acknowledged == self.head {
            return None;
        }
        self.under_way = Some(self.head);
        Some(Append { epoch, numbers: self.acknowledged.next()..=self.head })
    }

    /// The engine has acknowledged what was [to be appended](Self::to_append), in `epoch`. An acknowledgement
    /// of another one moves nothing, and neither does one that leaves numbers out.
    pub fn acknowledged(&mut self, now: Time, epoch: Epoch, numbers: &RangeInclusive<Seq>) {
        let is_one = self.standing.is_some_and(|it| it.epoch == epoch);
        let (first, upto) = (*numbers.start(), *numbers.end());
        let is_taken = is_one && first <= self.acknowledged.next();
        if !is_taken && !planted(Fault::OldReceiptsCount) {
            return;
        }
        self.under_way = self.under_way.filter(|&under_way| under_way > upto);
        if upto > self.acknowledged {
            self.receipts.add(now, self.acknowledged.next());
            self.acknowledged = upto;
            self.received = now;
        }
        for awaited in self.awaited.values_mut().filter(|it| it.seq <= upto) {
            awaited.received.get_or_insert(now);
        }
    }

    /// Whether the engine has what was under way is not known: it is appended again, with the same numbers.
    pub fn give_up(&mut self) {
        self.under_way = None;
    }

    /// Whether a registry would tell something: of flushes that are awaited, and acknowledged.
    pub fn wants_registry(&self) -> bool {
        let Some(standing) = &self.standing else { return false };
        self.awaited.values().any(|it| it.is_asked_for(standing))
    }

    /// A registry was read.
    pub fn read(&mut self, read: RegistryRead) {
        let is_newer = self.registry.as_ref().is_none_or(|it| it.sent <= read.sent);
        if is_newer && self.standing.is_some_and(|it| it.epoch == read.epoch) {
            self.registry = Some(read);
        }
    }

    /// Those that come to something now. To be asked behind each of the other calls, and at
    /// [`next_deadline`](Self::next_deadline).
    pub fn due(&mut self, now: Time) -> Vec<(u64, Confirmed)> {
        let mut due = Vec::new();
        let (standing, registry) = (self.standing.as_ref(), self.registry.as_ref());
        self.awaited.retain(|&id, it| {
            let confirmed = it.confirmed(now, standing, registry);
            let is_waiting = confirmed.is_none();
            due.extend(confirmed.map(|confirmed| (id, confirmed)));
            is_waiting
        });
        due
    }

    /// When something comes to an end, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Time> {
        let ends = |it: &Awaited| match &self.standing {
            Some(standing) => it.ends(standing, self.registry.as_ref()),
            None => it.deadline,
        };
        self.awaited.values().map(ends).min()
    }
}
