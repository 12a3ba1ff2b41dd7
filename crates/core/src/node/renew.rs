//! Owns the proofs of being in step: asking every origin, again and again, how far its log is.

use std::net::SocketAddr;

use super::conn::Role;
use super::{ConnId, Node, Phase, Report};
use crate::Time;
use crate::peers::Link;
use crate::planted::{Fault, planted};
use crate::wire::{Frame, Incarnation, MAX_CONTROL_BYTES, RENEW_EVERY, Seq};

impl Node {
    /// Asks all origins if it is time to.
    pub(super) fn renew_due(&mut self, now: Time) {
        if now < self.next_renewal || self.phase != Phase::Running {
            return;
        }
        self.next_renewal = now + RENEW_EVERY;
        let open = self.roster.iter().filter(|(_, entry)| entry.is_open());
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
    pub(super) fn on_renew(&mut self, now: Time, id: ConnId, life: Incarnation, nonce: u64) {
        let head = match planted(Fault::HeadLeftOutOfGrant) {
            true => Seq::START,
            false => self.log.head(),
        };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.control.len() > MAX_CONTROL_BYTES {
            self.offend(now, id, "it asks for more than it reads");
            return;
        }
        conn.say(&Frame::Grant { nonce, head });
        self.wake(id);
        for entry in self.roster.of(life) {
            entry.granted = now;
        }
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
        let applied = entry.life().map_or(Seq::START, |life| self.lives.applied(life));
        if !entry.step.grant(now, nonce, head, applied) {
            self.offend(now, id, "it answered a renewal that was never sent");
            return;
        }
        if now.since(entry.linked_since) > RENEW_EVERY {
            // It works for some time: the next break is a new one.
            entry.backoff.succeeded();
        }
        self.count_grants(address);
    }

    /// Moves on what is proven of an address, and tells when a break is healed by that.
    pub(super) fn count_grants(&mut self, address: SocketAddr) {
        let Some(entry) = self.roster.get_mut(address) else { return };
        let before = entry.proven;
        entry.count_grants();
        if entry.proven > before
            && entry.step.proven() >= entry.linked_since
            && let Some(healing) = entry.healing.take()
        {
            let node = entry.name_or(address);
            let applied = entry.life().map_or(Seq::START, |life| self.lives.applied(life));
            let replayed = applied.0.saturating_sub(healing.from.0);
            self.report(Report::Healed { node, replayed, reset: healing.reset });
        }
    }

    /// When the origins are to be asked next; never while none is followed.
    pub(super) fn next_renewal(&self) -> Option<Time> {
        let follows = self.roster.iter().any(|(_, entry)| entry.is_open());
        (follows && self.phase == Phase::Running).then_some(self.next_renewal)
    }
}
