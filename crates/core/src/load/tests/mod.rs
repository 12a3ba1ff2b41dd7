//! Flights and those who wait for them. Here are the helpers that all tests of this folder share.

mod app;
mod fallback;
mod freshness;
mod held;
mod many;
mod nesting;
mod scopes;

use std::cell::Cell;
use std::fmt::Debug;
use std::future::{Future, pending, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::*;
use crate::Time;
use crate::cache::{Boarding, Cache, CacheConfig, Caches, Guarantee, HashSeeds, REMEMBERED};

type Numbers = Cache<String, u64>;

fn cache_with(change: impl FnOnce(&mut CacheConfig<String, u64>)) -> Arc<Numbers> {
    let mut config = CacheConfig::new(100, Guarantee::Eventual, HashSeeds([1, 2, 3, 4]));
    change(&mut config);
    Cache::register(&Caches::default(), "numbers", config).unwrap()
}

fn cache() -> Arc<Numbers> {
    cache_with(|_| {})
}

fn at_start() -> Time {
    Time::ZERO
}

/// Polls once, as a runtime would that has nothing to wake it.
fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn done<T: Debug>(future: impl Future<Output = T>) -> T {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("still waiting"),
    }
}

async fn load(cache: &Numbers, value: u64) -> Result<u64, LoadError<String>> {
    get_or_load(cache, "k", at_start, || ready(Ok(value))).await
}

/// A flight of key `k`, begun by a read of its own.
fn lead(cache: &Numbers) -> super::Lead<'_, String, u64> {
    match cache.board(&"k".to_owned(), cache.read_begins(), Time::ZERO) {
        Boarding::Lead(lead) => lead,
        _ => panic!("a copy or a flight is there"),
    }
}

fn hold(cache: &Numbers, key: &str, value: u64, tags: &[&str]) {
    let loaded = tags.iter().fold(Loaded::new(value), |loaded, &tag| loaded.tag(tag));
    done(get_or_load(cache, key, at_start, || ready(Ok::<_, String>(loaded)))).unwrap();
}

#[test]
fn one_load_serves_all_who_miss_meanwhile() {
    let (cache, loads) = (cache(), Cell::new(0));
    let mut go = false;
    let gate = Cell::from_mut(&mut go);
    let read = || {
        get_or_load(&cache, "k", at_start, || async {
            loads.set(loads.get() + 1);
            std::future::poll_fn(|_| if gate.get() { Poll::Ready(()) } else { Poll::Pending })
                .await;
            Ok::<_, String>(7)
        })
    };
    let mut reads: Vec<_> = (0..100).map(|_| Box::pin(read())).collect();
    assert!(reads.iter_mut().all(|read| poll(read.as_mut()).is_pending()));
    gate.set(true);
    for read in &mut reads {
        assert!(matches!(poll(read.as_mut()), Poll::Ready(Ok(7))));
    }
    assert_eq!((loads.get(), cache.len()), (1, 1));
}

#[test]
fn a_leader_that_goes_away_hands_over_to_one_who_waits() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let cache = cache();
    let mut leader = Box::pin(get_or_load(&cache, "k", at_start, pending::<Result<u64, String>>));
    assert!(poll(leader.as_mut()).is_pending());
    let (count, mut first, mut second) = (
        Arc::new(Count(AtomicUsize::new(0))),
        Box::pin(load(&cache, 1)),
        Box::pin(load(&cache, 2)),
    );
    let waker = Waker::from(Arc::clone(&count));
    let mut context = Context::from_waker(&waker);
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    drop(leader);
    assert_eq!(count.0.load(Ordering::SeqCst), 2, "those who wait are woken");
    assert!(matches!(poll(second.as_mut()), Poll::Ready(Ok(2))), "one of them loads");
    assert!(matches!(poll(first.as_mut()), Poll::Ready(Ok(2))), "for the others too");
}

#[test]
fn an_error_reaches_every_waiter_and_nothing_is_stored() {
    let cache = cache();
    let Boarding::Lead(lead) = cache.board(&"k".to_owned(), cache.read_begins(), Time::ZERO) else {
        panic!("no copy")
    };
    let mut waiters: Vec<_> = (0..3).map(|_| Box::pin(load(&cache, 1))).collect();
    assert!(waiters.iter_mut().all(|waiter| poll(waiter.as_mut()).is_pending()));
    let failed = done(lead.run(at_start, || ready(Err::<u64, _>("database down".to_owned()))));
    assert!(matches!(failed, Err(LoadError::Failed(why)) if *why == "database down"));
    for waiter in &mut waiters {
        let Poll::Ready(Err(error)) = poll(waiter.as_mut()) else { panic!("not told") };
        assert_eq!(error.to_string(), "load failed: database down");
    }
    assert!(cache.is_empty());
}

#[test]
fn a_waiter_whose_error_type_differs_loads_for_itself() {
    let cache = cache();
    let Boarding::Lead(lead) = cache.board(&"k".to_owned(), cache.read_begins(), Time::ZERO) else {
        panic!("no copy")
    };
    let mut waiter = Box::pin(load(&cache, 5));
    assert!(poll(waiter.as_mut()).is_pending());
    assert!(done(lead.run(at_start, || ready(Err::<u64, _>(404_u16)))).is_err());
    assert!(matches!(poll(waiter.as_mut()), Poll::Ready(Ok(5))));
}

#[test]
fn a_panic_of_the_loader_ends_in_an_error_for_all() {
    let cache = cache();
    let Boarding::Lead(lead) = cache.board(&"k".to_owned(), cache.read_begins(), Time::ZERO) else {
        panic!("no copy")
    };
    let mut waiter = Box::pin(load(&cache, 1));
    assert!(poll(waiter.as_mut()).is_pending());
    let told = done(lead.run::<u64, _, _>(at_start, || async {
        let _: Result<u64, String> = Err("never given back".to_owned());
        panic!("boom {}", 1)
    }));
    assert!(
        matches!(told, Err::<u64, LoadError<String>>(LoadError::Panicked { message }) if &*message == "boom 1")
    );
    let Poll::Ready(Err(error)) = poll(waiter.as_mut()) else { panic!("not told") };
    assert_eq!(error.to_string(), "loader panicked: boom 1");
    let early =
        get_or_load(&cache, "k", at_start, || -> std::future::Ready<Result<u64, String>> {
            panic!("early")
        });
    assert_eq!(done(early).unwrap_err().to_string(), "loader panicked: early");
    assert_eq!(done(load(&cache, 3)).unwrap(), 3, "the next read loads anew");
}

#[test]
fn a_flushed_flight_gives_its_value_to_its_waiters_and_to_nobody_later() {
    type Flush = fn(&Numbers);
    let flushes: [(&str, Flush); 4] = [
        ("key", |cache| cache.flush_key("k")),
        ("prefix", |cache| cache.flush_prefix("")),
        ("all", |cache| cache.flush_all()),
        ("distrust", |cache| cache.distrust()),
    ];
    for (name, flush) in flushes {
        let cache = cache();
        let key = "k".to_owned();
        let Boarding::Lead(old) = cache.board(&key, cache.read_begins(), Time::ZERO) else {
            panic!("no copy")
        };
        let mut waiter = Box::pin(load(&cache, 99));
        assert!(poll(waiter.as_mut()).is_pending());
        flush(&cache);
        let Boarding::Lead(new) = cache.board(&key, cache.read_begins(), Time::ZERO) else {
            panic!("{name}: a read after the flush joined the load from before")
        };
        assert_eq!(old.complete(1), Landing::Fenced, "{name}");
        assert!(matches!(poll(waiter.as_mut()), Poll::Ready(Ok(1))), "{name}");
        assert_eq!(cache.get("k", Time::ZERO), None, "{name}");
        assert_eq!(new.complete(2), Landing::Stored, "{name}");
        assert_eq!(cache.get("k", Time::ZERO), Some(2), "{name}");
    }
}

#[test]
fn a_whole_cache_flush_refuses_the_flight_even_if_nobody_read_in_between() {
    let cache = cache();
    let Boarding::Lead(old) = cache.board(&"k".to_owned(), cache.read_begins(), Time::ZERO) else {
        panic!("no copy")
    };
    cache.flush_all();
    old.complete(1);
    assert_eq!(cache.get("k", Time::ZERO), None);
}

#[test]
fn a_copy_expires_by_the_age_of_its_load() {
    let cache = cache_with(|config| config.time_to_live = Some(Duration::from_secs(10)));
    let start = Time::ZERO + Duration::from_secs(100);
    let Boarding::Lead(lead) = cache.board(&"k".to_owned(), cache.read_begins(), start) else {
        panic!("no copy")
    };
    lead.complete(1);
    let after = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(cache.get("k", after(9)), Some(1));
    assert_eq!(cache.get("k", after(10)), None);
    assert!(cache.is_empty(), "an expired copy is dropped where it is found");
}

#[test]
fn a_jitter_takes_a_part_off_the_time_to_live_and_never_adds_to_it() {
    const COPIES: u64 = 80;
    let cache = cache_with(|config| {
        config.time_to_live = Some(Duration::from_secs(100));
        config.jitter = 0.2;
    });
    for number in 0..COPIES {
        hold(&cache, &number.to_string(), number, &[]);
    }
    let after = |seconds| {
        let at = Time::ZERO + Duration::from_secs(seconds);
        (0..COPIES).filter(|number| cache.get(&number.to_string(), at).is_some()).count()
    };
    assert_eq!(after(79), 80, "a fifth at most");
    assert!((20..60).contains(&after(90)), "about half of them");
    assert_eq!(after(100), 0);
}

#[test]
fn weight_stays_within_the_capacity() {
    let cache = cache_with(|config| {
        config.capacity = 1000;
        config.weigher = Some(Arc::new(|_, &value| value));
    });
    for number in 0..200_u64 {
        let key = format!("k{number}");
        done(get_or_load(&cache, &key, at_start, || ready(Ok::<_, String>(number)))).unwrap();
        assert!(cache.weight() <= 1000);
    }
    assert!(cache.len() > 3);
}

#[test]
fn eviction_drops_the_copy_and_leaves_the_flight_alone() {
    let cache = cache();
    let Boarding::Lead(lead) = cache.board(&"k".to_owned(), cache.read_begins(), Time::ZERO) else {
        panic!("no copy")
    };
    cache.evict("k");
    assert_eq!(lead.complete(1), Landing::Stored);
    cache.evict("k");
    assert_eq!(cache.get("k", Time::ZERO), None);
}

#[test]
fn a_key_over_the_limit_is_refused_before_its_loader_is_called() {
    let cache = cache();
    let long = "k".repeat(crate::wire::MAX_KEY_BYTES + 1);
    let read = get_or_load(
        &cache,
        long.as_str(),
        at_start,
        || -> std::future::Ready<Result<u64, String>> { unreachable!("called") },
    );
    assert_eq!(done(read).unwrap_err().to_string(), "key of 1025 bytes is over the limit of 1024");
}
