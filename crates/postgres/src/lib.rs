//! A flush log in PostgreSQL, 13 or later: what an app's transaction changes and what it flushes commit
//! together, or not at all.
//!
//! **Under way.** Here is what the database holds, how rows get there and how they are read. Nodes do not
//! follow it yet.
//!
//! - [`flush`] and its like write a row in the transaction of the change, so that no crash comes between.
//! - [`poll`] reads what has committed since a [`Snapshot`]. One statement gives the rows and the snapshot that
//!   it saw them with, so that they belong together: a transaction that commits late is read late, not missed,
//!   and holds up nobody else's.
//! - [`clean`] deletes what is old, and says up to where, so that whoever is behind that knows.
//! - [`install`] makes the tables, and [`triggers`] flush for changes that are made by hand.

mod engine;
mod follow;
mod kept;
mod life;
mod log;
mod outbox;
mod poll;
mod retention;
mod schema;
mod scope;
mod snapshot;
mod triggers;

pub use log::{BadMember, Log, Member};
pub use outbox::{FlushError, flush, flush_all, flush_keys, flush_scopes, flush_tag};
pub use poll::{MAX_ROWS, PollError, Polled, Row, poll};
pub use retention::clean;
pub use schema::{SCHEMA, install};
pub use scope::ScopeKind;
pub use snapshot::{Snapshot, SnapshotError};
pub use triggers::{BadName, Watch, triggers};
