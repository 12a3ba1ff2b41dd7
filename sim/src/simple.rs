//! Owns random operations on the real cache, beside a map that is simple enough to be right. Which copy
//! makes room is the policy's choice: the map follows it, and knows when one has to.
//! A test draws them (`tests/cache.rs`), and a fuzzer looks for new ways through the code (`fuzz/`).

mod map;
mod steps;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::{
    Boarding, Cache, CacheConfig, Caches, Guarantee, HashSeeds, RemovalCause,
};
use flushcast_core::load::{Ending, Landing, Lead, Loaded, Waiter};
use flushcast_core::wire::Scope;

use map::{Load, Model};
use steps::{Script, Step};

const KEYS: [&str; 5] = ["a", "a/1", "a/2", "b", "b/1"];
const PREFIXES: [&str; 4] = ["a", "a/", "b/", ""];
const TAGS: [&str; 3] = ["t", "u", "v"];
const OTHER_TAGS: usize = 300;
/// Flushes of tags that a cache remembers, without those of [`TAGS`] that steps make at most.
const REMEMBERED: usize = 16_384 - MOST_STEPS;
const TIME_TO_LIVE: u64 = 10;
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

/// A load that is under way, with those who wait for it.
type Led<'c> = (Lead<'c, String, u64>, Vec<Waiter<String, u64>>);

/// How a load that has ended did, for one who waits for it.
fn told(mut waiter: Waiter<String, u64>) -> Ending<u64> {
    match Pin::new(&mut waiter).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ending) => ending,
        Poll::Pending => panic!("it was not told"),
    }
}

fn seconds(count: u64) -> Time {
    Time::ZERO + Duration::from_secs(count)
}

fn play_on<'c>(cache: &'c Numbers, mut model: Model, gone: &Gone, steps: &[Step]) {
    let mut leads = Vec::<Led<'c>>::new();
    let keep_expired = model.keep_expired;
    for (number, step) in steps.iter().enumerate() {
        let now = seconds(model.now);
        match *step {
            Step::Read(key) => {
                let name = KEYS[key].to_owned();
                let running = model.running(key);
                match cache.board(&name, cache.read_begins(), now) {
                    Boarding::Hit(value) => assert_eq!(Some(value), model.value(key)),
                    Boarding::Join(waiter) => match running {
                        Some(load) => leads[load].1.push(waiter),
                        None => panic!("joined a load that is fenced"),
                    },
                    Boarding::Queue(_) => unreachable!("it is not strict"),
                    Boarding::Lead(lead) => {
                        assert!(
                            running.is_none() && model.value(key).is_none(),
                            "loaded for nothing"
                        );
                        model.loads.push(Load::begin(key, model.now));
                        leads.push((lead, Vec::new()));
                    }
                }
            }
            Step::Refresh(key) => {
                let lead = cache.begin_refresh(&KEYS[key].to_owned(), now);
                assert_eq!(lead.is_err(), model.running(key).is_some());
                if let Ok(lead) = lead {
                    model.loads.push(Load::begin(key, model.now));
                    leads.push((lead, Vec::new()));
                }
            }
            Step::End { load, ref tags, time_to_live, time_to_idle, weight, stored }
                if load < leads.len() =>
            {
                let ((lead, waiters), load) = (leads.remove(load), model.loads.remove(load));
                model.drawn += 1;
                let loaded = tagged(model.drawn, tags).weight(weight);
                let lives = |loaded: Loaded<_>, age| loaded.time_to_live(Duration::from_secs(age));
                let idles = |loaded: Loaded<_>, age| loaded.time_to_idle(Duration::from_secs(age));
                let loaded = time_to_live.into_iter().fold(loaded, lives);
                let loaded = time_to_idle.into_iter().fold(loaded, idles);
                let loaded = if stored { loaded } else { loaded.not_stored() };
                let flushed = tags.iter().any(|tag| load.flushed.contains(tag));
                let expired = tags.iter().any(|tag| load.expired.contains(tag));
                let outdated = flushed || expired;
                let mut copy = model.copy(load.started, tags, weight);
                copy.expires = load.started + time_to_live.unwrap_or(TIME_TO_LIVE);
                copy.idle = time_to_idle;
                // The younger answer wins, whether it is stored or not.
                if expired {
                    copy.expires = copy.ends().min(model.now);
                }
                let stays = stored && !flushed && !(expired && keep_expired == 0);
                let is_held = !load.fenced && model.answer(load.key, copy, stays);
                let wanted = match (load.fenced || outdated, is_held) {
                    (true, _) => Landing::Fenced,
                    (false, true) => Landing::Stored,
                    (false, false) => Landing::Unstored,
                };
                let landing = lead.complete_at(loaded, now);
                let made_room = wanted == Landing::Stored && gone.made_room(model.drawn);
                assert_eq!(landing, if made_room { Landing::Unstored } else { wanted }, "{load:?}");
                for waiter in waiters {
                    let Ending::Value { value, outdated_since } = told(waiter) else {
                        panic!("{load:?}")
                    };
                    assert_eq!((value, outdated_since.is_some()), (Some(model.drawn), outdated));
                }
            }
            Step::EndWithoutValue(load) if load < leads.len() => {
                let ((lead, waiters), load) = (leads.remove(load), model.loads.remove(load));
                let wanted = if load.fenced { Landing::Fenced } else { Landing::Unstored };
                assert_eq!(lead.complete_without_value(now), wanted, "{load:?}");
                if !load.fenced {
                    model.copies.remove(&load.key);
                }
                for waiter in waiters {
                    assert!(matches!(told(waiter), Ending::Value { value: None, .. }), "{load:?}");
                }
            }
            Step::GiveUp(load) if load < leads.len() => {
                let ((lead, waiters), load) = (leads.remove(load), model.loads.remove(load));
                drop(lead);
                for waiter in waiters {
                    assert!(matches!(told(waiter), Ending::Abandoned), "{load:?}");
                }
            }
            Step::End { .. } | Step::EndWithoutValue(_) | Step::GiveUp(_) => {}
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
        }
        // One only, so that others go unread.
        let key = number % KEYS.len();
        let (name, value) = (KEYS[key], cache.get(KEYS[key], now));
        assert_eq!(value, model.read(key), "{name} behind {:?}", &steps[..=number]);
    }
}
