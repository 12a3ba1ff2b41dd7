//! Owns what a load can fail with.

use std::any::Any;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::wire::{MAX_KEY_BYTES, MAX_TAG_BYTES, MAX_TAGS};

/// Why there is no value: of a read, a `put` or an `insert`. Nothing was stored, and a copy that a failed load
/// was to replace stays. Behind a failed `put` the key is flushed, as the source may have changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError<E: ?Sized> {
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
    /// The loader of this key, or the write of a `put` of it, has asked for the key itself, directly or
    /// through other keys and caches: it would have waited for its own end. Read the source there.
    ///
    /// Known of all that waits for another load while its own is polled, on whatever task; what a loader has
    /// spawned, or one of many dozens of keys, waits until the time-out.
    Recursive,
    /// The runtime that ran it was shut down in the middle.
    Cancelled,
}

/// What a load has failed with, whatever the type of its loader's error.
pub type Failure = LoadError<dyn Any + Send + Sync>;

impl<E: ?Sized> LoadError<E> {
    /// The same with another error of the loader's, if there is one.
    fn with<F: ?Sized, N>(
        &self,
        error: impl FnOnce(&Arc<E>) -> Result<Arc<F>, N>,
    ) -> Result<LoadError<F>, N> {
        Ok(match self {
            Self::Failed(failed) => LoadError::Failed(error(failed)?),
            Self::Panicked { message } => LoadError::Panicked { message: Arc::clone(message) },
            Self::TimedOut { after } => LoadError::TimedOut { after: *after },
            Self::BadTags { tags, longest } => {
                LoadError::BadTags { tags: *tags, longest: *longest }
            }
            Self::KeyTooLong { bytes } => LoadError::KeyTooLong { bytes: *bytes },
            Self::Recursive => LoadError::Recursive,
            Self::Cancelled => LoadError::Cancelled,
        })
    }
}

impl<E: Send + Sync + 'static> LoadError<E> {
    /// For those who may have a loader of another error type.
    pub(super) fn erased(&self) -> Failure {
        let Ok(erased) = self.with(|error| {
            let erased: Arc<dyn Any + Send + Sync> = Arc::<E>::clone(error);
            Ok::<_, Infallible>(erased)
        });
        erased
    }
}

impl Failure {
    /// For who has a loader with this type of error; nothing if it was another one's.
    pub fn downcast<E: Send + Sync + 'static>(&self) -> Option<LoadError<E>> {
        self.with(|error| Arc::clone(error).downcast()).ok()
    }
}

impl<E: ?Sized> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        let Ok(cloned) = self.with(|error| Ok::<_, Infallible>(Arc::clone(error)));
        cloned
    }
}

impl<E: fmt::Display + ?Sized> fmt::Display for LoadError<E> {
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
            Self::Recursive => {
                write!(
                    out,
                    "the load of this key has asked for the key itself: it would wait for ever"
                )
            }
            Self::Cancelled => write!(out, "the runtime was shut down in the middle of it"),
        }
    }
}

/// For every error that can be shown, boxed ones and texts included; so it has no `source`: match
/// on [`LoadError::Failed`] for the loader's own error.
impl<E: fmt::Debug + fmt::Display> Error for LoadError<E> {}
