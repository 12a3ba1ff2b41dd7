//! Owns a cache's handle together with the loader of all its keys.

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;

use crate::{Cache, Key, LoadError, Loaded, Value};

type Loading<V, E> = Pin<Box<dyn Future<Output = Result<Loaded<V>, E>> + Send>>;

/// A cache that knows how its keys are loaded, so that reads need no loader at each call. Made by
/// [`Cache::with_loader`]; clones are handles on the same cache and loader.
///
/// Everything else is the cache's: it can be used as one.
pub struct ReadThrough<K, V, E> {
    cache: Cache<K, V>,
    loader: Arc<dyn Fn(K) -> Loading<V, E> + Send + Sync>,
}

impl<K: Key, V: Value, E: Send + Sync + 'static> ReadThrough<K, V, E> {
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
        Self { cache, loader: Arc::new(loader) }
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
        let load = || (self.loader)(key.to_owned());
        self.cache.get_or_load_with(key, load).await
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
        Self { cache: self.cache.clone(), loader: Arc::clone(&self.loader) }
    }
}

impl<K, V, E> fmt::Debug for ReadThrough<K, V, E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ReadThrough").field("cache", &self.cache).finish_non_exhaustive()
    }
}
