//! Owns the node's proof of sync: the oldest of what is proven of each address, and what follows
//! when it gets too old. It must never claim a flush that is not applied.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Node, Output, Report};
use crate::Time;
use crate::cache::Guarantee;
use crate::peers::{CutOff, Entry};

/// Whether the node is in step with all others, as far as its caches care.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sync {
    /// The published proof of bounded caches: it never goes back.
    bounded: Time,
    /// The published proof of strict ones.
    strict: Time,
    in_sync: bool,
    /// Since when it is so.
    since: Time,
    /// Whether the caches may hold copies that are worth keeping.
    pub(super) warm: bool,
}

impl Default for Sync {
    /// In step at the start: the caches are empty.
    fn default() -> Self {
        Self {
            bounded: Time::ZERO,
            strict: Time::ZERO,
            in_sync: true,
            since: Time::ZERO,
            warm: false,
        }
    }
}

impl Node {
    /// Publishes what is proven now. Costs a look at each address of the roster.
    pub(super) fn prove(&mut self, now: Time) {
        let entries = self.roster.iter();
        let followed = entries.filter(|(address, entry)| !self.is_exempt(*address, entry));
        let oldest = followed.map(|(_, entry)| entry.proven).min();
        self.sync.warm |= match oldest {
            None => self.caches.any(),
            Some(oldest) => oldest > Time::ZERO,
        };
        let bounded = match oldest {
            // Nobody to be in step with: what comes to the roster later counts from then on.
            None => {
                self.sync.bounded = now;
                Time::NEVER
            }
            Some(oldest) => {
                self.sync.bounded = self.sync.bounded.max(oldest);
                self.sync.bounded
            }
        };
        // A strict promise is about nodes that are known by a list; until it is known, and while
        // somebody has another one, nothing can be promised.
        let listed = self.lists_known() && self.lists_differ().is_none();
        let strict = match (self.caches.any_strict() && listed, oldest) {
            (false, _) => Time::ZERO,
            (true, None) => Time::NEVER,
            (true, Some(oldest)) => oldest,
        };
        if self.sync.strict == Time::ZERO && strict > Time::ZERO {
            // What was loaded before the first proof may be named by flushes that were confirmed
            // because this node had none, by somebody who has died since.
            self.caches.distrust_strict();
            self.outputs.push_back(Output::PeersChanged);
        }
        self.sync.strict = strict;
        self.caches.prove(bounded, self.sync.strict);
        self.watch_sync(now, oldest.is_none());
    }

    /// Whether a proof of this address is not asked for.
    pub(super) fn is_exempt(&self, address: SocketAddr, entry: &Entry) -> bool {
        // Who said goodbye behind its last flush is off the roster until somebody is met there. A
        // strict promise cannot know that nobody came there unseen.
        let gone = entry.left && entry.left_complete && !self.caches.any_strict();
        let alias = || {
            let life = entry.life().filter(|&life| !entry.is_open() && entry.settled == Some(life));
            life.is_some_and(|life| self.roster.followed_elsewhere(life, address))
        };
        gone || alias()
    }

    /// When the node will be cut off, if nothing is proven before.
    pub(super) fn next_cut_off(&self) -> Option<Time> {
        let until = self.in_sync_until()?;
        (self.sync.in_sync && until < Time::NEVER).then(|| until + Duration::from_nanos(1))
    }

    /// Whether the node's proof is young enough for all of its caches.
    pub fn in_sync(&self, now: Time) -> bool {
        let unproven = self.caches.any_strict() && self.sync.strict == Time::ZERO;
        !unproven && self.in_sync_until().is_none_or(|until| until >= now)
    }

    /// The addresses whose proof is too old for some cache: some while the node is not in sync,
    /// unless strict lists differ.
    pub fn cut_off(&self, now: Time) -> Vec<CutOff> {
        let (lease, strict) = (self.lease(), self.caches.any_strict());
        // A bounded proof that was published stays one, whoever came to the roster since.
        let published = if strict { Time::ZERO } else { self.sync.bounded };
        let stale = self.roster.iter().filter(|(address, entry)| {
            let unproven = strict && entry.proven == Time::ZERO;
            let stale = unproven || entry.proven.max(published) + lease < now;
            stale && !self.is_exempt(*address, entry)
        });
        let told = stale.map(|(address, entry)| CutOff {
            node: entry.name_or(address),
            address,
            since: now.since(entry.proven.max(entry.added)),
        });
        told.collect()
    }

    /// `None` while there is nobody to be in step with.
    fn in_sync_until(&self) -> Option<Time> {
        let alone = self.roster.iter().all(|(address, entry)| self.is_exempt(address, entry));
        let strict = self.caches.any_strict();
        match (alone, strict) {
            (true, false) => None,
            (_, true) => Some(self.sync.strict + self.lease()),
            (false, false) => Some(self.sync.bounded + self.lease()),
        }
    }

    fn lease(&self) -> Duration {
        let default = Guarantee::default().lease(Duration::ZERO);
        self.caches.shortest_lease().or(default).unwrap_or_default()
    }

    /// Tells that the proof has become too old, if nobody has asked for the time since.
    ///
    /// It comes before the input, which may bring a newer proof: whoever was told by
    /// [`in_sync`](Self::in_sync) that the node is cut off waits for a change of that.
    pub(super) fn notice_lapse(&mut self, now: Time) {
        if self.sync.in_sync && self.in_sync_until().is_some_and(|until| until < now) {
            self.watch_sync(now, false);
        }
    }

    fn watch_sync(&mut self, now: Time, alone: bool) {
        let in_sync = alone && !self.caches.any_strict() || self.in_sync(now);
        if in_sync == self.sync.in_sync {
            return;
        }
        let before = now.since(self.sync.since);
        self.sync.in_sync = in_sync;
        self.sync.since = match self.in_sync_until() {
            Some(until) if !in_sync => until.min(now),
            _ => now,
        };
        let report = match in_sync {
            true => Report::InSync { after: before },
            false => Report::CutOff { from: self.cut_off(now) },
        };
        self.report(report);
        self.outputs.push_back(Output::PeersChanged);
    }

    /// Whether all sources have told their whole list.
    fn lists_known(&self) -> bool {
        self.config.fixed.is_some() && self.whole_lists.len() >= self.config.sources
    }
}
