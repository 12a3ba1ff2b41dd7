//! Owns what becomes of one flush that somebody waits for.
//! It must never confirm it while a node may serve something older by a proof that still holds.

use std::time::Duration;

use super::{EARLY_LEASE, Epoch, Membership, Standing};
use crate::Time;
use crate::cache::drift;
use crate::planted::{Fault, planted};
use crate::wire::{Incarnation, Seq};

/// What a flush that was awaited came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmed {
    /// Each registered node has applied it, and no node has a proof that lets it serve anything older. What
    /// a bounded cache has loaded while it was cut off, it serves for its lease.
    ByAll,
    /// Every lease from before it is over.
    ByTime,
    /// Its time is over. These have not applied it, as far as that is known.
    Not(Behind),
}

/// Why a flush is not confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// The engine has not acknowledged it.
    NotAppended,
    /// Nobody has told who has applied it, or it was too early to tell.
    NotKnown,
    /// These, by name.
    Nodes(Vec<String>),
    /// Each registered node has applied it, and another one may serve older copies for as long as its lease.
    Unregistered,
}

/// What a registry says, asked by one that appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryRead {
    /// When it was decided to ask for it.
    pub sent: Time,
    /// The engine's.
    pub epoch: Epoch,
    /// All but the asker's own.
    pub rows: Vec<RegistryRow>,
}

/// What a registry says of one life of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryRow {
    /// Its name.
    pub name: String,
    /// Its life: one that went before keeps its row until that is removed.
    pub life: Incarnation,
    /// The epoch of what it has applied.
    pub epoch: Epoch,
    /// Up to there it has applied all of the asker's flushes, in that epoch.
    pub applied: Seq,
}

impl RegistryRead {
    fn behind(&self, seq: Seq) -> impl Iterator<Item = &RegistryRow> {
        self.rows.iter().filter(move |row| row.epoch != self.epoch || row.applied < seq)
    }
}

#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) seq: Seq,
    /// How long others may serve what they last heard before it.
    pub(super) lease: Duration,
    pub(super) deadline: Time,
    /// When the engine's acknowledgement was received, in the epoch in which this node stands.
    pub(super) received: Option<Time>,
}

impl Awaited {
    /// When what is known now makes it come to something.
    pub(super) fn ends(&self, standing: &Standing, registry: Option<&RegistryRead>) -> Time {
        let is_shown = |&(_, asked): &(Time, Time)| asked <= standing.answered;
        let by_time = self.by_time(standing).filter(is_shown).map_or(Time::NEVER, |(at, _)| at);
        let by_all = self.by_all(standing, registry).unwrap_or(Time::NEVER);
        self.deadline.min(by_time).min(by_all)
    }

    pub(super) fn confirmed(
        &self,
        now: Time,
        standing: Option<&Standing>,
        registry: Option<&RegistryRead>,
    ) -> Option<Confirmed> {
        if let Some(standing) = standing {
            let by_time = self.by_time(standing);
            if by_time.is_some_and(|(at, asked)| at <= now && asked <= standing.answered) {
                return Some(Confirmed::ByTime);
            }
            if self.by_all(standing, registry).is_some_and(|at| at <= now) {
                return Some(Confirmed::ByAll);
            }
        }
        (self.deadline <= now).then(|| Confirmed::Not(self.why(standing, registry)))
    }

    /// Whether a registry could confirm it.
    pub(super) fn is_asked_for(&self, standing: &Standing) -> bool {
        self.received.is_some() && standing.epoch.rules.membership == Membership::Registered
    }

    fn lease_and_margin(&self) -> Duration {
        self.lease.saturating_add(drift(self.lease))
    }

    fn acknowledged(&self) -> Option<Time> {
        // A node that counts from nothing has nothing to wait for.
        self.received.or_else(|| planted(Fault::NotAcknowledged).then_some(Time::ZERO))
    }

    /// E6: when every lease is over of who may not have heard of it, and when a question has to be asked
    /// whose answer shows that it was not lost with a leader.
    fn by_time(&self, standing: &Standing) -> Option<(Time, Time)> {
        let overlap = standing.epoch.rules.overlap.wait()?;
        let received = self.acknowledged()?;
        if overlap.is_zero() || planted(Fault::OverlapIgnored) {
            return Some((received + self.lease_and_margin(), Time::ZERO));
        }
        Some((received + self.lease_and_margin() + overlap, received + overlap))
    }

    /// E7: from when on all that are registered are known to have applied it, and nobody else has a lease.
    fn by_all(&self, standing: &Standing, registry: Option<&RegistryRead>) -> Option<Time> {
        let (received, read) = (self.received?, registry?);
        let is_short = self.lease <= EARLY_LEASE || planted(Fault::LongLeaseEarly);
        let is_behind = read.sent >= received || planted(Fault::RegistryAskedBefore);
        let is_one = read.epoch == standing.epoch && is_behind;
        let is_early = standing.epoch.rules.allow_early() || planted(Fault::OverlapIgnored);
        if !is_early || !is_short || !is_one || read.behind(self.seq).next().is_some() {
            return None;
        }
        match planted(Fault::ConfirmedInYoungEpoch) {
            true => Some(received),
            // Who follows another one is registered elsewhere, for as long as a lease lasts.
            false => Some(standing.since + self.lease_and_margin()),
        }
    }

    fn why(&self, standing: Option<&Standing>, registry: Option<&RegistryRead>) -> Behind {
        let Some(received) = self.received else { return Behind::NotAppended };
        let is_told = |it: &&RegistryRead| {
            it.sent >= received && standing.is_some_and(|standing| it.epoch == standing.epoch)
        };
        let Some(read) = registry.filter(is_told) else { return Behind::NotKnown };
        let mut names: Vec<_> = read.behind(self.seq).map(|row| row.name.clone()).collect();
        names.dedup();
        match names.is_empty() {
            true => Behind::Unregistered,
            false => Behind::Nodes(names),
        }
    }
}
