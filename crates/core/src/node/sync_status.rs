//! Owns the node's proof of sync: the oldest of what is proven of each place and life, and what
//! follows when it gets too old. It must never claim a flush that is not applied.

use std::time::Duration;

use super::{ListsDiffer, Node, Output, Phase, Report};
use crate::Time;
use crate::cache::{Demands, Prover};
use crate::peers::{CutOff, Healing, Holder, Life, LinkState, Peer, Place, PlaceId, Subject};
use crate::planted::{Fault, planted};
use crate::wire::{Incarnation, Seq};

/// For so long, a node that has met nobody yet is taken for one that has loaded little.
const YOUNG: Duration = Duration::from_secs(1);

/// Whether the node is in step with all others, as far as its caches care.
#[derive(Debug, Clone, Copy)]
pub(super) struct SyncStatus {
    /// The published proof of bounded caches: it never goes back.
    bounded: Time,
    /// The published proof of strict ones.
    strict: Time,
    in_sync: bool,
    /// Since when it is so.
    since: Time,
    /// Whether the caches may hold copies that are worth keeping.
    pub(super) is_warm: bool,
}

impl Default for SyncStatus {
    /// In step at the start: the caches are empty.
    fn default() -> Self {
        Self {
            bounded: Time::ZERO,
            strict: Time::ZERO,
            in_sync: true,
            since: Time::ZERO,
            is_warm: false,
        }
    }
}

impl Node {
    /// Publishes what is proven now.
    ///
    /// Being alone is a proof like any other: it is as young as the last time that anything drove this
    /// node, so that it runs out when nothing does.
    pub(super) fn prove(&mut self, now: Time) {
        // Nothing is proven of places that there is no room for.
        let oldest = match self.has_left_out() {
            true => Some(Time::ZERO),
            false => self.minima.bounded.min(),
        };
        self.sync.is_warm |= match self.minima.linked.min() {
            // All that is linked has answered, and what it told is applied.
            Some(proven) => proven > Time::ZERO,
            None => self.caches.any() && now > Time::ZERO + YOUNG,
        };
        self.sync.bounded = self.sync.bounded.max(oldest.unwrap_or(now).min(now));
        // A strict promise is about nodes that are known by a list; until it is known, and while
        // somebody has another one, nothing can be promised.
        let demands = self.caches.demands();
        let strict = match demands.strict && self.lists_known() {
            true if !self.other_lists.is_empty() => Time::ZERO,
            // Nor does it leave out anybody whom a bounded one is about. What was once proven stays
            // so, while the lists do not differ.
            true => {
                let strict = self.minima.strict.min().unwrap_or(now);
                strict.min(oldest.unwrap_or(now)).min(now).max(self.sync.strict)
            }
            false => Time::ZERO,
        };
        if self.sync.strict == Time::ZERO && strict > Time::ZERO {
            // What was loaded before the first proof may be named by flushes that were confirmed
            // because this node had none, by somebody who has died since.
            self.caches.distrust_strict();
            self.outputs.push_back(Output::PeersChanged);
        }
        self.sync.strict = strict;
        let bounded = match planted(Fault::AloneForEver) && oldest.is_none() {
            true => Time::NEVER,
            false => self.sync.bounded,
        };
        self.caches.prove(Prover::Mesh, bounded, self.sync.strict);
        self.watch_sync(now, demands);
    }

    /// Up to when bounded caches are proven.
    pub(super) fn proven(&self) -> Time {
        self.sync.bounded
    }

    /// When the node will be cut off, if nothing is proven before.
    pub(super) fn next_cut_off(&self) -> Option<Time> {
        let is_watched = self.sync.in_sync && self.phase == Phase::Running;
        is_watched.then(|| self.in_sync_until(self.caches.demands()) + Duration::from_nanos(1))
    }

    /// Whether the node's proof is young enough for all of its caches.
    pub fn in_sync(&self, now: Time) -> bool {
        self.meets(self.caches.demands(), now)
    }

    fn meets(&self, demands: Demands, now: Time) -> bool {
        let unproven = demands.strict && self.sync.strict == Time::ZERO;
        !unproven && self.in_sync_until(demands) >= now && !self.has_left_out()
    }

    fn has_left_out(&self) -> bool {
        self.left_out.values().any(|it| !it.is_empty())
    }

    fn in_sync_until(&self, demands: Demands) -> Time {
        let proven = match demands.strict {
            true => self.sync.strict.min(self.sync.bounded),
            false => self.sync.bounded,
        };
        proven + demands.lease()
    }

    /// The places and lives whose proof is too old for some cache: some while the node is not in
    /// sync, unless strict lists differ or nothing drives the node.
    pub fn cut_off(&self, now: Time) -> Vec<CutOff> {
        let demands = self.caches.demands();
        let lease = demands.lease();
        let published = self.sync.bounded;
        let mut found = Vec::new();
        let mut told = std::collections::BTreeSet::new();
        let mut add = |node: String, address, since| {
            if told.insert(node.clone()) {
                found.push(CutOff { node, address, since });
            }
        };
        let is_late = |proven: Time| proven + lease < now;
        // Who is in step by itself, and whose place only waits for another one to be looked at, is not
        // what this node is cut off from.
        let waits_for_others = |id: PlaceId| {
            let is_open = |it: &&Place| !self.is_settled(id) || it.strict_unsettled.is_some();
            self.roster.get(id).filter(is_open).is_some_and(|place| match place.holder {
                Holder::One(life) => {
                    self.lives.get(life).is_some_and(|life| !is_late(life.proven))
                        && place.touched_by.is_empty()
                }
                Holder::Own => true,
                _ => false,
            })
        };
        if demands.strict {
            for (id, proven) in self.minima.strict.iter() {
                let Some(place) = self.roster.get(id) else { continue };
                if (proven == Time::ZERO || is_late(proven)) && !waits_for_others(id) {
                    add(self.who_is_at(id), place.address(), now.since(proven.max(place.added)));
                }
            }
        }
        // Who has answered, and whose answer waits for what a third one has told, is named only if there
        // is nobody else to name.
        let mut answering = Vec::new();
        for (subject, proven) in self.minima.bounded.iter() {
            // A proof that was published stays one, whoever came to the roster since.
            if !is_late(proven.max(published)) {
                continue;
            }
            match subject {
                Subject::Place(id) if waits_for_others(id) => {}
                Subject::Place(id) => {
                    let Some(place) = self.roster.get(id) else { continue };
                    let since = now.since(proven.max(place.added));
                    add(self.who_is_at(id), place.address(), since);
                }
                Subject::Life(life) => {
                    let it = self.lives.get(life);
                    let since = it.map_or(Time::ZERO, |it| it.linked_since);
                    let since = now.since(proven.max(since.min(published)));
                    let named = (self.name_of(life), self.address_of(life), since);
                    match it.is_some_and(|it| !is_late(it.answered)) {
                        true => answering.push(named),
                        false => add(named.0, named.1, named.2),
                    }
                }
            }
        }
        if self.has_left_out() && is_late(published) {
            let places: usize = self.left_out.values().map(Vec::len).sum();
            let address = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
            let node = format!("{places} listed places that there is no room for");
            add(node, address, now.since(Time::ZERO));
        }
        if found.is_empty() {
            let named = |(node, address, since)| CutOff { node, address, since };
            found.extend(answering.into_iter().map(named));
        }
        found
    }

    /// The name of who is, or was, at a place; of all where there are more.
    pub(super) fn who_is_at(&self, id: PlaceId) -> String {
        let Some(place) = self.roster.get(id) else { return String::new() };
        let names = self.names_at(id);
        match (names.is_empty(), place.last) {
            (false, _) => names.join(" and "),
            (true, Some(life)) if self.lives.get(life).is_some() => self.name_of(life),
            (true, _) => place.name.to_string(),
        }
    }

    /// Tells that the proof has become too old, if nobody has asked for the time since.
    ///
    /// It comes before the input, which may bring a newer proof: whoever was told by
    /// [`in_sync`](Self::in_sync) that the node is cut off waits for a change of that.
    pub(super) fn notice_lapse(&mut self, now: Time) {
        let demands = self.caches.demands();
        if self.sync.in_sync && self.in_sync_until(demands) < now {
            self.watch_sync(now, demands);
        }
    }

    fn watch_sync(&mut self, now: Time, demands: Demands) {
        let in_sync = self.meets(demands, now);
        if in_sync == self.sync.in_sync {
            return;
        }
        let before = now.since(self.sync.since);
        self.sync.in_sync = in_sync;
        self.sync.since = match in_sync {
            true => now,
            false => self.in_sync_until(demands).min(now),
        };
        let report = match in_sync {
            true => Report::InSync { after: before },
            false => {
                self.note_silence(now);
                Report::CutOff { from: self.cut_off(now) }
            }
        };
        self.report(report);
        self.outputs.push_back(Output::PeersChanged);
    }

    /// Whoever is silent for too long when this node comes to be cut off has to heal, whether the link
    /// to it breaks as well or not.
    fn note_silence(&mut self, now: Time) {
        let lease = self.caches.demands().lease();
        let is_silent = |(_, it): &(Incarnation, &Life)| {
            it.is_linked() && it.answered.max(it.linked_since) + lease < now
        };
        let late: Vec<_> = self.lives.iter().filter(is_silent).map(|(id, _)| id).collect();
        for id in late {
            if let Some(life) = self.lives.get_mut(id) {
                let from = life.books.heard();
                life.healing.get_or_insert(Healing { since: now, from, reset: false });
            }
        }
    }

    /// Whether all sources have told their whole list.
    fn lists_known(&self) -> bool {
        self.config.fixed.is_some() && self.whole_lists.len() >= self.config.sources
    }

    /// A node whose fixed list is another than this node's, if any: strict caches serve nothing
    /// then.
    pub fn lists_differ(&self) -> Option<ListsDiffer> {
        let ours = self.config.fixed.as_ref()?;
        let &id = self.other_lists.first()?;
        let it = self.lives.get(id)?;
        let theirs = it.other_list.clone()?;
        Some(ListsDiffer { node: it.name_or(id), ours: ours.clone(), theirs })
    }

    /// A snapshot of the roster, by place, and of the lives that are at none of them.
    pub fn peers(&self, now: Time) -> Vec<Peer> {
        let mut seen = std::collections::BTreeSet::new();
        let mut peers = Vec::new();
        for (id, place) in self.roster.iter() {
            if place.is_listed() && place.holder != Holder::Own {
                peers.push(self.peer_at(now, id, place, &mut seen));
            }
        }
        for (id, it) in self.lives.iter() {
            if (it.is_linked() || it.is_lost()) && !seen.contains(&id) {
                peers.push(self.peer_elsewhere(now, id));
            }
        }
        peers
    }

    fn peer_at(
        &self,
        now: Time,
        id: PlaceId,
        place: &Place,
        seen: &mut std::collections::BTreeSet<Incarnation>,
    ) -> Peer {
        let holder = place.holder;
        let life = match holder {
            Holder::One(life) => Some(life),
            _ => place.last,
        };
        let mut peer = self.view(life, place.address());
        peer.place = place.name.clone();
        peer.addresses.clone_from(&place.addresses);
        peer.sources = place.sources.iter().cloned().collect();
        peer.left |= place.is_vacant;
        let proven = match holder {
            Holder::One(life) if self.is_settled(id) => self.proven_at(id, life),
            _ => Time::ZERO,
        };
        peer.in_step = now.since(proven.max(place.proven).max(place.added));
        let linked = matches!(holder, Holder::One(_));
        let first = life.is_none_or(|life| !linked || seen.insert(life));
        if let (Some(life), false) = (life, linked)
            && self.lives.get(life).is_some_and(|it| it.is_lost())
        {
            seen.insert(life);
        }
        peer.following = match holder {
            Holder::One(_) if !first => LinkState::Alias,
            Holder::One(life) if self.is_ready(life) => LinkState::Open,
            Holder::Conflict => LinkState::Conflict { nodes: self.names_at(id) },
            _ => LinkState::Connecting { trouble: place.trouble.as_ref().map(ToString::to_string) },
        };
        peer.follows = linked && peer.following == LinkState::Open;
        if holder == Holder::Conflict {
            seen.extend(&place.claimants);
            seen.extend(place.evidence.map(|(_, life)| life));
        }
        peer
    }

    fn peer_elsewhere(&self, now: Time, id: Incarnation) -> Peer {
        let address = self.address_of(id);
        let mut peer = self.view(Some(id), address);
        peer.place = address.to_string().into();
        peer.sources = vec![crate::peers::Source::Hello];
        if let Some(it) = self.lives.get(id) {
            let since = it.proven.max(it.banked).max(it.linked_since);
            peer.in_step = now.since(since);
            peer.follows = self.is_ready(id);
            peer.following = match peer.follows {
                true => LinkState::Open,
                false => LinkState::Connecting { trouble: None },
            };
        }
        peer
    }

    /// Whether flushes travel both ways, and whoever is there waits for this node's acknowledgements.
    fn is_ready(&self, life: Incarnation) -> bool {
        let is_mutual = |id: &super::ConnId| {
            self.conns.get(id).and_then(super::Conn::linked).is_some_and(|it| it.is_mutual)
        };
        self.lives.get(life).is_some_and(|it| it.conns.iter().any(is_mutual))
    }

    fn view(&self, life: Option<Incarnation>, address: std::net::SocketAddr) -> Peer {
        let it = life.and_then(|life| self.lives.get(life));
        let who = it.and_then(|it| it.who.as_ref());
        Peer {
            place: std::sync::Arc::from(""),
            address,
            addresses: vec![address],
            name: who.map(|who| who.name.clone()),
            incarnation: who.map(|who| who.incarnation),
            labels: who.map(|who| who.labels.clone()).unwrap_or_default(),
            sources: Vec::new(),
            following: LinkState::Connecting { trouble: None },
            follows: false,
            applied: it.map_or(Seq::START, |it| it.books.applied()),
            acknowledged: it.map_or(Seq::START, |it| it.acked),
            in_step: Duration::ZERO,
            certificate_expires: it.and_then(|it| self.conns.get(&it.main()?)?.expires),
            left: it.is_some_and(|it| it.has_left()),
        }
    }
}
