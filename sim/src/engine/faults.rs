//! Owns what goes wrong in a world of an engine: with the engine, the connections to it, and instances.

use flushcast_core::shared_log::Epoch;

use super::instance::Response;
use super::{EngineFault, Event, MS, SECOND, World};

impl World {
    /// Has something go wrong, and again some time later, while faults last.
    pub(super) fn fault(&mut self) {
        if !self.is_faulty() {
            return;
        }
        let next = MS * self.rng.u32(300..4000);
        self.after(next, Event::Fault);
        let (now, slot) = (self.now.get(), self.rng.usize(..self.instances.len()));
        let epoch = Epoch(self.rng.u128(..));
        let drawn = self.rng.u8(0..10);
        self.note(|| format!("fault {drawn} at n{slot}"));
        match drawn {
            0 => {
                let until = now + MS * self.rng.u32(100..3000);
                self.server.restart(epoch, until);
                self.break_all();
            }
            1 => {
                let count = self.rng.usize(0..3);
                self.server.lose(count);
                if self.fault != Some(EngineFault::LosesAcknowledged) {
                    self.server.restart(epoch, now);
                }
                self.break_all();
            }
            2 => self.server.recreate(epoch),
            // What it reads behind that has a hole, which nobody tells it of.
            3 => {
                let length = MS * self.rng.u32(500..4000);
                self.follows[slot] = None;
                let conn = self.instances[slot].conn;
                self.at(now, Event::Response(slot, conn, Response::Broken));
                self.instances[slot].pause(now + length);
                self.after(length, Event::Trim);
            }
            4 | 5 => {
                let length = MS * self.rng.u32(100..6000);
                self.instances[slot].pause(now + length);
            }
            6 => {
                self.counts.kills += 1;
                let instance = self.born();
                let life = instance.life;
                self.instances[slot] = instance;
                self.follows[slot] = None;
                self.after(MS, Event::Tick(slot, life));
            }
            7 => {
                let length = MS * self.rng.u32(100..5000);
                self.instances[slot].pause(now + length);
            }
            8 => self.unheard[slot] = now + SECOND * 25,
            _ if self.fault == Some(EngineFault::DeposedLeaderAnswers) => {
                self.deposed = Some((self.server.clone(), now + SECOND * 5));
            }
            _ => {
                let conn = self.instances[slot].conn;
                self.after(MS, Event::Response(slot, conn, Response::Broken));
            }
        }
    }

    fn break_all(&mut self) {
        for slot in 0..self.instances.len() {
            let (conn, delay) = (self.instances[slot].conn, self.delay());
            self.after(delay, Event::Response(slot, conn, Response::Broken));
            self.follows[slot] = None;
        }
    }
}
