//! What is given where a load has failed, and nothing is held of its key.

use super::*;
use crate::cache::{Fallback, RemovalCause};
use crate::sync::Mutex;

/// How long a fallback lives, in seconds.
const LIFE: u64 = 2;
const FALLBACK: u64 = 99;

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

/// A cache that falls back, unless a load has failed for good, and keeps expired copies for long.
fn falling_back(change: impl FnOnce(&mut CacheConfig<String, u64>)) -> Arc<Numbers> {
    cache_with(|config| {
        config.time_to_live = Some(Duration::from_secs(10));
        config.keep_expired = Duration::from_secs(1000);
        config.pause_after_failure = Duration::from_secs(5);
        let value = |_: &String, failure: &Failure| match failure {
            LoadError::Failed(error) if error.downcast_ref() == Some(&"for good") => None,
            LoadError::Panicked { .. } => panic!("the fallback, too"),
            _ => Some(FALLBACK),
        };
        let time_to_live = Duration::from_secs(LIFE);
        config.fallback = Some(Fallback { value: Box::new(value), time_to_live });
        change(config);
    })
}

fn begin(cache: &Arc<Numbers>, now: u64) -> Lead<'static, String, u64> {
    let lead = cache.begin_refresh(&"k".to_owned(), at(now));
    lead.unwrap_or_else(|_| panic!("a load is under way"))
}

/// Ends this load at a time.
fn fail(
    lead: Lead<'_, String, u64>,
    now: u64,
    error: &'static str,
) -> Result<u64, LoadError<&'static str>> {
    done(lead.run(|| at(now), || ready(Err::<u64, _>(error))))
}

fn insert(cache: &Numbers) {
    assert_eq!(cache.insert(&"k".to_owned(), 1, at(0)).unwrap(), Landing::Stored);
}

fn read(cache: &Numbers, now: u64, told: Result<u64, &'static str>) -> Option<u64> {
    done(get_or_load(cache, "k", || at(now), || ready(told))).ok()
}

#[test]
fn all_who_wait_get_it_and_so_do_reads_until_its_short_life_ends() {
    let cache = falling_back(|_| {});
    let lead = begin(&cache, 0);
    let never = || async { panic!("it waits for the other one") };
    let mut waits =
        Box::pin(get_or_load::<_, _, _, _, u64, String, _>(&cache, "k", at_start, never));
    assert!(poll(waits.as_mut()).is_pending());
    // Its load has taken longer than it lives: that counts from the end.
    assert_eq!(fail(lead, 8, "down").unwrap(), FALLBACK);
    assert_eq!(done(waits).unwrap(), FALLBACK, "whatever its loader's error would have been");
    assert_eq!(read(&cache, 9, Err("not asked")), Some(FALLBACK));
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.failed_loads, stats.fallbacks), (1, 1, 1));
    assert_eq!((stats.hits, stats.copies, stats.weight), (1, 1, 1));
    assert_eq!(read(&cache, 10, Ok(1)), Some(1), "the next read asks");
    assert_eq!(cache.get("k", at(19)), Some(1), "as old as any other");
}

#[test]
fn each_key_of_many_gets_its_own() {
    let cache = falling_back(|_| {});
    hold(&cache, "held", 1, &[]);
    let keys = ["a", "held", "b"].map(str::to_owned);
    let found = keys.iter().map(|key| cache.get(key, at(1))).collect();
    let down = |_| ready(Err::<Vec<(String, u64)>, _>("down"));
    let told = done(get_or_load_many(&cache, &keys, found, false, || at(1), down));
    let told: Vec<_> = told.into_iter().map(Result::unwrap).collect();
    assert_eq!(told, [Some(FALLBACK), Some(1), Some(FALLBACK)]);
    assert_eq!((cache.get("b", at(2)), cache.get("b", at(3))), (Some(FALLBACK), None));
}

#[test]
fn it_never_takes_the_place_of_a_copy_of_the_source() {
    for now in [1, 11] {
        let cache = falling_back(|config| config.refresh_after = Some(Duration::from_secs(1)));
        begin(&cache, 0).complete(1);
        let failed = fail(begin(&cache, now), now, "down");
        assert!(matches!(failed, Err(LoadError::Failed(_))), "{now}: what is held stays");
        assert_eq!(cache.get("k", at(now)), (now < 10).then_some(1));
        assert_eq!(cache.get_expired("k", at(11)).map(|it| it.0), Some(1), "it is served");
        assert!(cache.failure_of("k", at(now)).is_some(), "the source is left alone");
        assert_eq!(cache.stats().fallbacks, 0);
    }
}

#[test]
fn it_takes_the_place_of_what_nobody_could_be_given_any_more() {
    let cache = falling_back(|config| config.keep_expired = Duration::ZERO);
    begin(&cache, 0).complete(1);
    assert_eq!(fail(begin(&cache, 9), 10, "down").unwrap(), FALLBACK, "it has expired by now");
    cache.distrust();
    assert_eq!(fail(begin(&cache, 11), 11, "down").unwrap(), FALLBACK);
    assert_eq!(fail(begin(&cache, 12), 12, "down").unwrap(), FALLBACK, "and of another one");
    assert_eq!(cache.get("k", at(13)), Some(FALLBACK));
    assert_eq!((cache.len(), cache.stats().fallbacks), (1, 3));
}

#[test]
fn what_comes_between_keeps_it_from_being_held() {
    type Between = fn(&Arc<Numbers>);
    let between: [(&str, Between, Option<u64>); 5] = [
        ("flush", |cache| cache.flush_key("k"), None),
        ("flush of all", |cache| cache.flush_all(), None),
        ("distrust", |cache| cache.distrust(), None),
        ("insert", |cache| insert(cache), Some(1)),
        (
            "insert, evicted",
            |cache| {
                insert(cache);
                cache.evict("k");
            },
            None,
        ),
    ];
    for (what, act, held) in between {
        let cache = falling_back(|_| {});
        let lead = begin(&cache, 0);
        act(&cache);
        let told = fail(lead, 1, "down").ok();
        assert_eq!(told, held.is_none().then_some(FALLBACK), "{what}: who asked before");
        assert_eq!(cache.get("k", at(1)), held, "{what}");
        assert_eq!(cache.stats().fallbacks, u64::from(held.is_none()), "{what}");
        assert_eq!(read(&cache, 1, Ok(2)), held.or(Some(2)), "{what}: the next read");
    }
}

#[test]
fn what_names_it_drops_it_and_what_has_it_expire_too() {
    let named: [fn(&Numbers); 5] = [
        |cache| cache.flush_key("k"),
        |cache| cache.flush_prefix("k"),
        |cache| cache.flush_all(),
        |cache| cache.distrust(),
        |cache| cache.expire_key("k", at(1)),
    ];
    for act in named {
        let cache = falling_back(|_| {});
        assert_eq!(fail(begin(&cache, 0), 0, "down").unwrap(), FALLBACK);
        act(&cache);
        assert_eq!((cache.get("k", at(1)), cache.get_expired("k", at(1))), (None, None));
        assert_eq!(read(&cache, 1, Ok(1)), Some(1));
    }
}

#[test]
fn it_is_no_value_of_the_source_neither_due_nor_offered_nor_kept() {
    let cache = falling_back(|config| {
        config.refresh_after = Some(Duration::from_secs(1));
        config.refresh_early = Some(1.0);
    });
    assert_eq!(fail(begin(&cache, 0), 5, "down").unwrap(), FALLBACK);
    assert_eq!(cache.get_or_due("k", || at(6), || 0.0), Some((FALLBACK, false)));
    assert_eq!(cache.held("k"), None, "to a reloader");
    for now in [6, 7, 8] {
        assert_eq!((cache.get_expired("k", at(now)), cache.due(|| at(now)).count()), (None, 0));
    }
    cache.evict_expired(at(6));
    assert_eq!(cache.len(), 1);
    cache.evict_expired(at(7));
    assert_eq!(cache.len(), 0, "though others are kept");
}

#[test]
fn the_listener_is_told_of_it_as_of_any_copy() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let cache = falling_back(|config| {
        let listener = move |_: &String, &value: &u64, cause| tell.lock().push((value, cause));
        config.listener = Some(Arc::new(listener));
    });
    for end in [7, 17, 27] {
        fail(begin(&cache, end - 1), end, "down").unwrap();
        match end {
            7 => cache.flush_key("k"),
            17 => assert_eq!(cache.get("k", at(end + LIFE)), None),
            _ => assert_eq!(begin(&cache, end).complete(1), Landing::Stored),
        }
    }
    let causes = [RemovalCause::Flushed, RemovalCause::Expired, RemovalCause::Replaced];
    assert_eq!(*told.lock(), causes.map(|cause| (FALLBACK, cause)));
}

#[test]
fn the_failure_is_told_where_there_is_none_or_it_panics_itself() {
    let cache = falling_back(|_| {});
    let failed = fail(begin(&cache, 0), 0, "for good");
    assert!(matches!(failed, Err(LoadError::Failed(error)) if *error == "for good"));
    let panics = begin(&cache, 0).run(at_start, || async {
        if cache.is_empty() { panic!("the loader") } else { Ok::<u64, String>(1) }
    });
    assert!(matches!(done(panics), Err(LoadError::Panicked { .. })));
    assert_eq!((cache.len(), cache.stats().fallbacks), (0, 0));
    assert_eq!(read(&cache, 0, Ok(1)), Some(1));
}

#[test]
fn one_that_is_too_heavy_is_given_and_not_held() {
    let cache = falling_back(|config| config.weigher = Some(Arc::new(|_, _| 1000)));
    assert_eq!(fail(begin(&cache, 0), 0, "down").unwrap(), FALLBACK);
    assert_eq!((cache.len(), cache.stats().too_heavy, cache.stats().fallbacks), (0, 1, 1));
}

/// What a write fails with says nothing of what could be read: who missed meanwhile loads.
#[test]
fn a_write_that_fails_has_none_and_who_waited_for_it_loads() {
    let cache = falling_back(|_| {});
    let key = "k".to_owned();
    let mut is_over = false;
    let gate = Cell::from_mut(&mut is_over);
    let write = || async {
        std::future::poll_fn(|_| if gate.get() { Poll::Ready(()) } else { Poll::Pending }).await;
        Err::<u64, _>("refused")
    };
    let mut put = Box::pin(put(&cache, &key, at_start, write, || ()));
    assert!(poll(put.as_mut()).is_pending());
    let mut waits = Box::pin(get_or_load(&cache, "k", at_start, || ready(Ok::<_, &str>(1))));
    assert!(poll(waits.as_mut()).is_pending());
    gate.set(true);
    assert!(matches!(done(put), Err(LoadError::Failed(error)) if *error == "refused"));
    assert_eq!(cache.len(), 0);
    assert_eq!(done(waits).unwrap(), 1);
    assert_eq!((cache.get("k", at(0)), cache.stats().fallbacks), (Some(1), 0));
}

#[test]
fn who_gives_a_load_up_that_nobody_polls_gets_it_too_and_so_does_its_own_caller() {
    let cache = falling_back(|config| {
        let alarm = Arc::new(|_| Box::pin(ready(())) as Alarm);
        config.load_limit = Some(LoadLimit { length: Duration::from_secs(1), alarm });
    });
    let lead = begin(&cache, 0);
    assert_eq!(read(&cache, 1, Err("not asked")), Some(FALLBACK), "it has waited long enough");
    assert_eq!((cache.get("k", at(2)), cache.get("k", at(3))), (Some(FALLBACK), None));
    let polled = lead.run(|| at(4), pending::<Result<u64, String>>);
    assert_eq!(done(polled).unwrap(), FALLBACK);
    assert_eq!(cache.get("k", at(4)), None, "its flight is over");
    assert_eq!(cache.stats().fallbacks, 1, "of one load");
}
