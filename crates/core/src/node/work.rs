//! Owns the way of a flush from being heard to being applied: it is given out, applied outside, and
//! told back. It must never count what is not told back.

use super::conn::Conn;
use super::silence::is_deaf_to;
use super::{Batch, ConnId, Node, Report, Work};
use crate::Time;
use crate::peers::Granted;
use crate::wire::{Incarnation, RENEW_EVERY, Seq};

impl Node {
    /// What was heard over `conn` and waits to be applied. To be asked for behind each
    /// [`Input::Received`](super::Input::Received), and before more is read: what waits is bounded by
    /// that. Told back by [`Input::Applied`](super::Input::Applied).
    pub fn take_work(&mut self, conn: ConnId) -> Work {
        let life = self.conns.get(&conn).and_then(Conn::linked).map(|linked| linked.life);
        life.map_or(Work::None, |life| self.take_work_of(life))
    }

    /// Like [`take_work`](Self::take_work), of one life: also behind a connection that is over.
    pub fn take_work_of(&mut self, life: Incarnation) -> Work {
        let Some(it) = self.lives.get_mut(life) else { return Work::None };
        if it.inbox.is_empty() {
            return Work::None;
        }
        if it.applying.is_some() {
            return Work::Busy;
        }
        it.applying = Some(it.books.told_at());
        let upto = it.books.own_word();
        Work::Apply(Batch { life, upto, frames: std::mem::take(&mut it.inbox) })
    }

    /// The lives of which something waits to be applied and nobody does.
    pub fn lives_with_work(&mut self) -> Option<Incarnation> {
        self.work_left.pop_first()
    }

    pub(super) fn on_applied(
        &mut self,
        now: Time,
        life: Incarnation,
        upto: Seq,
        widened: Vec<String>,
    ) {
        let node = self.name_of(life);
        let was_deaf = self.lives.get(life).is_some_and(|it| is_deaf_to(now, it));
        let Some(it) = self.lives.get_mut(life) else { return };
        it.applying = None;
        if was_deaf {
            it.unread_until = now;
        }
        if !it.inbox.is_empty() {
            self.work_left.insert(life);
        }
        it.books.note_applied(life, upto);
        it.ack_due = true;
        for id in &it.conns {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.heard = now;
            }
        }
        self.lives.is_cheaper(life);
        self.note_relayed(life, upto);
        for cache in widened {
            self.report(Report::Widened { cache, node: node.clone() });
        }
        self.wake_life(life);
        self.recount(now, life);
        self.recount_lacking(now);
        self.note_left(now, life);
    }

    /// What a life has handed over of others, up to `upto` of its log, is applied or covered.
    pub(super) fn note_relayed(&mut self, life: Incarnation, upto: Seq) {
        let Some(it) = self.lives.get_mut(life) else { return };
        let mut relays = std::mem::take(&mut it.relays);
        relays.retain(|&author| {
            self.lives.is_cheaper(author);
            self.lives.get_mut(author).is_some_and(|author| {
                author.books.note_applied(life, upto);
                author.books.waits_for(life)
            })
        });
        if let Some(it) = self.lives.get_mut(life) {
            it.relays = relays;
        }
    }

    /// Moves on what is proven of a life, and tells when a break is healed by that.
    pub(super) fn recount(&mut self, now: Time, life: Incarnation) {
        let Some(it) = self.lives.get(life) else { return };
        let applied = it.books.applied();
        let (lives, own) = (&self.lives, self.config.incarnation);
        let is_applied = |at: crate::wire::Position| {
            let speaks = |it: &crate::peers::Life| it.is_linked() || it.has_left();
            at.life == own
                || lives.get(at.life).is_some_and(speaks)
                || lives.applied(at.life) >= at.seq
        };
        let (mut proven, mut lacking, mut evidence) = (it.proven, false, Vec::new());
        for id in &it.conns {
            if let Some(linked) = self.conns.get_mut(id).and_then(Conn::linked_mut) {
                let moved = linked.step.count(applied, is_applied);
                proven = proven.max(linked.step.proven());
                lacking |= linked.step.is_lacking();
                evidence.extend(linked.place.filter(|_| moved));
            }
        }
        match lacking {
            true => self.lacking.insert(life),
            false => self.lacking.remove(&life),
        };
        let Some(it) = self.lives.get_mut(life) else { return };
        if proven > it.proven {
            it.proven = proven;
            if let Some(healing) = it.healing
                && proven >= healing.since.max(it.linked_since)
            {
                it.healing = None;
                let node = it.name_or(life);
                let replayed = it.books.heard().0.saturating_sub(healing.from.0);
                self.report(Report::Healed { node, replayed, reset: healing.reset });
            }
            self.drop_touches(life, proven);
            self.refresh_life(life);
        }
        for place in evidence {
            self.refresh_place(place);
        }
        if let Some(it) = self.lives.get(life)
            && now.since(it.linked_since) > RENEW_EVERY
        {
            for &place in &it.places {
                if let Some(place) = self.roster.get_mut(place) {
                    // It works for some time: the next break is a new one.
                    place.backoff.succeeded();
                }
            }
        }
    }

    /// This node has answered itself: that shows who is at a place.
    pub(super) fn recount_own(&mut self, id: ConnId, asked: Time) {
        let Some(linked) = self.linked_mut(id) else { return };
        linked.step.grant(Granted { asked, head: Seq::START, lacking: Vec::new() });
        linked.step.count(Seq::START, |_| true);
        if let Some(place) = linked.place {
            self.refresh_place(place);
        }
    }

    /// Looks again at all whose answers wait for what third ones have told.
    pub(super) fn recount_lacking(&mut self, now: Time) {
        for life in self.lacking.iter().copied().collect::<Vec<_>>() {
            self.recount(now, life);
        }
    }
}
