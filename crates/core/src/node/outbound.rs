//! Owns what is sent: control frames first, then flushes from the shared log, then goodbye.
//! It must never queue flushes for one follower: each has a cursor into the log (N4).

use super::conn::Role;
use super::{ConnId, Node, Output, Phase, Transmit};
use crate::flush::Gone;
use crate::peers::Entry;
use crate::wire::{self, Frame, Seq};

impl Node {
    /// Appends to `out` what `conn` has to send now: about `enough` bytes of flushes at most.
    pub fn transmit(&mut self, id: ConnId, enough: usize, out: &mut Vec<u8>) -> Transmit {
        let leaving = self.phase == Phase::Leaving;
        let conn = self.conns.get_mut(&id).filter(|_| self.phase != Phase::Halted);
        let Some(conn) = conn else {
            return Transmit::Finished;
        };
        let start = out.len();
        out.append(&mut conn.control);
        match &mut conn.role {
            Role::Serving { cursor, .. } => {
                *cursor = self.log.read(*cursor, enough, out).unwrap_or_else(|Gone { head }| {
                    say(&Frame::Reset { head }, out);
                    head
                });
                if leaving && *cursor == self.log.head() {
                    say(&Frame::Bye, out);
                    conn.role = Role::Ended;
                }
            }
            Role::Following { address, ack_due, renew_due } => {
                if std::mem::take(ack_due) {
                    let life = self.roster.get(*address).and_then(Entry::life);
                    let applied = life.map_or(Seq::START, |life| self.lives.applied(life));
                    say(&Frame::Ack { applied }, out);
                }
                if let Some(asked) = renew_due.take()
                    && let Some(entry) = self.roster.get_mut(*address)
                {
                    entry.step.ask(asked);
                    say(&Frame::Renew { nonce: asked.as_nanos() }, out);
                }
                if leaving {
                    say(&Frame::Bye, out);
                    conn.role = Role::Ended;
                }
            }
            _ => {}
        }
        if out.len() > start {
            return Transmit::Data;
        }
        conn.awake = false;
        match conn.role {
            Role::Ended => return Transmit::Finished,
            Role::Serving { .. } => {
                self.idle.insert(id);
            }
            _ => {}
        }
        Transmit::Idle
    }

    /// Has all followers that were sent everything asked for.
    pub(super) fn wake_idle(&mut self) {
        for conn in std::mem::take(&mut self.idle) {
            self.wake(conn);
        }
    }

    /// Has `conn` asked for what it has to send.
    pub(super) fn wake(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id)
            && !conn.awake
        {
            conn.awake = true;
            self.idle.remove(&id);
            self.outputs.push_back(Output::Wake { conn: id });
        }
    }

    /// Whoever waits for the others is not told any more, and nobody tells this node of changes.
    pub(super) fn on_halt(&mut self) {
        self.phase = Phase::Halted;
        self.caches.close();
    }

    /// Nothing is announced from here on; whoever follows is sent the rest, then `Bye`.
    pub(super) fn on_leave(&mut self) {
        if self.phase == Phase::Halted {
            return;
        }
        self.phase = Phase::Leaving;
        // Nobody will wait for this node any more, so it must not serve what it holds.
        self.caches.close();
        for id in self.conns.keys().copied().collect::<Vec<_>>() {
            match self.conns.get(&id).map(|conn| conn.role) {
                Some(Role::Serving { .. } | Role::Following { .. } | Role::Ended) => self.wake(id),
                _ => self.drop_conn(id),
            }
        }
    }
}

fn say(frame: &Frame<'_>, out: &mut Vec<u8>) {
    // These frames are a few bytes long: they always fit.
    let fits = wire::encode(frame, out);
    debug_assert_eq!(fits, Ok(()));
}
