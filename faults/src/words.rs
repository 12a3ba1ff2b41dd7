//! Owns what a node and the process that started it say to each other: one JSON value a line,
//! commands on the node's stdin, an answer to each on its stdout.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::history::History;

/// How old the copies of [`Guarded::Bounded`] may get.
pub const BOUND: Duration = Duration::from_secs(2);

/// The caches of a node, by what they promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarded {
    /// Copies are served until a flush arrives.
    Eventual,
    /// No read returns a copy older than a flush of [`BOUND`] ago.
    Bounded,
    /// No read that starts after a flush came back `Ok` returns an older copy.
    Strict,
}

impl Guarded {
    /// All of them.
    pub const ALL: [Guarded; 3] = [Guarded::Eventual, Guarded::Bounded, Guarded::Strict];
}

/// What a node is told to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Wait until flushes travel both ways between it and so many others.
    Link {
        /// How many others.
        others: usize,
    },
    /// Read each key once in all caches.
    Read {
        /// Which keys.
        keys: Range<u64>,
    },
    /// Read the keys in turn in all caches, again and again, on a thread of its own.
    StartReader {
        /// Which keys.
        keys: Range<u64>,
        /// How long to rest after each round.
        pause: Duration,
    },
    /// Tell what all readers have seen.
    History,
    /// Tell what was loaded.
    Loads,
    /// Change a key, flush it in all caches, await what comes of it.
    Change {
        /// Which.
        key: u64,
    },
    /// Change and flush key after key, in turn, and await nothing.
    Burst {
        /// Which keys.
        keys: Range<u64>,
        /// How many changes in all.
        changes: u64,
        /// How long to rest after each change.
        pause: Duration,
    },
    /// Make each load take so much longer, after it has read the truth.
    Slow {
        /// How much.
        by: Duration,
    },
    /// Tell how it stands with the others.
    Standing,
    /// Tell what has happened to it.
    Happened,
    /// Leave the cluster in order, and end.
    Stop,
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Said once, unasked: it listens.
    Started {
        /// Where.
        address: SocketAddr,
    },
    /// It is done.
    Done,
    /// To [`Command::Read`].
    Versions(Versions),
    /// To [`Command::History`].
    History(History),
    /// To [`Command::Loads`].
    Loads(Loads),
    /// To [`Command::Change`].
    Changed(Change),
    /// To [`Command::Standing`].
    Standing(Standing),
    /// To [`Command::Happened`].
    Happened(Happened),
    /// What it was told cannot be done.
    Failed {
        /// Why.
        why: String,
    },
}

/// The version that was read of each key, in each cache.
pub type Versions = BTreeMap<Guarded, BTreeMap<u64, u64>>;

/// How often each version of each key was loaded, for each cache.
pub type Loads = BTreeMap<Guarded, BTreeMap<u64, BTreeMap<u64, u64>>>;

/// A key was changed and flushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which key.
    pub key: u64,
    /// The version that the truth has since, from before the flushes on.
    pub version: u64,
    /// What came of the flush of each cache.
    pub flushes: BTreeMap<Guarded, Flushed>,
}

/// What came of one flush.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flushed {
    /// Before the flush.
    pub issued: Moment,
    /// When the call of `flush` had returned: it was announced by then at the latest.
    pub announced: Moment,
    /// When awaiting it had returned.
    pub settled: Moment,
    /// What it came to, or the error.
    pub came_to: Result<Outcome, String>,
}

/// The outcome of a flush, by names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Its number in the node's log.
    pub seq: u64,
    /// Who has applied it.
    pub applied: Vec<String>,
    /// Who provably serves nothing older.
    pub fenced: Vec<String>,
    /// Of whom neither is known.
    pub unconfirmed: Vec<String>,
}

/// How a node stands with the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whether its proof of sync is young enough for all of its caches.
    pub in_sync: bool,
    /// With whom it cannot prove to be in step, by name.
    pub cut_off: Vec<String>,
    /// Everybody on its roster.
    pub peers: Vec<Peer>,
}

/// One on the roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name, or its address while it never said one.
    pub name: String,
    /// Whether flushes travel both ways.
    pub linked: bool,
    /// Up to here its flushes are applied here.
    pub applied: u64,
}

/// What has happened to a node since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// How often it came to be cut off.
    pub cut_off: u64,
    /// The times for which it was, in order; the last one may go on.
    pub out_of_sync: Vec<OutOfSync>,
    /// How many links it has lost.
    pub lost: u64,
    /// How often it stopped to trust all that it held.
    pub distrusted: u64,
    /// The links that were lost and work again, in order.
    pub healed: Vec<Healed>,
    /// What of it is not counted, because there was too much at once.
    pub uncounted: u64,
}

/// A time for which a node was not in sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutOfSync {
    /// When it was told to begin.
    pub since: Moment,
    /// How long it lasted, or has lasted so far.
    pub lasted: Duration,
}

/// A link that was lost works again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healed {
    /// With whom, by name.
    pub node: String,
    /// How many flushes were replayed.
    pub replayed: u64,
    /// Whether the log did not reach back.
    pub reset: bool,
}
