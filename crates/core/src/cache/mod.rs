//! Owns the copies of one cache and the right to add one.
//! It must never store a value whose load started before a flush that named its key.
//!
//! Invariants (each explored over thread interleavings in `tests/interleavings.rs`):
//! - C1: a value is installed only while its flight is in the flight table, under the table's lock;
//! - C2: a flush takes the flight out of that table and removes the copy under the same lock;
//! - C3: a copy or a flight older than the distrust mark is not served, joined or stored;
//! - C4: a flush of a tag or prefix passes every lock of that table after it has fenced, and before it
//!   removes copies: what did not see the fence is there to be removed.

mod copies;
mod guarantee;
pub mod key;
mod registry;
mod scopes;
mod stats;
pub(crate) mod tags;
mod trust;

pub use copies::{Boarding, Cache, CacheConfig, HashSeeds, Weigh};
pub use guarantee::Guarantee;
pub use key::{Key, KeyError};
pub use registry::{Caches, Effect, Flushable, NameTaken};
pub(crate) use stats::Count;
pub use stats::Stats;
pub use tags::Tag;
pub use trust::{Birth, Proof, Stamp, Trust};

/// What a cache can hold. Reads clone it: put what is large behind an `Arc`.
///
/// Dropping a value must not call into a cache or a node: it may happen under their locks.
pub trait Value: Clone + Send + Sync + 'static {}

impl<V: Clone + Send + Sync + 'static> Value for V {}
