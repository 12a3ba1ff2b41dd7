//! Owns what a flush gives back to whoever awaits it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::wire::{Seq, Versions};

/// Who has applied a flush, beyond this node, which applied it before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The number of the flush in this node's log.
    pub seq: Seq,
    /// Nodes that have applied it to their copies and flights, by name.
    pub applied: Vec<Applied>,
    /// Nodes that are cut off and provably serve nothing older, by name. Only of flushes of a
    /// cache with [`Guarantee::Strict`](crate::cache::Guarantee::Strict).
    pub fenced: Vec<String>,
    /// Nodes of the roster of which neither is known, each with the reason.
    pub unconfirmed: Vec<Unconfirmed>,
}

impl Outcome {
    /// Whether no node of the roster can still serve what the flush named.
    pub fn is_complete(&self) -> bool {
        self.unconfirmed.is_empty()
    }

    /// The names of the nodes that have applied it.
    pub fn applied_by(&self) -> Vec<&str> {
        self.applied.iter().map(|it| &*it.node).collect()
    }
}

/// In one line, for a log.
impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "applied at {}", list(&self.applied))?;
        if !self.fenced.is_empty() {
            write!(out, "; cut off, and serving nothing older: {}", list(&self.fenced))?;
        }
        if !self.unconfirmed.is_empty() {
            write!(out, "; unconfirmed: {}", list(&self.unconfirmed))?;
        }
        Ok(())
    }
}

fn list(all: &[impl fmt::Display]) -> String {
    let all: Vec<_> = all.iter().map(ToString::to_string).collect();
    if all.is_empty() { "no other node".to_owned() } else { all.join(", ") }
}

/// A node that has applied a flush.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Its name.
    pub node: String,
    /// How long after the flush its acknowledgement was here, which is a round trip: the flush was
    /// applied before. Where it was here before the flush was awaited, the time until then.
    pub after: Duration,
}

impl fmt::Display for Applied {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({:.1?})", self.node, self.after)
    }
}

/// A node that may still serve older copies, until it is reached or they expire.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unconfirmed {
    /// Its name, or its address while it never said one.
    pub node: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Why nothing is known.
    pub reason: Reason,
}

impl fmt::Display for Unconfirmed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.node, self.reason)
    }
}

/// Why a node has not confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Nobody listens at its address.
    Refused,
    /// It cannot be reached; the text is the network's.
    Unreachable(String),
    /// Something that is no node of Flushcast answers at its address; the text says what.
    Foreign(String),
    /// Who answers at its address may be a member, and does not prove it, or takes this node for none;
    /// the text says why.
    Unproven(String),
    /// It belongs to another cluster.
    OtherCluster(String),
    /// It speaks other protocol versions.
    OtherVersion(Versions),
    /// It has no room for another peer.
    Full,
    /// It has been found but was not reached yet.
    Connecting,
    /// Two or more living nodes are at this place: nothing can be said of it.
    Conflict,
    /// It follows, but has not acknowledged in time.
    Silent,
    /// It was not waited for: it has not acknowledged an earlier flush in time, nor since.
    Suspected {
        /// How long ago that flush was announced.
        since: Duration,
    },
}

impl Reason {
    /// Provably no node of this cluster is there.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Refused | Self::Foreign(_) | Self::OtherCluster(_))
    }

    /// Somebody is there who may well be of this cluster, and is not linked.
    pub(crate) fn is_somebody(&self) -> bool {
        matches!(self, Self::Unproven(_) | Self::OtherVersion(_) | Self::Full)
    }

    /// Whether waiting longer can help.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Unproven(_) | Self::Connecting | Self::Silent)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => out.write_str("nobody listens at its address"),
            Self::Unreachable(why) => write!(out, "cannot be reached: {why}"),
            Self::Foreign(what) => write!(out, "something else answers at its address: {what}"),
            Self::Unproven(why) => write!(out, "no member by what it shows: {why}"),
            Self::OtherCluster(cluster) => write!(out, "belongs to cluster {cluster:?}"),
            Self::OtherVersion(versions) => write!(out, "speaks protocol version {versions}"),
            Self::Full => out.write_str("has no room for another peer"),
            Self::Connecting => out.write_str("was not reached yet"),
            Self::Conflict => {
                out.write_str("two nodes are at this place: give each an address of its own")
            }
            Self::Silent => out.write_str("has not acknowledged in time"),
            Self::Suspected { since } => {
                write!(
                    out,
                    "has acknowledged nothing since a flush {since:.1?} ago: not waited for"
                )
            }
        }
    }
}
