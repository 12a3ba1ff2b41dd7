//! Owns the boundary of the core: everything that goes in, everything that comes out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::ConnId;
use crate::ack::{Outcome, Reason, TicketId};
use crate::peers::{CutOff, Listed, WallTime};
use crate::wire::{self, Flush, Frame, Incarnation, Scope, Seq};

/// Something that happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// A discovery source has told a list.
    Members {
        /// The name of the source.
        source: Arc<str>,
        /// The places where nodes are, this node's own included or not.
        listed: Vec<Listed>,
        /// Whether it is the whole list: only then is who is missing taken off.
        complete: bool,
    },
    /// Somebody has connected; the id is from [`Node::next_conn`](super::Node::next_conn).
    Accepted {
        /// The connection.
        conn: ConnId,
        /// The other end.
        from: SocketAddr,
    },
    /// What the other end of a connection has shown, before anything that it says is fed.
    Shown {
        /// The connection.
        conn: ConnId,
        /// The life that it has proven to be, where keys tell lives apart. It can introduce itself as no
        /// other one.
        life: Option<Incarnation>,
        /// When its certificate ends, if it does. For
        /// [`Peer::certificate_expires`](crate::peers::Peer::certificate_expires), and nothing else.
        expires: Option<WallTime>,
    },
    /// A dial came through.
    Connected {
        /// The connection of [`Output::Dial`].
        conn: ConnId,
        /// This end, where it is known: an address of this machine.
        local: Option<SocketAddr>,
    },
    /// A dial did not come through.
    DialFailed {
        /// The connection of [`Output::Dial`].
        conn: ConnId,
        /// Why: [`Reason::Refused`] if the network said that nobody listens there, rather than nothing;
        /// [`Reason::Foreign`] if another program answers, [`Reason::Unproven`] if somebody does who may
        /// be a member; else [`Reason::Unreachable`]. The last but one also where a connection ends before
        /// its other end has said anything.
        why: Reason,
    },
    /// Bytes have arrived, in order.
    Received {
        /// The connection.
        conn: ConnId,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Flushes that [`Node::take_work`](super::Node::take_work) gave out are applied to the caches.
    Applied {
        /// Whose log they are of.
        life: Incarnation,
        /// The last one's number.
        upto: Seq,
        /// The caches that were dropped as a whole, because a key was none of theirs.
        widened: Vec<String>,
    },
    /// A connection has ended. Nothing may be fed for it afterwards.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why, for people.
        why: String,
    },
    /// The time of [`Node::next_deadline`](super::Node::next_deadline) has come.
    Tick,
    /// Say goodbye on all connections and end them.
    Leave,
    /// Be as if killed: announce and serve nothing from here on, and say nothing more.
    Halt,
}

/// Something to do outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Connect to `address` and tell of it under `conn`.
    Dial {
        /// The connection to be.
        conn: ConnId,
        /// Where to.
        address: SocketAddr,
    },
    /// A connection that had nothing to send has something now.
    Wake {
        /// The connection.
        conn: ConnId,
    },
    /// End a connection, or a dial, at once, and do not tell of it.
    Close {
        /// The connection.
        conn: ConnId,
    },
    /// A flush that is awaited has come to this.
    Settled {
        /// Which.
        ticket: TicketId,
        /// To what.
        outcome: Outcome,
    },
    /// The timer is to be armed for an earlier time.
    Rearm,
    /// [`Node::peers`](super::Node::peers) has more to tell than acknowledgements.
    PeersChanged,
    /// Something that people may want to read in a log.
    Report(Report),
}

/// What [`Node::take_work`](super::Node::take_work) came to.
#[derive(Debug)]
pub enum Work {
    /// Nothing waits to be applied.
    None,
    /// Somebody else applies flushes of the same life: wait for them before more is read.
    Busy,
    /// Flushes to apply, in any order, before [`Input::Applied`] is told of them.
    Apply(Batch),
}

/// Flushes of one life that are to be applied to the caches.
#[derive(Debug)]
pub struct Batch {
    /// Whose log they are of.
    pub life: Incarnation,
    /// The last one's number.
    pub upto: Seq,
    /// Their frames.
    pub(super) frames: Vec<u8>,
}

impl Batch {
    /// What they name: of which cache, and what of it.
    pub fn flushes(&self) -> impl Iterator<Item = (&str, Scope<'_>)> {
        // They were decoded once already, when they came.
        let frames = wire::bodies(&self.frames).filter_map(|body| wire::decode(body).ok());
        let flushes = frames.filter_map(|frame| match frame {
            Frame::Flush(flush) => Some(flush),
            _ => None,
        });
        flushes.flat_map(|Flush { cache, scopes, .. }| {
            scopes.into_iter().map(move |scope| (cache, scope))
        })
    }
}

/// What [`Node::transmit`](super::Node::transmit) came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transmit {
    /// There are bytes to write; ask again behind them.
    Data,
    /// Nothing to write until the next [`Output::Wake`].
    Idle,
    /// Nothing more will come: end the connection once the other end has read what was written.
    Finished,
}

/// Something that people may want to read in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// A peer is linked: flushes travel both ways.
    Following {
        /// Its name.
        node: String,
        /// Where it is.
        address: SocketAddr,
        /// Its life.
        incarnation: Incarnation,
    },
    /// A peer is not linked any more.
    Lost {
        /// Its name.
        node: String,
        /// Where it was.
        address: SocketAddr,
        /// Why.
        why: String,
    },
    /// Nobody is reached at a listed place. Said again when the reason changes.
    NotReached {
        /// The name of the node that was last met there, or the place as it is listed.
        node: String,
        /// Where it was looked for.
        address: SocketAddr,
        /// Why.
        why: String,
    },
    /// A peer says that it leaves.
    Left {
        /// Its name.
        node: String,
    },
    /// A peer's log no longer reached back: all copies were distrusted.
    Reset {
        /// The peer.
        node: String,
        /// Flushes up to here are covered by it.
        head: Seq,
    },
    /// Some of what a peer announced before it died cannot be had from anybody: all copies were
    /// distrusted.
    Missed {
        /// The peer.
        node: String,
    },
    /// A node that was never in step with all others finds out that some of those that died had
    /// told them more: what it has loaded until then is distrusted.
    Behind {
        /// The dead.
        node: String,
    },
    /// A link that was lost works again, or one that was silent for too long does, and this node is
    /// provably in step with the peer.
    Healed {
        /// The peer.
        node: String,
        /// How many flushes were replayed.
        replayed: u64,
        /// The peer's log did not reach back, so that all copies were distrusted first.
        reset: bool,
    },
    /// The node's proof of sync is older than the bound of one of its caches.
    CutOff {
        /// The peers that it cannot prove to be in step with.
        from: Vec<CutOff>,
    },
    /// The node is in step with all others again.
    InSync {
        /// For how long it was not.
        after: Duration,
    },
    /// Two or more living nodes are at one place, or say so. Nothing is proven of it meanwhile:
    /// this node is not in sync, and flushes of strict caches fail.
    Conflict {
        /// The place.
        place: Arc<str>,
        /// Their names.
        nodes: Vec<String>,
    },
    /// Another node has this name too: outcomes and pages cannot tell them apart.
    SameName {
        /// The name.
        node: String,
        /// Where the other one listens.
        address: SocketAddr,
    },
    /// A node was given another fixed list than this one: strict caches serve nothing.
    ListsDiffer(ListsDiffer),
    /// A flush named a key that is none of the cache's type: the whole cache was dropped.
    Widened {
        /// The cache.
        cache: String,
        /// Who announced it.
        node: String,
    },
    /// A connection was ended because of what came over it.
    Offence {
        /// The other end.
        from: SocketAddr,
        /// What is wrong, and what to look at.
        why: String,
    },
    /// Listed places were left out, because the roster is full: this node is not in sync.
    RosterFull {
        /// How many.
        left_out: usize,
        /// How many there is room for.
        room: usize,
    },
    /// A listed place is none: nobody can be at such an address.
    NoPlace {
        /// As it is listed.
        place: Arc<str>,
    },
}

/// Two nodes were given different fixed lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListsDiffer {
    /// The other node.
    pub node: String,
    /// This node's list.
    pub ours: Vec<SocketAddr>,
    /// The other's; empty if it finds its peers in another way.
    pub theirs: Vec<SocketAddr>,
}

impl fmt::Display for ListsDiffer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, ours, theirs } = self;
        write!(
            out,
            "the list of this node is {ours:?}, that of {node} {theirs:?}: give all nodes the same \
             fixed list, each one's own address included"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Following { node, address, incarnation } => {
                write!(out, "linked with {node} at {address}, life {incarnation}")
            }
            Self::Lost { node, address, why } => write!(out, "lost {node} at {address}: {why}"),
            Self::NotReached { node, address, why } if *node == address.to_string() => {
                write!(out, "nobody is reached at {address}: {why}")
            }
            Self::NotReached { node, address, why } => {
                write!(out, "{node} is not reached at {address}: {why}")
            }
            Self::Left { node } => write!(out, "{node} left"),
            Self::Reset { node, head } => write!(
                out,
                "{node} no longer holds the flushes missed here, up to {head}: all copies are \
                 distrusted and loaded anew as they are asked for"
            ),
            Self::Missed { node } => write!(
                out,
                "what {node} announced last cannot be had from anybody: all copies are distrusted \
                 and loaded anew as they are asked for"
            ),
            Self::Behind { node } => write!(
                out,
                "{node} announced more before this node was in step with all others for the first \
                 time: what was loaded until now is distrusted and loaded anew"
            ),
            Self::Healed { node, replayed, reset: false } => {
                write!(out, "in step with {node} again, {replayed} flushes replayed")
            }
            Self::Healed { node, .. } => write!(out, "in step with {node} again, by a reset"),
            Self::CutOff { from } => {
                let names: Vec<_> = from.iter().map(|it| it.node.as_str()).collect();
                write!(out, "cut off from {}", names.join(", "))
            }
            Self::InSync { after } => write!(out, "in step with all others after {after:.1?}"),
            Self::SameName { node, address } => write!(
                out,
                "the node at {address} is called {node} too: outcomes cannot tell the two apart, \
                 give each its own name"
            ),
            Self::ListsDiffer(differ) => write!(out, "strict caches serve nothing: {differ}"),
            Self::Widened { cache, node } => write!(
                out,
                "{node} flushed a key of cache {cache:?} that is no key here: the whole cache \
                 was dropped; do all nodes use one key type for it?"
            ),
            Self::Offence { from, why } => write!(out, "ended a connection from {from}: {why}"),
            Self::RosterFull { left_out, room } => write!(
                out,
                "{left_out} listed places are left out, as a node follows {room} at most: this node \
                 is not in sync; shorten the list, or use a shared log for so many nodes"
            ),
            Self::NoPlace { place } => {
                write!(out, "{place:?} is listed, and no node can be there: write host:port")
            }
            Self::Conflict { place, nodes } => write!(
                out,
                "{} are all at {place}, or say so: give each an address of its own; until then \
                 nothing is proven of that place",
                nodes.join(" and ")
            ),
        }
    }
}
