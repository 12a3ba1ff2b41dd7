//! Owns what a cache is made of.

use std::sync::Arc;
use std::time::Duration;

use super::Guarantee;
use crate::load::{Failure, LoadLimit};

/// How heavy an entry is, in the unit of the capacity. Called once for each value that
/// might be stored.
pub type Weigh<K, V> = dyn Fn(&K, &V) -> u64 + Send + Sync;

/// Told of each copy that is gone, and why.
pub type Listen<K, V> = dyn Fn(&K, &V, RemovalCause) + Send + Sync;

/// What is given where a load has failed, and nothing is held of its key.
pub struct Fallback<K, V> {
    /// The value for a key, and what its load has failed with; without one, that is told.
    pub value: Box<Instead<K, V>>,
    /// How old its copy may get, counted from the end of the load.
    pub time_to_live: Duration,
}

/// Gives a value in place of a failure.
pub type Instead<K, V> = dyn Fn(&K, &Failure) -> Option<V> + Send + Sync;

/// Why a copy is not held any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalCause {
    /// A flush has named it, here or elsewhere.
    Flushed,
    /// It made room, or the application evicted it.
    Evicted,
    /// It is heavier than the capacity, and was not held at all.
    TooHeavy,
    /// It had reached its age, or nobody had read it for too long: noticed by a read, by a sweep, or when
    /// room was needed. Or it was told to expire, and expired copies are not kept.
    Expired,
    /// A younger copy has taken its place, or a younger answer that is not stored.
    Replaced,
    /// Flushes may have been missed since its load began: noticed as with [`Expired`](Self::Expired).
    Distrusted,
}

/// Seeds of a cache's hash function: random ones in production, fixed ones in a simulation.
#[derive(Debug, Clone, Copy)]
pub struct HashSeeds(pub [u64; 4]);

/// What a cache is made of.
pub struct CacheConfig<K, V> {
    /// Most weight that is held; with no weigher, most copies.
    pub capacity: u64,
    /// How heavy an entry is; each weighs 1 without it. A weight of 0 counts as 1.
    pub weigher: Option<Arc<Weigh<K, V>>>,
    /// How old a copy may get, counted from the *start* of its load; no limit without it.
    pub time_to_live: Option<Duration>,
    /// The largest part of its time to live that is taken off a copy's, by chance: 0 to 1.
    pub jitter: f64,
    /// How long a copy may go unread; no limit without it.
    pub time_to_idle: Option<Duration>,
    /// How long an expired copy is held, for when the source fails; one that was told to expire, from then
    /// on.
    pub keep_expired: Duration,
    /// How old a copy is when it is due to be loaded again while it is served.
    pub refresh_after: Option<Duration>,
    /// How eagerly a copy is due before it expires: see [`Cache::get_or_due`](super::Cache::get_or_due).
    pub refresh_early: Option<f64>,
    /// How long a copy of "there is none" may get old; without it none is stored.
    pub absent_time_to_live: Option<Duration>,
    /// How long a copy is left that is held, when a load of its key has failed: it is not due.
    pub pause_after_failure: Duration,
    /// What is given where a load has failed, and nothing is held; without it, the failure is told.
    pub fallback: Option<Fallback<K, V>>,
    /// How long a load may take; no limit without it. A write of the application's own may take longer, but
    /// who waits for one waits for no longer than that.
    pub load_limit: Option<LoadLimit>,
    /// Told of copies that are gone, by whoever removed them, without a lock of the cache.
    pub listener: Option<Arc<Listen<K, V>>>,
    /// Told of the weight of the first value that was too heavy to be held.
    pub too_heavy: Option<Arc<dyn Fn(u64) + Send + Sync>>,
    /// Whether what is over is taken out by the node's sweep, too.
    pub is_swept: bool,
    /// How old a copy may be when it is served.
    pub guarantee: Guarantee,
    /// How far the readings that reads pass in may lag behind the clock they are of.
    pub clock_step: Duration,
    /// Seeds of the hash function.
    pub seeds: HashSeeds,
}

impl<K, V> CacheConfig<K, V> {
    /// A cache of so many copies that weigh 1 each, live for ever, and are read by an exact clock.
    pub fn new(capacity: u64, guarantee: Guarantee, seeds: HashSeeds) -> Self {
        Self {
            capacity,
            weigher: None,
            time_to_live: None,
            jitter: 0.0,
            time_to_idle: None,
            keep_expired: Duration::ZERO,
            refresh_after: None,
            refresh_early: None,
            absent_time_to_live: None,
            pause_after_failure: Duration::ZERO,
            fallback: None,
            load_limit: None,
            listener: None,
            too_heavy: None,
            is_swept: true,
            guarantee,
            clock_step: Duration::ZERO,
            seeds,
        }
    }
}
