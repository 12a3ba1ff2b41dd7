//! Owns the caches that are compared, behind what they have in common. All use the same hash function.

use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flushcast::discovery::Fixed;
use flushcast::{Cache, Guarantee, Key, Loaded, Node};
use quick_cache::UnitWeighter;
use quick_cache::sync::DefaultLifecycle;

/// What is held: as large as a small row, shared rather than copied.
pub type Held = Arc<[u8; 64]>;

/// A key that all of them take.
pub trait AnyKey: Key + Clone + Hash + Eq + std::fmt::Debug {}

impl<K: Key + Clone + Hash + Eq + std::fmt::Debug> AnyKey for K {}

/// A cache of one of the crates.
pub trait Subject<K>: Send + Sync {
    /// Whether there is a copy; it is cloned.
    fn get(&self, key: &K) -> bool;
    /// Stores one.
    fn insert(&self, key: &K, value: Held);
    /// Drops one.
    fn remove(&self, key: &K);
}

/// How long single calls took, in nanoseconds.
pub struct Latencies {
    /// Of reads.
    pub reads: Vec<u32>,
    /// Of writes.
    pub writes: Vec<u32>,
}

impl Latencies {
    /// With room for so many of each, in memory that is there: a page that comes when it is written to is
    /// one in a thousand calls late.
    pub fn of(calls: usize) -> Self {
        let room = || {
            let mut nanos = std::hint::black_box(vec![u32::MAX; calls]);
            nanos.clear();
            nanos
        };
        Self { reads: room(), writes: room() }
    }
}

/// Loops over a subject, without a virtual call for each key.
pub trait Runs<K>: Send + Sync {
    /// Reads these keys; gives back how many were there.
    fn read(&self, keys: &[K]) -> usize;
    /// Reads them, and stores each that was not there; gives back how many were.
    fn read_through(&self, order: &mut dyn Iterator<Item = (K, bool)>) -> usize;
    /// Stores all of them.
    fn fill(&self, keys: &[K]);
    /// Stores all of them, with values and gaps that lie where chance has them.
    fn scatter(&self, keys: &[K]);
    /// Reads or, where it says so, stores each of these.
    fn mixed(&self, order: &[(K, bool)]) -> Latencies;
    /// Drops these keys.
    fn drop_keys(&self, keys: &[K], order: &[u32]);
}

impl<K, S: Subject<K>> Runs<K> for S {
    fn read(&self, keys: &[K]) -> usize {
        keys.iter().filter(|key| self.get(key)).count()
    }

    fn read_through(&self, order: &mut dyn Iterator<Item = (K, bool)>) -> usize {
        let mut hits = 0;
        for (key, counts) in order {
            if self.get(&key) {
                hits += usize::from(counts);
            } else {
                self.insert(&key, value());
            }
        }
        hits
    }

    fn fill(&self, keys: &[K]) {
        keys.iter().for_each(|key| self.insert(key, value()));
    }

    fn scatter(&self, keys: &[K]) {
        let mut rng = fastrand::Rng::with_seed(7);
        // So that no cache is lucky with how its keys and values lie on cache lines: values are there
        // before their keys, in another order, and there are gaps between.
        let mut values: Vec<_> = keys.iter().map(|_| value()).collect();
        rng.shuffle(&mut values);
        let mut between = Vec::new();
        for (key, value) in keys.iter().zip(values) {
            self.insert(key, value);
            between.push(vec![0_u8; 16 * rng.usize(1..=4)]);
        }
        std::hint::black_box(between);
    }

    fn mixed(&self, order: &[(K, bool)]) -> Latencies {
        let mut latencies = Latencies::of(order.len());
        let mut last = Instant::now();
        for (key, writes) in order {
            if *writes {
                self.insert(key, value());
            } else {
                std::hint::black_box(self.get(key));
            }
            let now = Instant::now();
            let took = u32::try_from((now - last).as_nanos()).unwrap_or(u32::MAX);
            if *writes { &mut latencies.writes } else { &mut latencies.reads }.push(took);
            last = now;
        }
        latencies
    }

    fn drop_keys(&self, keys: &[K], order: &[u32]) {
        order.iter().for_each(|&key| self.remove(&keys[key as usize]));
    }
}

fn hasher() -> ahash::RandomState {
    ahash::RandomState::with_seeds(1, 2, 3, 4)
}

fn value() -> Held {
    Arc::new([0; 64])
}

/// Which caches.
pub const NAMES: [&str; 5] = ["quick_cache", "flushcast", "flushcast, tags", "moka", "foyer"];

/// Makes one of them; nothing for another name.
pub fn make<K: AnyKey>(name: &str, node: &Node, capacity: u64) -> Option<Box<dyn Runs<K>>> {
    let lifecycle = DefaultLifecycle::default();
    let small = usize::try_from(capacity).unwrap_or(usize::MAX);
    Some(match name {
        "quick_cache" => Box::new(Quick(quick_cache::sync::Cache::with(
            small,
            capacity,
            UnitWeighter,
            hasher(),
            lifecycle,
        ))),
        "flushcast" => Box::new(Ours { cache: flushcast(node, capacity)?, tag: None }),
        "flushcast, tags" => {
            Box::new(Ours { cache: flushcast(node, capacity)?, tag: Some("shop 7".into()) })
        }
        "moka" => Box::new(Moka(
            moka::sync::Cache::builder().max_capacity(capacity).build_with_hasher(hasher()),
        )),
        "foyer" => Box::new(Foyer(
            foyer_memory::CacheBuilder::new(small)
                .with_eviction_config(foyer_memory::S3FifoConfig::default())
                .with_hash_builder(hasher())
                .build(),
        )),
        _ => return None,
    })
}

/// Bounded, and with a time to live: as people use it. Its name is its address, so that there may be
/// many.
pub fn flushcast<K: AnyKey>(node: &Node, capacity: u64) -> Option<Cache<K, Held>> {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let cache = node.cache(format!("compared {number}")).capacity(capacity);
    let cache = cache.guarantee(Guarantee::Bounded(Duration::from_secs(5)));
    cache.time_to_live(Duration::from_secs(3600)).build().ok()
}

/// A node that nobody else is in a cluster with.
///
/// # Errors
/// Where it cannot listen.
pub async fn node() -> Result<Node, flushcast::StartError> {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    Node::builder("compare").listen(address).discovery(Fixed::new([""; 0])).start().await
}

struct Quick<K>(quick_cache::sync::Cache<K, Held, UnitWeighter, ahash::RandomState>);

impl<K: AnyKey> Subject<K> for Quick<K> {
    fn get(&self, key: &K) -> bool {
        self.0.get(key).is_some()
    }

    fn insert(&self, key: &K, value: Held) {
        self.0.insert(key.clone(), value);
    }

    fn remove(&self, key: &K) {
        self.0.remove(key);
    }
}

struct Ours<K> {
    cache: Cache<K, Held>,
    tag: Option<flushcast::Tag>,
}

impl<K: AnyKey> Subject<K> for Ours<K> {
    fn get(&self, key: &K) -> bool {
        self.cache.get(key).is_some()
    }

    fn insert(&self, key: &K, value: Held) {
        let loaded = Loaded::new(value);
        let loaded = match &self.tag {
            Some(tag) => loaded.tag(tag.clone()),
            None => loaded,
        };
        // The keys are short enough.
        let _ = self.cache.insert(key, loaded);
    }

    fn remove(&self, key: &K) {
        self.cache.evict(key);
    }
}

struct Moka<K>(moka::sync::Cache<K, Held, ahash::RandomState>);

impl<K: AnyKey> Subject<K> for Moka<K> {
    fn get(&self, key: &K) -> bool {
        self.0.get(key).is_some()
    }

    fn insert(&self, key: &K, value: Held) {
        self.0.insert(key.clone(), value);
    }

    fn remove(&self, key: &K) {
        self.0.invalidate(key);
    }
}

struct Foyer<K: AnyKey>(foyer_memory::Cache<K, Held, ahash::RandomState>);

impl<K: AnyKey> Subject<K> for Foyer<K> {
    fn get(&self, key: &K) -> bool {
        self.0.get(key).is_some()
    }

    fn insert(&self, key: &K, value: Held) {
        self.0.insert(key.clone(), value);
    }

    fn remove(&self, key: &K) {
        self.0.remove(key);
    }
}
