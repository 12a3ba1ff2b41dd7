//! Owns getting what third ones have told: a peer names lives that it has heard and lost; what this
//! node lacks of them is asked of one witness, or given up, and then no copy from before is trusted.
//! It must never count what nobody holds as applied without distrusting all copies.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Node, Report};
use crate::Time;
use crate::cache::drift;
use crate::peers::{Holder, Life, Place};
use crate::planted::{Fault, planted};
use crate::repair::Pursuit;
use crate::wire::{ASK_AGAIN_AFTER, Heard, Incarnation, Position, Seq};

impl Node {
    /// A peer tells whom it has heard and lost. Gives back of which of them it has heard more than
    /// this node, and how much.
    pub(super) fn hear_of_lost(
        &mut self,
        now: Time,
        witness: Incarnation,
        lost: &[Heard],
    ) -> Vec<Position> {
        let (mut lacking, mut unheard) = (BTreeMap::new(), Vec::new());
        for &heard in lost {
            let is_own = heard.life == self.config.incarnation;
            let known = self.lives.get(heard.life);
            let speaks = known.is_some_and(|it| it.is_linked() || it.has_left());
            if is_own || speaks || heard.upto > LARGEST {
                continue;
            }
            if self.lives.heard(heard.life) < heard.upto {
                unheard.push(heard);
            } else if self.lives.applied(heard.life) >= heard.upto {
                continue;
            }
            // Each once: all of it is looked at whenever something was applied.
            let upto = lacking.entry(heard.life).or_insert(heard.upto);
            *upto = heard.upto.max(*upto);
        }
        if !unheard.is_empty() || !self.recovery.is_empty() {
            self.hear_reports(now, witness, &unheard);
            self.keep_wanted_to_limit(now);
        }
        lacking.into_iter().map(|(life, seq)| Position { life, seq }).collect()
    }

    /// A peer has forgotten a life. It tells how far it had heard that life's log, and how long it had
    /// heard nothing more of it: copies that were loaded since then have seen what it announced.
    pub(super) fn hear_over(&mut self, now: Time, of: Position, quiet: Duration) {
        if planted(Fault::OverIgnored) || of.life == self.config.incarnation {
            return;
        }
        let is_linked = self.lives.get(of.life).is_some_and(Life::is_linked);
        let is_younger = now <= self.copies_from + quiet.saturating_sub(drift(quiet));
        let heard = self.lives.heard(of.life);
        match self.lives.get_mut(of.life) {
            Some(it) if is_linked => it.over = it.over.max(of.seq),
            // What is not needed is not counted as heard, either: that would be another's word.
            _ if heard >= of.seq || is_younger => {}
            _ => {
                self.recovery.note_over(now, of.life, of.seq);
                self.decide(now, of.life, self.all_answered());
            }
        }
    }

    /// What a life announced up to `upto` is not needed any more.
    pub(super) fn cover(&mut self, now: Time, life: Incarnation, upto: Seq) {
        let forget_at = now + self.config.limits.forget_after;
        self.lives.entry(life, forget_at).books.cover(upto);
        self.note_end(life);
        self.no_longer_wanted(life);
    }

    /// A witness says of whom it has heard more than this node.
    pub(super) fn hear_reports(&mut self, now: Time, witness: Incarnation, heard: &[Heard]) {
        for life in self.recovery.report(now, witness, heard) {
            self.lives.is_cheaper(life);
        }
    }

    /// Gives all up where more is wanted than there is room for.
    fn keep_wanted_to_limit(&mut self, now: Time) {
        if self.recovery.is_too_much()
            && let Some(&life) = self.recovery.lives().first()
        {
            let most = self.recovery.most(life);
            self.give_up(now, life, most);
        }
    }

    fn no_longer_wanted(&mut self, life: Incarnation) {
        self.recovery.drop_life(life);
        self.lives.is_cheaper(life);
    }

    /// Decides about all lives that something is wanted of.
    pub(super) fn pursue(&mut self, now: Time) {
        let answered = self.all_answered();
        for life in self.recovery.lives() {
            self.decide(now, life, answered);
        }
    }

    /// When the oldest question was asked that everybody who is linked has answered.
    fn all_answered(&self) -> Time {
        let linked = self.lives.iter().filter(|(_, it)| it.is_linked());
        linked.map(|(_, it)| it.answered).min().unwrap_or(Time::NEVER)
    }

    /// Decides about one of them. Everybody has answered a question from `answered`.
    fn decide(&mut self, now: Time, life: Incarnation, answered: Time) {
        let heard = self.lives.heard(life);
        let pursuit = self.recovery.pursue(life, heard);
        let most = self.recovery.most(life);
        if heard >= most || self.is_spoken_for(life) {
            self.no_longer_wanted(life);
            return;
        }
        match pursuit {
            // Who has loaded little would rather load it again.
            _ if !self.sync.is_warm => self.give_up(now, life, most),
            Some(Pursuit::Ask { witness }) => self.ask_soon(now, witness),
            Some(Pursuit::Wait { since } | Pursuit::GiveUp { since })
                if self.may_tell_itself(now, life, since) => {}
            // Once one is given up, nothing is wanted of the others either.
            Some(Pursuit::Wait { since }) if answered < since => {}
            Some(Pursuit::Wait { .. } | Pursuit::GiveUp { .. }) => self.give_up(now, life, most),
            None => {}
        }
    }

    /// Whether a life may come back and tell what nobody holds: its place is silent, and was not found
    /// empty. It is waited for like one that no list has: it is not settled meanwhile, so that nothing is
    /// proven.
    fn may_tell_itself(&self, now: Time, life: Incarnation, since: Time) -> bool {
        let is_silent = |place: &Place| {
            let refused = place.refusal.is_some_and(|refusal| refusal.sent >= since);
            place.is_listed() && place.holder == Holder::Nobody && !place.is_vacant && !refused
        };
        let places = self.lives.get(life).filter(|it| it.is_lost()).map(|it| &it.places);
        let mut places = places.into_iter().flatten().filter_map(|&id| self.roster.get(id));
        now < since + self.config.limits.patience && places.any(is_silent)
    }

    /// Asks a witness now, if it was not a moment ago.
    fn ask_soon(&mut self, now: Time, witness: Incarnation) {
        let Some(&id) = self.lives.get(witness).and_then(|it| it.conns.last()) else { return };
        let newest = self.linked_mut(id).map(|linked| linked.step.newest());
        if newest.is_some_and(|newest| newest + ASK_AGAIN_AFTER <= now) {
            self.ask(now, id);
        }
    }

    /// Nobody can tell what a life announced up to `upto`: nothing that was loaded before is
    /// trusted.
    pub(super) fn give_up(&mut self, now: Time, life: Incarnation, upto: Seq) {
        self.cover(now, life, upto);
        self.miss(now, self.name_of(life));
        self.note_left(now, life);
    }

    /// What a node announced can be had from nobody: nothing that was loaded before is trusted.
    pub(super) fn miss(&mut self, now: Time, node: String) {
        self.distrust_all(now);
        self.report(match self.sync.is_warm {
            true => Report::Missed { node },
            false => Report::Behind { node },
        });
    }

    /// No copy from before is trusted: that covers all that is wanted of anybody as well.
    pub(super) fn distrust_all(&mut self, now: Time) {
        self.caches.distrust();
        self.copies_from = now;
        for life in self.recovery.lives() {
            let most = self.recovery.most(life);
            self.cover(now, life, most);
        }
        self.recount_lacking(now);
    }
}

/// No log gets longer than this; a number beyond it is no number.
pub(super) const LARGEST: Seq = Seq(u64::MAX / 2);
