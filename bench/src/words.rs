//! Owns what a follower and the process that started it say to each other: one JSON value a line,
//! commands on the follower's stdin, an answer to each on its stdout.

use std::net::SocketAddr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The cluster of all nodes here.
pub const CLUSTER: &str = "bench";
/// The secret of those with encrypted links.
pub const SECRET: &str = "what-is-measured-here-is-no-secret";
/// The cache that is flushed.
pub const CACHE: &str = "settings";

/// What a follower follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// It is a node of Flushcast with a cache.
    Node,
    /// The same, with a secret: its links are encrypted.
    Encrypted,
    /// It reads bare frames from one socket.
    Raw,
}

/// A set of keys that both ends can list: the prefix with 0, 1, 2 and so on behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// What all of them start with.
    pub prefix: String,
    /// How many there are.
    pub count: usize,
}

impl Keys {
    /// `count` keys that start with `prefix`.
    pub fn new(prefix: impl Into<String>, count: usize) -> Self {
        Self { prefix: prefix.into(), count }
    }

    /// Each key in turn.
    pub fn iter(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.count).map(|number| format!("{}{number}", self.prefix))
    }
}

/// What a follower is told to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Wait until flushes travel both ways between it and so many others.
    Link {
        /// How many others.
        others: usize,
    },
    /// Load a copy of each key, each with a slot for the time at which it is dropped.
    Load(Keys),
    /// Count the keys of which a copy is served.
    Count(Keys),
    /// Tell when the copies of the last load were dropped.
    Stamps,
    /// Tell how much memory is used.
    Rss,
}

/// What a follower answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Said once, unasked: it runs. A node tells where it listens.
    Started {
        /// Where; none for a raw follower.
        address: Option<SocketAddr>,
    },
    /// To [`Command::Link`].
    Linked,
    /// To [`Command::Load`] and [`Command::Count`].
    Served {
        /// Of how many of the keys a copy is served now.
        copies: usize,
    },
    /// To [`Command::Stamps`].
    Stamps {
        /// When each copy was dropped, by `CLOCK_MONOTONIC`; 0 where it was not.
        nanos: Vec<u64>,
    },
    /// To [`Command::Rss`].
    Rss {
        /// Resident memory of its own, in bytes; what it shares with files does not count.
        bytes: usize,
    },
}
