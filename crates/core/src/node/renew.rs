//! Owns the proofs of being in step: asking every origin, again and again, how far its log is.

use std::net::SocketAddr;

use super::conn::Role;
use super::{ConnId, Node, Phase};
use crate::Time;
use crate::peers::Link;
use crate::wire::{Frame, MAX_CONTROL_BYTES, RENEW_EVERY, Seq};

impl Node {
    /// Asks all origins if it is time to.
    pub(super) fn renew_due(&mut self, now: Time) {
        if now < self.next_renewal || self.phase != Phase::Running {
            return;
        }
        self.next_renewal = now + RENEW_EVERY;
        let open = self.roster.iter().filter(|(_, entry)| matches!(entry.link, Link::Open(_)));
        for address in open.map(|(address, _)| address).collect::<Vec<_>>() {
            self.renew(now, address);
        }
    }

    /// Asks one origin. What is decided now is sent no earlier: the proof is on the safe side.
    pub(super) fn renew(&mut self, now: Time, address: SocketAddr) {
        let Some(entry) = self.roster.get_mut(address) else { return };
        let Link::Open(id) = entry.link else { return };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if let Role::Following { renew_due, .. } = &mut conn.role {
            // One that the socket has not taken yet is replaced: nothing piles up.
            if renew_due.replace(now).is_none() {
                self.wake(id);
            }
        }
    }

    /// A follower asks. The answer may overtake flushes up to its head: the follower waits for
    /// them, not for the answer.
    pub(super) fn on_renew(&mut self, now: Time, id: ConnId, nonce: u64) {
        let head = self.log.head();
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.control.len() > MAX_CONTROL_BYTES {
            self.offend(now, id, "it asks for more than it reads");
            return;
        }
        conn.say(&Frame::Grant { nonce, head });
        self.wake(id);
    }

    pub(super) fn on_grant(
        &mut self,
        now: Time,
        id: ConnId,
        address: SocketAddr,
        nonce: u64,
        head: Seq,
    ) {
        let Some(entry) = self.roster.get_mut(address) else { return };
        let applied = entry.applied();
        if !entry.step.grant(nonce, head, applied) {
            self.offend(now, id, "it answered a renewal that was never sent");
        } else if now.since(entry.linked_since) > RENEW_EVERY {
            // It works for some time: the next break is a new one.
            entry.backoff.succeeded();
        }
    }

    /// When the origins are to be asked next; never while none is followed.
    pub(super) fn next_renewal(&self) -> Option<Time> {
        let follows = self.roster.iter().any(|(_, entry)| matches!(entry.link, Link::Open(_)));
        (follows && self.phase == Phase::Running).then_some(self.next_renewal)
    }
}
