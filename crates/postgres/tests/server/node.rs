//! A node with one cache that follows the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flushcast_core::Time;
use flushcast_core::cache::{Cache, CacheConfig, Caches, Guarantee, HashSeeds};
use flushcast_core::shared_log::Confirmed;
use flushcast_core::wire::{Incarnation, Scope};
use flushcast_postgres::{Log, Member};

use super::Database;

/// Ends a test that hangs; nothing is judged by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const LEASE: Duration = Guarantee::STRICT_LEASE;

pub(crate) struct Node {
    pub(crate) cache: Arc<Cache<u64, u64>>,
    pub(crate) log: Log,
    began: Instant,
}

impl Node {
    pub(crate) fn start(database: &Database, name: &str) -> Self {
        Self::listening(database, name, true)
    }

    pub(crate) fn listening(database: &Database, name: &str, listens: bool) -> Self {
        Self::at(&database.url(), name, listens)
    }

    pub(crate) fn at(url: &str, name: &str, listens: bool) -> Self {
        // Whoever is first sets it for all.
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let caches = Arc::new(Caches::default());
        let config = CacheConfig::new(100_000, Guarantee::Strict, HashSeeds([1, 2, 3, 4]));
        let cache = Cache::register(&caches, "titles", config).unwrap();
        let life = Incarnation(fastrand::u128(..).to_be_bytes());
        let member = Member::new(life, name).unwrap();
        let began = Instant::now();
        let clock = move || now(began);
        let url = url.parse().unwrap();
        Self { cache, log: Log::start(url, member, caches, clock, listens), began }
    }

    pub(crate) fn now(&self) -> Time {
        now(self.began)
    }

    pub(crate) fn get(&self, key: u64) -> Option<u64> {
        self.cache.get(&key, self.now())
    }

    pub(crate) fn hold(&self, key: u64) {
        self.cache.insert(&key, key, self.now()).unwrap();
    }

    /// Until a copy of `key` is served, which it is not while the node is not in step.
    pub(crate) async fn holds(&self, key: u64) {
        until(|| {
            self.hold(key);
            self.get(key).is_some()
        })
        .await;
    }

    pub(crate) async fn drops(&self, key: u64) {
        until(|| self.get(key).is_none()).await;
    }

    pub(crate) async fn flush(&self, key: u64) -> Confirmed {
        self.cache.flush_key(&key);
        let text = key.to_string();
        let seq = self.log.announce("titles", &[Scope::Key(&text)]);
        let deadline = self.now() + Duration::from_secs(20);
        self.log.await_applied(seq, deadline, LEASE).await.unwrap()
    }
}

fn now(began: Instant) -> Time {
    Time::ZERO + Duration::from_secs(1) + began.elapsed()
}

pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let waits = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap();
}
