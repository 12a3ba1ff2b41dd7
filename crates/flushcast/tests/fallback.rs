//! Values in place of loads that have failed.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster::{Cluster, PATIENCE};
use flushcast::{Cache, CacheBuilder, LoadError, Loaded, ReadThrough, Served};
use tokio::time::timeout;

const HOUR: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(20);
const FALLBACK: u64 = 99;

async fn falling_back(
    settings: impl FnOnce(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>,
) -> (Cluster, Cache<u64, u64>) {
    let cluster = Cluster::of(1).await;
    let cache = cluster.nodes[0].cache("c").fallback(HOUR, |_, error| match error {
        LoadError::Failed(error) if error.is::<&str>() => None,
        _ => Some(FALLBACK),
    });
    let cache = settings(cache).build().unwrap();
    (cluster, cache)
}

#[derive(Debug)]
struct Down;

impl std::fmt::Display for Down {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "down")
    }
}

/// A loader of a source that is down, with how often it was asked.
fn broken(cache: &Cache<u64, u64>) -> (ReadThrough<u64, u64, Down>, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let values = cache.with_loader(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Err::<u64, _>(Down) }
    });
    (values, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_down_is_asked_once_while_the_fallback_lives_or_until_a_flush() {
    let (_cluster, cache) = falling_back(|cache| cache).await;
    let (values, asked) = broken(&cache);
    for _ in 0..3 {
        assert_eq!(values.load(&7).await.unwrap(), FALLBACK);
        let served = values.load_or_expired(&7).await;
        assert!(matches!(served, Ok(Served::Fresh(FALLBACK))), "{served:?}");
        assert_eq!(values.load_many(&[7]).await.remove(0).unwrap(), Some(FALLBACK));
    }
    let stats = cache.stats();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!((stats.loads, stats.failed_loads, stats.fallbacks, stats.hits), (1, 1, 1, 8));
    cache.flush(&7).await.unwrap();
    assert_eq!(cache.get(&7), None);
    assert_eq!(values.load(&7).await.unwrap(), FALLBACK);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let refused = cache.get_or_load(&8, || async { Err::<u64, _>("an error of its own") }).await;
    assert!(matches!(refused, Err(LoadError::Failed(_))), "there is none for that");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_copy_is_better() {
    let (_cluster, cache) = falling_back(|cache| cache.keep_expired(HOUR)).await;
    let (values, _) = broken(&cache);
    cache.insert(&7, Loaded::new(1).time_to_live(Duration::ZERO)).unwrap();
    assert!(values.load(&7).await.is_err(), "it stays");
    let served = values.load_or_expired(&7).await;
    assert!(matches!(served, Ok(Served::Expired { value: 1, error: Some(_), .. })), "{served:?}");
    let many = values.load_many_or_expired(&[7, 8]).await;
    let many: Vec<_> = many.into_iter().map(|it| it.unwrap().unwrap().into_value()).collect();
    assert_eq!(many, [1, FALLBACK]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_takes_too_long_falls_back_whether_it_is_polled_or_not() {
    let (_cluster, cache) = falling_back(|cache| cache.load_time_out(MOMENT)).await;
    let never = || pending::<Result<u64, Infallible>>();
    let mut lead = Box::pin(cache.get_or_load(&7, never));
    assert!(futures_util::poll!(lead.as_mut()).is_pending());
    // Its task does something else from here on.
    let joined = timeout(PATIENCE, cache.get_or_load(&7, never)).await.expect("it waits for ever");
    assert_eq!(joined.unwrap(), FALLBACK);
    assert_eq!(lead.await.unwrap(), FALLBACK);
    assert_eq!(cache.stats().fallbacks, 1);
}
