//! Owns the duty of whoever runs a load: to end the flight, whatever happens to the loader.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::limit::within;
use super::{Ending, Flight, LoadError, LoadLimit, Loaded};
use crate::Time;
use crate::cache::{Cache, Count, Key, Value};

/// What became of a flight's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landing {
    /// It is held.
    Stored,
    /// A flush or a younger flight came between: callers from before get it, nothing is stored.
    Fenced,
    /// It was not to be stored, or is too heavy to be held, or made room at once: one that is heavier
    /// than what it replaces may. What was held of the key is older, and gone.
    Unstored,
    /// There was none: the load has failed, and what is held stays.
    Empty,
}

/// The right and the duty to load one key. Dropping it hands over to somebody who waits.
pub struct Lead<'c, K: Key, V: Value> {
    cache: &'c Cache<K, V>,
    flight: Arc<Flight<K, V>>,
    ended: bool,
}

impl<'c, K: Key, V: Value> Lead<'c, K, V> {
    pub(crate) fn new(cache: &'c Cache<K, V>, flight: Arc<Flight<K, V>>) -> Self {
        Self { cache, flight, ended: false }
    }

    /// Ends the flight with a value, as if its load had taken no time.
    pub fn complete(self, loaded: impl Into<Loaded<V>>) -> Landing {
        self.complete_at(loaded.into(), None)
    }

    /// Ends the flight with a value that was there at `now`.
    pub fn complete_at(self, loaded: Loaded<V>, now: impl Into<Option<Time>>) -> Landing {
        self.answer(Some(loaded), now.into())
    }

    /// Ends the flight with the news that there was no value at `now`. Who waits is told that, and what is
    /// held is dropped.
    pub fn complete_without_value(self, now: Time) -> Landing {
        self.answer(None, Some(now))
    }

    fn answer(self, loaded: Option<Loaded<V>>, now: Option<Time>) -> Landing {
        let (cache, took) = (self.cache, self.took(now));
        let landing = self.land(loaded, took);
        cache.counts.one(Count::Loads);
        if landing == Landing::Fenced {
            cache.counts.one(Count::Fenced);
        }
        landing
    }

    /// Stores what was not loaded.
    pub(crate) fn store(self, loaded: Loaded<V>) -> Landing {
        self.land(Some(loaded), Duration::ZERO)
    }

    fn land(mut self, loaded: Option<Loaded<V>>, took: Duration) -> Landing {
        let value = loaded.as_ref().map(|loaded| loaded.value.clone());
        let (landing, outdated_since) = self.cache.land(&self.flight, loaded, took);
        self.end(Ending::Value { value, outdated_since });
        landing
    }

    fn took(&self, now: Option<Time>) -> Duration {
        let took = now.map_or(Duration::ZERO, |now| now.since(self.flight.birth().started));
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.cache.counts.add(Count::LoadNanos, nanos);
        took
    }

    /// Runs the loader and ends the flight with what it comes to. `clock` tells how long it took.
    ///
    /// # Errors
    /// What the loader failed with, that it panicked or took longer than it may, or that it gave tags over
    /// the limits. Nothing is stored then.
    pub async fn run<W, E, F, L>(
        self,
        clock: impl Fn() -> Time,
        loader: F,
    ) -> Result<V, LoadError<E>>
    where
        W: Into<Loaded<V>>,
        E: Send + Sync + 'static,
        F: FnOnce() -> L,
        L: Future<Output = Result<W, E>>,
    {
        let limit = self.cache.load_limit();
        self.run_to_landing(limit, clock, loader).await.0
    }

    /// Like [`run`](Self::run) with this limit, and tells what became of the value.
    pub(super) async fn run_to_landing<W, E, F, L>(
        self,
        limit: Option<&LoadLimit>,
        clock: impl Fn() -> Time,
        loader: F,
    ) -> (Result<V, LoadError<E>>, Landing)
    where
        W: Into<Loaded<V>>,
        E: Send + Sync + 'static,
        F: FnOnce() -> L,
        L: Future<Output = Result<W, E>>,
    {
        let failed = match run_within(limit, loader).await {
            Ok(loaded) => {
                let mut loaded = loaded.into();
                match loaded.check_tags() {
                    Ok(()) => {
                        let value = loaded.value.clone();
                        return (Ok(value), self.complete_at(loaded, clock()));
                    }
                    Err((tags, longest)) => {
                        (LoadError::BadTags { tags, longest }, Ending::BadTags(tags, longest))
                    }
                }
            }
            Err(failed) => failed,
        };
        (Err(failed.0), self.fail(failed.1, clock()))
    }

    /// Ends the flight without a value.
    pub(super) fn fail(mut self, ending: Ending<V>, now: Time) -> Landing {
        self.took(Some(now));
        self.leave(ending)
    }

    fn leave(&mut self, ending: Ending<V>) -> Landing {
        self.cache.fence(&self.flight);
        self.cache.counts.one(Count::Loads);
        self.cache.counts.one(Count::FailedLoads);
        self.end(ending);
        Landing::Empty
    }

    fn end(&mut self, ending: Ending<V>) {
        self.ended = true;
        self.flight.end(ending);
    }
}

impl<K: Key, V: Value> Drop for Lead<'_, K, V> {
    fn drop(&mut self) {
        if !self.ended {
            self.leave(Ending::Abandoned);
        }
    }
}

/// Runs the loader for as long as it may take. What it fails with is for its own caller, and for those who
/// wait.
pub(super) async fn run_within<T, E, V, F, L>(
    limit: Option<&LoadLimit>,
    loader: F,
) -> Result<T, (LoadError<E>, Ending<V>)>
where
    E: Send + Sync + 'static,
    F: FnOnce() -> L,
    L: Future<Output = Result<T, E>>,
{
    let alarm = || limit.map(|limit| (limit.alarm)(limit.length));
    Err(match caught(|| within(alarm(), loader())).await {
        Ok(Some(Ok(told))) => return Ok(told),
        Ok(Some(Err(error))) => {
            let error = Arc::new(error);
            (LoadError::Failed(Arc::clone(&error)), Ending::Failed(error))
        }
        Ok(None) => {
            let after = limit.map_or(Duration::MAX, |limit| limit.length);
            (LoadError::TimedOut { after }, Ending::TimedOut(after))
        }
        Err(message) => {
            (LoadError::Panicked { message: Arc::clone(&message) }, Ending::Panicked(message))
        }
    })
}

/// Runs the loader; a panic in it becomes its message.
async fn caught<T, F, L>(loader: F) -> Result<T, Arc<str>>
where
    F: FnOnce() -> L,
    L: Future<Output = T>,
{
    // The loader is never touched again after a panic, so no broken state can be seen.
    let load = catch_unwind(AssertUnwindSafe(loader)).map_err(message)?;
    let mut load = pin!(load);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| load.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(message(panic))),
    })
    .await
}

fn message(panic: Box<dyn Any + Send>) -> Arc<str> {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => Arc::from(*text),
        (_, Some(text)) => Arc::from(text.as_str()),
        _ => Arc::from("no message"),
    }
}
