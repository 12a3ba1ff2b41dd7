//! Owns what the application sees of a peer: a snapshot, without handles.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Source;
use crate::wire::{Incarnation, Seq};

/// What a clock on the wall shows: told to people, and never compared with anything.
#[allow(clippy::disallowed_types, reason = "nothing here follows from it")]
pub type WallTime = std::time::SystemTime;

/// What this node knows about one place of its roster, or about a life that is at none of them, at
/// the moment of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The place as it is listed, such as `db-1:7400`; its address where no list has it.
    pub place: Arc<str>,
    /// The first address of the place; for one that no list has, where it says to listen, or else
    /// where it connected from.
    pub address: SocketAddr,
    /// All addresses of the place: one node is at any of them.
    pub addresses: Vec<SocketAddr>,
    /// The name of who is there, or was last.
    pub name: Option<String>,
    /// The life that is there, or was last.
    pub incarnation: Option<Incarnation>,
    /// What it says about itself, such as the address of its web page.
    pub labels: BTreeMap<String, String>,
    /// Where the place was learnt from.
    pub sources: Vec<Source>,
    /// Whether its flushes arrive here, and what is in the way.
    pub following: LinkState,
    /// Whether this node's flushes go there: a connection carries both.
    pub follows: bool,
    /// Up to here its flushes are applied here.
    pub applied: Seq,
    /// Up to here it has applied this node's flushes.
    pub acknowledged: Seq,
    /// How long ago this place was last proven: by the grants of whoever is there, or by nobody
    /// being there, once settled. Under a second while all is well; it grows when the link goes
    /// silent, even if no connection breaks. The largest of all peers is the node's proof of sync:
    /// everything announced by then, and since its origin is on the roster, is applied here.
    pub in_step: Duration,
    /// When the certificate expires that it has shown, where nodes have certificates of your own. Links
    /// that are up stay; no new one is made then.
    pub certificate_expires: Option<WallTime>,
    /// It said that it leaves; nobody waits for it.
    pub left: bool,
}

/// A peer that this node cannot prove to be in step with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CutOff {
    /// Its name, or its place while it never said one; both names where two are at one place.
    pub node: String,
    /// The first address of its place.
    pub address: SocketAddr,
    /// How long ago it was last provably in step with it.
    pub since: Duration,
}

/// How a place is linked with this node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkState {
    /// Flushes travel both ways.
    Open,
    /// Not yet, or not again; it is tried for ever.
    Connecting {
        /// What the last attempt came to; none before the first.
        trouble: Option<String>,
    },
    /// Another place of the roster leads to the same node.
    Alias,
    /// Two or more living nodes are at this place, or say so: give each an address of its own.
    Conflict {
        /// Their names.
        nodes: Vec<String>,
    },
}

impl Peer {
    /// Whether flushes travel both ways.
    pub fn is_linked(&self) -> bool {
        self.follows && self.following == LinkState::Open
    }
}
