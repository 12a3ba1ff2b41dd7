//! Owns the engine: one ordered log, whose last entries may not be visible yet, and a registry of who
//! follows it.

use std::collections::{BTreeMap, BTreeSet};

use flushcast_core::Time;
use flushcast_core::shared_log::{Epoch, ROW_LASTS, Row};
use flushcast_core::wire::{Incarnation, Position};

/// An entry at its place in the log, which only grows within an epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Logged {
    pub(super) place: u64,
    /// Nobody's, where the application's own transaction wrote it.
    pub(super) by: Option<Position>,
    pub(super) key: usize,
    pub(super) version: u64,
}

/// What of the log was visible at some moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub(super) upto: u64,
    /// Of those up to there, the ones that were not.
    pub(super) open: BTreeSet<u64>,
}

impl Snapshot {
    pub(super) fn of(upto: u64) -> Self {
        Self { upto, open: BTreeSet::new() }
    }

    pub(super) fn holds(&self, place: u64) -> bool {
        place <= self.upto && !self.open.contains(&place)
    }

    /// The first place that it does not have.
    fn lacks_from(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.upto + 1)
    }
}

/// What has been read last: where, and whose it is.
pub(super) type Anchor = (u64, Position);

#[derive(Debug, Clone)]
pub(super) struct Registered {
    pub(super) epoch: Epoch,
    pub(super) applied: Snapshot,
    refreshed: Time,
}

#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) epoch: Epoch,
    entries: BTreeMap<u64, Logged>,
    /// Those that no transaction has committed yet.
    open: BTreeSet<u64>,
    head: u64,
    /// The first place that was not trimmed.
    begins: u64,
    rows: BTreeMap<Incarnation, Registered>,
    /// Nobody answers until then.
    pub(super) down_until: Time,
}

impl Server {
    pub(super) fn new(epoch: Epoch) -> Self {
        let (entries, rows, open) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { epoch, entries, open, head: 0, begins: 1, rows, down_until: Time::ZERO }
    }

    pub(super) fn append(&mut self, by: Option<Position>, key: usize, version: u64) -> Logged {
        self.head += 1;
        let logged = Logged { place: self.head, by, key, version };
        self.entries.insert(self.head, logged);
        logged
    }

    /// What was appended last is not visible before it is committed.
    pub(super) fn hide(&mut self, places: &[u64]) {
        self.open.extend(places);
    }

    /// Makes it visible, unless it was undone meanwhile.
    pub(super) fn commit(&mut self, places: &[u64]) -> Vec<Logged> {
        let are_open = places.iter().all(|place| self.open.remove(place));
        let entries = places.iter().filter_map(|place| self.entries.get(place));
        if are_open { entries.copied().collect() } else { Vec::new() }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { upto: self.head, open: self.open.clone() }
    }

    /// What is visible, and was not: an engine goes on behind a hole, and does not say so.
    pub(super) fn behind(&self, at: &Snapshot) -> Vec<Logged> {
        let behind = self.entries.range(at.lacks_from()..).map(|(_, it)| *it);
        behind.filter(|it| !at.holds(it.place) && !self.open.contains(&it.place)).collect()
    }

    /// Whether it still has all behind that, and the same entry there. By places alone: that it is another
    /// log is for the epoch to show.
    pub(super) fn reaches_back(&self, at: &Snapshot, anchor: Option<Anchor>) -> bool {
        let is_same =
            |(place, by): Anchor| self.entries.get(&place).is_none_or(|it| it.by == Some(by));
        let is_ahead = at.upto > self.head;
        !is_ahead && at.lacks_from() >= self.begins && anchor.is_none_or(is_same)
    }

    /// A row of another epoch is refused.
    pub(super) fn refresh(
        &mut self,
        now: Time,
        of: Incarnation,
        epoch: Epoch,
        at: &Snapshot,
    ) -> bool {
        if epoch != self.epoch {
            return false;
        }
        let row = Registered { epoch, applied: at.clone(), refreshed: now };
        self.rows.insert(of, row);
        true
    }

    pub(super) fn row(&self, of: Incarnation) -> Row {
        match self.rows.get(&of).is_some_and(|row| row.epoch == self.epoch) {
            true => Row::Present,
            false => Row::Missing,
        }
    }

    pub(super) fn rows(&self) -> BTreeMap<Incarnation, Registered> {
        self.rows.clone()
    }

    pub(super) fn clean(&mut self, now: Time) {
        self.rows.retain(|_, row| now.since(row.refreshed) < ROW_LASTS);
    }

    /// What was not committed is undone.
    pub(super) fn restart(&mut self, epoch: Epoch, until: Time) {
        self.epoch = epoch;
        self.down_until = until;
        for place in std::mem::take(&mut self.open) {
            self.entries.remove(&place);
        }
    }

    /// Another server goes on that lacks the last entries, and gives their places to others.
    pub(super) fn lose(&mut self, count: usize) {
        for _ in 0..count {
            if self.entries.remove(&self.head).is_none() && self.head < self.begins {
                break;
            }
            self.open.remove(&self.head);
            self.head -= 1;
        }
    }

    /// Loses what it has just appended, before it was acknowledged; unless there is more behind that.
    pub(super) fn take_back(&mut self, places: &[u64]) -> bool {
        let is_last = places.last() == Some(&self.head);
        if is_last {
            self.lose(places.len());
        }
        is_last
    }

    /// The log is made anew, under the same name.
    pub(super) fn recreate(&mut self, epoch: Epoch) {
        *self = Self { down_until: self.down_until, ..Self::new(epoch) };
    }

    /// What somebody may not have seen yet because it is not committed is kept.
    pub(super) fn trim(&mut self, keep: u64) {
        let open = self.open.first().copied().unwrap_or(u64::MAX);
        self.begins = self.begins.max((self.head + 1).saturating_sub(keep).min(open));
        self.entries.retain(|&place, _| place >= self.begins);
    }
}
