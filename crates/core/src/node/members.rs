//! Owns what discovery tells: which places are on the roster. It must never take one off because
//! nobody can be reached there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use super::forget::CLOSED_WITHIN;
use super::{Node, Output, Report};
use crate::Time;
use crate::peers::{Dial, Holder, Listed, PlaceId, Source, Subject, canonical};
use crate::planted::{Fault, planted};
use crate::wire::Incarnation;

impl Node {
    /// Replaces what one discovery source knows.
    pub(super) fn on_members(
        &mut self,
        now: Time,
        source: &Arc<str>,
        listed: &[Listed],
        complete: bool,
    ) {
        let source = Source::Discovery(Arc::clone(source));
        let mut names = BTreeSet::new();
        let mut left_out = Vec::new();
        for listed in listed {
            let is_place = |it: &SocketAddr| !it.ip().is_unspecified() && it.port() != 0;
            let addresses = listed.addresses.iter().copied().filter(is_place).map(canonical);
            let mut seen = BTreeSet::new();
            let addresses: Vec<_> = addresses.filter(|&it| seen.insert(it)).collect();
            if addresses.is_empty() {
                self.report(Report::NoPlace { place: Arc::clone(&listed.name) });
                continue;
            }
            let listed = Listed { name: Arc::clone(&listed.name), addresses };
            names.insert(Arc::clone(&listed.name));
            if !self.list(now, &listed, source.clone()) {
                left_out.push(listed);
            }
        }
        if complete {
            self.unlist(now, &source, &names);
            self.whole_lists.insert(source.clone());
        }
        let before = self.left_out.insert(source, left_out).map(|it| it.len()).unwrap_or_default();
        self.list_left_out(now);
        let left_out = self.left_out.values().map(Vec::len).sum();
        if left_out > before {
            self.report(Report::RosterFull { left_out, room: self.config.limits.peers });
        }
        self.outputs.push_back(Output::PeersChanged);
        self.dial_due(now);
        self.settle();
    }

    /// There may be room now for what any source has listed: a source need not tell it again.
    fn list_left_out(&mut self, now: Time) {
        for (source, mut left_out) in std::mem::take(&mut self.left_out) {
            left_out.retain(|listed| !self.list(now, listed, source.clone()));
            self.left_out.insert(source, left_out);
        }
    }

    /// Puts a place on the roster; false if there is no room.
    fn list(&mut self, now: Time, listed: &Listed, source: Source) -> bool {
        let mut known = self.roster.named(&listed.name);
        let mut sources = BTreeSet::from([source.clone()]);
        let mut former = None;
        if let Some(id) = known
            && let Some(place) = self.roster.get(id).filter(|place| place.is_listed())
            && !place.addresses.iter().any(|address| listed.addresses.contains(address))
        {
            // It leads elsewhere: nothing that is known of who was there says anything of who is now, but
            // for what is not proven of it.
            sources.extend(place.sources.iter().cloned());
            self.bank(id);
            former = self.roster.get(id).map(|it| (it.added, it.proven, it.strict));
            self.move_out(now, id);
            self.take_off(now, id);
            known = None;
        }
        if known.is_none() && self.roster.len() >= self.config.limits.peers {
            // What is only known by a node's own word gives way to what is listed.
            let own_word = self.roster.iter().find(|(_, place)| !place.is_listed());
            let Some(id) = own_word.map(|(id, _)| id) else { return false };
            self.take_off(now, id);
        }
        let was_listed =
            known.and_then(|id| self.roster.get(id)).is_some_and(|place| place.is_listed());
        let (id, is_moved) = self.roster.put(listed, source, now);
        if !is_moved && was_listed {
            return true;
        }
        self.bank(id);
        // Somebody else may be there, who was not waited for in vain.
        self.suspects.forget(Subject::Place(id));
        self.leave_old_addresses(now, id);
        let own = self.config.address;
        let claimants: Vec<_> =
            listed.addresses.iter().flat_map(|&address| self.lives.claiming(address)).collect();
        let Some(place) = self.roster.get_mut(id) else { return true };
        if let Some(former) = former {
            (place.added, place.proven, place.strict) = former;
        } else if !was_listed {
            (place.added, place.proven) = (now, now);
        }
        // It is listed now, so that the node's own word is not what keeps it.
        place.sources.extend(sources);
        place.sources.remove(&Source::Hello);
        place.refusal = None;
        place.awaited_since = now;
        place.is_own = listed.addresses.contains(&own);
        let gone: Vec<_> =
            place.claimants.iter().copied().filter(|life| !claimants.contains(life)).collect();
        place.claimants = claimants.iter().copied().collect();
        if matches!(place.dial, Dial::Waiting { .. }) {
            place.dial = Dial::Waiting { until: now };
        }
        for life in gone {
            self.leave_behind(id, life);
        }
        for life in claimants {
            if let Some(it) = self.lives.get_mut(life) {
                it.places.insert(id);
                it.is_dropped = false;
            }
            self.refresh_life(life);
        }
        // Whoever is there now, all are asked about those before.
        self.close(id);
        if let Some(place) = self.roster.get_mut(id) {
            place.settled_for = None;
            place.holder = Holder::Nobody;
            // Who left was at other addresses.
            place.is_vacant &= !is_moved;
        }
        self.look_at(now, id);
        true
    }

    /// What was dialled at addresses that a place has no more says nothing of it.
    fn leave_old_addresses(&mut self, now: Time, id: PlaceId) {
        let Some(place) = self.roster.get_mut(id) else { return };
        let addresses = place.addresses.clone();
        if let Dial::Trying(conn) = place.dial {
            place.dial = Dial::Waiting { until: now };
            self.drop_conn(conn);
        }
        let Some((conn, life)) = self.roster.get(id).and_then(|place| place.evidence) else {
            return;
        };
        let remote = self.conns.get(&conn).map(|conn| conn.remote);
        if remote.is_some_and(|remote| addresses.contains(&remote)) {
            return;
        }
        self.drop_evidence(id, true);
        if let Some(linked) = self.linked_mut(conn) {
            linked.place = None;
        }
        if self.lives.get(life).is_none_or(|it| it.conns.len() > 1) {
            self.part(now, conn, "its place has other addresses now".to_owned());
            self.end(conn);
        }
    }

    /// Takes `source` off all places that it does not list any more.
    fn unlist(&mut self, now: Time, source: &Source, names: &BTreeSet<Arc<str>>) {
        let gone = self
            .roster
            .iter()
            .filter(|(_, place)| place.sources.contains(source) && !names.contains(&place.name));
        for id in gone.map(|(id, _)| id).collect::<Vec<_>>() {
            let Some(place) = self.roster.get_mut(id) else { continue };
            place.sources.remove(source);
            if !place.is_listed() {
                let silent = self.is_silent(now, id).then(|| self.who_is_at(id));
                self.take_off(now, id);
                if let Some(node) = silent {
                    self.miss(now, node);
                }
            }
        }
    }

    /// Whoever was at a place is there no more, and is followed, or looked for, as one that no list has.
    fn move_out(&mut self, now: Time, id: PlaceId) {
        self.lose_homes(now, id);
        for life in self.who_has(id) {
            if let Some(it) = self.lives.get_mut(life) {
                it.places.remove(&id);
            }
            self.refresh_life(life);
        }
    }

    /// The lives that are, or were, at a place.
    fn who_has(&self, id: PlaceId) -> Vec<Incarnation> {
        let there = self.lives.iter().filter(|(_, it)| it.places.contains(&id));
        there.map(|(life, _)| life).collect()
    }

    /// Whether somebody may be at a place who cannot be heard: nobody is known there, nobody left it, and
    /// it was neither found empty nor in step a moment ago. What they announce is missed once nothing is
    /// proven of the place any more.
    fn is_silent(&self, now: Time, id: PlaceId) -> bool {
        let Some(place) = self.roster.get(id) else { return false };
        let trusts = self.config.trust_refusals != Some(false);
        let refused = place.refusal.filter(|_| trusts).map(|it| it.sent);
        let proven = Some(place.proven).filter(|&proven| proven > place.added);
        let last = refused.max(proven).unwrap_or(Time::ZERO);
        let is_open = place.holder == Holder::Nobody && !place.is_vacant;
        is_open && now > last + CLOSED_WITHIN && !planted(Fault::SilentPlaceDropped)
    }

    /// Takes a place off the roster. Who is, or was, there is looked for elsewhere.
    pub(super) fn take_off(&mut self, now: Time, id: PlaceId) {
        self.close(id);
        self.close_strict(id);
        let Some(place) = self.roster.remove(id) else { return };
        self.refresh_place(id);
        if let Dial::Trying(conn) = place.dial {
            self.drop_conn(conn);
        }
        for life in self.who_has(id) {
            let Some(it) = self.lives.get_mut(life) else { continue };
            it.places.remove(&id);
            let is_own_word = place.sources.contains(&Source::Hello);
            if !is_own_word && !self.has_listed_place(life) {
                self.drop_life(now, life);
            }
            self.refresh_life(life);
        }
        if let Some((conn, life)) = place.evidence {
            if let Some(linked) = self.linked_mut(conn) {
                linked.place = None;
            }
            // Nothing is proven by it any more, and another connection may do.
            let is_needed = self.lives.get(life).is_some_and(|it| it.conns.len() == 1);
            if !is_needed {
                self.part(now, conn, "its place is not listed any more".to_owned());
                self.end(conn);
            }
        }
        self.outputs.push_back(Output::PeersChanged);
    }

    /// Notes the places that a linked life says to be at.
    pub(super) fn claim_places(&mut self, now: Time, life: Incarnation) {
        let Some(it) = self.lives.get(life) else { return };
        let claimed: BTreeSet<_> =
            it.claims.iter().flat_map(|&claim| self.roster.at(claim)).collect();
        for &id in &claimed {
            if let Some(place) = self.roster.get_mut(id) {
                place.claimants.insert(life);
            }
        }
        if let Some(it) = self.lives.get_mut(life) {
            it.places.extend(&claimed);
        }
        for id in claimed {
            self.look_at(now, id);
        }
    }

    /// This node was met where it says to be: it is looked for there again some time later, as
    /// somebody else may come to be there, too.
    pub(super) fn rest(&mut self, now: Time, id: PlaceId) {
        if let Some(place) = self.roster.get_mut(id) {
            let pause = place.backoff.rejected(&mut self.rng);
            place.dial = Dial::Waiting { until: now + pause };
            place.is_contested = false;
            place.was_met = true;
        }
        // Whoever said to be here as well, and is lost, is not here.
        self.lose_homes(now, id);
        self.refresh_place(id);
        self.settle();
    }
}
