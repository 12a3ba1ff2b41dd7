//! Owns what is judged in a world of an engine:
//! - no read that starts behind an `Ok` is older than what that confirmed: of a strict cache none, of a
//!   bounded one none behind an `Ok` by time, nor behind one by all while the node's proof holds;
//! - no bounded read is older than its bound behind the append;
//! - each awaited flush comes to something in its time, and to an `Ok` once all is well;
//! - once faults are over, every instance is in step.

use std::collections::BTreeMap;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::Guarantee;
use flushcast_core::shared_log::{Confirmed, EARLY_LEASE, Membership, Overlap};
use flushcast_core::wire::Incarnation;

use super::instance::{Flush, lease};
use super::{Event, FAULTS_LAST, KEYS, MOST_EVENTS, MS, SECOND, World};
use crate::reads::{Kind, Read, ReadFloors, Step};
use crate::run::Violation;
use crate::tap::Floor;

/// How long after the last fault a new flush is confirmed in its time: restarts are over by then, and dead
/// lives' rows gone.
const WELL_AFTER: Duration = Duration::from_secs(22);

/// What reads are measured by.
#[derive(Default)]
pub(super) struct Judge {
    by_all: [u64; KEYS],
    by_time: [u64; KEYS],
    /// What the log's leader has made visible, and when.
    pub(super) appended: Vec<(Time, usize, u64)>,
    /// What each read must not be older than, by the bound.
    bounds: BTreeMap<u64, u64>,
    /// The first change of each key that was made when all was well.
    well_from: [u64; KEYS],
}

impl World {
    fn is_well(&self) -> bool {
        self.now.get() > Time::ZERO + FAULTS_LAST + WELL_AFTER
    }

    pub(super) fn settled(
        &mut self,
        slot: usize,
        flush: &Flush,
        confirmed: &Confirmed,
        overdue: bool,
    ) {
        let (key, version) = (flush.key, flush.version);
        self.counts.outcomes += 1;
        self.note(|| format!("n{slot}: key {key} version {version}: {confirmed:?}"));
        if overdue {
            let what = format!("n{slot} was told {confirmed:?} of {flush:?} late");
            return self.violate("in time on a log", what);
        }
        let judge = &mut self.judge;
        match confirmed {
            Confirmed::ByAll => judge.by_all[key] = judge.by_all[key].max(version),
            Confirmed::ByTime => judge.by_time[key] = judge.by_time[key].max(version),
            Confirmed::Not(_) => {}
        }
        self.counts.confirmed += u64::from(!matches!(confirmed, Confirmed::Not(_)));
        self.counts.fenced += u64::from(*confirmed == Confirmed::ByTime);
        let is_well = self.judge.well_from[key] > 0 && version > self.judge.well_from[key];
        let is_early = self.rules.membership == Membership::Registered
            && self.rules.overlap == Overlap::Never
            && lease(self.guarantee) <= EARLY_LEASE;
        let is_enough = match confirmed {
            Confirmed::ByAll => true,
            Confirmed::ByTime => !is_early || flush.is_late,
            Confirmed::Not(_) => false,
        };
        if is_well && !is_enough {
            let what = format!("n{slot} was told {confirmed:?} of {flush:?} when all was well");
            self.violate("confirmed on a log", what);
        }
    }

    pub(super) fn read(&mut self) {
        let (slot, key) = (self.rng.usize(..self.instances.len()), self.rng.usize(..KEYS));
        let next = MS * self.rng.u32(5..100);
        self.after(next, Event::Read);
        if self.instances[slot].paused_until > self.now.get() {
            return;
        }
        self.drawn += 1;
        let (id, now) = (self.drawn, self.now.get());
        if self.is_well() && self.judge.well_from[key] == 0 {
            self.judge.well_from[key] = self.source[key];
        }
        let overlap = match self.rules.overlap {
            Overlap::AtMost(length) => length,
            Overlap::Never | Overlap::Unknown => Duration::ZERO,
        };
        let bound = match self.guarantee {
            Guarantee::Bounded(bound) => {
                let is_old =
                    |(at, of, _): &&(Time, usize, u64)| *of == key && *at + bound + overlap <= now;
                self.judge.appended.iter().filter(is_old).map(|it| it.2).max()
            }
            Guarantee::Strict | Guarantee::Eventual => None,
        };
        self.judge.bounds.insert(id, bound.unwrap_or_default());
        let counts_all = self.guarantee == Guarantee::Strict || self.instances[slot].is_proven();
        let by_all = if counts_all { self.judge.by_all[key] } else { 0 };
        let confirmed = Floor { fresh: self.judge.by_time[key].max(by_all), expired: 0 };
        let applied = Floor { fresh: 0, expired: 0 };
        let floors = ReadFloors { started: now, applied, confirmed };
        let instance = &mut self.instances[slot];
        let clock = instance.clock.clone();
        let read = Read::start((id, Kind::Read, key), floors, &instance.cache, clock, 1.0);
        instance.reads.push(read);
        self.poll_reads(slot);
    }

    pub(super) fn reading(&mut self, slot: usize, life: Incarnation, id: u64) -> Option<&mut Read> {
        let instance = self.instances.get_mut(slot).filter(|it| it.life == life)?;
        instance.reads.iter_mut().find(|read| read.id == id)
    }

    pub(super) fn poll_reads(&mut self, slot: usize) {
        let life = self.instances[slot].life;
        let mut at = 0;
        while at < self.instances[slot].reads.len() {
            let read = &mut self.instances[slot].reads[at];
            let id = read.id;
            match read.step() {
                Step::Waits => at += 1,
                Step::Loads => {
                    let sample = MS * self.rng.u32(0..40);
                    let end = sample + MS * self.rng.u32(0..300);
                    self.after(sample, Event::Sample(slot, life, id));
                    self.after(end, Event::End(slot, life, id, false));
                    at += 1;
                }
                Step::Done(got) => {
                    let read = self.instances[slot].reads.swap_remove(at);
                    if let Ok(value) = got {
                        self.judge(slot, &read, value);
                    }
                    at = 0;
                }
            }
        }
    }

    fn judge(&mut self, slot: usize, read: &Read, value: u64) {
        self.counts.reads += 1;
        let bound = self.judge.bounds.remove(&read.id).unwrap_or_default();
        let confirmed = read.floors.confirmed.fresh;
        let promise = match self.guarantee {
            _ if value >= bound.max(confirmed) => return,
            Guarantee::Strict => "strict on a log",
            _ if value < bound => "bounded on a log",
            _ => "confirmed is applied on a log",
        };
        let floor = bound.max(confirmed);
        let what = format!("n{slot} reads version {value} of key {}, behind {floor}", read.key);
        self.violate(promise, what);
    }

    pub(super) fn all_is_well(&mut self, played: u64) {
        if played >= MOST_EVENTS {
            return self.violate("comes to rest on a log", "it never ends".to_owned());
        }
        for slot in 0..self.instances.len() {
            let instance = &self.instances[slot];
            let proven = instance.follower.proven();
            if proven + SECOND * 2 < instance.clock.now() {
                let place = instance.follower.place();
                let what =
                    format!("n{slot} is not in step when all is well: {proven:?}, {place:?}");
                return self.violate("heals on a log", what);
            }
            if let Some(flush) = instance.overdue() {
                let what = format!("n{slot} still waits for {flush:?}");
                return self.violate("in time on a log", what);
            }
        }
    }

    fn violate(&mut self, invariant: &'static str, what: String) {
        self.note(|| format!("{invariant}: {what}"));
        self.violation.get_or_insert(Violation { invariant, what });
    }
}
