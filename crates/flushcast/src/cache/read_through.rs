//! Owns a cache's handle together with the loader of all its keys.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::cache::{self, Why};
use flushcast_core::load::{self, Lead};

use super::Parts;
use crate::alarm;
use crate::{AsKey, Cache, Key, LoadError, Loaded, ToKey, Value};

pub(super) type Loading<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;
type Loader<K, V, E> = dyn Fn(&cache::Cache<K, V>, K) -> Loading<Loaded<V>, E> + Send + Sync;
pub(super) type BulkLoader<K, V, E> =
    dyn Fn(Vec<K>) -> Loading<Vec<(K, Loaded<V>)>, E> + Send + Sync;

/// A cache that knows how its keys are loaded, so that reads need no loader at each call. Made by
/// [`Cache::with_loader`]; clones are handles on the same cache and loader.
///
/// Everything else is the cache's: it can be used as one.
pub struct ReadThrough<K, V, E> {
    pub(super) cache: Cache<K, V>,
    loader: Arc<Loader<K, V, E>>,
    pub(super) bulk_loader: Option<Arc<BulkLoader<K, V, E>>>,
    pub(super) loads_at_once: usize,
}

impl<K: Key, V: Value, E: fmt::Display + Send + Sync + 'static> ReadThrough<K, V, E> {
    pub(super) fn new<W, F, L>(cache: Cache<K, V>, loader: F) -> Self
    where
        W: Into<Loaded<V>>,
        F: Fn(&cache::Cache<K, V>, K) -> L + Send + Sync + 'static,
        L: Future<Output = Result<W, E>> + Send + 'static,
    {
        let loader = move |copies: &cache::Cache<K, V>, key| {
            let loading = loader(copies, key);
            Box::pin(async move { loading.await.map(Into::into) }) as Loading<Loaded<V>, E>
        };
        Self { cache, loader: Arc::new(loader), bulk_loader: None, loads_at_once: 32 }
    }

    /// How many loads of single keys [`load_many`](Self::load_many) and
    /// [`refresh_due`](Self::refresh_due) have under way at a time, each call its own. Default: 32; 0 counts
    /// as 1.
    #[must_use]
    pub fn loads_at_once(mut self, most: usize) -> Self {
        self.loads_at_once = most.max(1);
        self
    }

    /// Has [`load_many`](Self::load_many) call this, for all keys that it has to load, in place of the
    /// loader of one key.
    #[must_use]
    pub fn bulk_loader<W, F, L, I>(mut self, loader: F) -> Self
    where
        W: Into<Loaded<V>>,
        F: Fn(Vec<K>) -> L + Send + Sync + 'static,
        L: Future<Output = Result<I, E>> + Send + 'static,
        I: IntoIterator<Item = (K, W)>,
    {
        let loader = move |keys| {
            let loading = loader(keys);
            let told = async move {
                let told = loading.await?.into_iter();
                Ok(told.map(|(key, loaded)| (key, loaded.into())).collect())
            };
            Box::pin(told) as Loading<Vec<(K, Loaded<V>)>, E>
        };
        self.bulk_loader = Some(Arc::new(loader));
        self
    }

    /// The copy of `key`, or what the loader reads; in everything else like
    /// [`Cache::get_or_load_with`]. A load costs one allocation more.
    ///
    /// A copy that is due, as the cache was told by
    /// [`refresh_after`](crate::CacheBuilder::refresh_after) or
    /// [`refresh_early`](crate::CacheBuilder::refresh_early), is given at once, and loaded again in the
    /// background: once for a key at a time, beside no other load of it; a flush keeps it from being
    /// stored like any load. After one that fails, the key is
    /// [left](crate::CacheBuilder::pause_after_failure) for a while.
    ///
    /// Waits for one load, this call's or another's, at most
    /// [`load_time_out`](crate::CacheBuilder::load_time_out) from its start; without that, as long as the
    /// loader takes. If another's gives it nothing, because its caller went away, for instance, it waits for
    /// the next one, but for none any more once it has waited for twice that time: then it is timed out.
    ///
    /// # Errors
    /// Those of `get_or_load_with`.
    pub async fn load<Q: ToKey<K, Via> + ?Sized, Via>(&self, key: &Q) -> Result<V, LoadError<E>> {
        match self.look_up(key) {
            Some(value) => Ok(value),
            None => self.load_missed(key.to_key()).await,
        }
    }

    /// Loads `key`, whether a copy is here or not, and gives what the loader has said in a load that began
    /// after this call did. Readers get the copy meanwhile. Runs on the caller's task, as `load` does; if a
    /// load is under way, it waits for that first. So it waits for up to two loads, each at most
    /// [`load_time_out`](crate::CacheBuilder::load_time_out).
    ///
    /// Nobody else is told: what has changed is to be [flushed](Cache::flush).
    ///
    /// # Errors
    /// Those of `load`; the copy stays then.
    pub async fn refresh<Q: ToKey<K, Via> + ?Sized, Via>(
        &self,
        key: &Q,
    ) -> Result<V, LoadError<E>> {
        let key = key.to_key();
        let parts = &self.cache.parts;
        let loader = || (self.loader)(&parts.copies, key.clone());
        load::refresh(&parts.copies, &key, || parts.now(), loader).await
    }

    pub(super) async fn load_missed(&self, key: K) -> Result<V, LoadError<E>> {
        let parts = &self.cache.parts;
        let loader = || (self.loader)(&parts.copies, key.clone());
        load::load_missed(&parts.copies, key.clone(), || parts.now(), loader).await
    }

    /// The copy of `key`, if one is here; it is loaded again in the background if it is due.
    fn look_up<Q: ToKey<K, Via> + ?Sized, Via>(&self, key: &Q) -> Option<V> {
        let (value, is_due) = self.cache.get_or_due(key)?;
        if is_due && let Some(lead) = self.begin_due(&key.to_key()) {
            self.load_behind(lead);
        }
        Some(value)
    }

    pub(super) fn begin_due(&self, key: &K) -> Option<Lead<'static, K, V>> {
        let parts = &self.cache.parts;
        parts.copies.begin_due(key, parts.now())
    }

    /// Loads, on any task: the future keeps neither the cache's handle nor the node.
    pub(super) fn run(
        &self,
        lead: Lead<'static, K, V>,
    ) -> impl Future<Output = Result<V, LoadError<E>>> + Send + use<K, V, E> {
        let Parts { copies, clock, .. } = &*self.cache.parts;
        let (copies, clock, loader) = (Arc::clone(copies), *clock, Arc::clone(&self.loader));
        async move {
            let key = lead.key().clone();
            lead.run(|| clock.now(), || loader(&copies, key)).await
        }
    }

    fn load_behind(&self, lead: Lead<'static, K, V>) {
        let (loading, name) = (self.run(lead), self.cache.name().to_owned());
        drop(self.cache.spawn(async move {
            if let Err(error) = loading.await {
                tracing::warn!(cache = name, %error, "a load in the background failed");
            }
        }));
    }

    /// Like [`load`](Self::load); if the loader fails, or does not answer
    /// [in time](crate::CacheBuilder::serve_expired_after), the copy that has
    /// [expired](Cache::get_expired), where one is [still held](crate::CacheBuilder::keep_expired).
    ///
    /// Where no copy is held at all, the [fallback](crate::CacheBuilder::fallback) is given as any value.
    /// Where there is such a copy, the load runs in the background, and goes on when this has given
    /// the copy; for a [while](crate::CacheBuilder::pause_after_failure) after one that fails, the
    /// source is not asked again. It is waited for as long as `serve_expired_after` says; without that, and
    /// where no copy is held, as in `load`.
    ///
    /// # Errors
    /// Those of `load`, where no copy is held and there is no fallback.
    pub async fn load_or_expired<Q: ToKey<K, Via> + ?Sized, Via>(
        &self,
        key: &Q,
    ) -> Result<Served<V, E>, LoadError<E>> {
        if let Some(value) = self.look_up(key) {
            return Ok(Served::Fresh(value));
        }
        let owned = key.to_key();
        if self.cache.get_expired(key).is_some() {
            let loading = self.load_in_background(&owned);
            let told = match self.cache.parts.limits.patience {
                Some(patience) => alarm::within(patience, loading).await,
                None => Some(loading.await),
            };
            let error = match told {
                Some(Ok(value)) => return Ok(Served::Fresh(value)),
                Some(Err(error)) => Some(error),
                None => None,
            };
            // Nothing if it was flushed meanwhile.
            if let Some(served) = self.expired_for(key, error) {
                return Ok(served);
            }
        }
        let told = self.load_missed(owned).await;
        // Another read's copy may have expired meanwhile.
        told.map(Served::Fresh)
            .or_else(|error| self.expired_for(key, Some(error.clone())).ok_or(error))
    }

    /// The expired copy, if one is held, in place of this error, or of a load that takes too long.
    pub(super) fn expired_for<Q: AsKey<K, Via> + ?Sized, Via>(
        &self,
        key: &Q,
        error: Option<LoadError<E>>,
    ) -> Option<Served<V, E>> {
        let why = if error.is_some() { Why::Failed } else { Why::Slow };
        let (value, since) = self.cache.serve_expired(key, why)?;
        Some(Served::Expired { value, since, error })
    }

    /// What the load of `key` has failed with a moment ago, so that it is left alone.
    pub(super) fn failure_of<Q: AsKey<K, Via> + ?Sized, Via>(
        &self,
        key: &Q,
    ) -> Option<LoadError<E>> {
        let parts = &self.cache.parts;
        parts.copies.failure_of(key, parts.now())?.downcast()
    }

    /// Waits for a load in the background, or for the one that is under way; loads on this task if that was not
    /// for this read, or is gone with its runtime.
    ///
    /// # Errors
    /// What it has failed with, or the last one a moment ago.
    async fn load_in_background(&self, key: &K) -> Result<V, LoadError<E>> {
        let parts = &self.cache.parts;
        let start = |lead| self.load_behind(lead);
        match load::load_by(&parts.copies, key, || parts.now(), start).await? {
            Some(value) => Ok(value),
            None => self.load_missed(key.clone()).await,
        }
    }
}

/// What [`ReadThrough::load_or_expired`] gives.
#[derive(Debug, Clone)]
pub enum Served<V, E> {
    /// A copy within its time to live, what was loaded, or a [fallback](crate::CacheBuilder::fallback).
    Fresh(V),
    /// The loader has failed, or has not answered in time.
    Expired {
        /// The last copy.
        value: V,
        /// For how long it has expired.
        since: Duration,
        /// What the loader failed with; nothing if it has not answered yet.
        error: Option<LoadError<E>>,
    },
}

impl<V, E> Served<V, E> {
    /// The value, however old.
    pub fn into_value(self) -> V {
        match self {
            Self::Fresh(value) | Self::Expired { value, .. } => value,
        }
    }
}

impl<K, V, E> Deref for ReadThrough<K, V, E> {
    type Target = Cache<K, V>;

    fn deref(&self) -> &Cache<K, V> {
        &self.cache
    }
}

impl<K, V, E> Clone for ReadThrough<K, V, E> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            loader: Arc::clone(&self.loader),
            bulk_loader: self.bulk_loader.clone(),
            loads_at_once: self.loads_at_once,
        }
    }
}

impl<K, V, E> fmt::Debug for ReadThrough<K, V, E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ReadThrough").field("cache", &self.cache).finish_non_exhaustive()
    }
}
