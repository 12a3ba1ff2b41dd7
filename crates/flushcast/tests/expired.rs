//! What is served when the source fails, and while a copy is loaded again: the last copy, if nobody
//! has flushed it.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cluster::{Cluster, PATIENCE};
use flushcast::{Cache, Loaded, Served};
use tokio::sync::Semaphore;

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_has_expired_is_served_when_the_source_fails_unless_it_was_flushed() {
    let cluster = Cluster::of(2).await;
    let caches: Vec<Cache<u64, u64>> = cluster
        .nodes
        .iter()
        .map(|node| {
            let cache = node.cache("short").time_to_live(Duration::from_millis(1));
            cache.keep_expired(Duration::from_secs(3600)).build().unwrap()
        })
        .collect();
    let is_down = Arc::new(AtomicBool::new(false));
    let source = Arc::clone(&is_down);
    let values = caches[0].with_loader(move |key| {
        let down = source.load(Ordering::SeqCst);
        async move { if down { Err("down") } else { Ok(key * 10) } }
    });
    assert!(matches!(values.load_or_expired(&7).await, Ok(Served::Fresh(70))));
    is_down.store(true, Ordering::SeqCst);
    let expired = async {
        while values.get(&7).is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, expired).await.unwrap();
    match values.load_or_expired(&7).await {
        Ok(Served::Expired { value: 70, error, .. }) => {
            assert_eq!(error.unwrap().to_string(), "load failed: down");
        }
        other => panic!("{other:?}"),
    }
    assert!(values.load(&7).await.is_err());
    assert!(caches[1].flush(&7).await.unwrap().is_complete());
    assert!(values.load_or_expired(&7).await.is_err(), "it is known to be out of date");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_loaded_again_in_the_background_and_nobody_waits_for_it() {
    let cluster = Cluster::of(1).await;
    let cache: Cache<u64, u64> = cluster.nodes[0]
        .cache("refreshed")
        .refresh_after(Duration::from_millis(1))
        .build()
        .unwrap();
    let (loads, is_down) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, source) = (Arc::clone(&loads), Arc::clone(&is_down));
    let values = cache.with_loader(move |_| {
        let load = count.fetch_add(1, Ordering::SeqCst) + 1;
        let down = source.load(Ordering::SeqCst);
        async move { if down { Err("down") } else { Ok(load) } }
    });
    assert_eq!(values.load(&7).await.unwrap(), 1);
    let refreshed = async {
        while values.load(&7).await.unwrap() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refreshed).await.unwrap();
    assert_eq!(cache.stats().misses, 1, "only the first read has waited");

    // A source that is down is not asked by each read, and the copy is served all the while.
    is_down.store(true, Ordering::SeqCst);
    let failed = async {
        while cache.stats().failed_loads == 0 {
            values.load(&7).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, failed).await.unwrap();
    let before = loads.load(Ordering::SeqCst);
    for _ in 0..1000 {
        values.load(&7).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(loads.load(Ordering::SeqCst), before);
    assert_eq!(cache.stats().misses, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_has_waited_for_a_load_is_no_hit() {
    const READS: u64 = 10;
    let cluster = Cluster::of(1).await;
    let cache: Cache<u64, u64> =
        cluster.nodes[0].cache("waits").keep_expired(Duration::from_secs(3600)).build().unwrap();
    cache.insert(&7, Loaded::new(1).time_to_live(Duration::from_nanos(1))).unwrap();
    let expired = async {
        while cache.get_expired(&7).is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, expired).await.unwrap();
    let (permits, asked) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
    let (gate, count) = (Arc::clone(&permits), Arc::clone(&asked));
    let values = cache.with_loader(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok::<u64, std::io::Error>(2)
        }
    });
    let reads: Vec<_> = (0..READS)
        .map(|_| {
            let values = values.clone();
            tokio::spawn(async move { values.load_or_expired(&7).await.unwrap().into_value() })
        })
        .collect();
    let all_wait = async {
        while cache.stats().misses < READS {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all_wait).await.expect("a read that waits is a miss");
    permits.add_permits(1);
    for read in reads {
        assert_eq!(read.await.unwrap(), 2);
    }
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, asked.load(Ordering::SeqCst)), (0, READS, 1));
}

/// The load that it joined went away with its caller, and the source does not answer the next one.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_for_a_slow_source_is_that_of_all_loads_that_a_read_waits_for() {
    let cluster = Cluster::of(1).await;
    let cache: Cache<u64, u64> = cluster.nodes[0]
        .cache("slow")
        .keep_expired(Duration::from_secs(3600))
        .serve_expired_after(Duration::from_millis(200))
        .build()
        .unwrap();
    cache.insert(&7, Loaded::new(1).time_to_live(Duration::from_nanos(1))).unwrap();
    let expired = async {
        while cache.get_expired(&7).is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, expired).await.unwrap();
    let values = cache.with_loader(|_| std::future::pending::<Result<u64, std::io::Error>>());
    let joined = {
        let cache = cache.clone();
        tokio::spawn(async move {
            let never = std::future::pending::<Result<u64, std::io::Error>>;
            cache.get_or_load(&7, never).await
        })
    };
    let begun = async {
        while cache.stats().misses == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.unwrap();
    let read = tokio::spawn(async move { values.load_or_expired(&7).await });
    let joins = async {
        while cache.stats().joins == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, joins).await.unwrap();
    joined.abort();
    let read = tokio::time::timeout(PATIENCE, read).await.expect("it is given up in its time");
    let served = read.unwrap().unwrap();
    assert!(matches!(served, Served::Expired { value: 1, error: None, .. }), "{served:?}");
}
