//! Owns loads in the background: one for each key, and a pause behind one that has failed.
//! It must never tell a value: who has waited asks the cache, which knows of flushes.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Cache;
use super::read_through::Loader;
use crate::{Key, LoadError, Value, alarm};

/// How a load has ended; nothing while it is under way.
type Ending<E> = Option<Result<(), LoadError<E>>>;

/// That a key is being loaded, or left alone.
struct Claim<K, E> {
    key: K,
    hash: u64,
    ending: watch::Receiver<Ending<E>>,
}

struct Running<K, E> {
    claims: Mutex<HashTable<Arc<Claim<K, E>>>>,
    hasher: RandomState,
}

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
        let hash = self.0.hasher.hash_one(key);
        let mut claims = self.0.claims.lock();
        if let Some(claim) = claims.find(hash, |claim| claim.key == *key) {
            return Some(claim.ending.clone());
        }
        let (tell, ending) = watch::channel(None);
        let claim = Arc::new(Claim { key: key.clone(), hash, ending: ending.clone() });
        claims.insert_unique(hash, Arc::clone(&claim), |claim| claim.hash);
        drop(claims);
        let claim = Claimed { running: Arc::clone(&self.0), claim };
        let (cache, loader) = (cache.clone(), Arc::clone(loader));
        runtime.spawn(async move {
            let ended = cache.refresh(claim.key(), || loader(claim.key().clone())).await;
            if let Err(error) = &ended {
                tracing::warn!(cache = cache.name(), %error, "a load in the background failed");
                tell.send_replace(Some(ended));
                alarm::sleep(cache.parts.limits.pause).await;
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
        Self(Arc::new(Running { claims: Mutex::default(), hasher: RandomState::new() }))
    }
}

impl<K, E> Clone for Background<K, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Gives a claim up when its task ends, however it does. That asks nothing of the key, whose hash or
/// comparison may be what has panicked in there: a second panic would end the process.
struct Claimed<K, E> {
    running: Arc<Running<K, E>>,
    claim: Arc<Claim<K, E>>,
}

impl<K, E> Claimed<K, E> {
    fn key(&self) -> &K {
        &self.claim.key
    }
}

impl<K, E> Drop for Claimed<K, E> {
    fn drop(&mut self) {
        let mut claims = self.running.claims.lock();
        let held = claims.find_entry(self.claim.hash, |held| Arc::ptr_eq(held, &self.claim));
        // The key's drop is the application's: it goes with this, without the lock.
        if let Ok(held) = held {
            held.remove();
        }
    }
}
