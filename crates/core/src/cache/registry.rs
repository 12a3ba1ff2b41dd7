//! Owns the caches of a node by name, so that a flush from elsewhere finds its copies and flights.
//! It must never keep a cache alive that the application has let go.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::Proof;
use crate::sync::Mutex;
use crate::wire::Scope;

/// A cache of any type, as a flush sees it.
pub trait Flushable: Send + Sync {
    /// When this returns, no read that starts later gets what `scope` names, and no flight that
    /// is under way will install it.
    fn apply(&self, scope: Scope<'_>) -> Effect;

    /// When this returns, nothing whose load started before is served. Costs one atomic: copies
    /// are replaced as they are asked for.
    fn distrust(&self);
}

/// What applying a scope came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Exactly what was named.
    AsNamed,
    /// The key is no key of this cache's type, so the whole cache was dropped: the safe side.
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
        by_name.insert(name.to_owned(), cache);
        Ok(())
    }

    /// Applies a flush. A name that is unknown here has no copies here: nothing to do.
    pub fn apply(&self, name: &str, scope: Scope<'_>) -> Effect {
        let found = self.by_name.lock().get(name).and_then(Weak::upgrade);
        found.map_or(Effect::AsNamed, |cache| cache.apply(scope))
    }

    /// Distrusts all copies and flights of all caches, lazily.
    pub fn distrust(&self) {
        let all: Vec<_> = self.by_name.lock().values().filter_map(Weak::upgrade).collect();
        for cache in all {
            cache.distrust();
        }
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
