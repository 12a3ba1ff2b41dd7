//! Owns what can go wrong between a node's process and who started it.

use std::io;

use super::ANSWER_WITHIN;

/// Why a node did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It did not start.
    #[error("{name} does not start: {source}")]
    Start {
        /// Who.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// Its pipes broke, or it has ended.
    #[error("{name} has ended or cannot be talked to: {source}")]
    Gone {
        /// Who.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// It said nothing.
    #[error("{name} did not answer within {ANSWER_WITHIN:?} to {asked}")]
    Silent {
        /// Who.
        name: String,
        /// What it was told.
        asked: String,
    },
    /// It said something else.
    #[error("{name} answered {answer:?} to {asked}")]
    OffTopic {
        /// Who.
        name: String,
        /// What it was told.
        asked: String,
        /// What it said.
        answer: String,
    },
}
