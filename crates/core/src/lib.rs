//! The deterministic heart of Flushcast: copies and flights, flush logs, peers and acknowledgements.
//!
//! Nothing here opens a socket, reads a clock, starts a thread or draws a random number: time,
//! randomness and hash seeds are arguments, so that one seed reproduces a whole cluster.
//! Applications use the `flushcast` crate, which puts this core on tokio.
//!
//! The road of one flush, by folder: [`load`] (a miss becomes one flight), [`cache`] (its value is
//! stored only if no flush came between), [`flush`] (the numbered log), [`wire`] (its frames),
//! [`peers`] (who follows whom), [`ack`] (who has applied it), `repair` (what a node that died told
//! to some is handed over to the others). Where an engine keeps the log for all, [`shared_log`] follows
//! it. [`node`] ties them together behind
//! two enums, [`node::Input`] and [`node::Output`].

pub mod ack;
pub mod cache;
pub mod flush;
pub mod load;
pub mod node;
pub mod peers;
pub mod planted;
mod repair;
pub mod shared_log;
mod sync;
mod time;
pub mod wire;

pub use cache::key;
pub use node::Node;
pub use time::Time;
