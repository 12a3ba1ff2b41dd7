//! Owns what a flush does, by key, by tag, by prefix or to everything, called here or come from elsewhere,
//! and what makes copies expire, which does the same but leaves them there. Each makes loads from before it
//! unable to install before it drops a copy, and drops the application's values when no lock is held. A
//! panic of the application's code for one of them costs the cache its copies, and the flush nothing.

use std::sync::{Arc, Weak};

use ahash::RandomState;

use super::app_code::{contain, let_go};
use super::copied::Copied;
use super::pass::{Job, Pass, Verb};
use super::trust::Order;
use super::{Apply, AsKey, Cache, Count, Flushable, Key, Sweep, Value};
use crate::Time;
use crate::planted::{Fault, planted};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::wire::Scope;

impl<K: Key, V: Value> Cache<K, V> {
    /// Drops the copy of `key` and fences its flight, here only; the caller announces it.
    pub fn flush_key<Q: AsKey<K, Via> + ?Sized, Via>(&self, key: &Q) {
        self.end_key_here(key, Verb::Flush);
    }

    /// Has the copy of `key` expire, `now` at the latest, and fences its flight, here only; the caller
    /// announces it. No read that starts later is given it but as one that has expired.
    pub fn expire_key<Q: AsKey<K, Via> + ?Sized, Via>(&self, key: &Q, now: Time) {
        self.end_key_here(key, Verb::Expire(now));
    }

    fn end_key_here<Q: AsKey<K, Via> + ?Sized, Via>(&self, key: &Q, verb: Verb) {
        self.counts.one(Count::KeysHere);
        if !self.end_key(key, verb) {
            self.counts.one(Count::Widened);
        }
    }

    /// Drops the copy of `key`, and fences its flight. False if the key's hash or comparison panicked, so
    /// that nothing is trusted any more.
    pub(crate) fn drop_key<Q: AsKey<K, Via> + ?Sized, Via>(&self, key: &Q) -> bool {
        self.end_key(key, Verb::Flush)
    }

    pub(super) fn end_key<Q: AsKey<K, Via> + ?Sized, Via>(&self, key: &Q, verb: Verb) -> bool {
        let stays = self.stays(verb);
        let taken = contain(|| {
            let hash = self.shards.hash(key);
            let mut shard = self.shards.write(hash);
            let leaves_load = planted(Fault::KeyFlushLeavesLoad);
            let fenced = if leaves_load { None } else { shard.flights.take(hash, key) };
            (fenced, shard.end(hash, |copy| key.equals(&copy.key), stays))
        });
        let Some((fenced, removed)) = taken else {
            self.trust.order.distrust();
            return false;
        };
        self.note_removed(removed, verb.cause());
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
        self.apply(&[Scope::All], Time::ZERO);
    }

    /// Drops every copy that has a tag, and refuses every load that is under way and comes to have
    /// it, here only; the caller announces it. Costs a removal of each copy that has the tag.
    pub fn flush_tag(&self, tag: &str) {
        self.apply(&[Scope::Tag(tag)], Time::ZERO);
    }

    /// Drops every copy whose key's text begins so, and fences its flight, here only; the caller
    /// announces it. Costs a look at each copy.
    pub fn flush_prefix(&self, prefix: &str) {
        self.apply(&[Scope::Prefix(prefix)], Time::ZERO);
    }

    /// Does what the application's own call of these scopes does, here only; the caller announces it.
    /// Copies that are to expire have done so at `now`, by the clock of reads, at the latest.
    pub fn apply(&self, scopes: &[Scope<'_>], now: Time) {
        for scope in scopes {
            self.counts.one(match scope.flushed() {
                Scope::Key(_) => Count::KeysHere,
                Scope::Tag(_) => Count::TagsHere,
                Scope::Prefix(_) => Count::PrefixesHere,
                _ => Count::AllHere,
            });
        }
        let passes = passes(&self.trust.order, &self.shards.hasher(), scopes, now);
        passes.into_iter().for_each(|pass| pass.finish(self));
    }

    /// Tells of them and drops them, without a lock.
    pub(super) fn note_ended(&self, removed: &mut Vec<Copied<K, V>>, verb: Verb) {
        for copy in removed.drain(..) {
            self.note_removed(Some(copy), verb.cause());
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

/// What is to be done about these scopes: what drops, and what has copies expire.
fn passes<K: Key, V: Value>(
    order: &Arc<Order>,
    hasher: &RandomState,
    scopes: &[Scope<'_>],
    now: Time,
) -> Vec<Pass<K, V>> {
    let is_flush = |scope: &Scope<'_>| *scope == scope.flushed();
    let (flushes, expiries): (Vec<_>, Vec<_>) = scopes.iter().partition(|scope| is_flush(scope));
    let passes = [(Verb::Flush, flushes), (Verb::Expire(now), expiries)];
    let passes = passes.into_iter().filter(|(_, scopes)| !scopes.is_empty());
    passes.map(|(verb, scopes)| Pass::begin(order, hasher, verb, &scopes)).collect()
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
    fn begin(&self, scopes: &[Scope<'_>], now: Time) -> Box<dyn Apply> {
        let count = |scope: &Scope<'_>| match scope.flushed() {
            Scope::Key(_) => Count::KeysFromElsewhere,
            Scope::Tag(_) => Count::TagsFromElsewhere,
            Scope::Prefix(_) => Count::PrefixesFromElsewhere,
            _ => Count::AllFromElsewhere,
        };
        let counts = scopes.iter().map(count).collect();
        let passes = passes(&self.order, &self.hasher, scopes, now);
        Box::new(Job { cache: Weak::clone(&self.cache), passes, counts, widened: 0 })
    }

    fn flush_all(&self) {
        if let Some(cache) = self.cache.upgrade() {
            cache.flush_all();
            // It may be the last who holds it.
            let_go(cache);
        }
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
        let is_done = cache.sweep(sweep, now);
        // It may be the last who holds it.
        let_go(cache);
        is_done
    }
}
