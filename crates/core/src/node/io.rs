//! Owns the boundary of the core: everything that goes in, everything that comes out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::ConnId;
use crate::ack::{Outcome, TicketId};
use crate::wire::{Incarnation, Seq};

/// Something that happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// A discovery source has told a list.
    Members {
        /// The name of the source.
        source: Arc<str>,
        /// Addresses, this node's own included or not.
        addresses: Vec<SocketAddr>,
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
    /// A dial came through.
    Connected {
        /// The connection of [`Output::Dial`].
        conn: ConnId,
    },
    /// A dial did not come through.
    DialFailed {
        /// The connection of [`Output::Dial`].
        conn: ConnId,
        /// Nobody listens there: the network said so, rather than nothing.
        refused: bool,
        /// The network's words.
        why: String,
    },
    /// Bytes have arrived, in order.
    Received {
        /// The connection.
        conn: ConnId,
        /// The bytes.
        bytes: &'a [u8],
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
pub enum Report {
    /// A peer's flushes arrive here.
    Following {
        /// Its name.
        node: String,
        /// Where it listens.
        address: SocketAddr,
        /// Its life.
        incarnation: Incarnation,
    },
    /// A peer's flushes do not arrive any more, or cannot be got.
    Lost {
        /// Its name, or its address.
        node: String,
        /// Where it listens.
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
    /// A peer was restarted without a goodbye: what its former life announced last may have been
    /// missed, so all copies were distrusted.
    Restarted {
        /// The peer.
        node: String,
    },
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
    /// Addresses were left out, because the roster is full.
    RosterFull {
        /// How many.
        left_out: usize,
    },
    /// A peer that discovery dropped was forgotten without a goodbye: what it announced last may
    /// have been missed, so all copies were distrusted.
    Forgotten {
        /// The peer.
        node: String,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Following { node, address, incarnation } => {
                write!(out, "following {node} at {address}, incarnation {incarnation}")
            }
            Self::Lost { node, address, why } => write!(out, "lost {node} at {address}: {why}"),
            Self::Left { node } => write!(out, "{node} left"),
            Self::Reset { node, head } => write!(
                out,
                "{node} no longer holds the flushes missed here, up to {head}: all copies are \
                 distrusted and loaded anew as they are asked for"
            ),
            Self::Restarted { node } => write!(
                out,
                "{node} was restarted without a goodbye: all copies are distrusted and loaded \
                 anew as they are asked for"
            ),
            Self::Widened { cache, node } => write!(
                out,
                "{node} flushed a key of cache {cache:?} that is no key here: the whole cache \
                 was dropped; do all nodes use one key type for it?"
            ),
            Self::Offence { from, why } => write!(out, "ended a connection from {from}: {why}"),
            Self::RosterFull { left_out } => {
                write!(out, "no room on the roster for {left_out} addresses: is the list right?")
            }
            Self::Forgotten { node } => write!(
                out,
                "{node} was dropped by discovery and had not said goodbye: all copies are \
                 distrusted and loaded anew as they are asked for"
            ),
        }
    }
}
