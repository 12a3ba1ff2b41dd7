//! Owns which log it is, and what all who use it have agreed on.
//! It must never have a rule that two nodes of one log could see differently.

use std::time::Duration;

use crate::Time;
use crate::cache::{Guarantee, drift};

/// Which log this is, with its rules: a node that goes by others is in another epoch, and hears nothing of
/// this one. So an adapter reads the rules from the engine, where whoever made the log has put them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Made of all that changes when the engine's log is another one: made anew, restored, run by another
    /// server or another run of it.
    pub id: u128,
    /// What holds for all its nodes.
    pub rules: Rules,
}

/// What holds for all nodes of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rules {
    /// Whether they register.
    pub membership: Membership,
    /// For how long two leaders of the engine may answer.
    pub overlap: Overlap,
}

/// Whether the nodes of a log register with its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Membership {
    /// They do, and flushes may be confirmed as soon as all of them have applied them: who is not
    /// registered proves nothing.
    Registered,
    /// They need not: flushes are confirmed by time alone.
    Open,
}

/// For how long a leader of the engine that was deposed may go on answering and acknowledging, beside the
/// one that took its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Overlap {
    /// It cannot: questions are such that only one leader can answer them, or there is one server.
    Never,
    /// For so long at most, which whoever deploys the engine enforces. Flushes are confirmed by time alone,
    /// that much later, and bounds are that much longer.
    AtMost(Duration),
    /// Nobody can tell: only [`Guarantee::Eventual`] can be promised.
    Unknown,
}

/// The rules of a log do not allow what a cache is to promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PromiseRefused {
    /// See [`Overlap::Unknown`].
    #[error(
        "a {guarantee:?} cache needs an engine whose leaders overlap for a known time at most: set that \
         time, fence deposed leaders, or make the cache eventual"
    )]
    LeadersMayOverlap {
        /// What was asked for.
        guarantee: Guarantee,
    },
}

impl Rules {
    /// Whether a cache can promise that on such a log: to be asked when it is configured.
    ///
    /// # Errors
    /// [`PromiseRefused`] if no node could keep the promise.
    pub fn allow(self, guarantee: Guarantee) -> Result<(), PromiseRefused> {
        match (self.overlap, guarantee) {
            (Overlap::Unknown, Guarantee::Strict | Guarantee::Bounded(_)) => {
                Err(PromiseRefused::LeadersMayOverlap { guarantee })
            }
            _ => Ok(()),
        }
    }

    /// Whether a registry may confirm anything.
    pub(super) fn allow_early(self) -> bool {
        self.membership == Membership::Registered && self.overlap == Overlap::Never
    }
}

impl Overlap {
    /// How long to wait until only one leader can be heard, by a clock that may run fast.
    pub(super) fn wait(self) -> Option<Duration> {
        match self {
            Overlap::Never => Some(Duration::ZERO),
            Overlap::AtMost(length) => Some(length + drift(length)),
            Overlap::Unknown => None,
        }
    }
}

/// Where a node stands, as far as what it appends depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The epoch in which it follows.
    pub epoch: Epoch,
    /// When it began to.
    pub since: Time,
    /// When the last question was asked that the engine has answered in this epoch.
    pub answered: Time,
}
