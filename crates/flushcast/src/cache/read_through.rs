//! Owns a cache's handle together with the loader of all its keys.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::cache::Why;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::background::Background;
use crate::alarm;
use crate::{Cache, Key, LoadError, Loaded, ToKey, Value};

type Loading<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;
pub(super) type Loader<K, V, E> = dyn Fn(K) -> Loading<Loaded<V>, E> + Send + Sync;
type BulkLoader<K, V, E> = dyn Fn(Vec<K>) -> Loading<Vec<(K, Loaded<V>)>, E> + Send + Sync;

/// Loads of single keys that a read of many has under way at a time.
const AT_ONCE: usize = 32;

/// A cache that knows how its keys are loaded, so that reads need no loader at each call. Made by
/// [`Cache::with_loader`]; clones are handles on the same cache and loader.
///
/// Everything else is the cache's: it can be used as one.
pub struct ReadThrough<K, V, E> {
    cache: Cache<K, V>,
    loader: Arc<Loader<K, V, E>>,
    bulk_loader: Option<Arc<BulkLoader<K, V, E>>>,
    background: Background<K, E>,
}

impl<K: Key, V: Value, E: fmt::Display + Send + Sync + 'static> ReadThrough<K, V, E> {
    pub(crate) fn new<W, F, L>(cache: Cache<K, V>, loader: F) -> Self
    where
        W: Into<Loaded<V>>,
        F: Fn(K) -> L + Send + Sync + 'static,
        L: Future<Output = Result<W, E>> + Send + 'static,
    {
        let loader = move |key| {
            let loading = loader(key);
            Box::pin(async move { loading.await.map(Into::into) }) as Loading<Loaded<V>, E>
        };
        let background = Background::default();
        Self { cache, loader: Arc::new(loader), bulk_loader: None, background }
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
    /// loader takes.
    ///
    /// # Errors
    /// Those of `get_or_load_with`.
    pub async fn load<Q, Via>(&self, key: &Q) -> Result<V, LoadError<E>>
    where
        Q: ToKey<K, Via> + ?Sized,
    {
        match self.look_up(key) {
            Some(value) => Ok(value),
            None => self.load_missed(key.to_key()).await,
        }
    }

    async fn load_missed(&self, key: K) -> Result<V, LoadError<E>> {
        self.cache.load_missed(key.clone(), || (self.loader)(key)).await
    }

    /// The copy of `key`, if one is here; it is loaded again in the background if it is due.
    fn look_up<Q, Via>(&self, key: &Q) -> Option<V>
    where
        Q: ToKey<K, Via> + ?Sized,
    {
        let (value, is_due) = self.cache.get_or_due(key)?;
        if is_due {
            // Nobody waits for it.
            let _ = self.background.start(&self.cache, &key.to_key(), &self.loader);
        }
        Some(value)
    }

    /// The copies of many keys, in their order, with those loaded that are not here: by one call of the
    /// [bulk loader](Self::bulk_loader), or, without one, 32 at a time. In everything else like
    /// [`Cache::get_or_load_many`]; call it at the start to warm a cache up.
    ///
    /// # Errors
    /// Those of `get_or_load_many`.
    pub async fn load_many(&self, keys: &[K]) -> Result<Vec<Option<V>>, LoadError<E>> {
        let loader = |keys: Vec<K>| match &self.bulk_loader {
            Some(loader) => loader(keys),
            None => {
                let loader = Arc::clone(&self.loader);
                let one = move |key: K| {
                    let loading = loader(key.clone());
                    async move { loading.await.map(|loaded| (key, loaded)) }
                };
                Box::pin(stream::iter(keys).map(one).buffer_unordered(AT_ONCE).try_collect())
            }
        };
        self.cache.get_or_load_many(keys, loader).await
    }

    /// Like [`load`](Self::load); if the loader fails, or does not answer
    /// [in time](crate::CacheBuilder::serve_expired_after), the copy that has
    /// [expired](Cache::get_expired), where one is [still held](crate::CacheBuilder::keep_expired).
    ///
    /// Where there is such a copy, the load runs in the background, and goes on when this has given
    /// the copy; for a [while](crate::CacheBuilder::pause_after_failure) after one that fails, the
    /// source is not asked again. It is waited for as long as `serve_expired_after` says; without that, and
    /// where no copy is held, as in `load`.
    ///
    /// # Errors
    /// Those of `load`, where no copy is held.
    pub async fn load_or_expired<Q, Via>(&self, key: &Q) -> Result<Served<V, E>, LoadError<E>>
    where
        Q: ToKey<K, Via> + ?Sized,
    {
        if let Some(value) = self.look_up(key) {
            return Ok(Served::Fresh(value));
        }
        let owned = key.to_key();
        if self.cache.get_expired(key).is_some()
            && let Some((why, error)) = self.load_in_background(&owned).await
            && let Some((value, since)) = self.cache.serve_expired(key, why)
        {
            return Ok(Served::Expired { value, since, error });
        }
        match self.load_missed(owned).await {
            Ok(value) => Ok(Served::Fresh(value)),
            // Another read's copy may have expired meanwhile, or there is no runtime.
            Err(error) => match self.cache.serve_expired(key, Why::Failed) {
                Some((value, since)) => Ok(Served::Expired { value, since, error: Some(error) }),
                None => Err(error),
            },
        }
    }

    /// Waits for a load in the background; gives why it has brought nothing: it has failed, and with what,
    /// or takes too long.
    async fn load_in_background(&self, key: &K) -> Option<(Why, Option<LoadError<E>>)> {
        let mut ending = self.background.start(&self.cache, key, &self.loader)?;
        let ended = ending.wait_for(Option::is_some);
        let ended = match self.cache.parts.limits.patience {
            Some(patience) => alarm::within(patience, ended).await,
            None => Some(ended.await),
        };
        let Some(ended) = ended else { return Some((Why::Slow, None)) };
        // Without an ending, the runtime that ran it is gone.
        let error = ended.ok()?.clone()?.err()?;
        Some((Why::Failed, Some(error)))
    }
}

/// What [`ReadThrough::load_or_expired`] gives.
#[derive(Debug, Clone)]
pub enum Served<V, E> {
    /// A copy within its time to live, or what was loaded.
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
            background: self.background.clone(),
        }
    }
}

impl<K, V, E> fmt::Debug for ReadThrough<K, V, E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ReadThrough").field("cache", &self.cache).finish_non_exhaustive()
    }
}
