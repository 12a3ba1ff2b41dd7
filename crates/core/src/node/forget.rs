//! Owns the end of a life: it is lost, settled or gone with a goodbye, and forgotten.
//! It must never forget one that is not settled without distrusting all copies, nor take one for
//! over that others may still hear.

use std::time::Duration;

use super::recover::LARGEST;
use super::{ConnId, Node, Output, Phase, Report};
use crate::Time;
use crate::peers::{Healing, Holder, Life, Place, PlaceId, Source, State, Subject};
use crate::planted::{Fault, planted};
use crate::wire::{Incarnation, Position, RENEW_EVERY, Seq};

impl Node {
    /// A connection to a life is over.
    pub(super) fn unlink(
        &mut self,
        now: Time,
        id: ConnId,
        life: Incarnation,
        place: Option<PlaceId>,
        why: String,
    ) {
        self.idle.remove(&id);
        let evidence = place.and_then(|id| self.roster.get(id)?.evidence);
        if let Some(place) = place
            && evidence.is_some_and(|(conn, _)| conn == id)
        {
            let is_linked = self.lives.get(life).is_some_and(|it| it.conns.len() > 1);
            self.drop_evidence(place, is_linked);
        }
        // Connections of this node to itself are of no life that it knows.
        if let Some(it) = self.lives.get_mut(life) {
            it.conns.retain(|&conn| conn != id);
            if it.out == Some(id) {
                it.out = None;
            }
            // What was owed over this one is said over another.
            it.ack_due = true;
            match it.conns.last().copied() {
                None if it.is_linked() => self.lose(now, life, why),
                None => {}
                Some(main) => {
                    self.choose_out(life);
                    self.ask(now, main);
                    self.wake(main);
                }
            }
        }
        if let Some(place) = place {
            self.look_at(now, place);
        }
    }

    /// Keeps what is proven of a place by whoever stands for it, which is over.
    pub(super) fn bank(&mut self, id: PlaceId) {
        let Some(place) = self.roster.get(id) else { return };
        let life = match place.holder {
            Holder::One(life) => life,
            Holder::Own if !place.is_own => self.config.incarnation,
            _ => return,
        };
        let (is_settled, is_strictly) = (self.is_settled(id), place.strict_unsettled.is_none());
        let proven = self.proven_at(id, life);
        if let Some(place) = self.roster.get_mut(id) {
            if is_settled {
                place.proven = place.proven.max(proven);
            }
            if is_strictly {
                place.strict = place.strict.max(proven);
            }
        }
    }

    /// Nothing links a life and this node any more.
    fn lose(&mut self, now: Time, life: Incarnation, why: String) {
        let address = self.address_of(life);
        let Some(it) = self.lives.get(life) else { return };
        let places: Vec<_> = it.places.iter().copied().collect();
        let (has_left, grant) = (it.has_left(), it.granted);
        // Others must not hold each flush up by a lease when they go.
        if !has_left && (!places.is_empty() || self.was_met_where_listed(it)) {
            self.lost_grant = self.lost_grant.max(grant);
        }
        if !has_left {
            self.ask_anew(now, life);
        }
        for &place in &places {
            self.bank(place);
        }
        for &place in &places {
            if let Some(place) = self.roster.get_mut(place) {
                place.claimants.remove(&life);
                if !has_left {
                    place.granted = place.granted.max(grant);
                }
            }
        }
        let node = self.name_of(life);
        let Some(it) = self.lives.get_mut(life) else { return };
        it.banked = it.banked.max(it.proven);
        it.proven = Time::ZERO;
        it.answered = Time::ZERO;
        it.healing.get_or_insert(Healing { since: now, from: it.books.heard(), reset: false });
        it.books.return_to_hearsay();
        let (heard, over) = (it.books.heard(), it.over);
        // What it announced over a connection that was dead already is missed: no list has it looked for.
        let is_missed = it.is_dropped
            && it.bye.is_none()
            && now > it.banked.max(it.linked_since) + CLOSED_WITHIN;
        if it.bye.is_none() {
            self.report(Report::Lost { node: node.clone(), address, why });
        }
        self.drop_touches(life, Time::NEVER);
        self.lacking.remove(&life);
        self.hear_reports(now, life, &[]);
        self.lives.set_apart(life, State::Lost { since: now });
        self.minima.ends.set(life, None);
        if heard < over {
            // Who had heard more of it has forgotten it meanwhile.
            self.recovery.note_over(now, life, over);
        }
        if has_left {
            self.lay_to_rest(now, life);
        } else {
            self.search(now, life);
        }
        for place in places {
            self.look_at(now, place);
        }
        self.refresh_life(life);
        self.outputs.push_back(Output::PeersChanged);
        self.settle();
        if is_missed && !planted(Fault::SilentPlaceDropped) {
            self.miss(now, node);
        }
        if !self.recovery.is_empty() {
            self.pursue(now);
        }
    }

    /// Whether a life may be the node that the list means, and serve, though it is at no place now.
    fn was_met_where_listed(&self, it: &Life) -> bool {
        let mut places = it.met_at.iter().flat_map(|&at| self.roster.near(at));
        places.any(|id| self.roster.get(id).is_some_and(Place::is_listed))
    }

    /// A life is lost that had not answered for all that is open, or was in touch there. It may have
    /// told others what it knew after they had answered, so that all are asked anew. One that left
    /// properly has told this node no less than anybody else.
    fn ask_anew(&mut self, now: Time, lost: Incarnation) {
        let Some(proven) = self.lives.get(lost).map(|it| it.proven) else { return };
        let since = self.behind_questions(now);
        let mut open = self.open.between(proven, since);
        let mut strictly = self.strict_open.between(proven, since);
        if let Some(it) = self.lives.get(lost) {
            let touched = it.touching.iter().copied();
            open.extend(touched.clone().filter(|&subject| self.open.contains(subject)));
            let places = touched.filter_map(|subject| match subject {
                Subject::Place(place) => Some(place),
                _ => None,
            });
            strictly.extend(places.filter(|&place| self.strict_open.contains(place)));
        }
        for subject in open {
            match self.is_empty_place(subject) {
                true => self.open.ask(subject, since),
                false => self.open.look(subject, since),
            }
        }
        for place in strictly {
            self.strict_open.look(place, since);
        }
    }

    /// Begins to look for a life that is lost: at its places, or where it says to be.
    fn search(&mut self, now: Time, life: Incarnation) {
        let patience = now + self.config.limits.patience;
        let Some(it) = self.lives.get(life) else { return };
        let is_listed = self.has_listed_place(life);
        let is_dropped = it.is_dropped;
        let claims: Vec<_> = it.claims.iter().copied().collect();
        if planted(Fault::LostLifeNotSearched) {
            self.lay_to_rest(now, life);
            return;
        }
        if is_listed || is_dropped {
            self.open_life(now, life);
            if is_dropped {
                self.minima.ends.set(life, Some(now + self.config.limits.ask_within));
            }
            return;
        }
        let mut found = false;
        for claim in claims {
            if self.roster.len() < self.config.limits.peers && self.phase == Phase::Running {
                let (place, _) = self.roster.put(&claim.into(), Source::Hello, now);
                found = true;
                if let Some(it) = self.roster.get_mut(place) {
                    it.last = Some(life);
                }
                if let Some(it) = self.lives.get_mut(life) {
                    it.places.insert(place);
                }
                self.refresh_place(place);
            }
        }
        if found {
            self.open_life(now, life);
        }
        self.minima.ends.set(life, Some(patience));
    }

    /// Somebody is at a place where others were. Who of them is lost is waited for no longer than one
    /// that nobody lists.
    pub(super) fn lose_homes(&mut self, now: Time, place: PlaceId) {
        let patience = now + self.config.limits.patience;
        let were_there =
            self.lives.apart().filter(|(_, it)| it.is_lost() && it.places.contains(&place));
        for life in were_there.map(|(life, _)| life).collect::<Vec<_>>() {
            let Some(it) = self.lives.get_mut(life) else { continue };
            it.places.remove(&place);
            if !it.is_dropped && !self.has_listed_place(life) {
                self.minima.ends.set(life, Some(patience));
            }
        }
        // It was only there to look for them: it would have to be found empty for ever.
        if self.roster.get(place).is_some_and(|it| !it.is_listed()) {
            self.take_off(now, place);
        }
    }

    /// Whether a life is, or was, at a place that is listed.
    pub(super) fn has_listed_place(&self, life: Incarnation) -> bool {
        let listed = |&place: &PlaceId| self.roster.get(place).is_some_and(|it| it.is_listed());
        self.lives.get(life).is_some_and(|it| it.places.iter().any(listed))
    }

    /// Everybody is asked about a life.
    fn open_life(&mut self, now: Time, life: Incarnation) {
        self.open.look(Subject::Life(life), self.behind_questions(now));
        self.lives.set_apart(life, State::Lost { since: now });
    }

    /// Nothing lists a lost life any more, or its time is up: its places say nothing of it.
    pub(super) fn drop_life(&mut self, now: Time, life: Incarnation) {
        let Some(it) = self.lives.get_mut(life) else { return };
        it.is_dropped = true;
        if it.is_lost() {
            self.drop_hello_places(now, life);
            self.open_life(now, life);
            self.minima.ends.set(life, Some(now + self.config.limits.ask_within));
            self.refresh_life(life);
        }
    }

    /// Takes the places off that are only known from a life's own word.
    pub(super) fn drop_hello_places(&mut self, now: Time, life: Incarnation) {
        let Some(it) = self.lives.get(life) else { return };
        let own_word = |&place: &PlaceId| self.roster.get(place).is_some_and(|it| !it.is_listed());
        for place in it.places.iter().copied().filter(own_word).collect::<Vec<_>>() {
            self.take_off(now, place);
        }
    }

    /// Everybody was asked about a life that is lost, and what they told is applied.
    pub(super) fn settle_life(&mut self, now: Time, life: Incarnation) {
        if self.lives.get(life).is_some_and(|it| it.is_lost()) {
            self.lay_to_rest(now, life);
            self.refresh_life(life);
            self.outputs.push_back(Output::PeersChanged);
            self.settle();
        }
    }

    /// A life is over.
    fn lay_to_rest(&mut self, now: Time, life: Incarnation) {
        let forget_at = now + self.config.limits.forget_after;
        self.lives.set_apart(life, State::Over { forget_at });
        self.other_lists.remove(&life);
        self.open.close(Subject::Life(life));
        self.drop_hello_places(now, life);
        self.minima.ends.set(life, Some(forget_at));
    }

    /// A life may have said goodbye, and all of it be applied.
    pub(super) fn note_left(&mut self, now: Time, life: Incarnation) {
        let Some(it) = self.lives.get(life) else { return };
        if !it.has_left() {
            return;
        }
        let (conns, places): (Vec<_>, Vec<_>) =
            (it.conns.clone(), it.places.iter().copied().collect());
        let is_lost = it.is_lost();
        for id in conns {
            self.part(now, id, "it left".to_owned());
            self.end(id);
        }
        if is_lost {
            self.lay_to_rest(now, life);
        }
        for id in places {
            match self.roster.get(id).is_some_and(|place| place.last == Some(life)) {
                true => self.vacate(now, id, life),
                false => self.look_at(now, id),
            }
        }
        self.refresh_life(life);
        self.settle();
    }

    /// Who was at a place has left it in order.
    pub(super) fn vacate(&mut self, now: Time, id: PlaceId, life: Incarnation) {
        // Another one that was there with it, and is lost, may be there still.
        let is_there = |(other, it): (Incarnation, &Life)| {
            other != life && it.is_lost() && it.bye.is_none() && it.places.contains(&id)
        };
        let is_alone = !self.lives.apart().any(is_there);
        if let Some(place) = self.roster.get_mut(id)
            && place.look(self.config.incarnation) == Holder::Nobody
            && is_alone
        {
            place.is_vacant = true;
            place.granted = Time::ZERO;
            self.close(id);
        }
        self.look_at(now, id);
    }

    /// Has a life forgotten sometime that was only heard of.
    pub(super) fn note_end(&mut self, life: Incarnation) {
        if let Some(it) = self.lives.get(life)
            && let State::Over { forget_at } = it.state
        {
            self.minima.ends.set(life, Some(forget_at));
        }
    }

    /// Does what is due about lives that are not linked.
    pub(super) fn end_lost(&mut self, now: Time) {
        if self.phase != Phase::Running {
            return;
        }
        for (_, life) in self.minima.ends.up_to(now).collect::<Vec<_>>() {
            self.minima.ends.set(life, None);
            let Some(it) = self.lives.get(life) else { continue };
            match it.state {
                State::Linked => self.end_unanswering(now, life),
                // What was heard of it, or over its log, is to be applied first.
                State::Over { .. } if it.is_busy() || self.recovery.is_wanted(life) => {
                    self.minima.ends.set(life, Some(now + self.config.limits.forget_after));
                }
                State::Over { .. } => self.forget(now, life),
                State::Lost { .. } if it.is_dropped => {
                    let upto = it.books.heard();
                    self.give_up(now, life, upto);
                    self.settle_life(now, life);
                }
                State::Lost { .. } => self.drop_life(now, life),
            }
        }
    }

    /// Forgets lives until there are no more than the limit allows. First go those that cost nothing.
    /// Then go those of which something waits to be applied, is wanted, or is not settled: all copies
    /// are distrusted for them, once, however many go.
    pub(super) fn keep_to_limit(&mut self, now: Time) {
        let mut is_paid = false;
        while self.lives.count_apart() > self.config.limits.lives_over {
            let costs = |life, it: &Life| it.is_busy() || self.recovery.is_wanted(life);
            let Some(life) = self.lives.first_to_forget(costs) else { return };
            let Some(it) = self.lives.get(life) else { return };
            if it.is_lost() || costs(life, it) {
                let upto = it.books.heard().max(self.recovery.most(life));
                self.note_relayed(life, LARGEST);
                if std::mem::replace(&mut is_paid, true) {
                    self.cover(now, life, upto);
                    self.note_left(now, life);
                } else {
                    self.give_up(now, life, upto);
                }
                self.settle_life(now, life);
            }
            self.forget(now, life);
        }
    }

    /// Forgets a life, and says in this node's log how far it had heard it: whoever has heard less,
    /// and reads that, knows what it lacks.
    fn forget(&mut self, now: Time, life: Incarnation) {
        let Some(it) = self.lives.forget(life) else { return };
        self.refresh_life(life);
        self.recovery.drop_life(life);
        for id in it.places {
            if let Some(place) = self.roster.get_mut(id)
                && place.last == Some(life)
                && place.is_vacant
            {
                place.last = None;
            }
        }
        let seq = it.books.told();
        if seq > Seq::START
            && self.phase == Phase::Running
            && !planted(Fault::ForgottenWithoutAWord)
        {
            let quiet = now.since(it.books.told_at());
            self.log.append_over(Position { life, seq }, quiet);
            self.wake_idle();
        }
    }
}

/// A connection that ends no later behind the last proof was closed by the other end, which is taken for
/// its death where no list has it any more; otherwise it was silent before.
pub(super) const CLOSED_WITHIN: Duration = RENEW_EVERY.saturating_mul(3);
