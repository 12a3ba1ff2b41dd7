//! Owns what a node can be asked to know at all: conditions A to C of the guarantees, as an observer
//! who sees everything judges them.
//!
//! A slot is on a node's roster while a place that the node's core has there leads to it, or while
//! the two are linked. Where a place passes on, who was there is *away* for that node: what it
//! announced while it was there is asked for as after a death, and nothing that came later.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use flushcast_core::Time;

use crate::history::Announced;
use crate::kinds::Kind;
use crate::member::Member;
use crate::tap::Change;
use crate::world::World;

/// Condition B: so long a list keeps an author at least.
const DROPPED_AFTER: Duration = Duration::from_millis(1_500);

/// From when until when a slot is on a node's roster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listing {
    pub(crate) since: Time,
    /// [`Time::NEVER`] while it is.
    pub(crate) until: Time,
    /// The one life that it is for, where no list leads there and that life is linked.
    pub(crate) only: Option<u64>,
}

impl World {
    /// From when on a flush concerns a node: from when it was announced, if its origin's address was
    /// on the node's roster then; else from when it came there, if that life can still tell of it.
    pub(crate) fn concerns(&self, member: &Member, flush: &Announced) -> Option<Time> {
        // Condition C: where refusals are trusted, nothing is asked for until they are honest.
        if self.was_lied_to(flush.at) {
            return None;
        }
        // Where somebody else was told to be where the author is, nobody knows of the author until the
        // two are linked.
        let author = flush.change.life;
        let author_is_at = |claim: &SocketAddr| self.places.holder(*claim) == Some(flush.slot);
        let others = self.slots.iter().enumerate().filter(|(slot, _)| *slot != flush.slot);
        let mut claims = others.filter_map(|(_, it)| it.as_ref()).flat_map(|it| &it.claims);
        let was_usurped = self.usurped.get(&author).is_some_and(|until| flush.at <= *until);
        // And one that says to be at another's place is looked for there.
        let is_elsewhere = self.elsewhere.contains(&author);
        if (is_elsewhere || was_usurped || claims.any(author_is_at))
            && !member.linked.contains_key(&author)
        {
            return None;
        }
        // Who was on the roster then, and lives, is owed an answer for, whatever its list says later.
        let was_there = |(slot, it): &(usize, Listing)| {
            let is_its = it.only.is_none_or(|life| life == author);
            let stayed = flush.at + DROPPED_AFTER < it.until;
            *slot == flush.slot && is_its && it.since <= flush.at && stayed
        };
        if member.dropped.iter().any(was_there) {
            return Some(flush.at);
        }
        let Listing { since, until, only } = *member.listed.get(&flush.slot)?;
        if flush.at > until || only.is_some_and(|life| life != author) {
            return None;
        }
        let can_tell = self.lives(flush.change.life) && until == Time::NEVER;
        (since <= flush.at || can_tell).then(|| since.max(flush.at))
    }

    /// Whether somebody can tell a node of a change: its author, if it lives and is where the node
    /// knows it to be; else whoever has applied it, lives, and was on the node's roster, and listed
    /// by its discovery, since before the author's end, as was everybody over whom it came there. What an
    /// author that lives on elsewhere tells others later counts for nothing.
    pub(crate) fn is_known(&self, change: Change, to: &Member) -> bool {
        if self.liar.is_some() {
            return self.is_heard_from_an_honest_author(change, to);
        }
        let away = |at| to.listed.get(&at).map_or(Time::NEVER, |it: &Listing| it.until);
        let slot = self.history.slot_of(change.life);
        let left = slot.map_or(Time::NEVER, away);
        // Who is on no list and was out of reach for longer than it is waited for was given up: what it
        // tells once it is back comes as from a node that was never met.
        let is_hidden = slot.is_some_and(|at| self.places.is_hidden(at));
        if is_hidden && left < Time::NEVER && self.lives(change.life) {
            return false;
        }
        let end = self.history.end_of(change.life).min(left);
        if end == Time::NEVER {
            return true;
        }
        let since = |at| {
            let listing = to.listed.get(&at).filter(|it| it.until == Time::NEVER)?;
            // Who is hidden is on no list: it is known as long as it is linked.
            let told = to.told.get(&at).copied();
            let told = if self.places.is_hidden(at) { Some(listing.since) } else { told };
            Some(told?.max(listing.since))
        };
        // One that came later has loaded little, and does not keep what it is told of the dead.
        let ran = |at: usize| self.slots[at].as_ref().is_some_and(|it| it.started <= end);
        let was_listed = |at| ran(at) && since(at).is_some_and(|since| since <= end);
        let by = if self.lives(change.life) { end } else { Time::NEVER };
        // Who knows it, but at whose place somebody else says to be, is not asked.
        let is_usurped = |life| self.usurped.contains_key(&life) && !to.linked.contains_key(&life);
        let can_tell = |life| {
            life != to.life
                && !is_usurped(life)
                && self.history.applied_at(change, life) <= by
                && self.lives(life)
                && self.slot_of(life).is_some_and(was_listed)
                && self.history.way(change, life).into_iter().all(was_listed)
        };
        self.history.appliers(change).any(can_tell)
    }

    /// While a member lies, a node has to know what a life that it is linked with, and that does
    /// not lie, has announced since they are.
    fn is_heard_from_an_honest_author(&self, change: Change, to: &Member) -> bool {
        let mut announced = self.history.announced().iter();
        let Some(flush) = announced.find(|it| it.change == change) else { return false };
        let linked = to.linked.get(&change.life).is_some_and(|since| *since <= flush.at);
        linked && self.lives(change.life) && !self.liar.as_ref().is_some_and(|it| it.is(flush.slot))
    }

    /// Whether a node may, by no fault of its own, take a life for dead, and go on without it: it is
    /// dead, or lists, places or members said so.
    pub(crate) fn may_be_thought_dead(&self, life: u64) -> bool {
        !self.lives(life)
            || self.lists_were_wrong
            || self.doubted.contains(&life)
            || self.lied_until > Time::ZERO
            || self.liar.is_some()
    }

    /// Notes since when its discovery tells a node of each slot, at a place that leads there.
    pub(crate) fn note_told(&mut self, slot: usize) {
        let (now, places) = (self.now, &self.places);
        let Some(member) = &mut self.slots[slot] else { return };
        let mut before = std::mem::take(&mut member.told);
        let addresses = member.names.iter().flat_map(|name| &name.addresses);
        let told = addresses.filter_map(|&address| places.holder(address));
        member.told = told.map(|at| (at, before.remove(&at).unwrap_or(now))).collect();
    }

    /// Notes since when whom the node has to follow, and with whom it is linked.
    pub(crate) fn note_roster(&mut self, slot: usize) {
        let now = self.now;
        let Some(member) = &self.slots[slot] else { return };
        let (history, strict) = (&self.history, self.cluster.is_strict());
        let covered = member.started.max(member.covered_at);
        let (mut listed, mut linked, mut off) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let links = member.roster().filter(|peer| peer.is_linked).filter_map(|peer| peer.life);
        let links: BTreeSet<u64> = links.collect();
        for peer in member.roster() {
            let holder = self.places.holder_of(&peer.addresses).filter(|&at| at != slot);
            // A goodbye behind the last flush takes a node off, until somebody is met there.
            let all = |life| history.all_applied(life, member.life, covered);
            if !strict && peer.left && peer.life.is_none_or(all) {
                off.extend(holder);
                continue;
            }
            let life = peer.life.filter(|_| peer.is_linked);
            let at = life.and_then(|life| self.slot_of(life)).filter(|&at| at != slot);
            // Who was lost and is on no list is waited for, and then given up.
            let is_waited_for =
                |at: &usize| member.told.contains_key(at) || self.places.is_hidden(*at);
            for at in holder.filter(is_waited_for).into_iter().chain(at) {
                let before = member.listed.get(&at).filter(|it| it.until == Time::NEVER);
                let by_link = before.filter(|it| it.only.is_some_and(|life| links.contains(&life)));
                let listing = match by_link {
                    // Whoever was known by its link alone is so while that lasts.
                    Some(&by_link) => by_link,
                    None if is_waited_for(&at) => {
                        let before = before.filter(|it| it.only.is_none()).map(|it| it.since);
                        let told = member.told.get(&at).copied().unwrap_or(now);
                        Listing { since: before.unwrap_or(told), until: Time::NEVER, only: None }
                    }
                    // Discovery has dropped it: only who is linked counts, not who was there before.
                    None => {
                        let since_linked = life.and_then(|life| member.linked.get(&life));
                        let since = before.map_or(now, |it| it.since);
                        let since = since.max(since_linked.copied().unwrap_or(now));
                        Listing { since, until: Time::NEVER, only: life }
                    }
                };
                listed.insert(at, listing);
            }
            if let Some(life) = life {
                linked.insert(life, member.linked.get(&life).copied().unwrap_or(now));
            }
        }
        if self.odd.is_any() {
            // What discovery tells counts, whatever the core makes of it.
            for (&at, &since) in member.told.iter().filter(|(at, _)| **at != slot) {
                let is_by_place = |it: &&Listing| it.until == Time::NEVER && it.only.is_none();
                let before = member.listed.get(&at).filter(is_by_place);
                let since = before.map_or(since, |it| it.since);
                if !off.contains(&at) {
                    let listing = Listing { since, until: Time::NEVER, only: None };
                    listed.entry(at).or_insert(listing);
                }
            }
        }
        for (&at, listing) in &member.listed {
            // Its place leads elsewhere now. What discovery has dropped is on no roster at all.
            let is_named = member.names.iter().any(|name| name.is_of(at));
            let is_away = is_named || self.places.is_hidden(at);
            if is_away && !off.contains(&at) {
                let until = listing.until.min(now);
                listed.entry(at).or_insert(Listing { until, ..*listing });
            }
        }
        let is_flapping = self.odd.has(Kind::Flaps);
        if let Some(member) = &mut self.slots[slot] {
            let gone = member.listed.iter().filter(|(at, it)| {
                let still =
                    listed.get(at).filter(|now| now.since == it.since && now.only == it.only);
                is_flapping && still.is_none()
            });
            let gone: Vec<_> = gone.map(|(&at, it)| (at, Listing { until: now, ..*it })).collect();
            member.dropped.extend(gone);
            (member.listed, member.linked) = (listed, linked);
        }
    }

    /// Where a life runs.
    pub(crate) fn slot_of(&self, life: u64) -> Option<usize> {
        self.slots.iter().position(|it| it.as_ref().is_some_and(|it| it.life == life))
    }
}
