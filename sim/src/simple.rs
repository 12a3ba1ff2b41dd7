//! Owns random operations on the real cache, beside a map that is simple enough to be right. Which copy
//! makes room is the policy's choice: the map follows it, and knows when one has to.
//! A test draws them (`tests/cache.rs`), and a fuzzer looks for new ways through the code (`fuzz/`).

use std::collections::{BTreeMap, BTreeSet};
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

const KEYS: [&str; 5] = ["a", "a/1", "a/2", "b", "b/1"];
const PREFIXES: [&str; 4] = ["a", "a/", "b/", ""];
const TAGS: [&str; 3] = ["t", "u", "v"];
const OTHER_TAGS: usize = 300;
/// Flushes of tags that a cache remembers, without those of [`TAGS`] that steps make at most.
const REMEMBERED: usize = 16_384 - MOST_STEPS;
const TIME_TO_LIVE: u64 = 10;
/// Loads under way that a step can mean.
const LOADS: usize = 4;
/// More make nothing likelier to be found, and take time.
const MOST_STEPS: usize = 200;

type Numbers = Arc<Cache<String, u64>>;

/// What is done to a cache.
#[derive(Debug, Clone)]
enum Step {
    /// A read that leads if nobody else does.
    Read(usize),
    /// A load of what may be held.
    Refresh(usize),
    /// The first, second, ... load that is under way ends with a value.
    End {
        load: usize,
        tags: Vec<usize>,
        time_to_live: Option<u64>,
        time_to_idle: Option<u64>,
        weight: u64,
        stored: bool,
    },
    /// It ends with the news that there is none.
    EndWithoutValue(usize),
    /// It does not come to an end.
    GiveUp(usize),
    Insert {
        key: usize,
        tags: Vec<usize>,
        stored: bool,
    },
    Evict(usize),
    FlushKey(usize),
    FlushTag(usize),
    /// Flushes of many tags that no copy has.
    FlushOtherTags,
    FlushPrefix(usize),
    FlushAll,
    ExpireKey(usize),
    ExpireTag(usize),
    ExpirePrefix(usize),
    ExpireAll,
    Distrust,
    /// What is over is taken out.
    EvictExpired,
    Wait(u64),
}

/// What bytes stand for, one after the other; any are some steps.
struct Script<'b>(std::slice::Iter<'b, u8>);

impl Script<'_> {
    fn below(&mut self, count: usize) -> Option<usize> {
        self.0.next().map(|&byte| usize::from(byte) % count)
    }

    fn tags(&mut self) -> Option<Vec<usize>> {
        let set = self.below(1 << TAGS.len())?;
        Some((0..TAGS.len()).filter(|tag| set >> tag & 1 == 1).collect())
    }

    /// In half of the cases, none.
    fn length(&mut self) -> Option<Option<u64>> {
        self.below(40).map(|length| (length >= 20).then(|| length as u64 - 20))
    }

    fn step(&mut self) -> Option<Step> {
        Some(match self.below(34)? {
            0..6 => Step::Read(self.below(KEYS.len())?),
            6..8 => Step::Refresh(self.below(KEYS.len())?),
            8..14 => Step::End {
                load: self.below(LOADS)?,
                tags: self.tags()?,
                time_to_live: self.length()?,
                time_to_idle: self.length()?,
                weight: [1, 1, 1, 2, 3, 5][self.below(6)?],
                stored: self.below(4)? > 0,
            },
            14 => Step::GiveUp(self.below(LOADS)?),
            15 => Step::Insert {
                key: self.below(KEYS.len())?,
                tags: self.tags()?,
                stored: self.below(4)? > 0,
            },
            16 => Step::Evict(self.below(KEYS.len())?),
            17..19 => Step::FlushKey(self.below(KEYS.len())?),
            19..21 => Step::FlushTag(self.below(TAGS.len())?),
            21 => Step::FlushPrefix(self.below(PREFIXES.len())?),
            22 => Step::FlushAll,
            23 => Step::Distrust,
            24 => Step::FlushOtherTags,
            25 => Step::EndWithoutValue(self.below(LOADS)?),
            26 => Step::ExpireKey(self.below(KEYS.len())?),
            27..29 => Step::ExpireTag(self.below(TAGS.len())?),
            29 => Step::ExpirePrefix(self.below(PREFIXES.len())?),
            30 => Step::ExpireAll,
            31 => Step::EvictExpired,
            _ => Step::Wait(1 + self.below(5)? as u64),
        })
    }
}

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

#[derive(Debug, Clone)]
struct Copy {
    value: u64,
    weight: u64,
    tags: BTreeSet<usize>,
    started: u64,
    expires: u64,
    /// How long it may go unread, and when it was read last.
    idle: Option<u64>,
    used: u64,
}

impl Copy {
    fn ends(&self) -> u64 {
        self.idle.map_or(self.expires, |idle| self.expires.min(self.used + idle))
    }
}

/// A load that is under way.
#[derive(Debug)]
struct Load {
    key: usize,
    started: u64,
    /// A flush, or a younger one, has come between.
    fenced: bool,
    flushed: BTreeSet<usize>,
    /// Tags that were told to expire.
    expired: BTreeSet<usize>,
}

impl Load {
    fn begin(key: usize, started: u64) -> Self {
        let (flushed, expired) = (BTreeSet::new(), BTreeSet::new());
        Self { key, started, fenced: false, flushed, expired }
    }
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    copies: BTreeMap<usize, Copy>,
    loads: Vec<Load>,
    drawn: u64,
    capacity: u64,
    keep_expired: u64,
    other_tags: usize,
    /// The weights of the values that take room, distrusted ones too.
    held: BTreeMap<u64, u64>,
}

impl Model {
    fn value(&self, key: usize) -> Option<u64> {
        let held = self.copies.get(&key).filter(|copy| copy.ends() > self.now);
        held.map(|copy| copy.value)
    }

    /// The load that a read may wait for.
    fn running(&self, key: usize) -> Option<usize> {
        self.loads.iter().position(|load| load.key == key && !load.fenced)
    }

    fn read(&mut self, key: usize) -> Option<u64> {
        let value = self.value(key)?;
        self.copies.entry(key).and_modify(|copy| copy.used = self.now);
        Some(value)
    }

    /// All that is known of the copies that would be served.
    fn inspected(&self) -> Vec<(String, u64, u64, u64, usize)> {
        let served = self.copies.iter().filter(|(_, copy)| copy.ends() > self.now);
        let known = served.map(|(&key, copy)| {
            let (age, left) = (self.now - copy.started, copy.ends() - self.now);
            (KEYS[key].to_owned(), copy.value, age, left, copy.tags.len())
        });
        known.collect()
    }

    fn expired(&self, key: usize) -> Option<(u64, Duration)> {
        let held = self.copies.get(&key)?;
        let since = self.now.checked_sub(held.ends())?;
        (since < self.keep_expired).then_some((held.value, Duration::from_secs(since)))
    }

    /// As a flush does.
    fn drop_all(&mut self, named: impl Fn(usize, Option<&Copy>) -> bool) {
        self.copies.retain(|&key, copy| !named(key, Some(copy)));
        let loads = self.loads.iter_mut().filter(|load| named(load.key, None));
        loads.for_each(|load| load.fenced = true);
    }

    /// As what makes copies expire does: without a time for which they are kept, nobody has a use for them.
    fn expire_all(&mut self, named: impl Fn(usize, Option<&Copy>) -> bool) {
        if self.keep_expired == 0 {
            return self.drop_all(named);
        }
        for (&key, copy) in &mut self.copies {
            if named(key, Some(copy)) {
                copy.expires = copy.ends().min(self.now);
            }
        }
        self.drop_all(|key, copy| copy.is_none() && named(key, None));
    }

    /// Takes the place of what is held. Whether it is held itself: if it fits, and not if nobody could ever
    /// be given it.
    fn answer(&mut self, key: usize, copy: Copy, stored: bool) -> bool {
        let fits = copy.weight <= self.capacity && copy.ends() + self.keep_expired > self.now;
        self.copies.remove(&key);
        if stored && fits {
            self.held.insert(copy.value, copy.weight);
            self.copies.insert(key, copy);
        }
        stored && fits
    }

    /// A value that takes room though nobody can ever be given it.
    fn over(&self) -> Option<u64> {
        let lives = |&&value: &&u64| {
            let held = self.copies.values().find(|copy| copy.value == value);
            held.is_some_and(|copy| copy.ends() + self.keep_expired > self.now)
        };
        self.held.keys().find(|value| !lives(value)).copied()
    }

    fn weight(&self) -> u64 {
        self.held.values().sum()
    }

    fn copy(&self, started: u64, tags: &[usize], weight: u64) -> Copy {
        let (expires, tags) = (started + TIME_TO_LIVE, tags.iter().copied().collect());
        Copy { value: self.drawn, weight, tags, started, expires, idle: None, used: self.now }
    }

    /// Follows what the cache has told of a copy: each once, and none makes room for nothing.
    fn hear(&mut self, name: &str, value: u64, cause: RemovalCause, by_hand: bool) {
        let all = self.weight();
        let Some(weight) = self.held.remove(&value) else {
            assert!(cause == RemovalCause::TooHeavy && value == self.drawn, "told twice of {name}");
            return;
        };
        if cause == RemovalCause::Evicted && !by_hand {
            assert!(all > self.capacity, "{name} ({weight}) made room for nothing");
            assert_eq!(self.over(), None, "{name} made room before what is over");
        }
        self.copies.retain(|_, copy| copy.value != value);
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
