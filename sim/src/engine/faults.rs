//! Owns what goes wrong in a world of an engine: with the engine, the connections to it, and instances.

use std::time::Duration;

use flushcast_core::shared_log::{Epoch, Overlap, ROW_LASTS};

use super::adapter::Kind;
use super::{Deposed, EngineFault, Event, MS, OVERLAP, SECOND, World};

impl World {
    /// Has something go wrong, and again some time later, while faults last.
    pub(super) fn fault(&mut self) {
        if !self.is_faulty() {
            return;
        }
        let next = MS * self.rng.u32(300..4000);
        self.after(next, Event::Fault);
        let (now, slot) = (self.now.get(), self.rng.usize(..self.instances.len()));
        let epoch = Epoch { id: self.rng.u128(..), rules: self.rules };
        let drawn = self.rng.u8(0..14);
        self.note(|| format!("fault {drawn} at n{slot}"));
        // While two lead, neither is touched.
        let is_one = self.deposed.is_none();
        match drawn {
            0 if is_one => {
                let until = now + MS * self.rng.u32(100..3000);
                self.server.restart(epoch, until);
                self.break_all();
            }
            1 if is_one => {
                let count = self.rng.usize(0..3);
                if self.fault != Some(EngineFault::LosesAcknowledged) {
                    self.server.restart(epoch, now);
                }
                self.server.lose(count);
                self.break_all();
            }
            2 if is_one => self.server.recreate(epoch),
            3 if is_one => {
                self.server = self.backup.clone();
                self.server.restart(epoch, now + MS * self.rng.u32(100..2000));
                self.break_all();
            }
            // What it reads behind that has a hole, which nobody tells it of.
            4 | 5 if is_one => {
                let length = MS * self.rng.u32(500..4000);
                self.break_one(slot);
                self.instances[slot].pause(now + length);
                self.after(length, Event::Trim);
            }
            6 => {
                let length = MS * self.rng.u32(100..8000);
                self.instances[slot].pause(now + length);
            }
            7 => {
                self.counts.kills += 1;
                let instance = self.born();
                let life = instance.life;
                self.instances[slot] = instance;
                self.follows[slot] = None;
                self.after(MS, Event::Tick(slot, life));
            }
            8 => {
                let length = MS * self.rng.u32(50..6000);
                self.cut_off(slot, length);
            }
            9 | 10 => self.fade(slot),
            11 | 12 => self.depose(epoch),
            _ => self.break_one(slot),
        }
    }

    /// One node's connections carry nothing, and break only when it finds that out.
    pub(super) fn cut_off(&mut self, slot: usize, length: Duration) {
        self.note(|| format!("n{slot} is cut off for {length:?}"));
        self.counts.cut_offs += 1;
        self.follows[slot] = None;
        self.cut[slot] = self.cut[slot].max(self.now.get() + length);
    }

    /// A node's refreshes are lost until its row goes, while its questions are answered, if slowly; at
    /// times it is cut off on the way.
    fn fade(&mut self, slot: usize) {
        if self.kind != Kind::Polled || self.unheard[slot] > self.now.get() {
            return self.break_one(slot);
        }
        let beyond = MS * self.rng.u32(0..900);
        self.unheard[slot] = self.now.get() + ROW_LASTS + beyond;
        if self.rng.bool() {
            let (after, length) = (MS * self.rng.u32(6500..8200), SECOND * 11);
            self.after(after, Event::Cut(slot, length));
        }
    }

    /// Another one leads, and some do not hear of it for a time.
    fn depose(&mut self, epoch: Epoch) {
        let length = match (self.fault, self.rules.overlap) {
            (Some(EngineFault::DeposedLeaderAnswers), _) => SECOND * 5,
            (_, Overlap::AtMost(_)) => OVERLAP,
            _ => return,
        };
        if self.deposed.is_some() || self.server.down_until > self.now.get() {
            return;
        }
        let heard_by: Vec<_> = self.instances.iter().map(|_| self.rng.bool()).collect();
        self.note(|| format!("another one leads; {heard_by:?} do not hear of it"));
        let server = self.server.clone();
        self.server.restart(epoch, self.now.get());
        for slot in (0..self.instances.len()).filter(|&slot| !heard_by[slot]) {
            self.break_one(slot);
        }
        self.deposed = Some(Deposed { server, heard_by });
        self.after(length, Event::Reinstate);
    }

    pub(super) fn reinstate(&mut self) {
        let Some(deposed) = self.deposed.take() else { return };
        self.note(|| "all hear the one that leads".to_owned());
        for slot in (0..self.instances.len()).filter(|&slot| deposed.heard_by[slot]) {
            self.break_one(slot);
        }
    }
}
