//! Owns loads in the background: one for each key, and a pause behind one that has failed.
//! It must never tell a value: who has waited asks the cache, which knows of flushes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Cache;
use super::read_through::Loader;
use crate::{Key, LoadError, Value};

/// How a load has ended; nothing while it is under way.
type Ending<E> = Option<Result<(), LoadError<E>>>;
type Running<K, E> = Mutex<HashMap<K, watch::Receiver<Ending<E>>>>;

/// What is loaded in the background, or was in vain a moment ago.
pub(super) struct Background<K, E>(Arc<Running<K, E>>);

impl<K: Key, E: fmt::Display + Send + Sync + 'static> Background<K, E> {
    /// Loads a key again, unless that goes on or has just failed; gives back its ending to be.
    ///
    /// Nothing without a runtime: then a read loads when the copy has expired.
    pub(super) fn start<V: Value>(
        &self,
        cache: &Cache<K, V>,
        key: &K,
        loader: &Arc<Loader<K, V, E>>,
    ) -> Option<watch::Receiver<Ending<E>>> {
        let runtime = Handle::try_current().ok()?;
        let mut running = self.0.lock();
        if let Some(ending) = running.get(key) {
            return Some(ending.clone());
        }
        let (tell, ending) = watch::channel(None);
        running.insert(key.clone(), ending.clone());
        drop(running);
        let claim = Claim { running: Arc::clone(&self.0), key: key.clone() };
        let (cache, loader) = (cache.clone(), Arc::clone(loader));
        runtime.spawn(async move {
            let ended = cache.refresh(&claim.key, || loader(claim.key.clone())).await;
            if let Err(error) = &ended {
                tracing::warn!(cache = cache.name(), %error, "a load in the background failed");
                tell.send_replace(Some(ended));
                tokio::time::sleep(cache.parts.limits.pause).await;
            } else {
                // The next one may begin before anybody has heard of this one.
                drop(claim);
                tell.send_replace(Some(ended));
            }
        });
        Some(ending)
    }
}

impl<K, E> Default for Background<K, E> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, E> Clone for Background<K, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// That a key is being loaded, or left alone.
struct Claim<K: Key, E> {
    running: Arc<Running<K, E>>,
    key: K,
}

impl<K: Key, E> Drop for Claim<K, E> {
    fn drop(&mut self) {
        // The key's drop is the application's: without the lock.
        let ended = self.running.lock().remove_entry(&self.key);
        drop(ended);
    }
}
