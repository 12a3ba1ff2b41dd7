//! Owns what a load can fail with.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::wire::{MAX_KEY_BYTES, MAX_TAG_BYTES, MAX_TAGS};

/// Why a read got no value. In every case nothing was stored and the next read loads anew.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader's own error, shared by all who waited for that load.
    Failed(Arc<E>),
    /// The loader panicked; the panic was caught and reported to all who waited.
    Panicked {
        /// The panic's message.
        message: Arc<str>,
    },
    /// The load took longer than it may; it was given up.
    TimedOut {
        /// The limit.
        after: Duration,
    },
    /// The loader gave more tags than a copy may have, or a longer one.
    BadTags {
        /// How many.
        tags: usize,
        /// The length of the longest, in bytes.
        longest: usize,
    },
    /// The key's text is over the limit, so no flush could ever name it: the loader was not
    /// called. Use a shorter key, for example a hash of it.
    KeyTooLong {
        /// The length of its text in bytes.
        bytes: usize,
    },
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::Panicked { message } => Self::Panicked { message: Arc::clone(message) },
            Self::TimedOut { after } => Self::TimedOut { after: *after },
            Self::BadTags { tags, longest } => Self::BadTags { tags: *tags, longest: *longest },
            Self::KeyTooLong { bytes } => Self::KeyTooLong { bytes: *bytes },
        }
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(out, "load failed: {error}"),
            Self::Panicked { message } => write!(out, "loader panicked: {message}"),
            Self::TimedOut { after } => write!(out, "load took longer than {after:?}"),
            Self::BadTags { tags, longest } => write!(
                out,
                "{tags} tags, the longest of {longest} bytes: at most {MAX_TAGS} of {MAX_TAG_BYTES} \
                 bytes are allowed"
            ),
            Self::KeyTooLong { bytes } => {
                write!(out, "key of {bytes} bytes is over the limit of {MAX_KEY_BYTES}")
            }
        }
    }
}

/// For every error that can be shown, boxed ones and texts included; so it has no `source`: match
/// on [`LoadError::Failed`] for the loader's own error.
impl<E: fmt::Debug + fmt::Display> Error for LoadError<E> {}
