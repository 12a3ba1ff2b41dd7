//! Owns what a cache is told when it is made, and whether it makes sense.

use std::sync::Arc;
use std::time::Duration;

use flushcast_core::cache::{self, CacheConfig, Guarantee, NameTaken, Weigh};
use flushcast_core::node::ListsDiffer;
use flushcast_core::wire::MAX_NAME_BYTES;

use super::{Cache, Parts};
use crate::clock::Clock;
use crate::node::{Inner, Node};
use crate::strict::NotStrict;
use crate::{Key, Value};

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
    /// A share that is none.
    #[error("a jitter of {0} is no share of the time to live: give one from 0 to 1, such as 0.1")]
    BadJitter(f64),
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
    jitter: f64,
    keep_expired: Duration,
    guarantee: Guarantee,
}

impl<K: Key, V: Value> CacheBuilder<K, V> {
    pub(crate) fn new(node: Arc<Inner>, name: String) -> Self {
        let guarantee = Guarantee::default();
        Self {
            node,
            name,
            capacity: 10_000,
            weigher: None,
            time_to_live: None,
            jitter: 0.0,
            keep_expired: Duration::ZERO,
            guarantee,
        }
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

    /// Takes a part off each copy's time to live by chance, this share at most, so that copies that
    /// were loaded together do not all expire together. Default: 0; 0.1 is usual.
    #[must_use]
    pub fn time_to_live_jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// How long an expired copy is held, for when the source fails: see
    /// [`Cache::get_expired`]. Default: not at all.
    #[must_use]
    pub fn keep_expired(mut self, length: Duration) -> Self {
        self.keep_expired = length;
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
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(CacheError::BadJitter(self.jitter));
        }
        let strict = self.guarantee == Guarantee::Strict;
        self.check_guarantee()?;
        let config = CacheConfig {
            capacity: self.capacity,
            weigher: self.weigher,
            time_to_live: self.time_to_live,
            jitter: self.jitter,
            keep_expired: self.keep_expired,
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

impl<K, V> std::fmt::Debug for CacheBuilder<K, V> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, capacity, time_to_live, .. } = self;
        let mut fields = out.debug_struct("CacheBuilder");
        fields.field("name", name).field("capacity", capacity).field("time_to_live", time_to_live);
        fields.finish_non_exhaustive()
    }
}
