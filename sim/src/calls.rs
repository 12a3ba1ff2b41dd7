//! Owns how the application's calls go on: when their loads and writes look at the source and end,
//! and what a call that is over has to keep to.

use std::sync::Arc;
use std::time::Duration;

use flushcast_core::planted::{Fault, planted};

use crate::invariants;
use crate::member::{Member, name_of};
use crate::network::delay;
use crate::reads::{Got, Kind, Read, ReadFloors, Step};
use crate::what::{Id, KEYS, Said, What};
use crate::world::{Event, World, note};

impl World {
    pub(crate) fn read(&mut self, slot: usize) {
        let key = self.rng.usize(..KEYS);
        self.call(slot, Kind::Read, key);
    }

    pub(crate) fn put(&mut self, slot: usize) {
        let key = self.rng.usize(..KEYS);
        if self.awake(slot).is_some_and(|member| !member.leaving) {
            self.call(slot, Kind::Put, key);
        }
    }

    fn call(&mut self, slot: usize, kind: Kind, key: usize) {
        let (id, started, chance) = (self.rng.u64(..), self.now, self.rng.f64());
        let confirmed = self.history.confirmed.of(key);
        if let Some(member) = self.awake(slot) {
            let floors = ReadFloors { started, applied: member.floors.of(key), confirmed };
            let (data, clock) = (Arc::clone(&member.data), member.clock.clone());
            member.reads.push(Read::start((id, kind, key), floors, &data, clock, chance));
            note!(self, "{} starts to {kind:?} {id} of key {key}", name_of(slot));
            self.step_reads(slot);
        }
    }

    /// The caller of something goes away, or what runs it is shut down.
    pub(crate) fn caller_leaves(&mut self, slot: usize) {
        let (which, shuts_down) = (self.rng.usize(..), self.rng.u8(..) < 64);
        let Some(member) = self.awake(slot).filter(|member| !member.reads.is_empty()) else {
            return;
        };
        let at = which % member.reads.len();
        let (id, kind, key) = (member.reads[at].id, member.reads[at].kind, member.reads[at].key);
        let load = member.reads[at].load.clone();
        match kind {
            Kind::Put if planted(Fault::PutEndsWithItsCaller) => member.reads[at].give_up(),
            // As the library does, by a task of the write's own: it is carried to its end.
            Kind::Put if !shuts_down => {
                self.counts.abandoned += 1;
                note!(self, "nobody waits at {} for put {id} of key {key}", name_of(slot));
                return;
            }
            // Of a write, the source may have changed by now; later it does not.
            _ => drop(member.reads.swap_remove(at)),
        }
        if load.announces.take() {
            self.announce_put(slot, key, load.sampled.get());
        }
        self.step_reads(slot);
    }

    /// Polls the calls of a node until nothing moves.
    pub(crate) fn step_reads(&mut self, slot: usize) {
        let mut at = 0;
        while let Some(member) = &mut self.slots[slot]
            && let Some(read) = member.reads.get_mut(at)
        {
            let (life, id) = (member.life, read.id);
            match read.step() {
                Step::Waits => at += 1,
                Step::Loads => {
                    let sample = delay(&mut self.rng);
                    self.after(sample, Event::Sample { slot, life, read: id });
                    at += 1;
                }
                Step::Done(loaded) => {
                    let read = member.reads.swap_remove(at);
                    self.is_over(slot, &read, loaded);
                    at = 0;
                }
            }
        }
    }

    fn is_over(&mut self, slot: usize, read: &Read, ended: Got) {
        match read.kind {
            Kind::Read => {
                self.counts.reads += u64::from(ended.is_ok());
                self.counts.expired += u64::from(read.load.is_expired.get());
                invariants::no_read_is_older_than_what_was_applied(self, slot, read, &ended);
                invariants::no_read_is_older_than_the_bound(self, slot, read, &ended);
                invariants::no_read_is_older_than_what_was_confirmed(self, slot, read, &ended);
                if read.load.is_due.get() {
                    self.call(slot, Kind::Refresh, read.key);
                }
            }
            Kind::Refresh => self.counts.refreshed += u64::from(ended.is_ok()),
            Kind::Put => {
                let held = |member: &Member| {
                    let held = member.data.get(&Id(read.key), member.clock.now());
                    held.is_some() && held == ended.as_ref().ok().copied()
                };
                self.counts.put += u64::from(self.slots[slot].as_ref().is_some_and(held));
                if read.load.announces.take() {
                    self.announce_put(slot, read.key, read.load.sampled.get());
                }
            }
        }
    }

    /// Tells of a write, with the version that it has made, if it came to that.
    fn announce_put(&mut self, slot: usize, key: usize, version: Option<u64>) {
        let awaits = self.rng.bool();
        let said = Said { what: What::Key(key), expires: false };
        let version = version.unwrap_or_default();
        self.history.put_ends(version);
        self.announce(slot, said, version, awaits);
    }

    /// The source is asked, or changed.
    pub(crate) fn on_sample(&mut self, slot: usize, life: u64, read: u64) {
        let mut more = delay(&mut self.rng);
        if self.rng.u8(..) < 16 {
            // A slow source: it has looked already, and takes its time to answer.
            more += Duration::from_millis(self.rng.u64(..8_000));
        }
        let fails = self.rng.u8(..) < 20;
        let Some(member) = self.living(slot, life) else { return };
        let Some(read) = member.reads.iter().find(|held| held.id == read) else { return };
        let (kind, key, id, load) = (read.kind, read.key, read.id, read.load.clone());
        let version = match kind {
            Kind::Put => {
                let version = self.truth.change(What::Key(key));
                self.history.put(version, life);
                version
            }
            Kind::Read | Kind::Refresh => self.truth.floors().of(key).fresh,
        };
        load.sampled.set(Some(version));
        self.after(more, Event::EndLoad { slot, life, read: id, fails });
    }

    pub(crate) fn on_load_ends(&mut self, slot: usize, life: u64, read: u64, fails: bool) {
        if let Some(member) = self.living(slot, life)
            && let Some(read) = member.reads.iter().find(|held| held.id == read)
        {
            read.load.end(fails);
            self.step_reads(slot);
        }
    }
}
