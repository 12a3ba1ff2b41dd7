//! Owns what one node appends to a shared log, and what those who await its flushes are told.
//! It must never confirm what the engine has not acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Epoch;
use crate::Time;
use crate::cache::Guarantee;
use crate::planted::{Fault, planted};
use crate::wire::Seq;

/// What was appended in so much time before an epoch ends may be lost with it, and is appended again.
pub const APPENDED_AGAIN: Duration = Duration::from_secs(30);
/// Most moments that are kept of when something was announced: between two of them, the earlier counts.
const MAX_MOMENTS: usize = 1024;

/// What a flush that was awaited came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmed {
    /// Whoever is registered has applied it, and nobody else can serve anything older.
    ByAll,
    /// It is of a strict cache, and every lease from before it is over.
    ByTime,
    /// Its time is over. These have not applied it, as far as that is known.
    Not(Behind),
}

/// Why a flush is not confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// The engine has not acknowledged it.
    NotAppended,
    /// Nobody has told who has applied it.
    NotKnown,
    /// These, by name.
    Nodes(Vec<String>),
}

/// What a registry says of one flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryRead {
    /// When it was decided to ask for it.
    pub sent: Time,
    /// The engine's.
    pub epoch: Epoch,
    /// Of which of this node's flushes.
    pub of: Seq,
    /// The names of those that have not applied it in this epoch, this node itself left out.
    pub behind: Vec<String>,
}

#[derive(Debug)]
struct Awaited {
    seq: Seq,
    strict: bool,
    deadline: Time,
    /// When the engine's acknowledgement was received, and in which epoch it was given.
    receipt: Option<(Time, Epoch)>,
    registry: Option<RegistryRead>,
}

/// What one node appends.
#[derive(Debug, Default)]
pub struct Appends {
    head: Seq,
    acknowledged: Seq,
    /// Up to here an append is under way.
    under_way: Option<Seq>,
    /// When what was announced, in order.
    moments: VecDeque<(Time, Seq)>,
    awaited: BTreeMap<u64, Awaited>,
    drawn: u64,
}

impl Appends {
    /// A flush was applied here: its number in this node's own log.
    pub fn announce(&mut self, now: Time) -> Seq {
        self.head = self.head.next();
        if self.moments.len() == MAX_MOMENTS {
            self.moments.pop_front();
        }
        self.moments.push_back((now, self.head));
        self.head
    }

    /// Has [`due`](Self::due) tell what becomes of a flush, at `deadline` at the latest.
    pub fn await_applied(&mut self, seq: Seq, deadline: Time, strict: bool) -> u64 {
        self.drawn += 1;
        let awaited = Awaited { seq, strict, deadline, receipt: None, registry: None };
        self.awaited.insert(self.drawn, awaited);
        self.drawn
    }

    /// What is to be appended now, in this order, in one call or in several that keep it: nothing while an
    /// append is under way.
    pub fn to_append(&mut self) -> Option<RangeInclusive<Seq>> {
        if self.under_way.is_some() || self.acknowledged == self.head {
            return None;
        }
        self.under_way = Some(self.head);
        Some(self.acknowledged.next()..=self.head)
    }

    /// The engine has acknowledged all up to `upto`.
    pub fn acknowledged(&mut self, now: Time, epoch: Epoch, upto: Seq) {
        self.under_way = self.under_way.filter(|&under_way| under_way > upto);
        self.acknowledged = self.acknowledged.max(upto);
        for awaited in self.awaited.values_mut().filter(|it| it.seq <= upto) {
            awaited.receipt.get_or_insert((now, epoch));
        }
    }

    /// Whether the engine has what was under way is not known: it is appended again, with the same numbers.
    pub fn give_up(&mut self) {
        self.under_way = None;
    }

    /// The log is another one, which may lack what the one before had acknowledged.
    pub fn begin_epoch(&mut self, now: Time) {
        let is_old = |at: Time| at + APPENDED_AGAIN < now;
        while self.moments.front().is_some_and(|&(at, _)| is_old(at)) {
            self.moments.pop_front();
        }
        let first = self.moments.front().map_or(self.head.next(), |&(_, seq)| seq);
        self.acknowledged = self.acknowledged.min(Seq(first.0.saturating_sub(1)));
        self.under_way = None;
    }

    /// The flushes of which a registry would tell something new: awaited, and acknowledged by the engine.
    pub fn to_ask(&self) -> Option<Seq> {
        let acknowledged = self.awaited.values().filter(|it| it.receipt.is_some());
        acknowledged.map(|it| it.seq).max()
    }

    /// A registry was read. What holds for a flush holds for those before it.
    pub fn read(&mut self, read: &RegistryRead) {
        for awaited in self.awaited.values_mut().filter(|it| it.seq <= read.of) {
            awaited.registry = Some(read.clone());
        }
    }

    /// Those that come to something now. `standing` is [`Follower::epoch`](super::Follower::epoch).
    pub fn due(&mut self, now: Time, standing: Option<(Epoch, Time)>) -> Vec<(u64, Confirmed)> {
        let mut due = Vec::new();
        self.awaited.retain(|&id, it| {
            let confirmed = it.confirmed(now, standing);
            let is_waiting = confirmed.is_none();
            due.extend(confirmed.map(|confirmed| (id, confirmed)));
            is_waiting
        });
        due
    }

    /// When something comes to an end at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        self.awaited.values().map(Awaited::ends).min()
    }
}

impl Awaited {
    /// When it is over, whatever anybody says from here on.
    fn ends(&self) -> Time {
        self.by_time().unwrap_or(Time::NEVER).min(self.deadline)
    }

    /// When every lease is over of who may not have heard of it.
    fn by_time(&self) -> Option<Time> {
        let strict = self.receipt.filter(|_| self.strict);
        strict.map(|(received, _)| received + Guarantee::strict_wait())
    }

    fn confirmed(&self, now: Time, standing: Option<(Epoch, Time)>) -> Option<Confirmed> {
        if self.by_time().is_some_and(|at| at <= now) {
            return Some(Confirmed::ByTime);
        }
        if self.is_by_all(now, standing) {
            return Some(Confirmed::ByAll);
        }
        let behind = || match (&self.receipt, &self.registry) {
            (None, _) => Behind::NotAppended,
            (Some(_), None) => Behind::NotKnown,
            (Some(_), Some(read)) => Behind::Nodes(read.behind.clone()),
        };
        (self.deadline <= now).then(|| Confirmed::Not(behind()))
    }

    /// Whether all that are registered have applied it, and nobody else has a lease.
    fn is_by_all(&self, now: Time, standing: Option<(Epoch, Time)>) -> bool {
        let (Some((received, acknowledged_in)), Some(read), Some((epoch, since))) =
            (self.receipt, &self.registry, standing)
        else {
            return false;
        };
        let is_behind = read.sent >= received;
        // Who follows another one is registered elsewhere, for as long as a lease lasts.
        let is_settled =
            since + Guarantee::strict_wait() <= now || planted(Fault::ConfirmedInYoungEpoch);
        let is_one = acknowledged_in == epoch && read.epoch == epoch;
        is_behind && is_settled && is_one && read.behind.is_empty()
    }
}
