//! Owns what a cache is told when it is made, and whether it makes sense.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use flushcast_core::cache::{
    self, CacheConfig, Fallback, Guarantee, HashSeeds, Listen, NameTaken, RemovalCause,
};
use flushcast_core::load::Failure;
use flushcast_core::node::ListsDiffer;
use flushcast_core::wire::MAX_NAME_BYTES;

use super::limits::Limits;
use super::{Cache, Parts};
use crate::node::{Inner, Node};
use crate::strict::NotStrict;
use crate::{Key, Value};

/// The smallest `confirm_within` of a node with strict caches: a lease, what clocks may be off, and
/// a moment to be told.
const SMALLEST_CONFIRM: Duration = Duration::from_millis(2100);

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
    /// Awaited flushes would be given up while they wait for a lease to be over.
    #[error(
        "a strict flush waits up to {lease:?} for a node that went silent: confirm_within is \
         {confirm_within:?}, set it to {smallest:?} or more",
        lease = Guarantee::STRICT_LEASE
    )]
    ConfirmTooShort {
        /// The node's `confirm_within`.
        confirm_within: Duration,
        /// The smallest valid one.
        smallest: Duration,
    },
    /// Two nodes know different nodes, so that no strict promise can be kept.
    #[error("no strict promise can be kept: {0}")]
    ListsDiffer(ListsDiffer),
    /// A share that is none.
    #[error("a jitter of {0} is no share of the time to live: give one from 0 to 1, such as 0.1")]
    BadJitter(f64),
    /// A factor that is none.
    #[error("an early refresh by the factor {0}: give one above 0, such as 1.0")]
    BadFactor(f64),
    /// A length that leaves nothing to be served.
    #[error("a {what} of 0: nothing would ever be served, leave it out for none")]
    NoTime {
        /// What it is of.
        what: &'static str,
    },
    /// The shorter of two lengths is the longer one.
    #[error("{shorter} of {short:?} is not below {longer} of {long:?}: it would never come to it")]
    OutOfOrder {
        /// What should be shorter.
        shorter: &'static str,
        /// Its length.
        short: Duration,
        /// What should be longer.
        longer: &'static str,
        /// Its length.
        long: Duration,
    },
    /// Expired copies are to be served, and none are held.
    #[error("expired copies are to be served while the source is slow: set keep_expired as well")]
    ExpiredNotKept,
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
    config: CacheConfig<K, V>,
    limits: Limits,
}

impl<K: Key, V: Value> CacheBuilder<K, V> {
    pub(crate) fn new(node: Arc<Inner>, name: String) -> Self {
        // The seeds are drawn when it is built: that can fail.
        let config = CacheConfig::new(10_000, Guarantee::default(), HashSeeds([0; 4]));
        Self { node, name, config, limits: Limits::default() }
    }

    /// Most copies that are held; with a weigher, most weight. Default: 10,000.
    ///
    /// A cache for as many copies as there are keys holds all of them. What has expired makes room first. An
    /// insert may hold more for a moment, until it has had others make room.
    ///
    /// An entry heavier than all of the capacity is not held: it is counted
    /// ([`Stats::too_heavy`](crate::Stats)), told to the [listener](Self::on_removal) with
    /// [`RemovalCause::TooHeavy`], and logged the first time. One that takes the room of thousands takes as
    /// long to insert as they take to be removed; no lock is held for more than eight of them.
    #[must_use]
    pub fn capacity(mut self, capacity: u64) -> Self {
        self.config.capacity = capacity;
        self
    }

    /// How heavy an entry is, in the unit of the capacity, such as bytes. Default: each weighs 1.
    /// Called once for each value that might be stored, unless its [`Loaded`](crate::Loaded::weight)
    /// says how heavy it is; 0 counts as 1, and more than 4 billion as that. A value for which it panics
    /// is not held.
    #[must_use]
    pub fn weigher(mut self, weigh: impl Fn(&K, &V) -> u64 + Send + Sync + 'static) -> Self {
        self.config.weigher = Some(Arc::new(weigh));
        self
    }

    /// How old a copy may get, counted from the *start* of its load. Default: no limit.
    #[must_use]
    pub fn time_to_live(mut self, age: Duration) -> Self {
        self.config.time_to_live = Some(age);
        self
    }

    /// Takes a part off each copy's time to live by chance, this share at most, so that copies that
    /// were loaded together do not all expire together. Default: 0; 0.1 is usual.
    #[must_use]
    pub fn time_to_live_jitter(mut self, share: f64) -> Self {
        self.config.jitter = share;
        self
    }

    /// How long a copy may go unread. Default: no limit. With it, a read notes the time in its copy,
    /// which costs each copy some 64 bytes.
    #[must_use]
    pub fn time_to_idle(mut self, length: Duration) -> Self {
        self.config.time_to_idle = Some(length);
        self
    }

    /// How old a copy may get that says that [there is none](crate::Loaded::absent). Default: it is
    /// not stored.
    #[must_use]
    pub fn absent_time_to_live(mut self, age: Duration) -> Self {
        self.config.absent_time_to_live = Some(age);
        self
    }

    /// How long an expired copy is held, for when the source fails or is slow: see
    /// [`ReadThrough::load_or_expired`](crate::ReadThrough::load_or_expired). One that was [told to
    /// expire](Cache::expire) is held so long from then on. Default: not at all.
    #[must_use]
    pub fn keep_expired(mut self, length: Duration) -> Self {
        self.config.keep_expired = length;
        self
    }

    /// Has copies loaded again in the background once their load is so long ago and somebody reads
    /// them through [a loader for all keys](Cache::with_loader): the read gets the copy it found,
    /// and nobody waits. Less than the time to live. Default: never.
    #[must_use]
    pub fn refresh_after(mut self, age: Duration) -> Self {
        self.config.refresh_after = Some(age);
        self
    }

    /// Has copies loaded again in the background by chance before they expire, the likelier the
    /// nearer that is and the longer their load took, so that what many read does not expire, and
    /// nodes do not all load at the same moment. 1 is right for most; more is earlier. Default:
    /// never.
    ///
    /// This is "XFetch" of Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache
    /// Stampede Prevention", VLDB 2015. Costs a logarithm for each read, and each copy 64 bytes.
    #[must_use]
    pub fn refresh_early(mut self, factor: f64) -> Self {
        self.config.refresh_early = Some(factor);
        self
    }

    /// How long a load may take: then its future is dropped, and all who wait get
    /// [`LoadError::TimedOut`](crate::LoadError::TimedOut). Default: no limit.
    ///
    /// Who waits for somebody else's load waits for so long at most, too, from its start on, whether that
    /// one's future is polled or not. A `put` has no limit, because a write that is given up may have been
    /// done; who waits for one has, and then its value is not stored here.
    ///
    /// That holds on any executor.
    #[must_use]
    pub fn load_time_out(mut self, length: Duration) -> Self {
        self.limits.load = Some(length);
        self
    }

    /// How long [`ReadThrough::load_or_expired`](crate::ReadThrough::load_or_expired) waits for a load
    /// before it gives the expired copy; the load goes on. Default: until the load ends.
    #[must_use]
    pub fn serve_expired_after(mut self, length: Duration) -> Self {
        self.limits.patience = Some(length);
        self
    }

    /// Gives a value in place of a load that has failed, whatever it failed with, where no copy is held, not even
    /// an expired one; so that not each read asks a source that is down. `None` leaves it at the error, which
    /// nobody else is told of otherwise: log it here. Default: none.
    ///
    /// All who wait for that load get it, as any value, whatever the types of their errors. It is held for
    /// `time_to_live` from then on, less [jitter](Self::time_to_live_jitter); then the next read loads. To tell
    /// it from a value of the source, have `V` say so, for example as an `Option`.
    ///
    /// It never takes the place of a copy: where one is held, [`load`](crate::ReadThrough::load) gives the error
    /// and [`load_or_expired`](crate::ReadThrough::load_or_expired) the copy. If a flush, or a write, came since
    /// the load began, it is given to those who wait and not held. It weighs and makes room as a copy, is served
    /// under the cache's [guarantee](Self::guarantee), and goes with a flush of its key, a prefix or everything;
    /// it has no tags. It is no value of the source: never due, offered to no
    /// [reloader](Cache::with_reloader), and not [kept](Self::keep_expired) when it is over or told to expire.
    ///
    /// [`Stats`](crate::Stats) counts the load as failed and in `fallbacks`, and reads of it as hits; the
    /// [listener](Self::on_removal) is told when it goes. A [`put`](Cache::put) that fails has none.
    ///
    /// `value` is called on the task that runs the load, or that has waited too long for it, without a lock;
    /// after each failure, also where what it gives is not needed. If it panics, the error is told.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use flushcast::{Cache, CacheError, LoadError, Node};
    /// # #[derive(Debug)] struct NoSuchRow;
    /// # fn example(node: Node) -> Result<(), CacheError> {
    /// let names: Cache<u64, Option<String>> = node
    ///     .cache("names")
    ///     .fallback(Duration::from_secs(2), |id, error| match error {
    ///         LoadError::Failed(error) if error.is::<NoSuchRow>() => None,
    ///         _ => {
    ///             eprintln!("the name of {id} is left out");
    ///             Some(None)
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn fallback(
        mut self,
        time_to_live: Duration,
        value: impl Fn(&K, &Failure) -> Option<V> + Send + Sync + 'static,
    ) -> Self {
        self.config.fallback = Some(Fallback { value: Box::new(value), time_to_live });
        self
    }

    /// How long a key whose load has failed is not loaded again in the background, while a copy of it is
    /// served, expired or not. Default: ten seconds. Noted at the copy, in some 110 bytes, and gone with it.
    #[must_use]
    pub fn pause_after_failure(mut self, length: Duration) -> Self {
        self.limits.pause = length;
        self
    }

    /// Whether a task of the node takes copies out that have expired, and are not
    /// [kept](Self::keep_expired), or that are not trusted any more, though nobody asks for them. It looks
    /// every 5 s, at 256 places at a time with a turn for other tasks behind each, and in no cache in which
    /// nothing can have expired. Default: yes. Without it they are noticed by reads, and when room is needed;
    /// [`evict_expired`](Cache::evict_expired) does it now.
    #[must_use]
    pub fn sweep(mut self, is_swept: bool) -> Self {
        self.config.is_swept = is_swept;
        self
    }

    /// Is told of each copy that is gone, and why, by whoever removed it, without a lock of the
    /// cache or the node: it may ask either, and flush. Copies that go with the cache itself are not
    /// told of.
    ///
    /// For flushes from other nodes and for the [sweep](Self::sweep) that is on a task of the node, which
    /// acknowledges flushes when it is done: so it must be quick, and must not wait. A panic in it is logged.
    #[must_use]
    pub fn on_removal(
        mut self,
        listener: impl Fn(&K, &V, RemovalCause) + Send + Sync + 'static,
    ) -> Self {
        let cache = self.name.clone();
        let guarded: Arc<Listen<K, V>> = Arc::new(move |key, value, cause| {
            if catch_unwind(AssertUnwindSafe(|| listener(key, value, cause))).is_err() {
                tracing::error!(cache, "a listener for removals has panicked");
            }
        });
        self.config.listener = Some(guarded);
        self
    }

    /// How old a copy may be when it is served. Default: bounded, five seconds. Give a cache the
    /// same guarantee on every node.
    #[must_use]
    pub fn guarantee(mut self, guarantee: Guarantee) -> Self {
        self.config.guarantee = guarantee;
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
        self.check_freshness()?;
        self.check_guarantee()?;
        let Self { node, name, mut config, limits } = self;
        let strict = config.guarantee == Guarantee::Strict;
        let clock = node.shared.clocks.of_reads(strict);
        config.clock_step = clock.step();
        config.seeds = Node::hash_seeds()?;
        config.load_limit = limits.of_loads();
        config.pause_after_failure = limits.pause;
        let (cache, capacity) = (name.clone(), config.capacity);
        config.too_heavy = Some(Arc::new(move |weight| {
            tracing::warn!(
                cache,
                weight,
                capacity,
                "a value is heavier than the cache, and not held"
            );
        }));
        let copies = cache::Cache::register(&node.shared.caches, &name, config)?;
        let has_warned = AtomicBool::new(false);
        let parts = Parts { copies, name, node, strict, clock, limits, has_warned };
        let cache = Cache { parts: Arc::new(parts) };
        let mut handles = cache.parts.node.handles.lock();
        // Names that come and go leave nothing behind.
        handles.retain(|_, it| it.cache.strong_count() > 0);
        handles.insert(cache.name().to_owned(), cache.to_any());
        drop(handles);
        Ok(cache)
    }

    fn check_freshness(&self) -> Result<(), CacheError> {
        let Self { config, limits, .. } = self;
        if config.capacity == 0 {
            return Err(CacheError::NoCapacity);
        }
        if !(0.0..=1.0).contains(&config.jitter) {
            return Err(CacheError::BadJitter(config.jitter));
        }
        if let Some(factor) = config.refresh_early.filter(|&it| !(it > 0.0 && it.is_finite())) {
            return Err(CacheError::BadFactor(factor));
        }
        let lengths = [
            ("time to live", config.time_to_live),
            ("time to idle", config.time_to_idle),
            ("time to live of absent ones", config.absent_time_to_live),
            ("time to live of fallbacks", config.fallback.as_ref().map(|it| it.time_to_live)),
            ("time-out of loads", limits.load),
        ];
        if let Some(&(what, _)) = lengths.iter().find(|(_, it)| *it == Some(Duration::ZERO)) {
            return Err(CacheError::NoTime { what });
        }
        let pairs = [
            (("a refresh after", config.refresh_after), ("a time to live", config.time_to_live)),
            (("serving expired after", limits.patience), ("a time-out of loads", limits.load)),
        ];
        for ((shorter, short), (longer, long)) in pairs {
            if let (Some(short), Some(long)) = (short, long)
                && short >= long
            {
                return Err(CacheError::OutOfOrder { shorter, short, longer, long });
            }
        }
        if limits.patience.is_some() && config.keep_expired == Duration::ZERO {
            return Err(CacheError::ExpiredNotKept);
        }
        Ok(())
    }

    fn check_guarantee(&self) -> Result<(), CacheError> {
        let smallest = Guarantee::SMALLEST_BOUND;
        match self.config.guarantee {
            Guarantee::Bounded(bound) if bound < smallest => {
                Err(CacheError::BoundTooShort { bound, smallest })
            }
            Guarantee::Strict => {
                self.node.strict.clone()?;
                let (confirm_within, smallest) = (self.node.confirm_within, SMALLEST_CONFIRM);
                if confirm_within < smallest {
                    return Err(CacheError::ConfirmTooShort { confirm_within, smallest });
                }
                let differ = self.node.shared.ask(|core, _| core.lists_differ());
                differ.map_or(Ok(()), |differ| Err(CacheError::ListsDiffer(differ)))
            }
            Guarantee::Bounded(_) | Guarantee::Eventual => Ok(()),
        }
    }
}

impl<K, V> std::fmt::Debug for CacheBuilder<K, V> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, config, .. } = self;
        let CacheConfig { capacity, time_to_live, .. } = config;
        let mut fields = out.debug_struct("CacheBuilder");
        fields.field("name", name).field("capacity", capacity).field("time_to_live", time_to_live);
        fields.finish_non_exhaustive()
    }
}
