//! Loads in the background, of many keys and of their own accord; writes whose callers go away; loads that
//! would wait for themselves.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cluster::{Cluster, PATIENCE};
use flushcast::{Cache, CacheBuilder, LoadError, Loaded, Node, Served};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

const HOUR: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(20);

async fn cache_with(
    settings: impl FnOnce(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>,
) -> (Cluster, Cache<u64, u64>) {
    let cluster = Cluster::of(1).await;
    let cache = settings(cluster.nodes[0].cache("c")).build().unwrap();
    (cluster, cache)
}

async fn until(what: impl Fn() -> bool) {
    let holds = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, holds).await.unwrap();
}

async fn hold_expired(cache: &Cache<u64, u64>, key: u64) {
    cache.insert(&key, Loaded::new(1).time_to_live(Duration::from_nanos(1))).unwrap();
    until(|| cache.get_expired(&key).is_some()).await;
}

/// Lets so many through, and counts who has come.
#[derive(Clone)]
struct Gate {
    permits: Arc<Semaphore>,
    came: Arc<AtomicU64>,
}

impl Gate {
    fn closed() -> Self {
        Self { permits: Arc::new(Semaphore::new(0)), came: Arc::default() }
    }

    async fn pass(&self) -> u64 {
        let number = self.came.fetch_add(1, Ordering::SeqCst) + 1;
        self.permits.acquire().await.unwrap().forget();
        number
    }

    fn open(&self, permits: usize) {
        self.permits.add_permits(permits);
    }

    fn came(&self) -> u64 {
        self.came.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_caller_goes_away_is_carried_to_its_end_and_flushed_behind_it() {
    let cluster = Cluster::of(2).await;
    let caches: Vec<Cache<u64, u64>> = cluster
        .nodes
        .iter()
        .map(|node| node.cache("rows").load_time_out(MOMENT).build().unwrap())
        .collect();
    let (row, commit) = (Arc::new(AtomicU64::new(1)), Gate::closed());
    let (table, commits) = (Arc::clone(&row), commit.clone());
    let mut put = Box::pin(caches[0].put(&7, move || async move {
        commits.pass().await;
        table.store(2, Ordering::SeqCst);
        Ok::<_, Infallible>(2)
    }));
    assert!(futures_util::poll!(put.as_mut()).is_pending());
    until(|| commit.came() == 1).await;
    // The client has disconnected; the database goes on.
    drop(put);
    let read = async |cache: &Cache<u64, u64>| loop {
        let loaded =
            cache.get_or_load(&7, async || Ok::<_, Infallible>(row.load(Ordering::SeqCst)));
        if let Ok(value) = loaded.await {
            return value;
        }
    };
    assert_eq!((read(&caches[0]).await, read(&caches[1]).await), (1, 1));
    commit.open(1);
    until(|| caches.iter().all(|cache| cache.get(&7) != Some(1))).await;
    assert_eq!((read(&caches[0]).await, read(&caches[1]).await), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_key_of_many_costs_the_others_nothing() {
    let (_cluster, cache) = cache_with(|cache| cache.load_time_out(MOMENT)).await;
    let calls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&calls);
    let values = cache.with_loader(move |key| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            match key {
                13 => Err("down"),
                14 => panic!("14"),
                15 => pending().await,
                _ => Ok(key * 10),
            }
        }
    });
    let keys: Vec<u64> = (0..1000).collect();
    for round in 1..=2 {
        let told = values.load_many(&keys).await;
        for (key, told) in keys.iter().zip(told) {
            match key {
                13 => assert!(matches!(told, Err(LoadError::Failed(error)) if *error == "down")),
                14 => assert!(matches!(told, Err(LoadError::Panicked { .. }))),
                15 => assert!(matches!(told, Err(LoadError::TimedOut { after: MOMENT }))),
                _ => assert_eq!(told.unwrap(), Some(key * 10)),
            }
        }
        assert_eq!(cache.len(), 997);
        assert_eq!(calls.load(Ordering::SeqCst), 1000 + 3 * (round - 1), "the others are held");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_of_many_is_there_when_its_own_load_has_ended() {
    let (_cluster, cache) = cache_with(|cache| cache).await;
    let gate = Gate::closed();
    let slow = gate.clone();
    let values = cache.with_loader(move |key| {
        let slow = slow.clone();
        async move {
            if key == 1 {
                slow.pass().await;
            }
            Ok::<_, Infallible>(key)
        }
    });
    let many = tokio::spawn({
        let values = values.clone();
        async move { values.load_many(&[1, 2, 3]).await }
    });
    until(|| cache.get(&2).is_some() && cache.get(&3).is_some()).await;
    gate.open(1);
    assert!(many.await.unwrap().iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_keys_are_loaded_at_once_as_the_setting_says() {
    let (_cluster, cache) = cache_with(|cache| cache).await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (under_way, seen) = (Arc::clone(&now), Arc::clone(&most));
    let values = cache.with_loader(move |key| {
        let under_way = Arc::clone(&under_way);
        seen.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        async move {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            under_way.fetch_sub(1, Ordering::SeqCst);
            Ok::<u64, Infallible>(key)
        }
    });
    for (setting, keys) in [(0, 0..100), (5, 100..200)] {
        most.store(0, Ordering::SeqCst);
        let keys: Vec<_> = keys.collect();
        let told = values.clone().loads_at_once(setting).load_many(&keys).await;
        assert!(told.iter().all(Result::is_ok));
        assert_eq!(most.load(Ordering::SeqCst), setting.max(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_many_loads_again_what_is_due_with_either_loader() {
    let nanosecond = Duration::from_nanos(1);
    let (_cluster, cache) = cache_with(|cache| cache.refresh_after(nanosecond)).await;
    let one = cache.with_loader(|_| async { Ok::<u64, Infallible>(2) });
    let calls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&calls);
    let bulk = one.clone().bulk_loader(move |keys: Vec<u64>| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { Ok(keys.into_iter().map(|key| (key, 2)).collect::<Vec<_>>()) }
    });
    for (values, keys) in [(one, [1, 2]), (bulk, [3, 4])] {
        keys.iter().for_each(|key| cache.insert(key, 1).unwrap());
        let refreshed = async {
            while keys.iter().any(|key| cache.get(key) != Some(2)) {
                assert!(values.load_many(&keys).await.iter().all(Result::is_ok));
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, refreshed).await.unwrap();
    }
    assert_eq!(cache.stats().misses, 0, "nobody has waited");
    assert!(calls.load(Ordering::SeqCst) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_many_serves_what_has_expired_where_asked_with_either_loader() {
    let (_cluster, cache) = cache_with(|cache| cache.keep_expired(HOUR)).await;
    let is_down = Arc::new(AtomicBool::new(true));
    let (one_down, bulk_down) = (Arc::clone(&is_down), Arc::clone(&is_down));
    let calls = Arc::new(AtomicU64::new(0));
    let (one_count, bulk_count) = (Arc::clone(&calls), Arc::clone(&calls));
    let one = cache.with_loader(move |key| {
        one_count.fetch_add(1, Ordering::SeqCst);
        let down = one_down.load(Ordering::SeqCst);
        async move { if down { Err("down") } else { Ok(key * 10) } }
    });
    let bulk = one.clone().bulk_loader(move |keys: Vec<u64>| {
        bulk_count.fetch_add(keys.len() as u64, Ordering::SeqCst);
        let down = bulk_down.load(Ordering::SeqCst);
        let rows: Vec<_> = keys.into_iter().map(|key| (key, key * 10)).collect();
        async move { if down { Err("down") } else { Ok(rows) } }
    });
    for (values, [here, gone, none]) in [(one, [1, 2, 3]), (bulk, [4, 5, 6])] {
        is_down.store(true, Ordering::SeqCst);
        calls.store(0, Ordering::SeqCst);
        cache.insert(&here, 7).unwrap();
        hold_expired(&cache, gone).await;
        for _ in 0..2 {
            let told = values.load_many_or_expired(&[here, gone, none]).await;
            assert!(matches!(told[0], Ok(Some(Served::Fresh(7)))), "{told:?}");
            assert!(
                matches!(told[1], Ok(Some(Served::Expired { value: 1, error: Some(_), .. }))),
                "{told:?}"
            );
            assert!(matches!(told[2], Err(LoadError::Failed(_))), "{told:?}");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 3, "the one with a copy is left for a while");
        is_down.store(false, Ordering::SeqCst);
        cache.evict(&gone);
        let told = values.load_many_or_expired(&[gone, none]).await;
        let fresh = |told: &Result<Option<Served<u64, _>>, LoadError<_>>| match told {
            Ok(Some(Served::Fresh(value))) => Some(*value),
            _ => None,
        };
        assert_eq!(told.iter().map(fresh).collect::<Vec<_>>(), [Some(gone * 10), Some(none * 10)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_bulk_loader_gets_time_while_expired_copies_are_served() {
    let (_cluster, cache) =
        cache_with(|cache| cache.keep_expired(HOUR).serve_expired_after(MOMENT)).await;
    hold_expired(&cache, 1).await;
    hold_expired(&cache, 2).await;
    let gate = Gate::closed();
    let slow = gate.clone();
    let values = cache.with_loader(|_| async { Err::<u64, _>("not this one") });
    let values = values.bulk_loader(move |keys: Vec<u64>| {
        let slow = slow.clone();
        async move {
            slow.pass().await;
            Ok(keys.into_iter().map(|key| (key, key * 10)))
        }
    });
    for _ in 0..3 {
        for told in values.load_many_or_expired(&[1, 2]).await {
            assert!(matches!(told, Ok(Some(Served::Expired { value: 1, error: None, .. }))));
        }
    }
    assert_eq!(gate.came(), 1, "one load goes on");
    gate.open(1);
    until(|| cache.get(&1) == Some(10) && cache.get(&2) == Some(20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_flushed_while_a_slow_bulk_loader_gets_time_is_loaded_in_one_more_call() {
    let (_cluster, cache) =
        cache_with(|cache| cache.keep_expired(HOUR).serve_expired_after(MOMENT)).await;
    let keys = [1, 2, 3];
    for key in keys {
        hold_expired(&cache, key).await;
    }
    let calls = Arc::new(AtomicU64::new(0));
    let (count, flushes) = (Arc::clone(&calls), cache.clone());
    let values = cache.with_loader(|_| async { Err::<u64, _>("not this one") });
    let values = values.bulk_loader(move |keys: Vec<u64>| {
        let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
        if is_first {
            drop(flushes.flush_all());
        }
        async move {
            if is_first {
                std::future::pending::<()>().await;
            }
            Ok(keys.into_iter().map(|key| (key, key * 10)))
        }
    });
    for (key, told) in keys.iter().zip(values.load_many_or_expired(&keys).await) {
        assert!(matches!(told, Ok(Some(Served::Fresh(value))) if value == key * 10), "{told:?}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_source_that_is_down_costs_no_task_for_each_key_that_failed() {
    const KEYS: u64 = 1000;
    let (_cluster, cache) = cache_with(|cache| cache.keep_expired(HOUR)).await;
    let values = cache.with_loader(|_| async { Err::<u64, _>("down") });
    for key in 0..KEYS {
        cache.insert(&key, Loaded::new(1).time_to_live(Duration::from_nanos(1))).unwrap();
    }
    until(|| cache.get_expired(&(KEYS - 1)).is_some()).await;
    let tasks = Handle::current().metrics().num_alive_tasks();
    for _ in 0..2 {
        for key in 0..KEYS {
            let served = values.load_or_expired(&key).await;
            assert!(
                matches!(served, Ok(Served::Expired { value: 1, error: Some(_), .. })),
                "{served:?}"
            );
        }
    }
    assert_eq!(cache.stats().failed_loads, KEYS, "each is left for a while");
    until(|| Handle::current().metrics().num_alive_tasks() <= tasks + 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_what_has_expired_share_one_load_that_is_not_stored() {
    const READS: u64 = 10;
    let (_cluster, cache) = cache_with(|cache| cache.keep_expired(HOUR)).await;
    hold_expired(&cache, 7).await;
    let gate = Gate::closed();
    let slow = gate.clone();
    let values = cache.with_loader(move |_| {
        let slow = slow.clone();
        async move { Ok::<_, Infallible>(Loaded::new(slow.pass().await + 1).not_stored()) }
    });
    let reads: Vec<_> = (0..READS)
        .map(|_| {
            let values = values.clone();
            tokio::spawn(async move { values.load_or_expired(&7).await.unwrap().into_value() })
        })
        .collect();
    until(|| cache.stats().joins == READS - 1).await;
    gate.open(100);
    for read in reads {
        assert_eq!(read.await.unwrap(), 2);
    }
    assert_eq!(gate.came(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_in_the_background_keeps_neither_the_name_of_its_cache_nor_the_node() {
    let node = Node::builder("test").listen("127.0.0.1:0".parse().unwrap()).start().await.unwrap();
    let refreshing = || {
        let cache: Cache<u64, u64> =
            node.cache("c").refresh_after(Duration::from_nanos(1)).build().unwrap();
        cache.insert(&7, 1).unwrap();
        cache.with_loader(|_| pending::<Result<u64, Infallible>>())
    };
    let address = node.local_address();
    for _ in 0..2 {
        let values = refreshing();
        while values.stats().hits_due == 0 {
            assert_eq!(values.load(&7).await.unwrap(), 1);
        }
        // What goes here is the last handle; the next turn takes its name again.
    }
    drop(node);
    until(|| std::net::TcpListener::bind(address).is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loader_that_reads_its_own_key_is_told_so_by_whatever_call() {
    let (_cluster, cache) = cache_with(|cache| cache.keep_expired(HOUR)).await;
    hold_expired(&cache, 8).await;
    let again = Arc::new(std::sync::OnceLock::<flushcast::ReadThrough<u64, u64, String>>::new());
    let inner = Arc::clone(&again);
    let values = cache.with_loader(move |key| {
        let inner = Arc::clone(&inner);
        async move {
            match key {
                1 => inner.get().unwrap().load(&1).await.map_err(|error| error.to_string()),
                8 => match inner.get().unwrap().load_or_expired(&8).await {
                    Ok(Served::Expired { error: Some(error), .. }) => Err(error.to_string()),
                    other => panic!("{other:?}"),
                },
                _ => unreachable!(),
            }
        }
    });
    again.set(values.clone()).unwrap();
    let told = timeout(PATIENCE, values.load(&1)).await.expect("it waits for itself");
    assert!(told.unwrap_err().to_string().contains("has asked for the key itself"));
    let told = timeout(PATIENCE, values.load_or_expired(&8)).await.expect("it waits for itself");
    let Ok(Served::Expired { error: Some(error), .. }) = told else { panic!("{told:?}") };
    assert!(error.to_string().contains("has asked for the key itself"), "{error}");
    let read = cache.clone();
    let put = cache.put(&9, move || async move {
        let loaded = read.get_or_load(&9, async || Ok::<_, Infallible>(1)).await;
        loaded.map_err(|error| error.to_string())
    });
    let told = timeout(PATIENCE, put).await.expect("it waits for itself");
    assert!(told.unwrap_err().to_string().contains("has asked for the key itself"));
}

#[tokio::test(flavor = "multi_thread")]
async fn so_are_loaders_of_keys_that_read_each_other() {
    let (_cluster, cache) = cache_with(|cache| cache).await;
    let both = Arc::new(std::sync::OnceLock::<flushcast::ReadThrough<u64, u64, String>>::new());
    let inner = Arc::clone(&both);
    let values = cache.with_loader(move |key| {
        let inner = Arc::clone(&inner);
        async move {
            tokio::task::yield_now().await;
            inner.get().unwrap().load(&(key ^ 1)).await.map_err(|error| error.to_string())
        }
    });
    both.set(values.clone()).unwrap();
    let told =
        timeout(PATIENCE, values.load_many(&[2, 3])).await.expect("each waits for the other");
    assert!(told.iter().all(Result::is_err), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_loads_now_whatever_is_held_and_gives_what_is_no_older_than_the_call() {
    let (_cluster, cache) = cache_with(|cache| cache).await;
    let gate = Gate::closed();
    let slow = gate.clone();
    let values = cache.with_loader(move |_| {
        let slow = slow.clone();
        async move { Ok::<_, Infallible>(slow.pass().await) }
    });
    let refresh = || {
        let values = values.clone();
        tokio::spawn(async move { values.refresh(&7).await.unwrap() })
    };
    let first = refresh();
    until(|| gate.came() == 1).await;
    let others = [refresh(), refresh()];
    gate.open(3);
    assert_eq!(first.await.unwrap(), 1);
    for other in others {
        assert!(other.await.unwrap() > 1, "that was from before");
    }
    assert_eq!((cache.get(&7), cache.stats().misses), (Some(gate.came()), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_are_due_are_loaded_again_without_a_read() {
    let (_cluster, cache) =
        cache_with(|cache| cache.time_to_live(HOUR).refresh_after(HOUR / 2).keep_expired(HOUR))
            .await;
    let one = cache.with_loader(|key| async move {
        if key == 3 { Err("down") } else { Ok(Loaded::new(key * 10)) }
    });
    let bulk = one.clone().bulk_loader(|keys: Vec<u64>| async move {
        Ok(keys.into_iter().map(|key| (key, key * 10)))
    });
    for (values, failed) in [(one, 1), (bulk, 0)] {
        (1..=4).for_each(|key| cache.evict(&key));
        for key in [1, 2, 3] {
            hold_expired(&cache, key).await;
        }
        cache.insert(&4, 1).unwrap();
        let refreshed = values.refresh_due().await;
        assert_eq!((refreshed.loaded, refreshed.failed), (3 - failed, failed));
        assert_eq!([1, 2, 4].map(|key| cache.get(&key)), [Some(10), Some(20), Some(1)]);
        let again = values.refresh_due().await;
        assert_eq!((again.loaded, again.failed), (0, 0), "those that failed are left for a while");
    }
    assert_eq!(cache.stats().hits + cache.stats().misses, 6, "only those of this test");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loader_may_say_that_what_is_held_has_not_been_modified() {
    let (_cluster, cache) = cache_with(|cache| cache.keep_expired(HOUR)).await;
    let whole = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&whole);
    let values = cache.with_reloader(move |key, held: Option<Loaded<u64>>| {
        let count = Arc::clone(&count);
        async move {
            Ok::<_, Infallible>(held.unwrap_or_else(|| {
                count.fetch_add(1, Ordering::SeqCst);
                Loaded::new(key * 10).tag("t")
            }))
        }
    });
    assert_eq!(values.load(&7).await.unwrap(), 70);
    assert!(cache.expire_after(&7, Duration::ZERO));
    until(|| cache.get_expired(&7).is_some()).await;
    assert!(!cache.expire_after(&7, HOUR), "what has expired stays so");
    assert_eq!(values.load(&7).await.unwrap(), 70);
    assert_eq!((cache.get(&7), whole.load(Ordering::SeqCst)), (Some(70), 1));
    assert!(cache.flush_tag("t").await.unwrap().is_complete(), "it has kept its tags");
    assert_eq!(values.load(&7).await.unwrap(), 70);
    assert_eq!(whole.load(Ordering::SeqCst), 2, "what was flushed is not offered");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_copy_can_be_lengthened() {
    let (_cluster, cache) = cache_with(|cache| cache.time_to_live(MOMENT * 5)).await;
    cache.insert(&1, 1).unwrap();
    cache.insert(&2, 2).unwrap();
    assert!(cache.expire_after(&1, HOUR));
    until(|| cache.get(&2).is_none()).await;
    assert_eq!(cache.get(&1), Some(1));
    assert!(!cache.expire_after(&2, HOUR));
    assert!(cache.flush(&1).await.unwrap().is_complete());
    assert_eq!(cache.get(&1), None);
}
