//! Owns what the application sees of a peer: a snapshot, without handles.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Entry, Followers, Link, Source, Trouble};
use crate::Time;
use crate::repair::Lives;
use crate::wire::{Incarnation, Seq};

/// What this node knows about one address of its roster, at the moment of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its name, once it was met.
    pub name: Option<String>,
    /// The life that was met last.
    pub incarnation: Option<Incarnation>,
    /// What it says about itself, such as the address of its web page.
    pub labels: BTreeMap<String, String>,
    /// Where the address was learnt from.
    pub sources: Vec<Source>,
    /// This node's way to its flushes.
    pub following: LinkState,
    /// Whether it follows this node now.
    pub follows: bool,
    /// Up to here its flushes are applied here.
    pub applied: Seq,
    /// Up to here it has applied this node's flushes.
    pub acknowledged: Seq,
    /// How long ago this address was last proven: by the grants of whoever is there, or by its
    /// death, once settled. Under a second while the link works; it grows when the link goes
    /// silent, even if no connection breaks. The largest of all peers is the node's proof of sync:
    /// everything announced by then, and since its origin is on the roster, is applied here.
    pub in_step: Duration,
    /// It said that it leaves; nobody waits for it.
    pub left: bool,
}

/// A peer that this node cannot prove to be in step with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CutOff {
    /// Its name, or its address while it never said one.
    pub node: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// How long ago it was last provably in step with it.
    pub since: Duration,
}

/// How far this node has come to follow an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkState {
    /// Its flushes arrive.
    Open,
    /// Not yet, or not again; it is tried for ever.
    Connecting {
        /// What the last attempt came to; none before the first.
        trouble: Option<String>,
    },
    /// Another address of the roster leads to the same node.
    Alias,
}

impl Peer {
    /// Whether flushes travel both ways.
    pub fn is_linked(&self) -> bool {
        self.follows && self.following == LinkState::Open
    }

    pub(crate) fn new(
        now: Time,
        address: SocketAddr,
        entry: &Entry,
        followers: &Followers,
        lives: &Lives,
    ) -> Self {
        let following = match (entry.link, &entry.trouble) {
            (Link::Open(_), _) => LinkState::Open,
            (_, Some(Trouble::Alias)) => LinkState::Alias,
            (_, trouble) => {
                let reason = trouble.as_ref().and_then(Trouble::reason);
                LinkState::Connecting { trouble: reason.map(|reason| reason.to_string()) }
            }
        };
        let follower = entry.life().and_then(|life| followers.get(life));
        Self {
            address,
            name: entry.who.as_ref().map(|who| who.name.clone()),
            incarnation: entry.life(),
            labels: entry.who.as_ref().map(|who| who.labels.clone()).unwrap_or_default(),
            sources: entry.sources.iter().cloned().collect(),
            following,
            follows: follower.is_some_and(|follower| follower.conn.is_some()),
            applied: entry.life().map_or(Seq::START, |life| lives.applied(life)),
            acknowledged: follower.map_or(Seq::START, |follower| follower.applied),
            in_step: now.since(entry.proven.max(entry.added)),
            left: entry.left,
        }
    }
}
