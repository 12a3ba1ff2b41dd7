//! Owns the duty of whoever runs a load: to end the flight, whatever happens to the loader.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::limit::within;
use super::nesting::{Place, leading, place};
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
}

/// The cache of a lead: on its caller's task at hand, on one of its own held.
enum Held<'c, K: Key, V: Value> {
    Here(&'c Cache<K, V>),
    Shared(Arc<Cache<K, V>>),
}

impl<K: Key, V: Value> Deref for Held<'_, K, V> {
    type Target = Cache<K, V>;

    fn deref(&self) -> &Cache<K, V> {
        match self {
            Held::Here(cache) => cache,
            Held::Shared(cache) => cache,
        }
    }
}

/// The right and the duty to load one key. Dropping it hands over to somebody who waits.
pub struct Lead<'c, K: Key, V: Value> {
    cache: Held<'c, K, V>,
    flight: Arc<Flight<K, V>>,
    ended: bool,
}

impl<'c, K: Key, V: Value> Lead<'c, K, V> {
    pub(crate) fn new(cache: &'c Cache<K, V>, flight: Arc<Flight<K, V>>) -> Self {
        Self { cache: Held::Here(cache), flight, ended: false }
    }

    /// For a task of its own, which keeps the copies, and not the application's handle on them.
    pub(crate) fn own(mut self, cache: &Arc<Cache<K, V>>) -> Lead<'static, K, V> {
        self.ended = true;
        let (cache, flight) = (Held::Shared(Arc::clone(cache)), Arc::clone(&self.flight));
        Lead { cache, flight, ended: false }
    }

    /// The key that is to be loaded.
    pub fn key(&self) -> &K {
        self.flight.key()
    }

    pub(super) fn load_limit(&self) -> Option<LoadLimit> {
        self.cache.load_limit().cloned()
    }

    pub(super) fn hasher(&self) -> ahash::RandomState {
        self.cache.hasher()
    }

    pub(super) fn flight(&self) -> &Arc<Flight<K, V>> {
        &self.flight
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

    fn answer(mut self, loaded: Option<Loaded<V>>, now: Option<Time>) -> Landing {
        let took = self.took(now);
        let value = loaded.as_ref().map(|loaded| loaded.value.clone());
        let (landing, outdated_since) = self.cache.land(&self.flight, loaded, took);
        self.end(Ending::Value { value, outdated_since });
        self.cache.counts.one(Count::Loads);
        if landing == Landing::Fenced {
            self.cache.counts.one(Count::Fenced);
        }
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
    /// the limits; unless there is a fallback.
    pub async fn run<W: Into<Loaded<V>>, E: Send + Sync + 'static, L>(
        self,
        clock: impl Fn() -> Time,
        loader: impl FnOnce() -> L,
    ) -> Result<V, LoadError<E>>
    where
        L: Future<Output = Result<W, E>>,
    {
        match self.attempt(self.load_limit(), loader).await {
            Ok(loaded) => Ok(self.give(loaded, clock()).0),
            Err(error) => self.fail(error, clock()),
        }
    }

    /// Like [`run`](Self::run), without a limit, for what changes the source. That it has failed says nothing of
    /// a load: who waits is to lead one. Tells what became of the value, too.
    pub(super) async fn write<W: Into<Loaded<V>>, E: Send + Sync + 'static, L>(
        self,
        clock: impl Fn() -> Time,
        write: impl FnOnce() -> L,
    ) -> Result<(V, Landing), LoadError<E>>
    where
        L: Future<Output = Result<W, E>>,
    {
        match self.attempt(None, write).await {
            Ok(loaded) => Ok(self.give(loaded, clock())),
            Err(error) => {
                self.took(Some(clock()));
                Err(error)
            }
        }
    }

    async fn attempt<W, E, F, L>(
        &self,
        limit: Option<LoadLimit>,
        loader: F,
    ) -> Result<Loaded<V>, LoadError<E>>
    where
        W: Into<Loaded<V>>,
        F: FnOnce() -> L,
        L: Future<Output = Result<W, E>>,
    {
        // What it gives is its own code as well.
        let load = || {
            let loading = loader();
            async { loading.await.map(Into::<Loaded<V>>::into) }
        };
        run_within(limit, &[place(&self.flight)], load).await.and_then(Loaded::checked)
    }

    /// Ends the flight with what was loaded; gives back the value, and what became of it.
    pub(super) fn give(self, loaded: Loaded<V>, now: Time) -> (V, Landing) {
        (loaded.value.clone(), self.complete_at(loaded, now))
    }

    /// Ends the flight of a load that has failed.
    ///
    /// # Errors
    /// That failure, unless there is a fallback.
    pub(super) fn fail<E: Send + Sync + 'static>(
        mut self,
        error: LoadError<E>,
        now: Time,
    ) -> Result<V, LoadError<E>> {
        self.took(Some(now));
        self.count_failed();
        let fallback = self.cache.fail(&self.flight, error.erased(), now);
        self.ended = true;
        fallback.ok_or(error)
    }

    fn count_failed(&self) {
        self.cache.counts.one(Count::Loads);
        self.cache.counts.one(Count::FailedLoads);
    }

    fn end(&mut self, ending: Ending<V>) {
        self.ended = true;
        self.flight.end(ending);
    }
}

impl<K: Key, V: Value> Drop for Lead<'_, K, V> {
    fn drop(&mut self) {
        if !self.ended {
            self.cache.fence(&self.flight);
            self.count_failed();
            self.end(Ending::Abandoned);
        }
    }
}

/// Runs the loader of these flights for as long as it may take.
pub(super) async fn run_within<T, E, L: Future<Output = Result<T, E>>>(
    limit: Option<LoadLimit>,
    led: &[Place],
    loader: impl FnOnce() -> L,
) -> Result<T, LoadError<E>> {
    let alarm = || limit.as_ref().map(|limit| (limit.alarm)(limit.length));
    match caught(led, || within(alarm(), loader())).await {
        Ok(Some(told)) => told.map_err(|error| LoadError::Failed(Arc::new(error))),
        Ok(None) => {
            let after = limit.map_or(Duration::MAX, |limit| limit.length);
            Err(LoadError::TimedOut { after })
        }
        Err(message) => Err(LoadError::Panicked { message }),
    }
}

/// Runs the loader; a panic in it becomes its message.
async fn caught<L: Future>(
    led: &[Place],
    loader: impl FnOnce() -> L,
) -> Result<L::Output, Arc<str>> {
    // The loader is never touched again after a panic, so no broken state can be seen.
    let load = leading(led, || catch_unwind(AssertUnwindSafe(loader))).map_err(message)?;
    let mut load = pin!(load);
    poll_fn(|context| {
        let mut poll = || catch_unwind(AssertUnwindSafe(|| load.as_mut().poll(context)));
        match leading(led, &mut poll) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(message(panic))),
        }
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
