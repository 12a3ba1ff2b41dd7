//! Owns how a measurement fails. Whatever it fails with, no figure is given.

use std::io;

use flushcast::{CacheError, FlushError, SecretError, StartError};
use flushcast_core::wire::FrameError;

use crate::process::ProcessError;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A follower could not be started, or did not do what it was told.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A measured node could not be started.
    #[error("a node does not start: {0}")]
    Start(#[from] StartError),
    /// A measured node has no secret.
    #[error("a node has no secret: {0}")]
    Secret(#[from] SecretError),
    /// A measured node's cache could not be made.
    #[error("a node has no cache: {0}")]
    Cache(#[from] CacheError),
    /// A flush was not announced.
    #[error("a flush was not announced: {0}")]
    Flush(#[from] FlushError),
    /// The raw publisher's sockets.
    #[error("the raw publisher: {0}")]
    Raw(io::Error),
    /// Not all followers came, or not in time.
    #[error("the followers were not all there in time: {seen}")]
    NotLinked {
        /// Who was.
        seen: String,
    },
    /// A flush was not confirmed by all followers.
    #[error("flush {number} was not applied by all: {outcome}")]
    Unconfirmed {
        /// Which, from 0.
        number: usize,
        /// What it came to.
        outcome: String,
    },
    /// A follower holds fewer or more copies than the measure needs.
    #[error("{follower} serves {copies} copies of {keys}, not {wanted}")]
    Copies {
        /// Who.
        follower: String,
        /// How many it serves.
        copies: usize,
        /// Of which keys.
        keys: String,
        /// How many it should.
        wanted: usize,
    },
    /// A follower did not apply a flush that it has acknowledged, or did so too late.
    #[error("{follower} has acknowledged flush {number} before it was applied")]
    AcknowledgedEarly {
        /// Who.
        follower: String,
        /// Which, from 0.
        number: usize,
    },
    /// A peer that is played was told something that is no frame.
    #[error("a scripted peer was told what is no frame: {0}")]
    Frame(#[from] FrameError),
    /// No addresses to listen at.
    #[error("no addresses to listen at: {0}")]
    Addresses(io::Error),
    /// The system does not tell how much memory is used.
    #[error("the system does not tell how much memory is used: {0}")]
    Memory(io::Error),
    /// A copy could not be made.
    #[error("a copy could not be made: {0}")]
    Load(String),
    /// Not all reads were hits.
    #[error("{subject}: {hits:?} hits of {wanted} reads")]
    Misses {
        /// Who was read.
        subject: String,
        /// How many of one thread's reads were hits; none if it panicked.
        hits: Option<usize>,
        /// How many there should be.
        wanted: usize,
    },
    /// The measuring task, or the thread of the publisher, has ended.
    #[error("the publisher has ended: {0}")]
    Publisher(#[from] tokio::task::JoinError),
    /// The system gives no threads.
    #[error("the system gives no threads: {0}")]
    Threads(io::Error),
}
