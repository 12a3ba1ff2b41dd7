//! Owns who is at a place, what that proves, and when it is settled: once everybody who may have
//! heard somebody else there was asked. It must never let one living node stand for another.
//!
//! What is open is settled in two steps. First, every place where nobody is known is found empty, so
//! that whoever was there is dead. Then every linked life answers a question put after that, and what
//! it tells is applied here: the dead may have told it something shortly before they died. That a place
//! is empty is proven again and again, and takes both steps side by side: the lives that were lost there
//! are open on their own account.
//!
//! For strict caches, a refusal tells nothing unless the operator says so: for them, a place where
//! nobody is known was looked at when it was proven last.

use std::time::Duration;

use super::{Node, Output, Report};
use crate::Time;
use crate::ack::Reason;
use crate::cache::Guarantee;
use crate::peers::{Dial, Holder, Place, PlaceId, Refusal, Subject};
use crate::planted::{Fault, planted};
use crate::wire::{Incarnation, Seq};

impl Node {
    /// Looks who is at a place, and opens what has to be settled when that has changed.
    pub(super) fn look_at(&mut self, now: Time, id: PlaceId) {
        let own = self.config.incarnation;
        let Some(place) = self.roster.get_mut(id) else { return };
        let (before, mut holder) = (place.holder, place.look(own));
        if planted(Fault::ConflictIgnored) && holder == Holder::Conflict {
            let first = place.claimants.first().copied();
            holder = first.map_or(Holder::Own, Holder::One);
        }
        if before == holder {
            self.refresh_place(id);
            return;
        }
        self.bank(id);
        let Some(place) = self.roster.get_mut(id) else { return };
        place.holder = holder;
        let listed = place.is_listed();
        // Of two that were there together, the lost one may be there still.
        if matches!(holder, Holder::One(_) | Holder::Own) && before != Holder::Conflict {
            self.lose_homes(now, id);
        }
        let Some(place) = self.roster.get_mut(id) else { return };
        match holder {
            Holder::One(life) => {
                let is_settled = place.settled_for == Some(life)
                    && place.claimants.contains(&life)
                    && before == Holder::Nobody;
                place.last = Some(life);
                place.is_vacant = false;
                place.trouble = None;
                let addresses = place.addresses.clone();
                self.lives.note_met(life, &addresses);
                if !is_settled {
                    self.open(now, id);
                }
                if let Some(it) = self.lives.get_mut(life) {
                    it.places.insert(id);
                    it.is_dropped &= !listed;
                }
                self.refresh_life(life);
            }
            Holder::Nobody => {
                let pause = place.backoff.failed(&mut self.rng);
                place.dial = Dial::Waiting { until: now + pause };
                // What is open goes on; with nobody there, it is a refusal that is settled.
                self.close(id);
            }
            // Where it says to be itself, only somebody else who is there as well matters.
            Holder::Own if place.is_own => {
                if place.is_contested {
                    place.dial = Dial::Waiting { until: now };
                }
                self.close(id);
            }
            Holder::Own => {
                place.trouble = None;
                self.open(now, id);
            }
            Holder::Conflict => {
                place.settled_for = None;
                place.awaited_since = now;
                place.is_contested = place.is_own;
                let nodes = self.names_at(id);
                let place = self.roster.get(id).map(|place| place.name.clone());
                if let Some(place) = place.filter(|_| listed) {
                    self.report(Report::Conflict { place, nodes });
                }
                self.close(id);
            }
        }
        self.refresh_place(id);
        self.outputs.push_back(Output::PeersChanged);
        self.settle();
    }

    /// A life that is linked is not at a place where it was. Another node may be there: what this life
    /// acknowledges, or its goodbye, says nothing of that one.
    pub(super) fn leave_behind(&mut self, id: PlaceId, life: Incarnation) {
        if let Some(it) = self.lives.get_mut(life) {
            it.places.remove(&id);
        }
        if let Some(place) = self.roster.get_mut(id)
            && place.last == Some(life)
        {
            place.last = None;
            self.refresh_place(id);
        }
    }

    /// What a connection showed of who is at a place is over. Who has answered there is looked for there
    /// if nothing else links the two, and is elsewhere if it does not claim the place.
    pub(super) fn drop_evidence(&mut self, id: PlaceId, is_linked: bool) {
        let Some(place) = self.roster.get_mut(id) else { return };
        if let Some((_, life)) = place.evidence.take()
            && is_linked
            && !place.claimants.contains(&life)
        {
            self.leave_behind(id, life);
        }
    }

    /// The names of all who are at a place.
    pub(super) fn names_at(&self, id: PlaceId) -> Vec<String> {
        let Some(place) = self.roster.get(id) else { return Vec::new() };
        let seen = place.evidence.map(|(_, life)| life);
        let own = Some(self.config.incarnation).filter(|_| place.is_own);
        let mut lives: Vec<_> = place.claimants.iter().copied().chain(seen).chain(own).collect();
        lives.sort_unstable();
        lives.dedup();
        lives.into_iter().map(|life| self.name_of(life)).collect()
    }

    /// Everybody has to be asked about a place from now on.
    fn open(&mut self, now: Time, id: PlaceId) {
        let since = self.behind_questions(now);
        self.close(id);
        if planted(Fault::SettledWithoutAsking) {
            return;
        }
        if let Some(place) = self.roster.get_mut(id) {
            place.settled_for = None;
            self.open.look(Subject::Place(id), since);
            if self.config.fixed.is_some() {
                place.strict_unsettled = Some(now);
                self.strict_open.look(id, since);
            }
        }
    }

    /// From when on everybody is asked about what comes up now: a question of this moment may have been
    /// put without it.
    pub(super) fn behind_questions(&self, now: Time) -> Time {
        now.max(self.last_question + std::time::Duration::from_nanos(1))
    }

    /// Nothing is open about a place any more for strict caches. It is not called when a place becomes
    /// empty: if the same life comes back, what was open before is still open.
    pub(super) fn close_strict(&mut self, id: PlaceId) {
        self.strict_open.close(id);
        if let Some(place) = self.roster.get_mut(id) {
            place.strict_unsettled = None;
        }
    }

    /// Nothing is open about a place any more.
    pub(super) fn close(&mut self, id: PlaceId) {
        let Some(place) = self.roster.get_mut(id) else { return };
        place.candidate = None;
        self.open.close(Subject::Place(id));
    }

    /// Whether nothing is open about a place.
    pub(super) fn is_settled(&self, id: PlaceId) -> bool {
        !self.open.contains(Subject::Place(id))
    }

    /// Nobody of this cluster was at a place.
    pub(super) fn found_empty(&mut self, id: PlaceId, refusal: Refusal) {
        let since = self.behind_questions(refusal.received);
        let Some(place) = self.roster.get_mut(id) else { return };
        place.refusal = Some(refusal);
        if place.holder != Holder::Nobody {
            self.refresh_place(id);
            return;
        }
        if place.is_vacant && self.config.trust_refusals != Some(true) {
            return;
        }
        if planted(Fault::RefusalTrustedWithoutAsking) {
            place.proven = place.proven.max(refusal.sent);
        }
        // What is under way is not begun anew, or it would never end.
        if place.candidate.is_none() {
            place.candidate = Some(refusal);
            self.open.ask(Subject::Place(id), since);
        }
        self.refresh_place(id);
    }

    /// Up to when everybody who is linked has answered, and all of that is applied.
    fn answered(&self) -> Time {
        self.minima.linked.min().unwrap_or(Time::NEVER)
    }

    /// Settles all that can be.
    pub(super) fn settle_due(&mut self, now: Time) {
        let empty = self.minima.empty.min().filter(|_| !planted(Fault::OtherPlacesNotLookedAt));
        let since = match planted(Fault::OldAnswersCount) {
            true => Time::ZERO,
            false => self.behind_questions(now),
        };
        self.open.looked(empty, since);
        self.strict_open.looked(self.minima.empty_strict.min(), since);
        self.settle_bounded(now);
        self.settle_strictly();
        self.look_soon(now);
    }

    /// Where something waits for empty places to be looked at, they are now, not when they are due: at
    /// a place where somebody comes and goes faster than that, nothing would ever be settled.
    fn look_soon(&mut self, now: Time) {
        let Some(behind) = self.open.looks_behind() else { return };
        if self.minima.empty.len() > LOOKED_AT_SOON {
            return;
        }
        let late = self.minima.empty.iter().filter(|&(_, looked)| looked < behind);
        for id in late.map(|(id, _)| id).collect::<Vec<_>>() {
            let Some(place) = self.roster.get_mut(id) else { continue };
            let soon = now.max(place.round.began + LOOK_AGAIN_AFTER);
            // Where the last look proved nothing, the next will not either.
            let was_empty = place.refusal.is_some_and(|it| it.sent == place.round.began);
            if let Dial::Waiting { until } = place.dial
                && soon < until
                && was_empty
            {
                place.dial = Dial::Waiting { until: soon };
                self.refresh_place(id);
            }
        }
    }

    fn settle_bounded(&mut self, now: Time) {
        loop {
            let looked = self.minima.empty.min().unwrap_or(Time::NEVER);
            let looks = |since: Time| planted(Fault::OtherPlacesNotLookedAt) || since <= looked;
            let mut due = self.open.due(self.answered());
            let free = |&(since, subject): &(Time, Subject)| match subject {
                Subject::Place(id) => self.roster.get(id).is_none_or(|place| {
                    let is_looked_at = place.candidate.is_none() || looks(since);
                    place.touched_by.is_empty() && is_looked_at
                }),
                // What was heard of it counts, and is not applied yet. Who has forgotten it names no more
                // in its answers what this node lacks of it.
                Subject::Life(id) => self.lives.get(id).is_none_or(|life| {
                    let is_applied = life.books.heard() == life.books.applied();
                    let is_forgotten = self.recovery.over(id) > life.books.heard();
                    life.touched_by.is_empty() && is_applied && !is_forgotten
                }),
            };
            let Some((_, subject)) = due.find(free) else { return };
            drop(due);
            self.open.close(subject);
            match subject {
                Subject::Place(id) => self.settle_place(id),
                Subject::Life(id) => self.settle_life(now, id),
            }
        }
    }

    fn settle_strictly(&mut self) {
        let is_free = |id: &PlaceId| {
            let place = self.roster.get(*id);
            place.is_none_or(|place| {
                place.touched_by.is_empty() && matches!(place.holder, Holder::One(_) | Holder::Own)
            })
        };
        let due = self.strict_open.due(self.answered()).map(|(_, id)| id);
        let due: Vec<_> = due.filter(is_free).collect();
        for id in due {
            let place = self.roster.get(id);
            let jumps = place.is_some_and(|it| it.strict_unsettled.is_some_and(|at| jumps(it, at)));
            self.close_strict(id);
            if jumps {
                self.caches.distrust_strict();
            }
            self.refresh_place(id);
        }
    }

    /// Everybody was asked who was at a place before.
    fn settle_place(&mut self, id: PlaceId) {
        let trusts = self.config.trust_refusals;
        let Some(place) = self.roster.get_mut(id) else { return };
        if let Holder::One(life) = place.holder {
            place.settled_for = Some(life);
        }
        let mut distrusts = false;
        if let Some(settled) = place.candidate.take() {
            place.proven = place.proven.max(settled.sent);
            if trusts == Some(true) || planted(Fault::StrictTrustsRefusals) {
                distrusts = jumps(place, settled.received);
                place.strict = place.strict.max(settled.sent);
            }
            if let Some(newest) = place.refusal.filter(|newest| *newest != settled) {
                place.candidate = Some(newest);
                // All questions since have named the place.
                self.open.ask(Subject::Place(id), newest.received);
            }
        }
        if distrusts {
            self.caches.distrust_strict();
        }
        self.refresh_place(id);
    }

    /// Brings the minima up to what is known of a place.
    pub(super) fn refresh_place(&mut self, id: PlaceId) {
        let subject = Subject::Place(id);
        let Some(place) = self.roster.get(id) else {
            self.minima.bounded.set(subject, None);
            self.minima.strict.set(id, None);
            self.minima.empty.set(id, None);
            self.minima.empty_strict.set(id, None);
            self.minima.dials.set(id, None);
            self.minima.awaited.set(subject, None);
            self.suspects.forget(subject);
            return;
        };
        let listed = place.is_listed();
        let is_settled = self.is_settled(id);
        // What was proven before the last break stays so: a life that is back has proven nothing yet.
        let own = || self.proven_at(id, self.config.incarnation);
        let bounded = match place.holder {
            Holder::Own if place.is_own => None,
            Holder::Nobody if place.is_vacant => None,
            Holder::Own if is_settled => Some(own().max(place.proven)),
            // Where the life claims the place, it stands for it.
            Holder::One(life) if is_settled => {
                Some(self.proven_at(id, life)).filter(|_| !place.claimants.contains(&life))
            }
            _ => Some(place.proven),
        };
        let strict = match place.holder {
            // A strict promise takes no word for it: this node has to have met itself there.
            Holder::Own if place.is_own => Some(place.strict).filter(|_| !place.is_surely_own()),
            Holder::Own if place.strict_unsettled.is_none() => Some(own().max(place.strict)),
            Holder::One(life) if place.strict_unsettled.is_none() => Some(self.proven_at(id, life)),
            _ => Some(place.strict),
        };
        let nobody = place.holder == Holder::Nobody;
        let is_awaited = nobody && listed && !place.is_vacant;
        let acked = place.last.and_then(|life| self.lives.get(life)).map(|life| life.acked);
        let acked = acked.unwrap_or(Seq::START);
        let may_pass = place.trouble.as_ref().is_none_or(Reason::may_pass);
        // Where another one may be as well, that this node says to be there proves nothing.
        let is_contested = place.holder == Holder::Own && place.is_contested;
        let is_empty = nobody && !place.is_vacant || is_contested;
        let refused = place.refusal.map_or(Time::ZERO, |refusal| refusal.sent);
        let trusts = self.config.trust_refusals == Some(true);
        let looked = if trusts { refused } else { place.strict };
        let empty_strict = (nobody && listed || is_contested).then_some(looked);
        let until = match place.dial {
            Dial::Waiting { until } => {
                let to_be_seen = place.holder == Holder::Own && place.evidence.is_none();
                Some(until).filter(|_| nobody || to_be_seen)
            }
            Dial::Trying(_) => None,
        };
        self.minima.bounded.set(subject, bounded.filter(|_| listed));
        self.minima.strict.set(id, strict.filter(|_| listed));
        self.minima.empty.set(id, Some(refused).filter(|_| is_empty));
        self.minima.empty_strict.set(id, empty_strict.filter(|_| self.config.fixed.is_some()));
        self.minima.dials.set(id, until);
        if matches!(place.holder, Holder::One(_) | Holder::Own) {
            // Whoever comes after those is waited for anew.
            self.suspects.forget(subject);
        }
        self.expect(subject, Some(acked).filter(|_| is_awaited && may_pass));
    }

    /// Up to when the life at a place is proven to be in step, as far as that place goes: by any
    /// connection where it claims the place, else by the one that leads there.
    pub(super) fn proven_at(&self, id: PlaceId, life: Incarnation) -> Time {
        let Some(place) = self.roster.get(id) else { return Time::ZERO };
        if place.claimants.contains(&life) {
            return self.lives.get(life).map_or(Time::ZERO, |life| life.proven);
        }
        let evidence = place.evidence.filter(|&(_, seen)| seen == life);
        let conn = evidence.and_then(|(conn, _)| self.conns.get(&conn));
        conn.and_then(super::Conn::linked).map_or(Time::ZERO, |linked| linked.step.proven())
    }

    /// Brings the minima up to what is known of a life, and of the places that it stands for.
    pub(super) fn refresh_life(&mut self, id: Incarnation) {
        let subject = Subject::Life(id);
        let Some(life) = self.lives.get(id) else {
            self.other_lists.remove(&id);
            self.minima.linked.set(id, None);
            self.minima.bounded.set(subject, None);
            self.minima.awaited.set(subject, None);
            self.minima.ends.set(id, None);
            self.suspects.forget(subject);
            return;
        };
        let waits = life.is_lost() && !life.has_left();
        let differs = life.other_list.is_some() && (life.is_linked() || life.is_lost());
        let (linked, proven, acked) = (life.is_linked(), life.proven, life.acked);
        let banked = life.banked;
        // Its place is waited for, where it has one.
        let stands = !waits
            || life
                .places
                .iter()
                .all(|&place| self.roster.get(place).is_none_or(|place| !place.is_listed()));
        let places: Vec<_> = match linked && self.config.fixed.is_some() {
            true => life.places.iter().copied().collect(),
            false => Vec::new(),
        };
        self.minima.linked.set(id, Some(proven).filter(|_| linked));
        let bounded = if linked { Some(proven) } else { Some(banked).filter(|_| waits) };
        self.minima.bounded.set(subject, bounded);
        let acked = Some(acked).filter(|_| linked || waits && stands);
        self.expect(subject, acked);
        for place in places {
            self.refresh_place(place);
        }
        self.note_other_list(id, differs);
    }

    /// Notes whether the list of a life is in the way of strict caches: that of one which is no part of
    /// this node's list is not.
    fn note_other_list(&mut self, id: Incarnation, differs: bool) {
        if !(differs && self.has_listed_place(id)) {
            self.other_lists.remove(&id);
        } else if self.other_lists.insert(id)
            && self.caches.demands().strict
            && let Some(differ) = self.lists_differ()
        {
            self.report(Report::ListsDiffer(differ));
        }
    }

    /// Like [`refresh_life`](Self::refresh_life), where only its acknowledgements have moved on.
    pub(super) fn refresh_acked(&mut self, id: Incarnation) {
        let Some(life) = self.lives.get(id).filter(|life| life.is_linked()) else {
            self.refresh_life(id);
            return;
        };
        let acked = life.acked;
        self.expect(Subject::Life(id), Some(acked));
    }
}

/// Whether the strict proof of a place passes over a lease, now that `since` is settled: those who were
/// there may have confirmed flushes because this node's lease had run out, and told nobody who lives.
fn jumps(place: &Place, since: Time) -> bool {
    let lease = Guarantee::Strict.lease(std::time::Duration::ZERO).unwrap_or_default();
    since > place.strict + lease && place.strict > Time::ZERO
}

/// With more empty places than this, none is looked at ahead of time.
const LOOKED_AT_SOON: usize = 16;
/// From one look at an empty place to the next, at least.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(25);
