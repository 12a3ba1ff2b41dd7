//! Owns what an observer who sees everything knows: who announced what when, who has applied it,
//! and what somebody was promised.

use std::collections::BTreeMap;

use flushcast_core::Time;

use crate::tap::{Change, Floors};

/// A change that was announced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Announced {
    pub(crate) at: Time,
    /// Where the node that announced it runs.
    pub(crate) slot: usize,
    pub(crate) change: Change,
}

/// Who sent a flush: where it runs, and its life.
pub(crate) type Teller = (usize, u64);

/// When a life had applied a change, and who told it.
type Told = (Time, Option<Teller>);

#[derive(Debug, Default)]
pub(crate) struct History {
    announced: Vec<Announced>,
    /// Versions that a put has made and not told of yet, each with its life.
    untold: BTreeMap<u64, u64>,
    /// Where each life that has announced something runs, or ran.
    slots: BTreeMap<u64, usize>,
    /// When a life was killed, or said goodbye.
    ended: BTreeMap<u64, Time>,
    /// The lives that have applied a change, by its life and number.
    applied: BTreeMap<(u64, u64), BTreeMap<u64, Told>>,
    /// A life is over whose log held more than its own changes.
    heir_ended: bool,
    /// The newest versions whose flush was awaited and came back `Ok`, for a strict cache.
    pub(crate) confirmed: Floors,
}

impl History {
    pub(crate) fn announce(&mut self, at: Time, slot: usize, change: Change) {
        self.slots.insert(change.life, slot);
        self.announced.push(Announced { at, slot, change });
    }

    /// A put of that life has changed the source.
    pub(crate) fn put(&mut self, version: u64, life: u64) {
        self.untold.insert(version, life);
    }

    /// Its flush follows, or is refused, because the node has left.
    pub(crate) fn put_ends(&mut self, version: u64) {
        self.untold.remove(&version);
    }

    /// A version that a put of a living node has made, and of which nobody was told.
    pub(crate) fn untold(&self) -> Option<u64> {
        let mut living = self.untold.iter().filter(|(_, life)| !self.ended.contains_key(life));
        living.next().map(|(&version, _)| version)
    }

    pub(crate) fn end(&mut self, life: u64, at: Time) {
        self.ended.entry(life).or_insert(at);
    }

    /// A life is over whose log held more than its own changes.
    pub(crate) fn note_heir_ended(&mut self) {
        self.heir_ended = true;
    }

    pub(crate) fn has_heir_ended(&self) -> bool {
        self.heir_ended
    }

    /// Where a life runs, or ran, if it has announced anything.
    pub(crate) fn slot_of(&self, life: u64) -> Option<usize> {
        self.slots.get(&life).copied()
    }

    /// Whether any life is over.
    pub(crate) fn has_anybody_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// When a life was over; [`Time::NEVER`] while it takes part.
    pub(crate) fn end_of(&self, life: u64) -> Time {
        self.ended.get(&life).copied().unwrap_or(Time::NEVER)
    }

    /// Only the first time counts.
    pub(crate) fn applied(&mut self, now: Time, change: Change, by: u64, from: Option<Teller>) {
        let appliers = self.applied.entry((change.life, change.number)).or_default();
        appliers.entry(by).or_insert((now, from));
    }

    /// When a life had applied a change; [`Time::NEVER`] while it has not.
    pub(crate) fn applied_at(&self, change: Change, by: u64) -> Time {
        let appliers = self.applied.get(&(change.life, change.number));
        appliers.and_then(|it| it.get(&by)).map_or(Time::NEVER, |(at, _)| *at)
    }

    /// Where those run over whom a change came to a life, its author left out.
    pub(crate) fn way(&self, change: Change, mut to: u64) -> Vec<usize> {
        let appliers = self.applied.get(&(change.life, change.number));
        let mut way = Vec::new();
        while let Some(&(at, life)) = appliers.and_then(|it| it.get(&to)?.1.as_ref())
            && life != change.life
        {
            way.push(at);
            to = life;
        }
        way
    }

    pub(crate) fn announced(&self) -> &[Announced] {
        &self.announced
    }

    /// Whether `by` has applied all that `life` announced after `since`.
    pub(crate) fn all_applied(&self, life: u64, by: u64, since: Time) -> bool {
        let theirs = self.announced.iter().filter(|it| it.change.life == life);
        let mut theirs = theirs.filter(|it| it.at > since);
        theirs.all(|it| self.appliers(it.change).any(|applier| applier == by))
    }

    /// The lives that have applied a change, other than its own.
    pub(crate) fn appliers(&self, change: Change) -> impl Iterator<Item = u64> {
        self.applied
            .get(&(change.life, change.number))
            .into_iter()
            .flat_map(BTreeMap::keys)
            .copied()
    }
}
