//! Owns the roster: the addresses that must be followed and must confirm, and why each is on it.

use std::collections::BTreeSet;
use std::collections::btree_map::{self, BTreeMap};
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Backoff, Link, Step, Trouble};
use crate::Time;
use crate::wire::{Incarnation, MAX_PEERS, Seq};

/// Where an address was learnt from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A discovery source, by its name.
    Discovery(Arc<str>),
    /// The node itself said it, when it came to follow this one.
    Hello,
}

/// Who a peer said it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Its life.
    pub incarnation: Incarnation,
    /// Small texts about it, such as the address of its web page.
    pub labels: BTreeMap<String, String>,
}

/// How a break is being healed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Healing {
    /// The last flush that was applied before it.
    pub(crate) from: Seq,
    /// The log did not reach back to it.
    pub(crate) reset: bool,
}

/// One address of the roster.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) sources: BTreeSet<Source>,
    /// Who was last met there.
    pub(crate) who: Option<Identity>,
    pub(crate) link: Link,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) backoff: Backoff,
    /// It said `Bye`: nobody waits for it, unless a new life starts there.
    pub(crate) left: bool,
    /// Its `Bye` came behind its last flush, so nothing of it was missed.
    pub(crate) left_complete: bool,
    /// Since when it is on the roster.
    pub(crate) added: Time,
    /// Since when it is linked, or was last.
    pub(crate) linked_since: Time,
    /// Since when nothing links it and this node.
    pub(crate) lost_since: Time,
    /// When it was dialled last.
    pub(crate) dialled: Time,
    /// The last dial that was refused: nobody listened there at some moment since.
    pub(crate) refused: Option<Time>,
    /// What the life that is followed there has granted.
    pub(crate) step: Step,
    /// The life whose predecessors at this address are settled, so that what it grants counts.
    pub(crate) settled: Option<Incarnation>,
    /// Everything that whoever was there announced up to here is applied.
    pub(crate) proven: Time,
    /// When it was last given a grant by this node.
    pub(crate) granted: Time,
    /// How far its log was applied when the link to it broke, until a proof says that it is healed.
    pub(crate) healing: Option<Healing>,
    /// The fixed list of nodes that it was given, where that is not this node's.
    pub(crate) other_list: Option<Vec<SocketAddr>>,
}

impl Entry {
    fn new(now: Time) -> Self {
        Self {
            sources: BTreeSet::new(),
            who: None,
            link: Link::Waiting { until: now },
            trouble: None,
            backoff: Backoff::default(),
            left: false,
            left_complete: false,
            added: now,
            linked_since: now,
            lost_since: now,
            dialled: Time::ZERO,
            refused: None,
            step: Step::default(),
            settled: None,
            proven: Time::ZERO,
            granted: Time::ZERO,
            healing: None,
            other_list: None,
        }
    }

    pub(crate) fn life(&self) -> Option<Incarnation> {
        self.who.as_ref().map(|who| who.incarnation)
    }

    /// Notes who is there now. A new life has not left, and no link to it was lost.
    pub(crate) fn meet(&mut self, who: Identity) {
        if self.life() != Some(who.incarnation) {
            self.left = false;
            self.left_complete = false;
            self.healing = None;
        }
        self.who = Some(who);
    }

    /// Counts what was granted, once those who were there before are settled.
    pub(crate) fn count_grants(&mut self) {
        if self.settled.is_some() && self.settled == self.life() {
            self.proven = self.proven.max(self.step.proven());
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.link, Link::Open(_))
    }

    pub(crate) fn is_listed(&self) -> bool {
        self.sources.iter().any(|source| matches!(source, Source::Discovery(_)))
    }

    /// Its name, or its address while it never said one.
    pub(crate) fn name_or(&self, address: SocketAddr) -> String {
        self.who.as_ref().map_or_else(|| address.to_string(), |who| who.name.clone())
    }
}

/// No room for another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RosterFull;

/// Every address but this node's own.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    own: BTreeSet<SocketAddr>,
    entries: BTreeMap<SocketAddr, Entry>,
}

impl Roster {
    /// The entry of `address`, made where there is none; `None` where it is this node's own.
    pub(crate) fn add(
        &mut self,
        address: SocketAddr,
        source: Source,
        now: Time,
    ) -> Result<Option<&mut Entry>, RosterFull> {
        if self.own.contains(&address) {
            return Ok(None);
        }
        let full = self.entries.len() >= MAX_PEERS;
        let entry = match self.entries.entry(address) {
            btree_map::Entry::Occupied(known) => known.into_mut(),
            btree_map::Entry::Vacant(_) if full => return Err(RosterFull),
            btree_map::Entry::Vacant(free) => free.insert(Entry::new(now)),
        };
        entry.sources.insert(source);
        Ok(Some(entry))
    }

    /// Learns that `address` is this node's own.
    pub(crate) fn own(&mut self, address: SocketAddr) {
        self.own.insert(address);
        self.entries.remove(&address);
    }

    /// Takes `source` off all entries whose address is not in `listed`. What no discovery lists
    /// any more stays only as long as it is linked: its own word does not outlive the list's.
    pub(crate) fn unlist(&mut self, source: &Source, listed: &BTreeSet<SocketAddr>) {
        for (address, entry) in &mut self.entries {
            let dropped = !listed.contains(address) && entry.sources.remove(source);
            if dropped && !entry.is_listed() {
                entry.sources.clear();
            }
        }
    }

    pub(crate) fn get(&self, address: SocketAddr) -> Option<&Entry> {
        self.entries.get(&address)
    }

    pub(crate) fn get_mut(&mut self, address: SocketAddr) -> Option<&mut Entry> {
        self.entries.get_mut(&address)
    }

    /// The entries where this life was met last: more than one if it has more than one address.
    pub(crate) fn of(&mut self, life: Incarnation) -> impl Iterator<Item = &mut Entry> {
        self.entries.values_mut().filter(move |entry| entry.life() == Some(life))
    }

    pub(crate) fn remove(&mut self, address: SocketAddr) {
        self.entries.remove(&address);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SocketAddr, &Entry)> {
        self.entries.iter().map(|(&address, entry)| (address, entry))
    }

    /// Whether this life was met elsewhere than at `address`.
    pub(crate) fn met_elsewhere(&self, life: Incarnation, address: SocketAddr) -> bool {
        self.iter().any(|(other, entry)| other != address && entry.life() == Some(life))
    }

    /// Whether this life is followed at another address than this one.
    pub(crate) fn followed_elsewhere(&self, life: Incarnation, address: SocketAddr) -> bool {
        let followed = |(other, entry): (SocketAddr, &Entry)| {
            other != address && entry.life() == Some(life) && entry.is_open()
        };
        self.iter().any(followed)
    }

    /// Whether this is the life that was met last somewhere.
    pub(crate) fn is_current(&self, life: Incarnation) -> bool {
        self.entries.values().any(|entry| entry.life() == Some(life))
    }

    pub(crate) fn contains(&self, address: SocketAddr) -> bool {
        self.entries.contains_key(&address)
    }
}
