//! How old copies get, why they go, and what is held of them.

use super::*;
use crate::cache::{RemovalCause, Why};

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

fn lead_at(cache: &Arc<Numbers>, now: Time) -> Lead<'static, String, u64> {
    let lead = cache.begin_refresh(&"k".to_owned(), now);
    lead.unwrap_or_else(|_| panic!("a load is under way"))
}

#[test]
fn a_copy_that_nobody_reads_expires_and_each_read_puts_it_off() {
    let cache = cache_with(|config| {
        config.time_to_idle = Some(Duration::from_secs(10));
        config.time_to_live = Some(Duration::from_secs(25));
    });
    lead_at(&cache, at(0)).complete(1);
    for now in [9, 18] {
        assert_eq!(cache.get("k", at(now)), Some(1), "{now}");
    }
    assert_eq!(cache.get("k", at(25)), None, "its age counts all the same");
    lead_at(&cache, at(30)).complete(Loaded::new(2).time_to_idle(Duration::from_secs(3)));
    assert_eq!(cache.iter(|| at(32)).count(), 1, "a look is no read");
    assert_eq!(cache.get("k", at(33)), None, "its own");
    assert!(cache.is_empty());
}

#[test]
fn a_time_to_idle_of_one_copy_leaves_those_without() {
    let cache = cache();
    lead_at(&cache, at(0)).complete(1);
    let own = Loaded::new(2).time_to_idle(Duration::from_secs(3));
    cache.insert(&"own".to_owned(), own, at(0)).unwrap();
    assert_eq!((cache.get("k", at(1000)), cache.get("own", at(1000))), (Some(1), None));
}

#[test]
fn a_copy_is_due_by_its_age_and_by_chance_the_nearer_its_end_and_the_slower_its_load() {
    let due = |cache: &Numbers, now, chance| {
        cache.get_or_due("k", || at(now), || chance).map(|(_, is_due)| is_due)
    };
    let by_age = cache_with(|config| config.refresh_after = Some(Duration::from_secs(60)));
    lead_at(&by_age, at(0)).complete(1);
    assert_eq!([59, 60].map(|now| due(&by_age, now, 0.5)), [Some(false), Some(true)]);
    assert_eq!(due(&cache(), 0, 0.5), None);

    let by_chance = cache_with(|config| {
        config.refresh_early = Some(1.0);
        config.time_to_live = Some(Duration::from_secs(100));
    });
    // Its load took ten seconds: with a chance of 1/e it is due ten seconds before its end.
    let ticks = Cell::new(0);
    let clock = || at(10 * ticks.replace(ticks.get() + 1));
    done(get_or_load(&by_chance, "k", clock, || ready(Ok::<_, String>(1)))).unwrap();
    ticks.set(0);
    let near = 1.0 / std::f64::consts::E - 0.001;
    let far = 1.0 / std::f64::consts::E + 0.001;
    let end = 10 + 100;
    assert_eq!(
        [near, far].map(|chance| due(&by_chance, end - 10, chance)),
        [Some(true), Some(false)]
    );
    assert_eq!(due(&by_chance, end - 11, near), Some(false));
    assert_eq!(due(&by_chance, end - 1, 0.95), Some(false), "seldom even then");
    assert_eq!(due(&by_chance, 20, 0.0), Some(true), "the least of all chances");
    assert_eq!(by_chance.stats().hits_due, 2);
}

#[test]
fn that_there_is_none_is_stored_only_if_the_cache_says_so_and_as_long_as_it_says() {
    type Found = Cache<String, Option<u64>>;
    let found = |absent: Option<u64>| -> Arc<Found> {
        let seeds = HashSeeds([1, 2, 3, 4]);
        let mut config = CacheConfig::new(100, Guarantee::Eventual, seeds);
        config.absent_time_to_live = absent.map(Duration::from_secs);
        config.time_to_live = Some(Duration::from_secs(100));
        Cache::register(&Caches::default(), "found", config).unwrap()
    };
    let read = |cache: &Found, told| {
        done(get_or_load(cache, "k", at_start, || ready(Ok::<_, String>(Loaded::found(told)))))
    };
    let never = found(None);
    assert_eq!(read(&never, None).unwrap(), None);
    assert_eq!(never.get("k", at(0)), None, "not known");
    let briefly = found(Some(10));
    assert_eq!(read(&briefly, None).unwrap(), None);
    assert_eq!([9, 10].map(|now| briefly.get("k", at(now))), [Some(None), None]);
    assert_eq!(read(&briefly, Some(1)).unwrap(), Some(1));
    assert_eq!(briefly.get("k", at(99)), Some(Some(1)), "as any other");
}

/// A cache in which a copy of `k` is held that will have expired a second later.
fn with_a_copy() -> Arc<Numbers> {
    let cache = cache_with(|config| {
        config.time_to_live = Some(Duration::from_secs(10));
        config.keep_expired = Duration::from_secs(1000);
        config.weigher = Some(Arc::new(|_, &value| if value == 13 { panic!("13") } else { 1 }));
    });
    lead_at(&cache, at(0)).complete(Loaded::new(1).tag("old"));
    cache
}

#[test]
fn a_younger_answer_takes_the_place_of_a_copy_whether_it_is_stored_or_not() {
    type Answer = fn() -> Loaded<u64>;
    let answers: [(&str, Answer); 4] = [
        ("not to be stored", || Loaded::new(2).not_stored()),
        ("absent", || Loaded { is_absent: true, ..Loaded::new(2) }),
        ("without a weight", || Loaded::new(13)),
        ("too heavy", || Loaded::new(2).weight(1_000)),
    ];
    type Tell = fn(&Arc<Numbers>, Loaded<u64>) -> Landing;
    let ways: [(&str, Tell); 2] = [
        ("refresh", |cache, loaded| lead_at(cache, at(1)).complete(loaded)),
        ("insert", |cache, loaded| cache.insert(&"k".to_owned(), loaded, at(1)).unwrap()),
    ];
    for (what, answer) in answers {
        for (way, tell) in ways {
            let cache = with_a_copy();
            assert_eq!(tell(&cache, answer()), Landing::Unstored, "{way}: {what}");
            assert_eq!(cache.get("k", at(2)), None, "{way}: {what}");
            assert_eq!(cache.get_expired("k", at(11)), None, "{way}: {what}");
            assert_eq!((cache.len(), cache.tag_count()), (0, 0), "{way}: {what}");
        }
    }
}

#[test]
fn a_younger_answer_that_is_outdated_itself_takes_the_place_of_a_copy_too() {
    let cache = with_a_copy();
    let refresh = lead_at(&cache, at(1));
    cache.flush_tag("new");
    assert_eq!(refresh.complete(Loaded::new(2).tag("new")), Landing::Fenced);
    assert_eq!((cache.get("k", at(2)), cache.len()), (None, 0));
}

#[test]
fn an_answer_that_has_come_too_late_leaves_the_copy_that_was_written_since() {
    let cache = with_a_copy();
    let refresh = lead_at(&cache, at(1));
    cache.insert(&"k".to_owned(), 3, at(1)).unwrap();
    assert_eq!(refresh.complete(Loaded::new(2).not_stored()), Landing::Fenced);
    assert_eq!(cache.get("k", at(2)), Some(3));
}

#[test]
fn a_failure_is_no_answer_and_leaves_the_copy() {
    let cache = with_a_copy();
    drop(lead_at(&cache, at(1)));
    let many = || (0..100).fold(Loaded::new(2), |loaded, tag| loaded.tag(tag.to_string()));
    let fails: [Result<Loaded<u64>, &str>; 2] = [Err("down"), Ok(many())];
    for fails in fails {
        done(lead_at(&cache, at(1)).run(|| at(1), || ready(fails))).unwrap_err();
    }
    assert_eq!(cache.get("k", at(2)), Some(1));
}

#[test]
fn what_nobody_could_ever_be_given_is_not_stored() {
    let (none, second) = (Duration::ZERO, Duration::from_secs(1));
    let held = |loaded: Loaded<u64>, keep_expired, took| {
        let cache = cache_with(|config| {
            config.time_to_live = Some(10 * second);
            config.keep_expired = keep_expired;
        });
        lead_at(&cache, at(0)).complete_at(loaded, at(took));
        cache.len() == 1
    };
    assert!(!held(Loaded::new(1).time_to_live(none), none, 0));
    assert!(!held(Loaded::new(1).time_to_idle(none), none, 0));
    assert!(!held(Loaded::new(1), none, 10), "its load took all of its time");
    assert!(held(Loaded::new(1), none, 9));
    assert!(held(Loaded::new(1).time_to_live(none), second, 0), "for when the source fails");
    assert!(!held(Loaded::new(1).time_to_live(none), second, 1));
}

#[test]
fn a_look_at_all_copies_judges_each_when_its_turn_comes() {
    let cache = cache_with(|config| {
        config.capacity = 10_000;
        config.time_to_live = Some(Duration::from_secs(1));
    });
    for number in 0..100 {
        cache.insert(&number.to_string(), number, at(0)).unwrap();
    }
    let now = Cell::new(at(0));
    let mut look = cache.iter(|| now.get());
    assert!(look.next().is_some());
    now.set(at(1));
    assert!(look.count() < 50, "what had expired was told of as if it had not");
}

#[test]
fn a_listener_hears_of_each_copy_why_it_is_gone() {
    let heard = Arc::new(crate::sync::Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    let cache = cache_with(|config| {
        config.time_to_live = Some(Duration::from_secs(10));
        config.listener = Some(Arc::new(move |key, value, cause| {
            ear.lock().push((key.clone(), *value, cause));
        }));
    });
    let store = |value| lead_at(&cache, at(0)).complete(Loaded::new(value).tag("t"));
    type Step = fn(&Numbers);
    let steps: [(Step, RemovalCause); 8] = [
        (|cache| cache.flush_key("k"), RemovalCause::Flushed),
        (|cache| cache.flush_tag("t"), RemovalCause::Flushed),
        (|cache| cache.flush_prefix("k"), RemovalCause::Flushed),
        (|cache| cache.flush_all(), RemovalCause::Flushed),
        (|cache| cache.evict("k"), RemovalCause::Evicted),
        (|cache| drop(cache.insert(&"k".to_owned(), 0, at(0))), RemovalCause::Replaced),
        (|cache| assert_eq!(cache.get("k", at(10)), None), RemovalCause::Expired),
        (
            |cache| {
                cache.distrust();
                assert_eq!(cache.get("k", at(0)), None);
            },
            RemovalCause::Distrusted,
        ),
    ];
    for (number, (step, cause)) in (1..).zip(steps) {
        cache.evict("k");
        heard.lock().clear();
        store(number);
        step(&cache);
        assert_eq!(*heard.lock(), [("k".to_owned(), number, cause)]);
    }
}

#[test]
fn a_weight_that_makes_no_sense_does_no_harm() {
    let cache = cache_with(|config| {
        config.capacity = 1000;
        config.weigher = Some(Arc::new(|_, value| *value));
    });
    for (number, weight) in [0, u64::MAX, 30, 0, 20].into_iter().enumerate() {
        cache.insert(&format!("k{number}"), weight, at(0)).unwrap();
    }
    assert_eq!((cache.len(), cache.weight()), (4, 1 + 30 + 1 + 20), "one is too heavy to be held");
    let heavy = cache.insert(&"k2".to_owned(), Loaded::new(1).weight(1_000_000), at(0)).unwrap();
    assert_eq!((heavy, cache.get("k2", at(0))), (Landing::Unstored, None), "nor what it replaces");
    let own = cache.insert(&"own".to_owned(), Loaded::new(500).weight(2), at(0)).unwrap();
    assert_eq!((own, cache.weight()), (Landing::Stored, 1 + 1 + 20 + 2));
    cache.flush_all();
    assert_eq!((cache.len(), cache.weight()), (0, 0));
}

#[test]
fn a_value_can_be_looked_at_where_it_is() {
    let cache = cache();
    lead_at(&cache, at(0)).complete(41);
    assert_eq!(cache.with("k", at_start, |value| value + 1), Some(42));
    assert_eq!(cache.with("absent", at_start, |value| value + 1), None);
    assert_eq!((cache.stats().hits, cache.stats().misses), (1, 1));
}

#[test]
fn who_panics_while_he_looks_has_read_nothing_and_holds_nothing() {
    let cache = cache();
    lead_at(&cache, at(0)).complete(41);
    let look = std::panic::AssertUnwindSafe(|| cache.with("k", at_start, |_| panic!("a look")));
    assert!(std::panic::catch_unwind(look).is_err());
    assert_eq!((cache.stats().hits, cache.stats().misses), (0, 0));
    cache.evict("k");
    assert_eq!(cache.with("k", at_start, |value| value + 1), None);
}

#[test]
fn flushes_are_counted_by_scope_and_origin_and_expired_copies_by_why_they_were_served() {
    use crate::wire::Scope;
    let cache: Arc<Cache<u64, u64>> = Cache::register(&Caches::default(), "numbers", {
        let seeds = HashSeeds([1, 2, 3, 4]);
        let mut config = CacheConfig::new(100, Guarantee::Eventual, seeds);
        config.time_to_live = Some(Duration::from_secs(1));
        config.keep_expired = Duration::from_secs(10);
        config
    })
    .unwrap();
    cache.insert(&7, 70, at(0)).unwrap();
    for why in [Why::Failed, Why::Slow, Why::Slow] {
        assert_eq!(cache.serve_expired(&7, at(3), why), Some((70, Duration::from_secs(2))));
    }
    assert_eq!(cache.serve_expired(&8, at(3), Why::Slow), None);
    cache.flush_key(&1);
    (0..2).for_each(|_| cache.flush_tag("t"));
    (0..3).for_each(|_| cache.flush_prefix("1"));
    (0..4).for_each(|_| cache.flush_all());
    cache.insert(&7, 70, at(0)).unwrap();
    let apply = |scope| while !cache.reach().begin(&[scope], Time::ZERO).step() {};
    apply(Scope::Tag("t"));
    assert_eq!(cache.len(), 1);
    apply(Scope::Key("no number"));
    assert_eq!(cache.len(), 0, "the safe side");
    let stats = cache.stats();
    let here = stats.flushes_here;
    assert_eq!([here.keys, here.tags, here.prefixes, here.all], [1, 2, 3, 4]);
    let there = stats.flushes_from_elsewhere;
    assert_eq!([there.keys, there.tags, there.prefixes, there.all], [1, 1, 0, 0]);
    assert_eq!((stats.widened, stats.expired_as_failed, stats.expired_as_slow), (1, 1, 2));
    assert_eq!((stats.misses, stats.copies, stats.weight), (0, 0, 0));
}

#[test]
fn an_expired_copy_that_is_served_does_not_make_room_for_what_nobody_reads() {
    let second = Duration::from_secs(1);
    let cache = cache_with(|config| {
        config.capacity = 10;
        config.time_to_live = Some(second);
        config.keep_expired = 60 * second;
    });
    hold(&cache, "k", 1, &[]);
    let later = Time::ZERO + 2 * second;
    for other in 0..100 {
        assert!(cache.get_expired("k", later).is_some(), "gone before {other}");
        cache.insert(&other.to_string(), other, later).unwrap();
    }
}

#[test]
fn a_copy_may_live_for_ever_with_hardly_any_jitter() {
    for age in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_nanos(1)] {
        for jitter in [f64::MIN_POSITIVE, 1.0] {
            let cache = cache_with(|config| {
                (config.time_to_live, config.jitter) = (Some(age), jitter);
            });
            assert_eq!(done(load(&cache, 7)).unwrap(), 7);
        }
    }
}

/// A cache whose loads may take a second, with how often an alarm was set, and whether all have gone off.
fn limited() -> (Arc<Numbers>, Arc<[AtomicUsize; 2]>) {
    let alarms = Arc::new([const { AtomicUsize::new(0) }; 2]);
    let told = Arc::clone(&alarms);
    let alarm = move |after: Duration| {
        let told = Arc::clone(&told);
        told[0].store(after.as_millis() as usize, Ordering::SeqCst);
        let rings = move |_: &mut Context<'_>| match told[1].load(Ordering::SeqCst) {
            0 => Poll::Pending,
            _ => Poll::Ready(()),
        };
        Box::pin(std::future::poll_fn(rings)) as Alarm
    };
    let limit = LoadLimit { length: Duration::from_secs(1), alarm: Arc::new(alarm) };
    (cache_with(|config| config.load_limit = Some(limit)), alarms)
}

#[test]
fn who_waits_gives_a_load_up_that_nobody_polls_and_its_value_is_not_stored() {
    let (cache, alarms) = limited();
    let lead = lead(&cache);
    let now = || Time::ZERO + Duration::from_millis(300);
    let join = || Box::pin(get_or_load(&cache, "k", now, || ready(Ok::<u64, String>(8))));
    let mut joined = [join(), join()];
    assert!(joined.iter_mut().all(|join| poll(join.as_mut()).is_pending()));
    assert_eq!(alarms[0].load(Ordering::SeqCst), 700, "counted from the start of the load");
    alarms[1].store(1, Ordering::SeqCst);
    for join in joined {
        let after = Duration::from_secs(1);
        assert!(matches!(done(join), Err(LoadError::TimedOut { after: told }) if told == after));
    }
    assert_eq!(done(join()).unwrap(), 8, "who comes behind that loads anew");
    assert_eq!(lead.complete(7), Landing::Fenced);
    assert_eq!(cache.get("k", now()), Some(8));
}

#[test]
fn a_load_that_ends_when_its_time_is_over_is_what_who_waits_is_told() {
    let (cache, alarms) = limited();
    let lead = lead(&cache);
    let mut join = Box::pin(load(&cache, 8));
    assert!(poll(join.as_mut()).is_pending());
    assert_eq!(lead.complete(7), Landing::Stored);
    alarms[1].store(1, Ordering::SeqCst);
    assert_eq!(done(join).unwrap(), 7);
}

#[test]
fn who_waits_for_load_after_load_that_is_given_up_is_told_so_in_bounded_time() {
    let (cache, _) = limited();
    let now = Cell::new(Time::ZERO);
    let key = "k".to_owned();
    let never = || async { panic!("others load") };
    let clock = || now.get();
    let read = get_or_load::<_, _, _, _, u64, String, _>(&cache, "k", clock, never);
    let refreshed = refresh::<_, _, u64, String, _>(&cache, &key, clock, never);
    let keys = [key.clone()];
    let bulk = |_: Vec<String>| -> std::future::Ready<Result<Vec<(String, u64)>, String>> {
        panic!("others load")
    };
    let many = get_or_load_many(&cache, &keys, vec![None], false, clock, bulk);
    let (mut read, mut refreshed, mut many) = (Box::pin(read), Box::pin(refreshed), Box::pin(many));
    // Each caller gives up before its time is over, and the next one is always faster.
    for _ in 0..3 {
        let Ok(lead) = cache.begin_refresh(&key, now.get()) else { panic!("it is loaded") };
        assert!(poll(read.as_mut()).is_pending());
        assert!(poll(refreshed.as_mut()).is_pending());
        assert!(poll(many.as_mut()).is_pending());
        drop(lead);
        now.set(now.get() + Duration::from_millis(800));
    }
    let Ok(_lead) = cache.begin_refresh(&key, now.get()) else { panic!("it is loaded") };
    assert!(matches!(done(read), Err(LoadError::TimedOut { .. })));
    assert!(matches!(done(refreshed), Err(LoadError::TimedOut { .. })));
    assert!(matches!(done(many)[..], [Err(LoadError::TimedOut { .. })]));
}

#[test]
fn a_load_is_given_up_by_its_own_caller_for_all() {
    let (cache, alarms) = limited();
    let mut lead = Box::pin(get_or_load(&cache, "k", at_start, pending::<Result<u64, String>>));
    assert!(poll(lead.as_mut()).is_pending());
    let mut join = Box::pin(load(&cache, 8));
    assert!(poll(join.as_mut()).is_pending());
    alarms[1].store(1, Ordering::SeqCst);
    for told in [done(lead), done(join)] {
        assert_eq!(told.unwrap_err().to_string(), "load took longer than 1s");
    }
    assert_eq!(cache.stats().failed_loads, 1);
}
