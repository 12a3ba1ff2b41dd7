//! Owns the flush log: what this node has announced, numbered, encoded once for all followers.
//! It must never wait for a follower: who falls behind what it holds is told so with a reset.

mod log;

pub use log::{FlushLog, Gone, LogLimits};
