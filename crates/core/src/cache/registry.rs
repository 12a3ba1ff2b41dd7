//! Owns the caches of a node by name, so that a flush from elsewhere finds its copies and flights.
//! It must never keep a cache alive that the application has let go.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use super::Proof;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::wire::Scope;

/// A cache of any type, as a flush sees it.
pub trait Flushable: Send + Sync {
    /// When this returns, no read that starts later gets what `scope` names, and no flight that
    /// is under way will install it.
    fn apply(&self, scope: Scope<'_>) -> Effect;

    /// When this returns, nothing whose load started before is served. Costs one atomic: copies
    /// are replaced as they are asked for.
    fn distrust(&self);

    /// Nothing is served or stored from here on: every read loads for itself. Costs one atomic:
    /// what is held goes with the cache.
    fn close(&self);
}

/// What applying a scope came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Exactly what was named.
    AsNamed,
    /// The key is no key of this cache's type, or the application's code for it panicked, so the
    /// whole cache was dropped: the safe side.
    Widened,
}

/// A cache of this name is in use already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cache {name:?} exists already: clone its handle instead")]
pub struct NameTaken {
    /// The name.
    pub name: String,
}

/// The caches of one node.
#[derive(Default)]
pub struct Caches {
    by_name: Mutex<BTreeMap<String, Weak<dyn Flushable>>>,
    proof: Arc<Proof>,
    closed: AtomicBool,
}

impl Caches {
    /// Lets flushes reach `cache` under `name` for as long as somebody holds it.
    ///
    /// # Errors
    /// [`NameTaken`] if a living cache has the name; nothing has changed then.
    pub fn register(&self, name: &str, cache: Weak<dyn Flushable>) -> Result<(), NameTaken> {
        let mut by_name = self.by_name.lock();
        if by_name.get(name).is_some_and(|held| held.strong_count() > 0) {
            return Err(NameTaken { name: name.to_owned() });
        }
        if self.closed.load(Ordering::SeqCst)
            && let Some(cache) = cache.upgrade()
        {
            cache.close();
        }
        by_name.insert(name.to_owned(), cache);
        Ok(())
    }

    /// Applies a flush. A name that is unknown here has no copies here: nothing to do.
    pub fn apply(&self, name: &str, scope: Scope<'_>) -> Effect {
        let found = self.by_name.lock().get(name).and_then(Weak::upgrade);
        let Some(cache) = found else { return Effect::AsNamed };
        // A key's parser and hash and a value's drop are the application's. A panic of theirs must
        // not end the connection it came over, and the flush must count all the same.
        catch_unwind(AssertUnwindSafe(|| cache.apply(scope))).unwrap_or_else(|_panic| {
            cache.distrust();
            Effect::Widened
        })
    }

    /// Distrusts all copies and flights of all caches, lazily.
    pub fn distrust(&self) {
        self.all().iter().for_each(|cache| cache.distrust());
    }

    /// Ends all caches, for a node that leaves: nobody will tell it of flushes any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.all().iter().for_each(|cache| cache.close());
    }

    fn all(&self) -> Vec<Arc<dyn Flushable>> {
        self.by_name.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// The node's proof of sync, as its caches read it.
    pub fn proof(&self) -> Arc<Proof> {
        Arc::clone(&self.proof)
    }
}

impl std::fmt::Debug for Caches {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.by_name.lock().keys()).finish()
    }
}
