//! Owns what a flush does, by key, by tag, by prefix or to everything, called here or come from elsewhere.
//! Each makes loads from before it unable to install before it drops a copy, and drops the
//! application's values when no lock is held. A panic of the application's code for one of them costs the
//! cache its copies, and the flush nothing.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use ahash::RandomState;

use super::app_code::{contain, let_go};
use super::copied::Copied;
use super::pass::{Job, Pass};
use super::trust::Order;
use super::{Apply, Cache, Count, Flushable, Key, RemovalCause, Sweep, Value};
use crate::Time;
use crate::planted::{Fault, planted};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::wire::Scope;

impl<K: Key, V: Value> Cache<K, V> {
    /// Drops the copy of `key` and fences its flight, here only; the caller announces it.
    pub fn flush_key<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.counts.one(Count::KeysHere);
        if !self.drop_key(key) {
            self.counts.one(Count::Widened);
        }
    }

    /// False if the key's hash or comparison panicked, so that nothing is trusted any more.
    pub(crate) fn drop_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let taken = contain(|| {
            let hash = self.shards.hash(key);
            let mut shard = self.shards.write(hash);
            let leaves_load = planted(Fault::KeyFlushLeavesLoad);
            let fenced = if leaves_load { None } else { shard.flights.take(hash, key) };
            (fenced, shard.remove(hash, key))
        });
        let Some((fenced, removed)) = taken else {
            self.trust.order.distrust();
            return false;
        };
        self.note_removed(removed, RemovalCause::Flushed);
        let_go(fenced);
        true
    }

    /// What a flush of `key`, which is written as `text`, names on other nodes: that key, or everything if
    /// the text does not read back as the same one. That is counted; it costs reading the text.
    pub fn scope_of<'t>(&self, key: &K, text: &'t str) -> Scope<'t> {
        let reads_back = contain(|| K::from_text(text).is_ok_and(|read| read == *key));
        if reads_back == Some(true) || planted(Fault::KeyFlushedAsAnother) {
            return Scope::Key(text);
        }
        self.counts.one(Count::Widened);
        Scope::All
    }

    /// Drops every copy, and refuses every load that is under way, here only; the caller announces
    /// it.
    pub fn flush_all(&self) {
        self.counts.one(Count::AllHere);
        self.drop_named(Scope::All);
    }

    /// Drops every copy that has a tag, and refuses every load that is under way and comes to have
    /// it, here only; the caller announces it. Costs a removal of each copy that has the tag.
    pub fn flush_tag(&self, tag: &str) {
        self.counts.one(Count::TagsHere);
        self.drop_named(Scope::Tag(tag));
    }

    /// Drops every copy whose key's text begins so, and fences its flight, here only; the caller
    /// announces it. Costs a look at each copy.
    pub fn flush_prefix(&self, prefix: &str) {
        self.counts.one(Count::PrefixesHere);
        self.drop_named(Scope::Prefix(prefix));
    }

    fn drop_named(&self, scope: Scope<'_>) {
        Pass::begin(&self.trust.order, &self.shards.hasher(), &[scope]).finish(self);
    }

    /// Tells of them and drops them, without a lock.
    pub(super) fn note_flushed(&self, removed: &mut Vec<Copied<K, V>>) {
        for copy in removed.drain(..) {
            self.note_removed(Some(copy), RemovalCause::Flushed);
        }
    }

    /// This cache, as flushes reach it. Does not keep it alive.
    pub fn reach(self: &Arc<Self>) -> Arc<dyn Flushable> {
        Arc::new(Reach {
            order: Arc::clone(&self.trust.order),
            hasher: self.shards.hasher(),
            abandoned: Arc::clone(&self.abandoned),
            is_swept: self.config.is_swept,
            cache: Arc::downgrade(self),
        })
    }

    /// When this returns, nothing whose load started before is served. Costs one atomic: copies
    /// are replaced as they are asked for.
    pub fn distrust(&self) {
        self.trust.order.distrust();
    }
}

/// A cache as the registry holds it. It never holds more than this, so that it is never the last to let
/// values go, under whose lock that may be.
struct Reach<K, V> {
    order: Arc<Order>,
    hasher: RandomState,
    abandoned: Arc<AtomicBool>,
    is_swept: bool,
    cache: Weak<Cache<K, V>>,
}

impl<K: Key, V: Value> Flushable for Reach<K, V> {
    fn begin(&self, scopes: &[Scope<'_>]) -> Box<dyn Apply> {
        let count = |scope: &Scope<'_>| match scope {
            Scope::Key(_) => Count::KeysFromElsewhere,
            Scope::All => Count::AllFromElsewhere,
            Scope::Tag(_) => Count::TagsFromElsewhere,
            Scope::Prefix(_) => Count::PrefixesFromElsewhere,
        };
        let counts = scopes.iter().map(count).collect();
        let pass = Pass::begin(&self.order, &self.hasher, scopes);
        Box::new(Job { cache: Weak::clone(&self.cache), pass, counts })
    }

    fn distrust(&self) {
        self.order.distrust();
    }

    fn close(&self) {
        self.order.close();
    }

    fn is_held(&self) -> bool {
        self.cache.strong_count() > 0 && !self.abandoned.load(Ordering::SeqCst)
    }

    fn sweep(&self, sweep: &mut Sweep, now: Time) -> bool {
        let Some(cache) = self.cache.upgrade().filter(|_| self.is_swept) else { return true };
        // A key's hash function may panic.
        let is_done = contain(|| cache.sweep(sweep, now)).unwrap_or(true);
        // It may be the last who holds it.
        let_go(cache);
        is_done
    }
}
