//! Owns flights: one running load of a key, whoever asks meanwhile waits on it.
//! It must never decide whether a value is stored; that is [`crate::cache`]'s, under its lock.
//!
//! A flush *fences* a flight by taking it out of the flight table: who waits on it already may
//! still get its value, a read that starts later does not find it, and it installs nothing.

mod error;
mod flight;
mod lead;
mod limit;
mod loaded;
mod many;
mod nesting;
mod read;
mod table;
mod write;

pub use error::{Failure, LoadError};
pub use flight::{Ending, Flight, Waiter};
pub use lead::{Landing, Lead};
pub use limit::{Alarm, LoadLimit};
pub use loaded::Loaded;
pub use many::{Many, get_or_load_many, run_many};
pub(crate) use nesting::part_of;
pub(crate) use read::check_length;
pub use read::{get_or_load, load_by, load_missed, refresh};
pub(crate) use table::Flights;
pub use write::put;

#[cfg(all(test, not(flushcast_shuttle)))]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests;
