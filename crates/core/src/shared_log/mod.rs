//! Owns one node's part in a flush log that an engine keeps for all nodes: the engine orders what they
//! append, and each follows it. [`Follower`] reads and proves, [`Appends`] writes and confirms.
//!
//! What an engine needs is an adapter's: how to append, follow and ask. An adapter numbers the entries
//! that it reads, one after the other, within an [`Epoch`]; what positions are to the engine is its own
//! matter. Rules, by the id that code and tests cite; `docs/reference/shared-log.md` says why:
//! - E1: everything that an engine says carries its epoch, and what is of another one counts for nothing;
//! - E2: a proof counts from when its question was decided on, once all up to the head that it names is
//!   applied;
//! - E3: a node begins anew by an answer and by nothing else, and then trusts no copy from before;
//! - E4: a question is one that the engine orders with the appends, so that a leader that was deposed
//!   cannot answer it: the adapter's duty;
//! - E5: where flushes are confirmed before their time, a question proves only for who is registered;
//! - E6: without an acknowledgement from the engine nothing is confirmed; a strict flush is, a lease and
//!   its margin behind the receipt of one;
//! - E7: before that, it is by a registry that was asked behind that receipt, in the same epoch, by a
//!   writer that has been in it for as long;
//! - E8: what may not have arrived, or may be lost with an epoch, is appended again with the same numbers.

mod appends;
mod follower;
#[cfg(all(test, not(flushcast_shuttle)))]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests;

pub use appends::{APPENDED_AGAIN, Appends, Behind, Confirmed, RegistryRead};
pub use follower::{
    ANSWER_WITHIN, Answer, Answered, Entry, Follower, Heard, Membership, Question,
    REFRESHED_WITHIN, Reached,
};

/// Which log this is. An adapter makes it of all that changes when the engine's log is another one: made
/// anew, restored, run by another server or another run of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u128);
