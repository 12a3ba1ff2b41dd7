//! Owns the application's handle on one cache.

use std::borrow::Borrow;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::{self, CacheConfig, Guarantee, NameTaken, Weigh};
use flushcast_core::load;
use flushcast_core::node::ListsDiffer;
use flushcast_core::wire::{MAX_KEY_BYTES, MAX_NAME_BYTES, Scope};

use crate::clock::Clock;
use crate::flush::Flush;
use crate::node::{Inner, Node};
use crate::strict::NotStrict;
use crate::{Key, LoadError, Value};

/// Why a cache could not be made. The node is as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// This node has a cache of that name.
    #[error(transparent)]
    NameTaken(#[from] NameTaken),
    /// The name cannot travel in a flush.
    #[error("cache name of {bytes} bytes: 1 to {MAX_NAME_BYTES} are allowed")]
    BadName {
        /// Its length in bytes.
        bytes: usize,
    },
    /// A bound that cannot be proven all the time.
    #[error(
        "a bound of {bound:?} is shorter than what renewals can prove: the smallest is {smallest:?}"
    )]
    BoundTooShort {
        /// The bound.
        bound: Duration,
        /// The smallest valid one.
        smallest: Duration,
    },
    /// This node cannot keep a strict promise.
    #[error(transparent)]
    NotStrict(#[from] NotStrict),
    /// Two nodes know different nodes, so that no strict promise can be kept.
    #[error("no strict promise can be kept: {0}")]
    ListsDiffer(ListsDiffer),
    /// Nothing would ever be held.
    #[error("a capacity of 0 holds nothing: give the number of copies, or their weight")]
    NoCapacity,
    /// The system gave no random bytes for the hash function.
    #[error("the system gives no random bytes: {0}")]
    NoRandomness(#[from] getrandom::Error),
}

/// Settings of a cache to be. Made by [`Node::cache`].
pub struct CacheBuilder<K, V> {
    node: Arc<Inner>,
    name: String,
    capacity: u64,
    weigher: Option<Arc<Weigh<K, V>>>,
    time_to_live: Option<Duration>,
    guarantee: Guarantee,
}

impl<K: Key, V: Value> CacheBuilder<K, V> {
    pub(crate) fn new(node: Arc<Inner>, name: String) -> Self {
        let guarantee = Guarantee::default();
        Self { node, name, capacity: 10_000, weigher: None, time_to_live: None, guarantee }
    }

    /// Most copies that are held; with a weigher, most weight. Default: 10,000.
    ///
    /// The capacity is shared out evenly over a few parts of the cache, and an entry heavier than
    /// its part is not held.
    #[must_use]
    pub fn capacity(mut self, capacity: u64) -> Self {
        self.capacity = capacity;
        self
    }

    /// How heavy an entry is, in the unit of the capacity, such as bytes. Default: each weighs 1.
    /// Called once for each copy that is stored; 0 counts as 1.
    #[must_use]
    pub fn weigher(mut self, weigh: impl Fn(&K, &V) -> u64 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Arc::new(weigh));
        self
    }

    /// How old a copy may get, counted from the *start* of its load. Default: no limit.
    #[must_use]
    pub fn time_to_live(mut self, age: Duration) -> Self {
        self.time_to_live = Some(age);
        self
    }

    /// How old a copy may be when it is served. Default: bounded, five seconds. Give a cache the
    /// same guarantee on every node.
    #[must_use]
    pub fn guarantee(mut self, guarantee: Guarantee) -> Self {
        self.guarantee = guarantee;
        self
    }

    /// Makes the cache.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn build(self) -> Result<Cache<K, V>, CacheError> {
        let bytes = self.name.len();
        if bytes == 0 || bytes > MAX_NAME_BYTES {
            return Err(CacheError::BadName { bytes });
        }
        if self.capacity == 0 {
            return Err(CacheError::NoCapacity);
        }
        let strict = self.guarantee == Guarantee::Strict;
        self.check_guarantee()?;
        let config = CacheConfig {
            capacity: self.capacity,
            weigher: self.weigher,
            time_to_live: self.time_to_live,
            guarantee: self.guarantee,
            clock_step: if strict { Duration::ZERO } else { Clock::step() },
            seeds: Node::hash_seeds()?,
        };
        let copies = cache::Cache::register(&self.node.shared.caches, &self.name, config)?;
        let clock = self.node.shared.clock;
        let parts = Parts { copies, name: self.name, node: self.node, strict, clock };
        Ok(Cache { parts: Arc::new(parts) })
    }

    fn check_guarantee(&self) -> Result<(), CacheError> {
        let smallest = Guarantee::SMALLEST_BOUND;
        match self.guarantee {
            Guarantee::Bounded(bound) if bound < smallest => {
                Err(CacheError::BoundTooShort { bound, smallest })
            }
            Guarantee::Strict => {
                self.node.strict.clone()?;
                let differ = self.node.shared.ask(|core, _| core.lists_differ());
                differ.map_or(Ok(()), |differ| Err(CacheError::ListsDiffer(differ)))
            }
            Guarantee::Bounded(_) | Guarantee::Eventual => Ok(()),
        }
    }
}

/// The copies of one kind of thing on this node. Clones are handles on the same cache.
///
/// Keys are asked for by reference; a `Cache<String, V>` takes `&str` too.
pub struct Cache<K, V> {
    parts: Arc<Parts<K, V>>,
}

struct Parts<K, V> {
    copies: Arc<cache::Cache<K, V>>,
    name: String,
    node: Arc<Inner>,
    strict: bool,
    /// The node's: at hand for every hit.
    clock: Clock,
}

impl<K, V> Parts<K, V> {
    /// The clock that its reads are on.
    fn now(&self) -> Time {
        if self.strict { self.clock.now() } else { self.clock.quick() }
    }
}

impl<K: Key, V: Value> Cache<K, V> {
    /// The copy of `key`, if one is here. Never loads, never waits. Clones the value.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.parts.copies.get(key, self.parts.now())
    }

    /// The copy of `key`, or what `loader` reads from the source of truth.
    ///
    /// All who miss the same key meanwhile wait for one load; if its caller goes away, one of them
    /// loads. The value is stored unless a flush has named the key since the load started, and a
    /// read that starts after a flush was applied never gets a load that started before it. The
    /// loader runs on the caller's task and may borrow. Waiting is bounded by the loader: give it
    /// a time-out of its own.
    ///
    /// # Errors
    /// The loader's error or panic, told to all who waited for that load; nothing is stored then.
    /// A key whose text is over the limit is refused before the loader is called.
    pub async fn get_or_load<Q, E, F, L>(&self, key: &Q, loader: F) -> Result<V, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
        F: FnOnce() -> L,
        L: Future<Output = Result<V, E>>,
    {
        load::get_or_load(&self.parts.copies, key, || self.parts.now(), loader).await
    }

    /// Drops the copy of `key` everywhere: here before this returns, elsewhere as fast as the
    /// network carries it. Call it after the source has changed.
    ///
    /// Works in sync code too. Await what it gives back to learn who has applied it.
    pub fn flush<Q>(&self, key: &Q) -> Flush
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.parts.copies.flush_key(key);
        let text = key.to_owned().to_text();
        if text.len() > MAX_KEY_BYTES {
            return Flush::too_long(&self.parts.node.shared, text.len());
        }
        self.announce(Scope::Key(&text), text.len())
    }

    /// Drops every copy of this cache everywhere; otherwise like [`flush`](Self::flush).
    pub fn flush_all(&self) -> Flush {
        self.parts.copies.flush_all();
        self.announce(Scope::All, 0)
    }

    /// Drops the copy of `key` on this node only, to make room. Nobody is told, and a load that is
    /// under way may store its value.
    pub fn evict<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.parts.copies.evict(key);
    }

    /// How many copies are held here, expired ones that nobody asked for since included.
    pub fn len(&self) -> usize {
        self.parts.copies.len()
    }

    /// Whether no copy is held here.
    pub fn is_empty(&self) -> bool {
        self.parts.copies.is_empty()
    }

    /// The weight of what is held here, in the unit of the capacity.
    pub fn weight(&self) -> u64 {
        self.parts.copies.weight()
    }

    /// The name that flushes know it by.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    fn announce(&self, scope: Scope<'_>, key_bytes: usize) -> Flush {
        let Parts { name, node, strict, .. } = &*self.parts;
        let announced = node.shared.announce(name, scope);
        Flush::new(&node.shared, node.confirm_within, announced, key_bytes, *strict)
    }
}

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self { parts: Arc::clone(&self.parts) }
    }
}

impl<K, V> std::fmt::Debug for Cache<K, V> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Cache").field("name", &self.parts.name).finish_non_exhaustive()
    }
}

impl<K, V> std::fmt::Debug for CacheBuilder<K, V> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, capacity, time_to_live, .. } = self;
        let mut fields = out.debug_struct("CacheBuilder");
        fields.field("name", name).field("capacity", capacity).field("time_to_live", time_to_live);
        fields.finish_non_exhaustive()
    }
}
