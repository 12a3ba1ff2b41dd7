//! Owns a cache's handle together with the loader of all its keys.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::{Cache, Key, LoadError, Loaded, Value};

type Loading<V, E> = Pin<Box<dyn Future<Output = Result<Loaded<V>, E>> + Send>>;

/// How long a key is left whose refresh has failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(10);

/// A cache that knows how its keys are loaded, so that reads need no loader at each call. Made by
/// [`Cache::with_loader`]; clones are handles on the same cache and loader.
///
/// Everything else is the cache's: it can be used as one.
pub struct ReadThrough<K, V, E> {
    cache: Cache<K, V>,
    loader: Arc<dyn Fn(K) -> Loading<V, E> + Send + Sync>,
    refresh_after: Option<Duration>,
    /// What is loaded again in the background, or was in vain a moment ago.
    refreshing: Arc<Mutex<HashSet<K>>>,
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
            Box::pin(async move { loading.await.map(Into::into) }) as Loading<V, E>
        };
        Self { cache, loader: Arc::new(loader), refresh_after: None, refreshing: Arc::default() }
    }

    /// Has copies loaded again in the background once their load is so long ago and somebody reads
    /// them: the read gets the copy it found, and nobody waits. Give the cache a longer time to live,
    /// or none.
    ///
    /// One refresh of a key runs at a time, beside no other load of it; a flush keeps it from being
    /// stored like any load. After one that fails, the key is left for ten seconds.
    #[must_use]
    pub fn refresh_after(mut self, age: Duration) -> Self {
        self.refresh_after = Some(age);
        self
    }

    /// The copy of `key`, or what the loader reads; in everything else like
    /// [`Cache::get_or_load_with`]. A hit calls nothing; a load costs one allocation more.
    ///
    /// # Errors
    /// Those of `get_or_load_with`.
    pub async fn load<Q>(&self, key: &Q) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(after) = self.refresh_after
            && let Some((value, age)) = self.cache.get_with_age(key)
        {
            if age >= after {
                self.refresh(key.to_owned());
            }
            return Ok(value);
        }
        let load = || (self.loader)(key.to_owned());
        self.cache.get_or_load_with(key, load).await
    }

    /// Loads a key again in the background.
    fn refresh(&self, key: K) {
        // Reads work without a runtime; then they load when the copy has expired.
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.refreshing.lock().insert(key.clone()) {
            return;
        }
        let claim = Claim { refreshing: Arc::clone(&self.refreshing), key };
        let (cache, loader) = (self.cache.clone(), Arc::clone(&self.loader));
        runtime.spawn(async move {
            if let Err(error) = cache.refresh(&claim.key, || loader(claim.key.clone())).await {
                tracing::warn!(cache = cache.name(), %error, "a refresh in the background failed");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        });
    }

    /// Like [`load`](Self::load); if the loader fails, the copy that has
    /// [expired](Cache::get_expired), where one is still held.
    ///
    /// Each read asks the source again: give the loader a time-out, and a pause after failures where
    /// it cannot take that.
    ///
    /// # Errors
    /// Those of `load`, where no copy is held either.
    pub async fn load_or_expired<Q>(&self, key: &Q) -> Result<Served<V, E>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        match self.load(key).await {
            Ok(value) => Ok(Served::Fresh(value)),
            Err(error) => match self.cache.get_expired(key) {
                Some((value, since)) => Ok(Served::Expired { value, since, error }),
                None => Err(error),
            },
        }
    }
}

/// That a key is being refreshed.
struct Claim<K: Key> {
    refreshing: Arc<Mutex<HashSet<K>>>,
    key: K,
}

impl<K: Key> Drop for Claim<K> {
    fn drop(&mut self) {
        self.refreshing.lock().remove(&self.key);
    }
}

/// What [`ReadThrough::load_or_expired`] gives.
#[derive(Debug, Clone)]
pub enum Served<V, E> {
    /// A copy within its time to live, or what was loaded.
    Fresh(V),
    /// The loader has failed.
    Expired {
        /// The last copy.
        value: V,
        /// For how long it has expired.
        since: Duration,
        /// What the loader failed with.
        error: LoadError<E>,
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
        let Self { cache, loader, refresh_after, refreshing } = self;
        let (loader, refreshing) = (Arc::clone(loader), Arc::clone(refreshing));
        Self { cache: cache.clone(), loader, refresh_after: *refresh_after, refreshing }
    }
}

impl<K, V, E> fmt::Debug for ReadThrough<K, V, E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ReadThrough").field("cache", &self.cache).finish_non_exhaustive()
    }
}
