//! Owns who is known: the roster by address, the link to each origin, and who follows this node.
//! It must never drop a listed node because it cannot be reached: it is named until it leaves,
//! or until discovery drops it.

mod backoff;
mod follower;
mod link;
mod listed;
mod roster;
mod step;
mod view;

pub(crate) use backoff::Backoff;
pub(crate) use follower::Followers;
pub(crate) use link::{Link, Trouble};
pub use listed::{Listed, canonical};
pub(crate) use roster::{Entry, Healing, Roster};
pub use roster::{Identity, Source};
use step::Step;
pub use view::{CutOff, LinkState, Peer};
