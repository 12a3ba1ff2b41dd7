//! Owns what arrives: bytes become frames, frames are judged by the connection's role.
//! It must never trust a peer's bytes: what is out of place ends that connection and no other.

use std::net::SocketAddr;

use super::conn::Role;
use super::{ConnId, Node, Output, Report};
use crate::Time;
use crate::cache::Effect;
use crate::peers::{Entry, Link, Trouble};
use crate::planted::{Fault, planted};
use crate::wire::{self, Flush, Frame, Incarnation, MAX_SCOPES, Position, Seq};

impl Node {
    pub(super) fn on_received(&mut self, now: Time, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if conn.role == Role::Ended {
            return;
        }
        conn.heard = now;
        let mut reader = std::mem::take(&mut conn.reader);
        reader.push(bytes);
        loop {
            match reader.next_body() {
                Ok(Some(body)) => self.on_frame(now, id, body),
                Ok(None) => break,
                Err(error) => {
                    self.offend(now, id, &error.to_string());
                    break;
                }
            }
            let role = self.conns.get(&id).map(|conn| conn.role);
            if matches!(role, None | Some(Role::Ended)) {
                return;
            }
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.reader = reader;
        }
    }

    pub(super) fn on_closed(&mut self, now: Time, id: ConnId, why: String) {
        self.part(now, id, Trouble::Unreachable(why));
        self.conns.remove(&id);
        self.idle.remove(&id);
    }

    /// Ends a connection because of what came over it, or did not.
    pub(super) fn offend(&mut self, now: Time, id: ConnId, why: &str) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let from = conn.remote;
        self.report(Report::Offence { from, why: why.to_owned() });
        self.part(now, id, Trouble::Unreachable(why.to_owned()));
        self.drop_conn(id);
    }

    /// Forgets a connection and has it ended at once.
    pub(super) fn drop_conn(&mut self, id: ConnId) {
        self.idle.remove(&id);
        if self.conns.remove(&id).is_some() {
            self.outputs.push_back(Output::Close { conn: id });
        }
    }

    /// Lets a connection send what is in line, then end.
    pub(super) fn end(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.role = Role::Ended;
            self.wake(id);
        }
    }

    /// Takes a connection out of its role.
    fn part(&mut self, now: Time, id: ConnId, trouble: Trouble) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        match std::mem::replace(&mut conn.role, Role::Ended) {
            Role::Serving { follower, .. } => self.lose_follower(now, id, follower),
            Role::Dialling { address }
            | Role::Greeting { address, .. }
            | Role::Following { address, .. } => self.lose_link(now, address, id, trouble),
            Role::Fresh { .. } | Role::Ended => {}
        }
    }

    fn lose_follower(&mut self, now: Time, id: ConnId, life: Incarnation) {
        let Some(follower) = self.followers.get_mut(life) else {
            return;
        };
        if follower.conn != Some(id) {
            return;
        }
        follower.conn = None;
        let mut known = false;
        for entry in self.roster.of(life) {
            known = true;
            if !matches!(entry.link, Link::Open(_)) {
                entry.lost_since = now;
            }
        }
        if !known {
            // Nobody will ask how far it had come.
            self.followers.remove(life);
        }
        self.outputs.push_back(Output::PeersChanged);
        self.settle(now);
    }

    fn on_frame(&mut self, now: Time, id: ConnId, body: &[u8]) {
        let Some(role) = self.conns.get(&id).map(|conn| conn.role) else {
            return;
        };
        if let Role::Fresh { .. } = role
            && let Ok(versions) = wire::peek_versions(body)
            && !self.speaks_our_version(id, versions)
        {
            return;
        }
        let frame = match wire::decode(body) {
            Ok(frame) => frame,
            Err(error) => {
                self.offend(now, id, &error.to_string());
                return;
            }
        };
        match (role, frame) {
            (Role::Fresh { .. }, Frame::Hello(hello)) => self.on_hello(now, id, &hello),
            (Role::Greeting { address, .. }, Frame::Welcome(welcome)) => {
                self.on_welcome(now, id, address, &welcome);
            }
            (Role::Greeting { address, .. }, Frame::Reject(reject)) => {
                self.on_reject(now, id, address, &reject);
            }
            (Role::Following { address, .. }, Frame::Flush(flush)) => {
                self.on_flush(now, id, address, &flush);
            }
            (Role::Following { address, .. }, Frame::Reset { head }) => {
                self.on_reset(now, id, address, head);
            }
            (Role::Serving { follower, cursor }, Frame::Ack { applied }) => {
                self.on_ack(now, id, follower, cursor, applied);
            }
            (Role::Serving { follower, .. }, Frame::Renew { nonce }) => {
                self.on_renew(now, id, follower, nonce);
            }
            (Role::Serving { follower, .. }, Frame::Inquire(asked)) => {
                self.on_inquire(now, id, follower, &asked);
            }
            (Role::Following { address, .. }, Frame::Testify(said)) => {
                self.on_testify(now, id, address, said);
            }
            (Role::Following { address, .. }, Frame::Grant { nonce, head }) => {
                self.on_grant(now, id, address, nonce, head);
            }
            (Role::Following { address, .. }, Frame::Bye) => {
                if let Some(life) = self.roster.get(address).and_then(Entry::life) {
                    self.on_bye(now, id, life, true);
                }
            }
            (Role::Serving { follower, .. }, Frame::Bye) => {
                self.on_bye(now, id, follower, false);
            }
            (Role::Ended, _) => {}
            _ => self.offend(now, id, "a frame came that has no place here"),
        }
    }

    /// N1, N2: the next number is applied to copies and flights, and only then acknowledged.
    fn on_flush(&mut self, now: Time, id: ConnId, address: SocketAddr, flush: &Flush<'_>) {
        let Some(life) = self.roster.get(address).and_then(Entry::life) else {
            return;
        };
        if planted(Fault::OverflowUnreported) {
            self.lives.cover(life, Seq(flush.seq.0 - 1));
        }
        if flush.seq != self.lives.applied(life).next() || flush.scopes.len() > MAX_SCOPES {
            self.offend(now, id, "a flush is out of order or over a limit");
            return;
        }
        let mut widened = false;
        for &scope in &flush.scopes {
            if !planted(Fault::AckBeforeApply) {
                widened |= self.caches.apply_now(flush.cache, scope) == Effect::Widened;
            }
        }
        self.lives.apply(Position { incarnation: life, seq: flush.seq }, flush);
        if let Some(of) = flush.inherited {
            // It is the next of that life as well, or what is before it will be asked for.
            self.lives.apply(of, flush);
        }
        self.owe_ack(id);
        self.note_applied(now, address, flush.seq);
        if widened && let Some(node) = self.name_of(address) {
            self.report(Report::Widened { cache: flush.cache.to_owned(), node });
        }
    }

    /// What was missed can no longer be told: nothing that was loaded before is trusted.
    fn on_reset(&mut self, now: Time, id: ConnId, address: SocketAddr, head: Seq) {
        let Some(entry) = self.roster.get_mut(address) else {
            return;
        };
        let Some(life) = entry.life() else { return };
        if let Some(healing) = &mut entry.healing {
            healing.reset = true;
        }
        self.caches.distrust();
        self.lives.cover(life, head);
        self.owe_ack(id);
        self.note_applied(now, address, head);
        if let Some(node) = self.name_of(address) {
            self.report(Report::Reset { node, head });
        }
    }

    /// What an origin announced is applied up to `seq`: grants and answers may count now.
    fn note_applied(&mut self, now: Time, address: SocketAddr, seq: Seq) {
        if let Some(entry) = self.roster.get_mut(address) {
            entry.step.apply(seq);
            self.count_grants(address);
            self.hear_out(now, address);
        }
    }

    fn name_of(&self, address: SocketAddr) -> Option<String> {
        self.roster.get(address).map(|entry| entry.name_or(address))
    }

    fn owe_ack(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id)
            && let Role::Following { ack_due, .. } = &mut conn.role
        {
            *ack_due = true;
            self.wake(id);
        }
    }

    fn on_ack(&mut self, now: Time, id: ConnId, life: Incarnation, cursor: Seq, applied: Seq) {
        let Some(follower) = self.followers.get_mut(life) else {
            return;
        };
        if applied > cursor || applied < follower.applied {
            self.offend(now, id, "an acknowledgement is of something that was never sent");
            return;
        }
        let before = std::mem::replace(&mut follower.applied, applied);
        self.tickets.note(now, life, before, applied);
        self.strict_tickets.note(now, life, before, applied);
        self.settle(now);
    }

    /// A peer leaves. From the origin (`complete`), it comes behind its last flush.
    fn on_bye(&mut self, now: Time, id: ConnId, life: Incarnation, complete: bool) {
        // One that comes late, of a life that another has followed, says nothing of that one.
        let mut news = None;
        for entry in self.roster.of(life) {
            if !entry.left {
                news = entry.who.as_ref().map(|who| who.name.clone());
            }
            entry.left = true;
            entry.left_complete |= complete;
        }
        if let Some(node) = news {
            self.report(Report::Left { node });
        }
        self.part(now, id, Trouble::Unreachable("it left".to_owned()));
        self.end(id);
        self.go_on(now);
        self.outputs.push_back(Output::PeersChanged);
        self.settle(now);
    }
}
