//! Owns the engine: one ordered log, and a registry of who follows it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::shared_log::{Answer, Entry, Epoch, Question};
use flushcast_core::wire::{Incarnation, Position, Seq};

/// A row that was not refreshed for so long is removed.
const ROW_LASTS: Duration = Duration::from_secs(15);

/// What an instance has appended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Logged {
    pub(super) entry: Entry,
    pub(super) key: usize,
    #[expect(dead_code, reason = "a trace shows it")]
    pub(super) version: u64,
}

#[derive(Debug, Clone)]
struct Row {
    epoch: Epoch,
    applied: Seq,
    refreshed: Time,
}

#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) epoch: Epoch,
    entries: VecDeque<Logged>,
    head: Seq,
    rows: BTreeMap<Incarnation, Row>,
    /// Nobody answers until then.
    pub(super) down_until: Time,
}

impl Server {
    pub(super) fn new(epoch: Epoch) -> Self {
        let (entries, rows) = (VecDeque::new(), BTreeMap::new());
        Self { epoch, entries, head: Seq::START, rows, down_until: Time::ZERO }
    }

    pub(super) fn append(&mut self, by: Position, key: usize, version: u64) -> Logged {
        self.head = self.head.next();
        let logged = Logged { entry: Entry { number: self.head, by }, key, version };
        self.entries.push_back(logged);
        logged
    }

    /// Those behind a number that it still holds: an engine goes on behind a hole, and does not say so.
    pub(super) fn behind(&self, number: Seq) -> impl Iterator<Item = Logged> {
        self.entries.iter().copied().filter(move |it| it.entry.number > number)
    }

    pub(super) fn answer(&self, of: Incarnation, question: &Question) -> Answer {
        // By numbers and the entry there alone: that it is another log is for the epoch to show.
        let holds = question.after.is_some_and(|(_, after)| {
            let first = self.entries.front().map_or(self.head.next(), |it| it.entry.number);
            let there = self.entries.iter().find(|it| it.entry.number == after.number);
            let is_there =
                there.is_none_or(|it| after.by.seq == Seq::START || it.entry.by == after.by);
            let reaches = after.number.next() >= first && after.number <= self.head;
            reaches && is_there
        });
        let is_registered = self.rows.get(&of).is_some_and(|row| row.epoch == self.epoch);
        Answer { epoch: self.epoch, head: self.head, holds, is_registered }
    }

    /// A row of another epoch is refused.
    pub(super) fn refresh(&mut self, now: Time, of: Incarnation, at: (Epoch, Seq)) -> bool {
        let (epoch, applied) = at;
        if epoch != self.epoch {
            return false;
        }
        self.rows.insert(of, Row { epoch, applied, refreshed: now });
        true
    }

    /// Who has not applied an entry, and everybody of another epoch.
    pub(super) fn who_is_behind(&self, asker: Incarnation, number: Seq) -> Vec<String> {
        let is_behind = |(life, row): &(&Incarnation, &Row)| {
            **life != asker && (row.epoch != self.epoch || row.applied < number)
        };
        self.rows.iter().filter(is_behind).map(|(life, _)| format!("{life}")).collect()
    }

    pub(super) fn clean(&mut self, now: Time) {
        self.rows.retain(|_, row| now.since(row.refreshed) < ROW_LASTS);
    }

    pub(super) fn restart(&mut self, epoch: Epoch, until: Time) {
        self.epoch = epoch;
        self.down_until = until;
    }

    /// Another server goes on that lacks the last entries.
    pub(super) fn lose(&mut self, count: usize) {
        for _ in 0..count {
            if self.entries.pop_back().is_some() {
                self.head = Seq(self.head.0 - 1);
            }
        }
    }

    /// The log is made anew, under the same name.
    pub(super) fn recreate(&mut self, epoch: Epoch) {
        *self = Self { down_until: self.down_until, ..Self::new(epoch) };
    }

    pub(super) fn trim(&mut self, keep: usize) {
        let gone = self.entries.len().saturating_sub(keep);
        self.entries.drain(..gone);
    }
}
