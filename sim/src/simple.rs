//! Owns random operations on the real cache, beside a map that is simple enough to be right. Which copy
//! makes room is the policy's choice: the map follows it, and knows when one has to.
//! A test draws them (`tests/cache.rs`), and a fuzzer looks for new ways through the code (`fuzz/`).

mod ends;
mod map;
mod steps;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::{
    Boarding, Cache, CacheConfig, Caches, Fallback, Guarantee, HashSeeds, RemovalCause,
};
use flushcast_core::load::{Failure, Landing, LoadError, Loaded};
use flushcast_core::wire::Scope;

use ends::Flight;
use map::{Load, Model};
use steps::{Script, Step};

const KEYS: [&str; 5] = ["a", "a/1", "a/2", "b", "b/1"];
const PREFIXES: [&str; 4] = ["a", "a/", "b/", ""];
const TAGS: [&str; 3] = ["t", "u", "v"];
const OTHER_TAGS: usize = 300;
/// Flushes of tags that a cache remembers, without those of [`TAGS`] that steps make at most.
const REMEMBERED: usize = 16_384 - MOST_STEPS;
const TIME_TO_LIVE: u64 = 10;
const REFRESH_AFTER: u64 = 6;
/// How long a copy is left alone whose load has failed.
const PAUSE: u64 = 3;
const FALLBACK_LIVES: u64 = 2;
/// More make nothing likelier to be found, and take time.
const MOST_STEPS: usize = 200;

type Numbers = Arc<Cache<String, u64>>;

/// Does to a new cache what these bytes stand for.
///
/// # Panics
/// If the cache does anything that the simple map does not.
pub fn play(bytes: &[u8]) {
    let mut script = Script(bytes.iter());
    // Often so small that copies make room.
    let capacity = [1, 2, 3, 4, 100][script.below(5).unwrap_or(4)];
    let keep_expired = [0, 5][script.below(2).unwrap_or(1)];
    let steps: Vec<_> = std::iter::from_fn(|| script.step()).take(MOST_STEPS).collect();
    let gone = Arc::new(Gone::default());
    let tell = Arc::clone(&gone);
    let mut config = CacheConfig::new(capacity, Guarantee::Eventual, HashSeeds([1, 2, 3, 4]));
    config.time_to_live = Some(Duration::from_secs(TIME_TO_LIVE));
    config.keep_expired = Duration::from_secs(keep_expired);
    config.refresh_after = Some(Duration::from_secs(REFRESH_AFTER));
    config.pause_after_failure = Duration::from_secs(PAUSE);
    config.fallback = Some(Fallback {
        value: Box::new(|_, failure| falls_back_to(failure)),
        time_to_live: Duration::from_secs(FALLBACK_LIVES),
    });
    config.listener = Some(Arc::new(move |key: &String, &value: &u64, cause: RemovalCause| {
        tell.lock().push((key.clone(), value, cause));
    }));
    match Cache::register(&Caches::default(), "numbers", config) {
        Ok(cache) => {
            let model = Model { capacity, keep_expired, ..Model::default() };
            play_on(&cache, model, &gone, &steps);
        }
        Err(taken) => unreachable!("a new registry: {taken}"),
    }
}

/// The copies that the cache has told of since somebody asked.
#[derive(Default)]
struct Gone(Mutex<Vec<(String, u64, RemovalCause)>>);

impl Gone {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, u64, RemovalCause)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this one did: a copy that is heavier than the one it replaces may go itself.
    fn made_room(&self, value: u64) -> bool {
        self.lock().iter().any(|it| it.1 == value && it.2 == RemovalCause::Evicted)
    }
}

fn tagged(value: u64, tags: &[usize]) -> Loaded<u64> {
    tags.iter().fold(Loaded::new(value), |loaded, &tag| loaded.tag(TAGS[tag]))
}

/// An error that is a number says what there is in its place.
fn falls_back_to(failure: &Failure) -> Option<u64> {
    match failure {
        LoadError::Failed(error) => error.downcast_ref().copied(),
        _ => None,
    }
}

fn seconds(count: u64) -> Time {
    Time::ZERO + Duration::from_secs(count)
}

fn play_on(cache: &Numbers, mut model: Model, gone: &Gone, steps: &[Step]) {
    let names = KEYS.map(str::to_owned);
    let mut flights = Vec::<Flight<'_>>::new();
    let clock = Rc::new(Cell::new(Time::ZERO));
    for (number, step) in steps.iter().enumerate() {
        let now = seconds(model.now);
        clock.set(now);
        let mut dropped = None;
        match *step {
            Step::Read(key) => {
                let name = KEYS[key].to_owned();
                let running = model.running(key);
                match cache.board(&name, cache.read_begins(), now) {
                    Boarding::Hit(value) => assert_eq!(Some(value), model.value(key)),
                    Boarding::Join(waiter) => match running {
                        Some(load) => flights[load].waiters.push(waiter),
                        None => panic!("joined a load that is fenced"),
                    },
                    Boarding::Queue(_) => unreachable!("it is not strict"),
                    Boarding::Lead(lead) => {
                        assert!(
                            running.is_none() && model.value(key).is_none(),
                            "loaded for nothing"
                        );
                        model.loads.push(Load::begin(key, model.now));
                        flights.push(Flight::load(lead));
                    }
                }
            }
            Step::Refresh(key) => {
                let lead = cache.begin_refresh(&KEYS[key].to_owned(), now);
                assert_eq!(lead.is_err(), model.running(key).is_some());
                if let Ok(lead) = lead {
                    model.loads.push(Load::begin(key, model.now));
                    flights.push(Flight::load(lead));
                }
            }
            Step::Put(key) => {
                model.begin_write(key);
                flights.push(Flight::put(cache, &names[key], &clock));
            }
            Step::End { load, .. }
            | Step::EndWithoutValue(load)
            | Step::Fail { load, .. }
            | Step::GiveUp(load) => {
                if load < flights.len() {
                    let (flight, load) = (flights.remove(load), model.loads.remove(load));
                    let drops = ends::end(flight, &load, step, &mut model, gone);
                    dropped = drops.then_some(load.key);
                }
            }
            Step::Insert { key, ref tags, stored } => {
                model.drawn += 1;
                let value = tagged(model.drawn, tags);
                let value = if stored { value } else { value.not_stored() };
                let inserted = cache.insert(&KEYS[key].to_owned(), value, now);
                assert_eq!(matches!(inserted, Ok(Landing::Stored)), stored, "it weighs 1");
                model.drop_all(|it, _| it == key);
                let copy = model.copy(model.now, tags, 1);
                model.answer(key, copy, stored);
            }
            Step::Evict(key) => {
                cache.evict(KEYS[key]);
                model.copies.remove(&key);
            }
            Step::FlushKey(key) => {
                cache.flush_key(KEYS[key]);
                model.drop_all(|it, _| it == key);
            }
            Step::FlushTag(tag) => {
                cache.flush_tag(TAGS[tag]);
                model.drop_all(|_, copy| copy.is_some_and(|copy| copy.tags.contains(&tag)));
                for load in &mut model.loads {
                    load.flushed.insert(tag);
                }
            }
            Step::FlushOtherTags if model.other_tags + OTHER_TAGS < REMEMBERED => {
                model.other_tags += OTHER_TAGS;
                (0..OTHER_TAGS).for_each(|tag| cache.flush_tag(&format!("other {tag}")));
            }
            Step::FlushOtherTags => {}
            Step::FlushPrefix(prefix) => {
                cache.flush_prefix(PREFIXES[prefix]);
                model.drop_all(|key, _| KEYS[key].starts_with(PREFIXES[prefix]));
            }
            Step::FlushAll => {
                cache.flush_all();
                model.drop_all(|_, _| true);
            }
            Step::ExpireKey(key) => {
                cache.expire_key(KEYS[key], now);
                model.expire_all(|it, _| it == key);
            }
            Step::ExpireTag(tag) => {
                cache.apply(&[Scope::ExpireTag(TAGS[tag])], now);
                model.expire_all(|_, copy| copy.is_some_and(|copy| copy.tags.contains(&tag)));
                for load in &mut model.loads {
                    load.expired.insert(tag);
                }
            }
            Step::ExpirePrefix(prefix) => {
                cache.apply(&[Scope::ExpirePrefix(PREFIXES[prefix])], now);
                model.expire_all(|key, _| KEYS[key].starts_with(PREFIXES[prefix]));
            }
            Step::ExpireAll => {
                cache.apply(&[Scope::ExpireAll], now);
                model.expire_all(|_, _| true);
            }
            Step::Distrust => {
                cache.distrust();
                model.drop_all(|_, _| true);
            }
            Step::EvictExpired => cache.evict_expired(now),
            Step::Wait(length) => model.now += length,
        }
        for (name, value, cause) in gone.lock().drain(..) {
            model.hear(&name, value, cause, matches!(step, Step::Evict(_)));
        }
        if let Some(dropped) = dropped {
            model.drop_all(|key, _| key == dropped);
        }
        if let Step::EvictExpired = step {
            assert_eq!(model.over(), None, "behind {:?}", &steps[..=number]);
        }
        assert_eq!(cache.len(), model.held.len(), "behind {:?}", &steps[..=number]);
        assert_eq!(cache.weight(), model.weight(), "behind {:?}", &steps[..=number]);
        assert!(cache.weight() <= model.capacity);
        let now = seconds(model.now);
        let inspected = cache.iter(|| now).map(|it| {
            let left = it.expires_in.map_or(0, |left| left.as_secs());
            let tags: BTreeSet<_> = it.tags.into_iter().collect();
            (it.key, it.value, it.age.as_secs(), left, tags.len())
        });
        let inspected: BTreeSet<_> = inspected.collect();
        let known: BTreeSet<_> = model.inspected().into_iter().collect();
        assert_eq!(inspected, known, "behind {:?}", &steps[..=number]);
        for (key, name) in KEYS.iter().enumerate() {
            let expired = cache.get_expired(*name, now);
            assert_eq!(expired, model.expired(key), "{name} behind {:?}", &steps[..=number]);
            if let Some(copy) = model.copies.get(&key) {
                let is_paused = cache.failure_of(*name, now).is_some();
                assert_eq!(is_paused, copy.paused > model.now, "{name}");
            }
        }
        let due: BTreeSet<_> = cache.due(|| now).collect();
        assert_eq!(due, model.due(), "behind {:?}", &steps[..=number]);
        // One only, so that others go unread.
        let key = number % KEYS.len();
        let (name, value) = (KEYS[key], cache.get(KEYS[key], now));
        assert_eq!(value, model.read(key), "{name} behind {:?}", &steps[..=number]);
    }
}
