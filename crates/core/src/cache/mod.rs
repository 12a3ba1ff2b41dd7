//! Owns the copies of one cache and the right to add one.
//! It must never store a value whose load started before a flush that named its key.
//!
//! Invariants (each explored over thread interleavings in `tests/interleavings.rs`):
//! - C1: a value is installed only while its flight is in its shard's table, under the shard's lock; or it
//!   is the application's own, and takes its place in the order under the hold that installs it;
//! - C2: a flush of a key takes the flight out of that table and removes the copy under one hold of it;
//! - C3: a copy or a flight older than the distrust mark is not served, joined or stored;
//! - C4: a flush of a tag is remembered, and one of a prefix fences a shard's flights, before it removes
//!   the shard's copies: an install that did not see that is there to be removed, or began later. It goes
//!   from shard to shard in pieces, without a lock between them, and is applied when the last one is done.

pub(crate) mod app_code;
mod applying;
mod boarding;
mod config;
mod copied;
mod copies;
mod ghosts;
mod guarantee;
mod judge;
pub mod key;
mod lookup;
mod named;
mod pass;
mod prefix;
mod registry;
mod room;
mod rounds;
mod scopes;
mod shards;
mod standing;
mod stats;
mod store;
mod sweep;
mod tag_flushes;
mod tags;
mod trust;

pub use applying::{Apply, Applying, Widened};
pub use boarding::Boarding;
pub use config::{CacheConfig, Fallback, HashSeeds, Instead, Listen, RemovalCause, Weigh};
pub use copies::{Cache, Inspected};
pub use guarantee::Guarantee;
pub(crate) use guarantee::drift;
pub use key::{Key, KeyError, KeyPart};
pub use lookup::{AsKey, ByEquivalence, ByParts, ToKey};
pub use prefix::Prefix;
pub use registry::{Caches, Flushable, NameTaken};
pub(crate) use registry::{Demands, Prover};
pub(crate) use stats::Count;
pub use stats::{FlushCounts, Stats, Why};
pub use sweep::Sweep;
#[cfg(all(test, not(flushcast_shuttle)))]
pub(crate) use tag_flushes::REMEMBERED;
pub use tags::Tag;
pub(crate) use tags::TagList;
pub use trust::{Birth, Proof, Stamp};

/// What a cache can hold. Reads clone it: put what is large behind an `Arc`.
///
/// Cloning a value must not call into its cache: it may happen under a lock of it. Dropping one may call
/// anything, a panic in it is caught wherever the cache drops it.
pub trait Value: Clone + Send + Sync + 'static {}

impl<V: Clone + Send + Sync + 'static> Value for V {}
