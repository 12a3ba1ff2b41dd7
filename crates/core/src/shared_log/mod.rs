//! Owns one node's part in a flush log that an engine keeps for all nodes: the engine orders what they
//! append, and each follows it. [`Follower`] reads and proves, [`Appends`] writes and confirms.
//!
//! How to append, follow and ask is an adapter's; `docs/reference/shared-log.md` says what it has to see
//! to, and why these rules are as they are. Code and tests cite them by id:
//! - E1: everything that an engine says carries its epoch, and what is of another one counts for nothing;
//! - E2: a proof counts from when its question was decided on, once all up to the head that it names is
//!   applied;
//! - E3: a node begins anew by an answer and by nothing else, and then trusts no copy from before;
//! - E4: a question is one that the engine orders with the appends, so that a leader that was deposed
//!   cannot answer it for longer than the log's rules say: the adapter's duty;
//! - E5: where flushes are confirmed before their time, a question proves only for a node that was
//!   registered, and lately refreshed, when it was asked;
//! - E6: without an acknowledgement from the engine nothing is confirmed; a flush is, a lease and its
//!   margin behind the receipt of one, and where leaders may overlap, for as long more;
//! - E7: before that, it is by a registry that was asked behind that receipt, in the same epoch, by a
//!   writer that has been in it for a lease, where leases are short and leaders do not overlap;
//! - E8: what may not have arrived, or may be lost with an epoch, is appended again with the same numbers.

mod appends;
mod authors;
mod awaited;
mod epoch;
mod follower;
mod receipts;
#[cfg(all(test, not(flushcast_shuttle)))]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests;

use std::time::Duration;

pub use appends::{Append, Appends};
pub use awaited::{Behind, Confirmed, RegistryRead, RegistryRow};
pub use epoch::{Epoch, Membership, Overlap, PromiseRefused, Rules, Standing};
pub use follower::{Answer, Answered, Entry, Follower, Heard, Place, Question, Reached, Row};

/// A registry's row that was not refreshed for so long, by the clock of the node that cleans up, is removed.
pub const ROW_LASTS: Duration = Duration::from_secs(15);
/// A question proves something for a registered node until so long after its last acknowledged refresh was
/// sent: two refreshes of every [`REFRESH_EVERY`] may be late or lost.
pub const REFRESHED_WITHIN: Duration = Duration::from_secs(8);
/// How often a node refreshes its row, where its questions do not.
pub const REFRESH_EVERY: Duration = Duration::from_secs(3);
/// The longest lease with which a flush may be confirmed by a registry. Whoever is missing there has asked
/// its last question that counts [`REFRESHED_WITHIN`] of a refresh, and serves for a lease from then on: that
/// is over before its row goes, by a second for clocks.
pub const EARLY_LEASE: Duration = Duration::from_secs(6);
/// What was acknowledged in so much time before an epoch ends may be lost with it, and is appended again.
pub const APPENDED_AGAIN: Duration = Duration::from_secs(30);
/// A question that has no answer by then is given up, with the connection that it was sent over; so is one
/// whose answer names what is not read by then: an engine that stopped delivering does not say so.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(700);
