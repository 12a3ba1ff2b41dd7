//! Owns what comes back: how far each follower has applied, and what that means for a flush.
//! It must never let a wait go on for ever: every ticket has a deadline.

mod outcome;
mod suspects;
mod tickets;

pub use outcome::{Applied, Outcome, Reason, Unconfirmed};
pub(crate) use suspects::{SUSPECTED_AFTER, Suspects};
pub use tickets::TicketId;
pub(crate) use tickets::{Ticket, Tickets};
