//! Loads that fail, are slow or never end, loads of many keys, and settings that make no sense.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cluster::{Cluster, PATIENCE};
use flushcast::{Cache, CacheBuilder, LoadError, ReadThrough, RemovalCause, Served};
use tokio::sync::Semaphore;
use tokio::time::timeout;

const HOUR: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(1);

async fn cache_with(
    settings: impl FnOnce(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>,
) -> (Cluster, Cache<u64, u64>) {
    let cluster = Cluster::of(1).await;
    let cache = settings(cluster.nodes[0].cache("c")).build().unwrap();
    (cluster, cache)
}

fn all<T, E: std::fmt::Debug>(told: Vec<Result<T, E>>) -> Vec<T> {
    told.into_iter().map(Result::unwrap).collect()
}

async fn until(what: impl Fn() -> bool) {
    let holds = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, holds).await.unwrap();
}

/// A source whose answers wait for a permit each, and count up.
struct Source {
    permits: Semaphore,
    asked: AtomicU64,
    is_down: AtomicBool,
}

impl Source {
    fn of(cache: &Cache<u64, u64>) -> (Arc<Self>, ReadThrough<u64, u64, &'static str>) {
        let source = Arc::new(Source {
            permits: Semaphore::new(0),
            asked: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
        });
        let asked = Arc::clone(&source);
        let values = cache.with_loader(move |_| {
            let source = Arc::clone(&asked);
            async move {
                let number = source.asked.fetch_add(1, Ordering::SeqCst) + 1;
                source.permits.acquire().await.unwrap().forget();
                if source.is_down.load(Ordering::SeqCst) { Err("down") } else { Ok(number) }
            }
        });
        (source, values)
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_source_gets_time_while_the_expired_copy_is_served() {
    let (_cluster, cache) = cache_with(|cache| {
        cache.time_to_live(MOMENT).keep_expired(HOUR).serve_expired_after(MOMENT)
    })
    .await;
    let (source, values) = Source::of(&cache);
    source.permits.add_permits(1);
    assert!(matches!(values.load_or_expired(&7).await, Ok(Served::Fresh(1))));
    until(|| cache.get_expired(&7).is_some()).await;
    for _ in 0..10 {
        let served = values.load_or_expired(&7).await;
        assert!(matches!(served, Ok(Served::Expired { value: 1, error: None, .. })), "{served:?}");
    }
    let stats = cache.stats();
    assert_eq!((source.asked(), stats.expired_as_slow), (2, 10), "one load goes on");
    assert_eq!((stats.hits, stats.misses), (0, 11), "each read counts once");
    source.permits.add_permits(1);
    until(|| cache.get_expired(&7).is_some_and(|(value, _)| value == 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_source_is_left_alone_for_a_while_and_then_asked_again() {
    let (_cluster, cache) = cache_with(|cache| {
        cache.time_to_live(MOMENT).keep_expired(HOUR).pause_after_failure(MOMENT * 50)
    })
    .await;
    let (source, values) = Source::of(&cache);
    source.permits.add_permits(1000);
    values.load(&7).await.unwrap();
    until(|| cache.get_expired(&7).is_some()).await;
    source.is_down.store(true, Ordering::SeqCst);
    let mut reads = 0_u64;
    while source.asked() < 4 {
        let served = values.load_or_expired(&7).await;
        assert!(
            matches!(served, Ok(Served::Expired { value: 1, error: Some(_), .. })),
            "{served:?}"
        );
        reads += 1;
    }
    assert!(reads > source.asked(), "{reads} reads, each of which asked");
    source.is_down.store(false, Ordering::SeqCst);
    let mended = async {
        while !matches!(values.load_or_expired(&7).await, Ok(Served::Fresh(_))) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, mended).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_never_ends_is_given_up_and_all_who_wait_are_told() {
    let (_cluster, cache) = cache_with(|cache| cache.load_time_out(MOMENT * 20)).await;
    let never = || async { pending::<Result<u64, Infallible>>().await };
    let (one, other) = tokio::join!(cache.get_or_load(&7, never), cache.get_or_load(&7, never));
    for told in [one, other] {
        assert!(matches!(told, Err(LoadError::TimedOut { after }) if after == MOMENT * 20));
    }
    assert_eq!(cache.stats().joins, 1);
    let many =
        cache.get_or_load_many(&[1, 2], |_| pending::<Result<Vec<(u64, u64)>, Infallible>>());
    for told in many.await {
        assert_eq!(told.unwrap_err().to_string(), "load took longer than 20ms");
    }
    let loaded = cache.get_or_load(&7, || async { Ok::<_, Infallible>(70) }).await;
    assert_eq!(loaded.unwrap(), 70, "the next one begins anew");
    let failed = cache.get_or_load(&8, || async { Err::<u64, _>("its own") }).await;
    assert!(matches!(failed, Err(LoadError::Failed(error)) if *error == "its own"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_load_that_nobody_polls_is_told_in_time() {
    let (_cluster, cache) = cache_with(|cache| cache.load_time_out(MOMENT * 20)).await;
    let never = || pending::<Result<u64, Infallible>>();
    let mut lead = Box::pin(cache.get_or_load(&7, never));
    assert!(futures_util::poll!(lead.as_mut()).is_pending());
    // Its task does something else from here on.
    let joined = timeout(PATIENCE, cache.get_or_load(&7, never)).await.expect("it waits for ever");
    assert!(matches!(joined, Err(LoadError::TimedOut { after }) if after == MOMENT * 20));
    let loaded = cache.get_or_load(&7, || async { Ok::<_, Infallible>(70) }).await;
    assert_eq!(loaded.unwrap(), 70, "the next one begins anew");
    assert!(lead.await.is_err());
    assert_eq!(cache.get(&7), Some(70));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_write_waits_no_longer_than_a_load_may_take_and_the_write_goes_on() {
    let (_cluster, cache) = cache_with(|cache| cache.load_time_out(MOMENT * 20)).await;
    let go_on = Arc::new(Semaphore::new(0));
    let begun = Arc::new(AtomicBool::new(false));
    let (gate, begins) = (Arc::clone(&go_on), Arc::clone(&begun));
    let mut put = Box::pin(cache.put(&7, || async move {
        begins.store(true, Ordering::SeqCst);
        gate.acquire().await.unwrap().forget();
        Ok::<u64, Infallible>(71)
    }));
    assert!(futures_util::poll!(put.as_mut()).is_pending());
    until(|| begun.load(Ordering::SeqCst)).await;
    let old = || async { Ok::<_, Infallible>(70) };
    let joined = timeout(PATIENCE, cache.get_or_load(&7, old)).await.expect("it waits for ever");
    assert!(matches!(joined, Err(LoadError::TimedOut { .. })));
    assert_eq!(cache.get_or_load(&7, old).await.unwrap(), 70);
    go_on.add_permits(1);
    assert!(put.await.unwrap().await.unwrap().is_complete());
    assert_eq!(cache.get(&7), None, "what was loaded meanwhile may be from before the write");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loader_that_panics_in_the_background_harms_no_read() {
    let (_cluster, cache) = cache_with(|cache| cache.refresh_after(MOMENT)).await;
    let calls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&calls);
    // It panics when it is called, before there is a future.
    let values = cache.with_loader(move |_| {
        assert_eq!(count.fetch_add(1, Ordering::SeqCst), 0, "a loader's");
        async { Ok::<u64, Infallible>(1) }
    });
    values.load(&7).await.unwrap();
    let failed = async {
        while cache.stats().failed_loads == 0 {
            assert_eq!(values.load(&7).await.unwrap(), 1);
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, failed).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_loaded_with_the_loader_of_one_or_with_one_call() {
    let (_cluster, cache) = cache_with(|cache| cache).await;
    let values = cache.with_loader(|key| async move { Ok::<_, Infallible>(key * 10) });
    assert_eq!(all(values.load_many(&[3, 1, 3]).await), [Some(30), Some(10), Some(30)]);
    let calls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&calls);
    let values = values.bulk_loader(move |keys: Vec<u64>| {
        count.fetch_add(1, Ordering::SeqCst);
        let told = keys.into_iter().filter(|key| key % 2 == 0).map(|key| (key, key * 100));
        async move { Ok(told) }
    });
    let told = all(values.load_many(&[1, 2, 5, 6]).await);
    assert_eq!(told, [Some(10), Some(200), None, Some(600)], "1 was held");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(values.with(&6, |value| value + 1), Some(601));
    let mut held: Vec<_> = values.iter().map(|copy| copy.key).collect();
    held.sort_unstable();
    assert_eq!(held, [1, 2, 3, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_panics_harms_nobody() {
    let heard = Arc::new(AtomicU64::new(0));
    let ear = Arc::clone(&heard);
    let (_cluster, cache) = cache_with(|cache| {
        cache.on_removal(move |_, _, cause| {
            assert_eq!(cause, RemovalCause::Flushed);
            ear.fetch_add(1, Ordering::SeqCst);
            panic!("a listener's");
        })
    })
    .await;
    (0..3).for_each(|key| cache.insert(&key, key).unwrap());
    assert!(cache.flush_all().await.unwrap().is_complete());
    assert_eq!((heard.load(Ordering::SeqCst), cache.len()), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_make_no_sense_are_refused_and_say_why() {
    type Settings = fn(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>;
    const ZERO: Duration = Duration::ZERO;
    let refused: [(Settings, &str); 11] = [
        (|cache| cache.capacity(0), "a capacity of 0"),
        (|cache| cache.time_to_live_jitter(1.5), "a jitter of 1.5"),
        (|cache| cache.time_to_live_jitter(f64::NAN), "a jitter of NaN"),
        (|cache| cache.refresh_early(0.0), "an early refresh by the factor 0"),
        (|cache| cache.refresh_early(f64::INFINITY), "an early refresh by the factor inf"),
        (|cache| cache.time_to_live(ZERO), "a time to live of 0"),
        (|cache| cache.time_to_idle(ZERO), "a time to idle of 0"),
        (|cache| cache.fallback(ZERO, |_, _| Some(1)), "a time to live of fallbacks of 0"),
        (
            |cache| cache.refresh_after(HOUR).time_to_live(HOUR),
            "a refresh after of 3600s is not below a time to live of 3600s",
        ),
        (
            |cache| cache.serve_expired_after(HOUR).load_time_out(MOMENT).keep_expired(HOUR),
            "serving expired after of 3600s is not below a time-out of loads of 1ms",
        ),
        (|cache| cache.serve_expired_after(MOMENT), "set keep_expired as well"),
    ];
    let cluster = Cluster::of(1).await;
    for (settings, why) in refused {
        let error = settings(cluster.nodes[0].cache("c")).build().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(cluster.nodes[0].cache::<u64, u64>("c").build().is_ok(), "the name is free");
}
