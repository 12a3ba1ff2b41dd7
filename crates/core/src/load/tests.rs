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
use crate::cache::{Boarding, Cache, CacheConfig, Caches, Guarantee, HashSeeds};

type Numbers = Cache<String, u64>;

fn cache_with(change: impl FnOnce(&mut CacheConfig<String, u64>)) -> Arc<Numbers> {
    let mut config = CacheConfig {
        capacity: 100,
        weigher: None,
        time_to_live: None,
        guarantee: Guarantee::Eventual,
        clock_step: Duration::ZERO,
        seeds: HashSeeds([1, 2, 3, 4]),
    };
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
    let failed = done(lead.run(|| ready(Err::<u64, _>("database down".to_owned()))));
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
    assert!(done(lead.run(|| ready(Err::<u64, _>(404_u16)))).is_err());
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
    let told = done(lead.run::<u64, _, _, _>(|| async {
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
        ("distrust", |cache| crate::cache::Flushable::distrust(cache)),
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
fn a_flush_of_a_tag_drops_the_copies_that_have_it_and_no_others() {
    let cache = cache();
    hold(&cache, "a", 1, &["eu", "shop 7"]);
    hold(&cache, "b", 2, &["shop 7"]);
    hold(&cache, "c", 3, &["eu"]);
    hold(&cache, "d", 4, &[]);
    cache.flush_tag("eu");
    let held = ["a", "b", "c", "d"].map(|key| cache.get(key, Time::ZERO));
    assert_eq!(held, [None, Some(2), None, Some(4)]);
    cache.flush_tag("nobody's");
    assert_eq!(cache.len(), 2);
    cache.flush_tag("shop 7");
    assert_eq!(cache.get("b", Time::ZERO), None);
    assert_eq!(cache.tags.len(), 0);
}

#[test]
fn a_flush_of_a_prefix_drops_the_copies_whose_keys_begin_so() {
    let cache = cache();
    for key in ["orders/eu/1", "orders/eu/2", "orders/us/1", "order"] {
        hold(&cache, key, 1, &[]);
    }
    cache.flush_prefix("orders/eu/");
    assert_eq!(cache.len(), 2);
    assert_eq!(cache.get("orders/eu/1", Time::ZERO), None);
    assert_eq!(cache.get("orders/us/1", Time::ZERO), Some(1));
}

#[test]
fn a_load_is_refused_if_it_comes_to_have_a_tag_that_was_flushed_meanwhile() {
    let cache = cache();
    let old = lead(&cache);
    let mut before = Box::pin(load(&cache, 98));
    assert!(poll(before.as_mut()).is_pending());
    cache.flush_tag("t");
    // It may come to have that tag: one who asks now cannot know yet.
    let mut after = Box::pin(load(&cache, 99));
    assert!(poll(after.as_mut()).is_pending());
    assert_eq!(old.complete(Loaded::new(1).tag("t")), Landing::Fenced);
    assert_eq!(cache.get("k", Time::ZERO), None);
    assert!(matches!(poll(before.as_mut()), Poll::Ready(Ok(1))), "it had begun before");
    assert!(matches!(poll(after.as_mut()), Poll::Ready(Ok(99))), "it loads for itself");
    assert_eq!(cache.get("k", Time::ZERO), Some(99));
}

#[test]
fn a_load_that_does_not_come_to_have_a_flushed_tag_is_stored_and_shared() {
    let cache = cache();
    let old = lead(&cache);
    cache.flush_tag("t");
    let mut after = Box::pin(load(&cache, 99));
    assert!(poll(after.as_mut()).is_pending());
    assert_eq!(old.complete(Loaded::new(1).tag("another")), Landing::Stored);
    assert!(matches!(poll(after.as_mut()), Poll::Ready(Ok(1))));
}

#[test]
fn a_load_that_does_not_end_has_no_more_and_more_remembered_for_it() {
    let cache = cache();
    let old = lead(&cache);
    for number in 0..1000 {
        cache.flush_tag(&format!("t{number}"));
    }
    // It is fenced instead: the next read begins anew.
    let new = lead(&cache);
    assert_eq!(old.complete(Loaded::new(1)), Landing::Fenced);
    assert_eq!(new.complete(2), Landing::Stored);
}

/// Found by the schedule explorer: the second flush took the load out of sight of the first.
#[test]
fn a_load_that_was_joined_behind_a_flush_of_its_tag_and_is_then_fenced_is_not_for_who_joined() {
    let cache = cache();
    let old = lead(&cache);
    cache.flush_tag("t");
    let mut after = Box::pin(load(&cache, 99));
    assert!(poll(after.as_mut()).is_pending());
    cache.flush_key("k");
    old.complete(Loaded::new(1).tag("t"));
    assert!(matches!(poll(after.as_mut()), Poll::Ready(Ok(99))));
}

#[test]
fn what_is_known_of_tags_goes_with_the_copies() {
    let cache = cache_with(|config| {
        config.capacity = 32;
        config.time_to_live = Some(Duration::from_secs(10));
    });
    for number in 0..1000 {
        hold(&cache, &format!("k{number}"), number, &["t"]);
        assert_eq!(cache.tags.len(), cache.len(), "evicted");
    }
    hold(&cache, "k", 1, &["t", "u"]);
    cache.evict("k");
    assert_eq!(cache.tags.len(), cache.len(), "evicted by hand");
    hold(&cache, "k", 1, &["t"]);
    cache.flush_key("k");
    assert_eq!(cache.tags.len(), cache.len(), "flushed");
    hold(&cache, "k", 1, &["t"]);
    assert_eq!(cache.get("k", Time::ZERO + Duration::from_secs(10)), None);
    assert_eq!(cache.tags.len(), cache.len(), "expired");
    hold(&cache, "k", 1, &["t"]);
    let replaced = Time::ZERO + Duration::from_secs(10);
    match cache.board(&"k".to_owned(), cache.read_begins(), replaced) {
        Boarding::Lead(lead) => assert_eq!(lead.complete(Loaded::new(2).tag("t")), Landing::Stored),
        _ => panic!("it had expired"),
    }
    assert_eq!(cache.tags.len(), cache.len(), "replaced");
    cache.flush_prefix("k1");
    assert_eq!(cache.tags.len(), cache.len(), "flushed by prefix");
    cache.flush_all();
    assert_eq!((cache.tags.len(), cache.len()), (0, 0));
}

#[test]
fn a_loader_says_what_becomes_of_the_copy() {
    let cache = cache_with(|config| config.time_to_live = Some(Duration::from_secs(10)));
    assert_eq!(lead(&cache).complete(Loaded::new(1).not_stored()), Landing::Unstored);
    assert_eq!(cache.get("k", Time::ZERO), None);
    let age = Duration::from_secs(60);
    assert_eq!(lead(&cache).complete(Loaded::new(2).time_to_live(age)), Landing::Stored);
    assert_eq!(cache.get("k", Time::ZERO + Duration::from_secs(59)), Some(2));
    assert_eq!(cache.get("k", Time::ZERO + age), None);
}

#[test]
fn tags_over_the_limits_are_refused_with_the_limits() {
    let cache = cache();
    let many = || (0..10_000).fold(Loaded::new(1), |loaded, tag| loaded.tag(tag.to_string()));
    let read = get_or_load(&cache, "k", at_start, || ready(Ok::<_, String>(many())));
    let error = done(read).unwrap_err().to_string();
    assert_eq!(error, "10000 tags, the longest of 4 bytes: at most 64 of 256 bytes are allowed");
    let long = Loaded::new(1).tag("t".repeat(257));
    let read = get_or_load(&cache, "k", at_start, || ready(Ok::<_, String>(long)));
    assert!(done(read).is_err());
    assert_eq!(cache.len(), 0);
    // The same tag twice is one.
    hold(&cache, "k", 1, &["t"; 100]);
    assert_eq!(cache.tags.len(), 1);
}

#[test]
fn a_write_is_announced_however_it_ends_and_only_a_success_is_held() {
    let cache = cache();
    let key = "k".to_owned();
    let announced = Cell::new(0);
    type Write = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<u64, String>>>>>;
    let put = |write: Write| {
        super::put(&cache, &key, Time::ZERO, write, || announced.set(announced.get() + 1))
    };
    hold(&cache, "k", 1, &[]);
    assert_eq!(done(put(Box::new(|| Box::pin(ready(Ok(2)))))).unwrap(), 2);
    assert_eq!((cache.get("k", Time::ZERO), announced.get()), (Some(2), 1));
    let down = done(put(Box::new(|| Box::pin(ready(Err("down".to_owned()))))));
    assert_eq!(down.unwrap_err().to_string(), "load failed: down");
    assert_eq!(
        (cache.get("k", Time::ZERO), announced.get()),
        (None, 2),
        "it may have been written"
    );

    hold(&cache, "k", 1, &[]);
    let panicked = done(put(Box::new(|| panic!("boom"))));
    assert!(panicked.is_err());
    assert_eq!((cache.get("k", Time::ZERO), announced.get()), (None, 3));

    hold(&cache, "k", 1, &[]);
    let mut given_up = Box::pin(put(Box::new(|| Box::pin(pending()))));
    assert!(poll(given_up.as_mut()).is_pending());
    assert_eq!(cache.get("k", Time::ZERO), Some(1), "until it ends");
    drop(given_up);
    assert_eq!((cache.get("k", Time::ZERO), announced.get()), (None, 4));
}

#[test]
fn a_value_at_hand_wins_against_a_load_from_before() {
    let cache = cache();
    let old = lead(&cache);
    cache.insert(&"k".to_owned(), Loaded::new(2).tag("t"), Time::ZERO).unwrap();
    assert_eq!(old.complete(1), Landing::Fenced);
    assert_eq!(cache.get("k", Time::ZERO), Some(2));
    cache.flush_tag("t");
    assert_eq!(cache.get("k", Time::ZERO), None);
    let long = "k".repeat(crate::wire::MAX_KEY_BYTES + 1);
    assert!(cache.insert(&long, 1, Time::ZERO).is_err());
}
