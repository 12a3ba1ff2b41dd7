//! Owns the frames and the words they are made of.
//! Enum variants and struct fields are only ever added at the end: their order is the encoding.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// First byte of an encoded [`Frame::Hello`].
pub(super) const HELLO_TAG: u8 = 0;

/// One message between a follower and an origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame<'a> {
    /// Follower to origin, first on a connection: who I am and where I stopped.
    #[serde(borrow)]
    Hello(Hello<'a>),
    /// Origin to follower, the answer: who I am and what my log holds.
    #[serde(borrow)]
    Welcome(Welcome<'a>),
    /// Origin to follower, the other answer: why you cannot follow me. The connection ends.
    #[serde(borrow)]
    Reject(Reject<'a>),
    /// Origin to follower: these copies are out of date.
    #[serde(borrow)]
    Flush(Flush<'a>),
    /// Follower to origin: everything up to here is applied, to copies and to flights.
    Ack {
        /// The last applied number of the origin's log.
        applied: Seq,
    },
    /// Origin to follower: my log no longer reaches back to you. Distrust all copies, go on here.
    Reset {
        /// The number to go on after.
        head: Seq,
    },
    /// Either way: I leave for good. From the origin it comes after its last flush.
    Bye,
    /// Follower to origin: tell me your head, so that I can prove how far I am in step with you.
    Renew {
        /// Given back in the grant.
        nonce: u64,
    },
    /// Origin to follower: when I read your `Renew`, my newest flush was this.
    Grant {
        /// That of the `Renew`.
        nonce: u64,
        /// The newest number then.
        head: Seq,
    },
    /// Follower to origin: I hold whoever was at these addresses for dead; what did they tell you?
    Inquire(Inquire),
    /// Origin to follower, the answer, behind which the log holds what the asker lacks.
    Testify(Testify),
}

/// A question about the lives that were at some addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquire {
    /// Given back in the answer.
    pub nonce: u64,
    /// Whether the asker wants what it lacks, or would rather distrust what it has loaded.
    pub tails: bool,
    /// Whom it is about.
    pub about: Vec<About>,
}

/// The lives that were at an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Where they listened.
    pub address: SocketAddr,
    /// The one that lives there now, if any: it is not asked about.
    pub alive: Option<Incarnation>,
    /// What the asker knows of them. Those that it never met are asked about all the same.
    pub lives: Vec<Position>,
}

/// What a node knows of the lives that it was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testify {
    /// That of the question.
    pub nonce: u64,
    /// It still follows one of them, and so does not hold it for dead: ask again.
    pub in_touch: bool,
    /// How many lives it has forgotten since its start.
    pub forgotten: u64,
    /// The newest number of its own log, in which the tails that the asker lacks were put.
    pub head: Seq,
    /// How far it has applied each of them, with the address it was asked about.
    pub lives: Vec<(SocketAddr, Position)>,
}

/// The follower's first words. `versions` and `cluster` keep their place in all versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// The protocol versions that the follower speaks.
    pub versions: Versions,
    /// The cluster it belongs to.
    pub cluster: &'a str,
    /// The name of the node.
    pub node: &'a str,
    /// Its life.
    pub incarnation: Incarnation,
    /// Where it listens, to be dialled back. An unspecified IP stands for where it came from.
    pub address: SocketAddr,
    /// Small texts about the node that its peers can read.
    #[serde(borrow)]
    pub labels: Vec<(&'a str, &'a str)>,
    /// The last number that was applied, and of which life of the origin; none at first.
    pub resume_after: Option<Position>,
    /// The fixed list of all nodes that it was given; empty if it finds peers another way.
    pub fixed: Vec<SocketAddr>,
}

/// The origin's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome<'a> {
    /// The version that is spoken from here on.
    pub version: u16,
    /// The name of the origin.
    pub node: &'a str,
    /// Its life.
    pub incarnation: Incarnation,
    /// Small texts about the node that its peers can read.
    #[serde(borrow)]
    pub labels: Vec<(&'a str, &'a str)>,
    /// The oldest number that the log still holds; one more than `head` when it holds none.
    pub first: Seq,
    /// The newest number.
    pub head: Seq,
    /// The fixed list of all nodes that it was given; empty if it finds peers another way.
    pub fixed: Vec<SocketAddr>,
}

/// Why an origin does not let somebody follow it. Readable in all versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reject<'a> {
    /// The origin belongs to this other cluster.
    OtherCluster {
        /// The origin's cluster.
        cluster: &'a str,
    },
    /// No version is spoken by both.
    NoCommonVersion {
        /// What the origin speaks.
        versions: Versions,
    },
    /// The follower has reached itself.
    Yourself,
    /// The origin has no room for another peer.
    Full,
}

/// One or more scopes of one cache, announced under one number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flush<'a> {
    /// The number in the origin's log.
    pub seq: Seq,
    /// The cache by name.
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
}

impl<'a> Scope<'a> {
    /// The key, tag or prefix; nothing for every copy.
    pub fn text(&self) -> &'a str {
        match self {
            Self::Key(text) | Self::Tag(text) | Self::Prefix(text) => text,
            Self::All => "",
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

/// One life of a node: a random 128-bit id drawn at its start.
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
    /// The life of the origin.
    pub incarnation: Incarnation,
    /// The last number that was applied.
    pub seq: Seq,
}
