//! Owns what is sent: control frames first, then flushes from the shared log, then goodbye.
//! It must never queue flushes for one peer: each has a cursor into the log (N4).

use super::conn::{Linked, Role};
use super::{ConnId, Node, Output, Phase, Transmit};
use crate::flush::Gone;
use crate::wire::{self, Frame};

impl Node {
    /// Appends to `out` what `conn` has to send now: about `enough` bytes of flushes at most.
    pub fn transmit(&mut self, id: ConnId, enough: usize, out: &mut Vec<u8>) -> Transmit {
        let leaving = self.phase == Phase::Leaving;
        let renewal = self.renewal_for(id);
        let conn = self.conns.get_mut(&id).filter(|_| self.phase != Phase::Halted);
        let Some(conn) = conn else {
            return Transmit::Finished;
        };
        let start = out.len();
        out.append(&mut conn.control);
        let mut is_idle = false;
        if let Role::Linked(Linked { life, cursor, .. }) = &mut conn.role {
            if let Some(renewal) = renewal {
                say(&Frame::Renew(renewal), out);
            }
            let is_own = *life == self.config.incarnation;
            if is_own && leaving {
                conn.role = Role::Ended;
            } else if let Some(life) = self.lives.get_mut(*life) {
                if life.main() == Some(id) && std::mem::take(&mut life.ack_due) {
                    say(&Frame::Ack { applied: life.books.applied() }, out);
                }
                let mut is_all_said = life.out != Some(id);
                if life.out == Some(id) {
                    let read = self.log.read(*cursor, enough, out);
                    *cursor = read.unwrap_or_else(|Gone { head }| {
                        say(&Frame::Reset { head }, out);
                        head
                    });
                    is_all_said = *cursor == self.log.head();
                    is_idle = true;
                }
                if leaving && is_all_said {
                    say(&Frame::Bye { head: self.log.head() }, out);
                    conn.role = Role::Ended;
                }
            }
        }
        if out.len() > start {
            return Transmit::Data;
        }
        conn.awake = false;
        if matches!(conn.role, Role::Ended) {
            return Transmit::Finished;
        }
        if is_idle {
            self.idle.insert(id);
        }
        Transmit::Idle
    }

    /// Has all that were sent everything asked for.
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

    /// Nothing is announced from here on; whoever is linked is sent the rest, then `Bye`.
    pub(super) fn on_leave(&mut self) {
        if self.phase == Phase::Halted {
            return;
        }
        self.phase = Phase::Leaving;
        // Nobody will wait for this node any more, so it must not serve what it holds.
        self.caches.close();
        for id in self.conns.keys().copied().collect::<Vec<_>>() {
            match self.conns.get(&id).map(|conn| &conn.role) {
                Some(Role::Linked(_) | Role::Ended) => self.wake(id),
                _ => self.drop_conn(id),
            }
        }
    }
}

fn say(frame: &Frame<'_>, out: &mut Vec<u8>) {
    // Their lists are within their limits: they always fit.
    let fits = wire::encode(frame, out);
    debug_assert_eq!(fits, Ok(()));
}
