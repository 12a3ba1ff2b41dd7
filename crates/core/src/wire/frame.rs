//! Owns the frames and the words they are made of.
//! Enum variants and struct fields are only ever added at the end: their order is the encoding.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// First byte of an encoded [`Frame::Hello`].
pub(super) const HELLO_TAG: u8 = 0;

/// One message between two nodes. A connection carries both nodes' flushes, whoever dialled it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame<'a> {
    /// The dialler's first words: who I am, where I am, and where I expected to find you.
    #[serde(borrow)]
    Hello(Hello<'a>),
    /// The answer to `Hello`: who I am, where I am, and how far I have heard you.
    #[serde(borrow)]
    Welcome(Welcome<'a>),
    /// The other answer to `Hello`: why we stay apart. The connection ends.
    #[serde(borrow)]
    Reject(Reject<'a>),
    /// These copies are out of date.
    #[serde(borrow)]
    Flush(Flush<'a>),
    /// Everything in your log up to here is applied, to copies and to loads under way.
    Ack {
        /// The last applied number of the receiver's log.
        applied: Seq,
    },
    /// My log no longer reaches back to you. Distrust all copies, go on here.
    Reset {
        /// The number to go on after.
        head: Seq,
    },
    /// I leave for good, and my log ends here.
    Bye {
        /// The last number of the sender's log.
        head: Seq,
    },
    /// How far is your log, and what do you know of those I have lost?
    Renew(Renew),
    /// The answer to `Renew`.
    Grant(Grant),
    /// The dialler's answer to `Welcome`: how far I have heard you. Only behind it may the other
    /// end send flushes.
    Go {
        /// The last number of the receiver's log that was heard.
        resume: Seq,
        /// The dialler keeps this connection to see who is at the place that it dialled, whatever
        /// other connections there are.
        is_evidence: bool,
    },
    /// An entry of the sender's log: a life is over and forgotten, and this is how far the sender
    /// had heard it. Whoever has heard less of it distrusts the copies that are as old as that.
    Over {
        /// The number in the sender's log.
        seq: Seq,
        /// The life, and how far it was heard.
        of: Position,
        /// For how many milliseconds the sender had heard nothing more of it, rounded down.
        quiet_ms: u64,
    },
}

/// A question that an answer proves something for, as of the moment it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// Given back in the answer.
    pub nonce: u64,
    /// Places of which the asker does not know who is there.
    pub places: Vec<SocketAddr>,
    /// Lives that the asker has lost.
    pub lives: Vec<Incarnation>,
    /// Lives that the receiver has heard more of than the asker, and from where on that is wanted.
    pub want: Vec<Position>,
}

/// What a node says of itself, and of those that it is not linked with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// That of the `Renew`.
    pub nonce: u64,
    /// The newest number of the sender's log, behind all that was wanted.
    pub head: Seq,
    /// Every life that the sender has heard, is not linked with, and has not forgotten.
    pub lost: Vec<Heard>,
    /// The lives that the sender is linked with among those that were asked about.
    pub linked: Vec<Linked>,
}

/// How far a life was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The life.
    pub life: Incarnation,
    /// The last of its flushes.
    pub upto: Seq,
    /// The first of those that can still be handed over; behind `upto` if none can.
    pub from: Seq,
}

/// A life that a node is linked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linked {
    /// The life.
    pub life: Incarnation,
    /// The place that was asked about, if it was asked about by its place.
    pub place: Option<SocketAddr>,
}

/// The dialler's first words. `versions` and `cluster` keep their place in all versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// The protocol versions that the dialler speaks.
    pub versions: Versions,
    /// The cluster it belongs to.
    pub cluster: &'a str,
    /// The name of the node.
    pub node: &'a str,
    /// Its life.
    pub life: Incarnation,
    /// Where it says that it can be found.
    pub claims: Vec<SocketAddr>,
    /// Small texts about the node that its peers can read.
    #[serde(borrow)]
    pub labels: Vec<(&'a str, &'a str)>,
    /// The fixed list of all nodes that it was given; empty if it finds peers another way.
    pub fixed: Vec<SocketAddr>,
    /// [`END_OF_WORDS`]: another program that waits for the end of a line, or of an HTTP request,
    /// answers, and so shows what it is.
    pub end: &'a str,
}

/// What ends a `Hello`.
pub const END_OF_WORDS: &str = "\r\n\r\n";

/// The answer to a `Hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome<'a> {
    /// The version that is spoken from here on.
    pub version: u16,
    /// The name of the node.
    pub node: &'a str,
    /// Its life.
    pub life: Incarnation,
    /// Where it says that it can be found.
    pub claims: Vec<SocketAddr>,
    /// Small texts about the node that its peers can read.
    #[serde(borrow)]
    pub labels: Vec<(&'a str, &'a str)>,
    /// The fixed list of all nodes that it was given; empty if it finds peers another way.
    pub fixed: Vec<SocketAddr>,
    /// The last number of the dialler's log that was heard.
    pub resume: Seq,
}

/// Why two nodes stay apart. Readable in all versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reject<'a> {
    /// The node belongs to this other cluster.
    OtherCluster {
        /// Its cluster.
        cluster: &'a str,
    },
    /// No version is spoken by both.
    NoCommonVersion {
        /// What the node speaks.
        versions: Versions,
    },
    /// The dialler has reached itself.
    Yourself,
    /// The node has no room for another peer.
    Full,
}

/// One or more scopes of one cache, announced under one number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flush<'a> {
    /// The number in the sender's log.
    pub seq: Seq,
    /// The cache by name; [`EVERY_CACHE`](super::EVERY_CACHE) for all that the receiver has.
    pub cache: &'a str,
    /// What of it is out of date.
    #[serde(borrow)]
    pub scopes: Vec<Scope<'a>>,
    /// Where it stood in the log of a life that is over, if it is handed over from there.
    pub inherited: Option<Position>,
}

/// What a flush names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope<'a> {
    /// The copy of one key, as text.
    Key(&'a str),
    /// Every copy of the cache.
    All,
    /// Every copy that has this tag.
    Tag(&'a str),
    /// Every copy whose key, as text, begins so.
    Prefix(&'a str),
    /// The copy of one key: it has expired, and may be held for when the source fails. So of those below.
    ExpireKey(&'a str),
    /// Every copy of the cache.
    ExpireAll,
    /// Every copy that has this tag.
    ExpireTag(&'a str),
    /// Every copy whose key, as text, begins so.
    ExpirePrefix(&'a str),
}

impl<'a> Scope<'a> {
    /// The key, tag or prefix; nothing for every copy.
    pub fn text(&self) -> &'a str {
        match self.flushed() {
            Self::Key(text) | Self::Tag(text) | Self::Prefix(text) => text,
            _ => "",
        }
    }

    /// What names the same, and has it dropped.
    #[must_use]
    pub fn flushed(self) -> Scope<'a> {
        match self {
            Self::ExpireKey(text) => Self::Key(text),
            Self::ExpireAll => Self::All,
            Self::ExpireTag(text) => Self::Tag(text),
            Self::ExpirePrefix(text) => Self::Prefix(text),
            flushed => flushed,
        }
    }

    /// What names the same, and has it expire.
    #[must_use]
    pub fn expired(self) -> Scope<'a> {
        match self {
            Self::Key(text) => Self::ExpireKey(text),
            Self::All => Self::ExpireAll,
            Self::Tag(text) => Self::ExpireTag(text),
            Self::Prefix(text) => Self::ExpirePrefix(text),
            expired => expired,
        }
    }
}

/// The range of protocol versions that a node speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
}

impl Versions {
    /// What this code speaks.
    pub const OURS: Versions = Versions { oldest: super::VERSION, newest: super::VERSION };

    /// The newest version that both speak.
    pub fn common(self, other: Versions) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.oldest == self.newest {
            write!(out, "{}", self.newest)
        } else {
            write!(out, "{} to {}", self.oldest, self.newest)
        }
    }
}

/// A place in a flush log. The first flush has number 1; 0 is the place before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Seq(pub u64);

impl Seq {
    /// The place before the first flush.
    pub const START: Seq = Seq(0);

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Seq {
        Seq(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// One life of a node: 128 bits, drawn at its start, or made of the key that it then makes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub [u8; 16]);

impl fmt::Display for Incarnation {
    /// The first four bytes in hexadecimal: enough to tell lives apart in a log line.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(out, "{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A number together with the life whose log it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The life whose log it is.
    pub life: Incarnation,
    /// The number.
    pub seq: Seq,
}
