//! Owns what arrives: bytes become frames, frames are judged by what their connection is.
//! It must never trust a peer's bytes: what is out of place ends that connection and no other. What
//! a life says of another one never moves what this node knows of one that it is linked with.

use std::time::Duration;

use super::conn::{Conn, Role};
use super::recover::LARGEST;
use super::{ConnId, Node, Output, Report};
use crate::Time;
use crate::ack::Reason;
use crate::planted::{Fault, planted};
use crate::wire::{
    self, Flush, Frame, FrameError, Incarnation, MAX_KEY_BYTES, MAX_NAME_BYTES, MAX_SCOPES,
    MAX_TAG_BYTES, Position, Scope, Seq,
};

impl Node {
    pub(super) fn on_received(&mut self, now: Time, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if matches!(conn.role, Role::Ended) {
            return;
        }
        // A handshake has its time as a whole, however slowly its bytes come.
        if matches!(conn.role, Role::Linked(_)) {
            conn.heard = now;
        }
        let mut reader = std::mem::take(&mut conn.reader);
        reader.push(bytes);
        let mut heard = None;
        loop {
            match reader.next_body() {
                Ok(Some(body)) => self.on_frame(now, id, body, &mut heard),
                Ok(None) => break,
                Err(error) => {
                    self.garbled(now, id, error);
                    break;
                }
            }
            if self.conns.get(&id).is_none_or(|conn| matches!(conn.role, Role::Ended)) {
                break;
            }
        }
        self.work_left.extend(heard);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.reader = reader;
        }
    }

    pub(super) fn on_closed(&mut self, now: Time, id: ConnId, why: String) {
        self.part(now, id, why);
        self.conns.remove(&id);
        self.idle.remove(&id);
    }

    /// What came over a connection is no frame: as an answer to `Hello`, it shows that no node of
    /// Flushcast is there. Where TLS is spoken, there may be one, which has a secret.
    fn garbled(&mut self, now: Time, id: ConnId, why: FrameError) {
        let greeted = self.conns.get(&id).and_then(|conn| match conn.role {
            Role::Greeting { place } => Some(place),
            _ => None,
        });
        let Some(place) = greeted else {
            match self.conns.get_mut(&id) {
                Some(conn) if why == FrameError::Tls && matches!(conn.role, Role::Fresh) => {
                    conn.control.extend_from_slice(&wire::TLS_ALERT);
                    let from = conn.remote;
                    self.report(Report::Offence { from, why: why.to_string() });
                    self.end(id);
                }
                _ => self.offend(now, id, &why.to_string()),
            }
            return;
        };
        let reason = match why {
            FrameError::Tls => Reason::Unproven(why.to_string()),
            // How long its frame would be tells nobody anything: it is none.
            _ => Reason::Foreign(FrameError::Garbled.to_string()),
        };
        self.drop_conn(id);
        self.dial_ended(now, place, Some(reason));
    }

    /// Ends a connection because of what came over it, and no node of Flushcast says. A life that no list
    /// has, and that nothing else links, is over by that: nobody need be waited for, nor looked for.
    pub(super) fn offend(&mut self, now: Time, id: ConnId, why: &str) {
        let life = self.conns.get(&id).and_then(Conn::linked).map(|linked| linked.life);
        self.break_off(now, id, why);
        if let Some(life) = life
            && self.lives.get(life).is_some_and(|it| it.is_lost())
            && !self.has_listed_place(life)
        {
            self.settle_life(now, life);
        }
    }

    /// Ends a connection because of what came over it, or did not.
    pub(super) fn break_off(&mut self, now: Time, id: ConnId, why: &str) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let from = conn.remote;
        self.report(Report::Offence { from, why: why.to_owned() });
        self.part(now, id, why.to_owned());
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
    pub(super) fn part(&mut self, now: Time, id: ConnId, why: String) {
        // What it has proven of a place is kept, while it can still be asked.
        let place = self.conns.get(&id).and_then(Conn::linked).and_then(|linked| linked.place);
        if let Some(place) = place {
            self.bank(place);
        }
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        match std::mem::replace(&mut conn.role, Role::Ended) {
            Role::Linked(linked) => self.unlink(now, id, linked.life, linked.place, why),
            Role::Dialling { place } | Role::Greeting { place } => {
                self.dial_ended(now, place, Some(Reason::Unreachable(why)));
            }
            Role::Fresh | Role::Welcomed { .. } | Role::Ended => {}
        }
    }

    fn on_frame(&mut self, now: Time, id: ConnId, body: &[u8], heard: &mut Option<Incarnation>) {
        if self.conns.get(&id).is_some_and(|conn| matches!(conn.role, Role::Fresh))
            && let Ok(versions) = wire::peek_versions(body)
            && !self.speaks_our_version(id, versions)
        {
            return;
        }
        let frame = match wire::decode(body) {
            Ok(frame) => frame,
            Err(error) => {
                self.garbled(now, id, error);
                return;
            }
        };
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let life = match &mut conn.role {
            Role::Ended => return,
            Role::Fresh => {
                match frame {
                    Frame::Hello(hello) => self.on_hello(now, id, &hello),
                    _ => self.offend(now, id, "a frame came before any hello"),
                }
                return;
            }
            Role::Welcomed { .. } => {
                match frame {
                    Frame::Go { resume, is_evidence } => self.on_go(now, id, resume, is_evidence),
                    Frame::Hello(_) | Frame::Welcome(_) | Frame::Reject(_) => {
                        self.offend(now, id, "a frame of the handshake came twice");
                    }
                    _ => self.offend(now, id, "a frame came before go"),
                }
                return;
            }
            Role::Dialling { place } | Role::Greeting { place } => {
                let place = *place;
                match frame {
                    Frame::Welcome(welcome) => self.on_welcome(now, id, place, &welcome),
                    Frame::Reject(reject) => self.on_reject(now, id, place, &reject),
                    _ => self.offend(now, id, "it answered hello with another frame"),
                }
                return;
            }
            Role::Linked(linked) => {
                let (life, was_mutual) = (linked.life, linked.is_mutual);
                if !was_mutual {
                    linked.is_mutual = true;
                    self.outputs.push_back(Output::PeersChanged);
                    self.close_needless(now, life);
                }
                life
            }
        };
        let numbers = match &frame {
            Frame::Flush(flush) => [flush.seq, flush.inherited.map_or(Seq::START, |of| of.seq)],
            Frame::Over { seq, of, .. } => [*seq, of.seq],
            Frame::Reset { head } | Frame::Bye { head } => [*head, Seq::START],
            _ => [Seq::START; 2],
        };
        if numbers.into_iter().any(|number| number > LARGEST) {
            self.offend(now, id, "it names a number that no log has");
            return;
        }
        match frame {
            Frame::Go { resume, is_evidence } => self.on_go(now, id, resume, is_evidence),
            Frame::Flush(flush) => {
                if self.on_flush(now, id, life, &flush, body) {
                    *heard = Some(life);
                }
            }
            Frame::Over { seq, of, quiet_ms } => {
                let quiet = Duration::from_millis(quiet_ms);
                if self.on_over(now, id, life, seq) {
                    *heard = Some(life);
                    self.hear_over(now, of, quiet);
                }
            }
            Frame::Reset { head } => self.on_reset(now, life, head),
            Frame::Ack { applied } => self.on_ack(now, id, life, applied),
            Frame::Renew(renew) => self.on_renew(now, id, life, &renew),
            Frame::Grant(grant) => self.on_grant(now, id, life, grant),
            Frame::Bye { head } => self.on_bye(now, id, life, head),
            Frame::Hello(_) | Frame::Welcome(_) | Frame::Reject(_) => {
                self.offend(now, id, "a frame of the handshake came behind it");
            }
        }
    }

    /// Takes in the next entry of a life's log; false if there is nothing new in it. What another
    /// connection has brought already comes twice; a gap ends the connection.
    fn is_next(&mut self, now: Time, id: ConnId, life: Incarnation, seq: Seq) -> bool {
        let Some(it) = self.lives.get_mut(life) else { return false };
        let next = it.books.heard().next();
        let is_first = next == Seq(1) && planted(Fault::FirstFollowAtHead);
        if seq > next && (is_first || planted(Fault::OverflowUnreported)) {
            it.books.cover(Seq(seq.0 - 1));
            return true;
        }
        if seq > next {
            let why = format!("flush {seq} came where {next} is the next");
            self.break_off(now, id, &why);
            return false;
        }
        seq == next
    }

    /// N2: the next number is given out to be applied, and is acknowledged behind that (N1).
    /// It is kept as the frame came: nothing is encoded anew here.
    fn on_flush(
        &mut self,
        now: Time,
        id: ConnId,
        life: Incarnation,
        flush: &Flush<'_>,
        body: &[u8],
    ) -> bool {
        if !is_within_limits(flush.cache, &flush.scopes) {
            self.offend(now, id, "a flush has more scopes, or longer words, than it may");
            return false;
        }
        if !self.is_next(now, id, life, flush.seq) {
            return false;
        }
        let Some(it) = self.lives.get_mut(life) else { return false };
        it.books.hear_body(now, life, body);
        it.books.note_own_word(flush.seq);
        wire::put_body(body, &mut it.inbox);
        if planted(Fault::AckBeforeApply) {
            it.books.note_applied(life, flush.seq);
            it.ack_due = true;
            self.wake_life(life);
        }
        if let Some(of) = flush.inherited {
            self.inherit(now, life, of, flush);
        }
        true
    }

    /// A flush of a life that is over, from the log of another. It moves nothing that is known of a
    /// life that this node is linked with.
    fn inherit(&mut self, now: Time, via: Incarnation, of: Position, flush: &Flush<'_>) {
        if !self.is_spoken_for(of.life) || planted(Fault::InheritedMovesLinked) {
            // What cannot be followed makes no life known.
            if of.seq != self.lives.heard(of.life).next() {
                return;
            }
            let forget_at = now + self.config.limits.forget_after;
            let author = self.lives.entry(of.life, forget_at);
            author.books.hear(now, via, flush.seq, flush);
            if let Some(it) = self.lives.get_mut(via) {
                it.relays.insert(of.life);
            }
            self.note_end(of.life);
        }
    }

    /// Whether a life speaks for itself, so that nobody else's word of it counts.
    pub(super) fn is_spoken_for(&self, life: Incarnation) -> bool {
        life == self.config.incarnation || self.lives.get(life).is_some_and(|it| it.is_linked())
    }

    /// In the books it takes a number that a life is over, and there is nothing to apply.
    fn on_over(&mut self, now: Time, id: ConnId, life: Incarnation, seq: Seq) -> bool {
        let nothing = Flush { seq, cache: "", scopes: Vec::new(), inherited: None };
        let mut frame = Vec::new();
        let _ = wire::encode(&Frame::Flush(nothing.clone()), &mut frame);
        self.on_flush(now, id, life, &nothing, &frame[wire::LENGTH_BYTES..])
    }

    /// What was missed can no longer be told: nothing that was loaded before is trusted.
    fn on_reset(&mut self, now: Time, life: Incarnation, head: Seq) {
        let Some(it) = self.lives.get_mut(life) else { return };
        // Of a connection that another one has overtaken.
        if head <= it.books.own_word() {
            return;
        }
        if let Some(healing) = &mut it.healing {
            healing.reset = true;
        }
        it.books.cover(head);
        it.books.note_own_word(head);
        it.inbox.clear();
        it.ack_due = true;
        self.note_relayed(life, head);
        self.distrust_all(now);
        let node = self.name_of(life);
        self.report(Report::Reset { node, head });
        self.wake_life(life);
        self.recount(now, life);
    }

    fn on_ack(&mut self, now: Time, id: ConnId, life: Incarnation, applied: Seq) {
        if applied > self.log.head() {
            self.offend(now, id, "an acknowledgement is of something that was never sent");
            return;
        }
        let Some(it) = self.lives.get_mut(life) else { return };
        // Those of two connections may overtake each other.
        if applied <= it.acked {
            return;
        }
        let before = std::mem::replace(&mut it.acked, applied);
        self.tickets.note(now, life, before, applied);
        self.strict_tickets.note(now, life, before, applied);
        self.refresh_acked(life);
        self.settle_acked(now, life);
    }

    /// A peer leaves, and its log ends with `head`. It says so over each connection, and the last one
    /// counts: what is said over another one, in whoever's name, ends that one alone.
    fn on_bye(&mut self, now: Time, id: ConnId, life: Incarnation, head: Seq) {
        // One that the other end may not count yet is none that it would say goodbye over.
        let counts = |other: &ConnId| {
            let other = self.conns.get(other).filter(|_| *other != id).and_then(Conn::linked);
            other.is_some_and(|other| other.is_mutual)
        };
        if self.lives.get(life).is_some_and(|it| it.conns.iter().any(counts)) {
            let place = self.conns.get(&id).and_then(Conn::linked).and_then(|it| it.place);
            self.part(now, id, "it left".to_owned());
            self.end(id);
            // Nothing else leads there, so that this is its last word from that place.
            if let Some(place) = place {
                self.vacate(now, place, life);
                self.settle();
            }
            return;
        }
        let Some(it) = self.lives.get_mut(life) else { return };
        let is_news = it.bye.is_none();
        it.bye = Some(head);
        if planted(Fault::ByeWithoutItsHead) {
            it.books.cover(head);
        }
        let node = self.name_of(life);
        if is_news {
            self.report(Report::Left { node });
        }
        self.part(now, id, "it left".to_owned());
        self.end(id);
        self.note_left(now, life);
        self.outputs.push_back(Output::PeersChanged);
    }

    /// Has a life's connection asked for what there is to send.
    pub(super) fn wake_life(&mut self, life: Incarnation) {
        if let Some(id) = self.lives.get(life).and_then(crate::peers::Life::main) {
            self.wake(id);
        }
    }

    /// Its linked part, if that is what it is.
    pub(super) fn linked_mut(&mut self, id: ConnId) -> Option<&mut super::conn::Linked> {
        self.conns.get_mut(&id).and_then(Conn::linked_mut)
    }
}

/// Whether a flush is one that there may be: such a one fits in a frame, with its origin when it is
/// handed over, too.
pub(super) fn is_within_limits(cache: &str, scopes: &[Scope<'_>]) -> bool {
    let fits = |scope: &Scope<'_>| match scope.flushed() {
        Scope::Tag(text) => text.len() <= MAX_TAG_BYTES,
        other => other.text().len() <= MAX_KEY_BYTES,
    };
    cache.len() <= MAX_NAME_BYTES && scopes.len() <= MAX_SCOPES && scopes.iter().all(fits)
}

/// What a flush takes without its words, and each scope without its own, at most.
const FLUSH_BYTES: usize = 64;
const SCOPE_BYTES: usize = 4;
const _: () = assert!(
    FLUSH_BYTES + MAX_NAME_BYTES + MAX_SCOPES * (SCOPE_BYTES + MAX_KEY_BYTES)
        <= wire::MAX_FRAME_BYTES
);
