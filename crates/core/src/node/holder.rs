//! Owns who is at a place, what that proves, and when it is settled: once everybody who may have
//! heard somebody else there was asked. It must never let one living node stand for another.
//!
//! All that is open is settled by one number, the *horizon*: the oldest of what is proven of the
//! linked lives, and of when each place where nobody is known was last found empty. What came up no
//! later than that is settled: everybody alive was asked behind it, what they told is applied here,
//! and whoever was not asked was not there to be told anything.

use super::{Node, Output, Report};
use crate::Time;
use crate::cache::Guarantee;
use crate::peers::{Holder, PlaceId, Refusal, Subject};
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
        if let Holder::One(life) = before
            && !place.claimants.contains(&life)
            && let Some(life) = self.lives.get_mut(life).filter(|life| life.is_linked())
        {
            // It lives, and is elsewhere.
            life.places.remove(&id);
        }
        let former = place.last.filter(|&last| holder != Holder::One(last));
        if let (Holder::One(_) | Holder::Own, Some(former)) = (holder, former) {
            self.lose_home(now, former, id);
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
                if !is_settled {
                    self.open(now, id);
                }
                if let Some(life) = self.lives.get_mut(life) {
                    life.places.insert(id);
                    life.is_dropped &= !listed;
                }
            }
            Holder::Nobody => {
                let pause = place.backoff.failed(&mut self.rng);
                place.dial = crate::peers::Dial::Waiting { until: now + pause };
                // What is open goes on; with nobody there, it is a refusal that is settled.
                self.close(id);
            }
            // Where it says to be itself, only somebody else who is there as well matters.
            Holder::Own if place.is_own => {
                if place.is_contested {
                    place.dial = crate::peers::Dial::Waiting { until: now };
                }
                self.close(id);
            }
            Holder::Own => {
                place.trouble = None;
                self.open(now, id);
            }
            Holder::Conflict => {
                place.settled_for = None;
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
        self.settle(now);
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
        self.close(id);
        if planted(Fault::SettledWithoutAsking) {
            return;
        }
        if let Some(place) = self.roster.get_mut(id) {
            place.settled_for = None;
            place.unsettled = Some(now);
            self.unsettled.insert((now, Subject::Place(id)));
        }
    }

    /// Nothing is open about a place any more.
    pub(super) fn close(&mut self, id: PlaceId) {
        let Some(place) = self.roster.get_mut(id) else { return };
        place.candidate = None;
        if let Some(since) = place.unsettled.take() {
            self.unsettled.remove(&(since, Subject::Place(id)));
        }
    }

    /// Nobody of this cluster was at a place.
    pub(super) fn found_empty(&mut self, id: PlaceId, refusal: Refusal) {
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
            let since = match planted(Fault::OldAnswersCount) {
                true => Time::ZERO,
                false => refusal.received,
            };
            place.unsettled = Some(since);
            self.unsettled.insert((since, Subject::Place(id)));
        }
        self.refresh_place(id);
    }

    /// What came up no later than this is settled, unless somebody is in touch there.
    fn horizon(&self) -> Time {
        let linked = self.minima.linked.min().unwrap_or(Time::NEVER);
        let empty = self.minima.empty.min().unwrap_or(Time::NEVER);
        match planted(Fault::OtherPlacesNotLookedAt) {
            true => linked,
            false => linked.min(empty),
        }
    }

    /// Settles all that can be.
    pub(super) fn settle_due(&mut self, now: Time) {
        loop {
            let horizon = self.horizon();
            let due = self.unsettled.iter().take_while(|(since, _)| *since <= horizon);
            let free = |subject: &Subject| match *subject {
                Subject::Place(id) => {
                    self.roster.get(id).is_none_or(|place| place.touched_by.is_empty())
                }
                Subject::Life(id) => {
                    self.lives.get(id).is_none_or(|life| life.touched_by.is_empty())
                }
                Subject::LeftOut => false,
            };
            let mut due = due.filter(|(_, subject)| free(subject));
            let Some(&(since, subject)) = due.next() else { return };
            self.unsettled.remove(&(since, subject));
            match subject {
                Subject::Place(id) => self.settle_place(id, since),
                Subject::Life(id) => self.settle_life(now, id),
                Subject::LeftOut => {}
            }
        }
    }

    /// Everybody was asked who was at a place before `since`.
    fn settle_place(&mut self, id: PlaceId, since: Time) {
        let lease = Guarantee::Strict.lease(std::time::Duration::ZERO).unwrap_or_default();
        let trusts = self.config.trust_refusals;
        let Some(place) = self.roster.get_mut(id) else { return };
        place.unsettled = None;
        if let Holder::One(life) = place.holder {
            place.settled_for = Some(life);
        }
        // Those who were there may have confirmed flushes because this node's lease had run out, and
        // told nobody who lives.
        let jumps = since > place.strict + lease && place.strict > Time::ZERO;
        let mut distrusts = jumps && place.candidate.is_none();
        if let Some(settled) = place.candidate.take() {
            place.proven = place.proven.max(settled.sent);
            if trusts == Some(true) || planted(Fault::StrictTrustsRefusals) {
                distrusts = jumps;
                place.strict = place.strict.max(settled.sent);
            }
            if let Some(newest) = place.refusal.filter(|newest| *newest != settled) {
                place.candidate = Some(newest);
                place.unsettled = Some(newest.received);
                self.unsettled.insert((newest.received, Subject::Place(id)));
            }
        }
        if distrusts {
            self.caches.distrust_strict();
        }
        self.refresh_place(id);
    }

    /// Brings the minima up to what is known of a place.
    pub(super) fn refresh_place(&mut self, id: PlaceId) {
        let Some(place) = self.roster.get(id) else {
            self.forget_place_minima(id);
            return;
        };
        let listed = place.is_listed();
        let is_settled = place.unsettled.is_none();
        let stuck = (Some(place.proven), Some(place.strict));
        let (mut bounded, mut strict) = match place.holder {
            // A strict promise takes no word for it: this node has to have met itself there.
            Holder::Own if place.is_own => (None, Some(place.strict).filter(|_| !place.was_met)),
            Holder::Conflict => stuck,
            Holder::One(_) | Holder::Own if !is_settled => stuck,
            // What was proven before the last break stays so: a life that is back has proven nothing yet.
            Holder::Own => {
                let proven = self.proven_at(id, self.config.incarnation);
                (Some(proven.max(place.proven)), Some(proven.max(place.strict)))
            }
            Holder::One(life) => {
                let proven = self.proven_at(id, life);
                // Where the life claims the place, it stands for it.
                let stands = place.claimants.contains(&life);
                (Some(proven).filter(|_| !stands), Some(proven))
            }
            Holder::Nobody if place.is_vacant => (None, Some(place.strict)),
            Holder::Nobody => stuck,
        };
        if !listed {
            (bounded, strict) = (None, None);
        }
        let nobody = place.holder == Holder::Nobody;
        let is_awaited = nobody && listed && !place.is_vacant;
        let acked = place.last.and_then(|life| self.lives.get(life)).map(|life| life.acked);
        let acked = acked.unwrap_or(Seq::START);
        let may_pass = place.trouble.as_ref().is_none_or(|it| it.reason().may_pass());
        // Where another one may be as well, that this node says to be there proves nothing.
        let is_contested = place.holder == Holder::Own && place.is_contested;
        let empty = (nobody && !place.is_vacant || is_contested)
            .then(|| place.refusal.map_or(Time::ZERO, |refusal| refusal.sent));
        let until = match place.dial {
            crate::peers::Dial::Waiting { until } => {
                let to_be_seen = place.holder == Holder::Own && place.evidence.is_none();
                Some(until).filter(|_| nobody || to_be_seen)
            }
            crate::peers::Dial::Trying(_) => None,
        };
        let subject = Subject::Place(id);
        self.minima.bounded.set(subject, bounded);
        self.minima.strict.set(id, strict);
        self.minima.empty.set(id, empty);
        self.minima.dials.set(id, until);
        self.minima.awaited.set(subject, Some(acked).filter(|_| is_awaited && may_pass));
    }

    pub(super) fn forget_place_minima(&mut self, id: PlaceId) {
        let subject = Subject::Place(id);
        self.minima.bounded.set(subject, None);
        self.minima.strict.set(id, None);
        self.minima.empty.set(id, None);
        self.minima.dials.set(id, None);
        self.minima.awaited.set(subject, None);
    }

    /// Up to when the life at a place is proven to be in step, as far as that place goes: by any
    /// connection where it claims the place, else by the one that leads there.
    pub(super) fn proven_at(&self, id: PlaceId, life: Incarnation) -> Time {
        let Some(place) = self.roster.get(id) else { return Time::ZERO };
        let by_life = self.lives.get(life).map_or(Time::ZERO, |life| life.proven);
        match place.evidence {
            Some((conn, _)) if !place.claimants.contains(&life) => {
                let linked = self.conns.get(&conn).and_then(super::Conn::linked);
                linked.map_or(Time::ZERO, |linked| linked.step.proven())
            }
            _ => by_life,
        }
    }

    /// Brings the minima up to what is known of a life, and of the places that it stands for.
    pub(super) fn refresh_life(&mut self, id: Incarnation) {
        let Some(life) = self.lives.get(id) else {
            self.forget_life_minima(id);
            return;
        };
        let subject = Subject::Life(id);
        let waits = life.is_lost() && !life.has_left();
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
        self.minima.awaited.set(subject, acked);
        for place in places {
            self.refresh_place(place);
        }
    }

    /// Like [`refresh_life`](Self::refresh_life), where only its acknowledgements have moved on.
    pub(super) fn refresh_acked(&mut self, id: Incarnation) {
        let Some(life) = self.lives.get(id).filter(|life| life.is_linked()) else {
            self.refresh_life(id);
            return;
        };
        self.minima.awaited.set(Subject::Life(id), Some(life.acked));
    }

    pub(super) fn forget_life_minima(&mut self, id: Incarnation) {
        let subject = Subject::Life(id);
        self.other_lists.remove(&id);
        self.minima.linked.set(id, None);
        self.minima.bounded.set(subject, None);
        self.minima.awaited.set(subject, None);
        self.minima.ends.set(id, None);
    }
}
