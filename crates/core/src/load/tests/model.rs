//! Random operations on the real cache, beside a map that is simple enough to be right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::load::Lead;

const KEYS: [&str; 5] = ["a", "a/1", "a/2", "b", "b/1"];
const PREFIXES: [&str; 4] = ["a", "a/", "b/", ""];
const TAGS: [&str; 3] = ["t", "u", "v"];
const TIME_TO_LIVE: u64 = 10;
const KEEP_EXPIRED: u64 = 5;

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
        stored: bool,
    },
    /// It ends without one.
    GiveUp(usize),
    Insert {
        key: usize,
        tags: Vec<usize>,
    },
    Evict(usize),
    FlushKey(usize),
    FlushTag(usize),
    FlushPrefix(usize),
    FlushAll,
    Distrust,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let tags = || proptest::collection::vec(0..TAGS.len(), 0..3);
    let length = || proptest::option::of(1..20_u64);
    let end = (0..4_usize, tags(), length(), length(), any::<bool>());
    prop_oneof![
        6 => (0..KEYS.len()).prop_map(Step::Read),
        2 => (0..KEYS.len()).prop_map(Step::Refresh),
        6 => end.prop_map(|(load, tags, time_to_live, time_to_idle, stored)| {
            let stored = stored || load % 2 == 0;
            Step::End { load, tags, time_to_live, time_to_idle, stored }
        }),
        1 => (0..4_usize).prop_map(Step::GiveUp),
        1 => (0..KEYS.len(), tags()).prop_map(|(key, tags)| Step::Insert { key, tags }),
        1 => (0..KEYS.len()).prop_map(Step::Evict),
        2 => (0..KEYS.len()).prop_map(Step::FlushKey),
        2 => (0..TAGS.len()).prop_map(Step::FlushTag),
        1 => (0..PREFIXES.len()).prop_map(Step::FlushPrefix),
        1 => Just(Step::FlushAll),
        1 => Just(Step::Distrust),
        2 => (1..6_u64).prop_map(Step::Wait),
    ]
}

#[derive(Debug, Clone)]
struct Copy {
    value: u64,
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
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    copies: BTreeMap<usize, Copy>,
    loads: Vec<Load>,
    drawn: u64,
    /// Of those that were drawn, those that were stored.
    stored: u64,
}

impl Model {
    fn value(&self, key: usize) -> Option<u64> {
        let held = self.copies.get(&key).filter(|copy| copy.ends() > self.now);
        held.map(|copy| copy.value)
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
        (since < KEEP_EXPIRED).then_some((held.value, Duration::from_secs(since)))
    }

    /// As a flush does.
    fn drop_all(&mut self, named: impl Fn(usize, Option<&Copy>) -> bool) {
        self.copies.retain(|&key, copy| !named(key, Some(copy)));
        let loads = self.loads.iter_mut().filter(|load| named(load.key, None));
        loads.for_each(|load| load.fenced = true);
    }

    fn store(
        &mut self,
        key: usize,
        started: u64,
        tags: &[usize],
        lives: Option<u64>,
        idle: Option<u64>,
    ) {
        let expires = started + lives.unwrap_or(TIME_TO_LIVE);
        let tags = tags.iter().copied().collect();
        let copy = Copy { value: self.drawn, tags, started, expires, idle, used: started };
        self.copies.insert(key, copy);
        self.stored += 1;
    }
}

fn tagged(value: u64, tags: &[usize]) -> Loaded<u64> {
    tags.iter().fold(Loaded::new(value), |loaded, &tag| loaded.tag(TAGS[tag]))
}

fn seconds(count: u64) -> Time {
    Time::ZERO + Duration::from_secs(count)
}

fn play<'c>(cache: &'c Numbers, removed: impl Fn() -> u64, steps: &[Step]) {
    let mut model = Model::default();
    let mut leads: Vec<Lead<'c, String, u64>> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let now = seconds(model.now);
        match *step {
            Step::Read(key) => {
                let name = KEYS[key].to_owned();
                let runs = model.loads.iter().any(|load| load.key == key && !load.fenced);
                match cache.board(&name, cache.read_begins(), now) {
                    Boarding::Hit(value) => assert_eq!(Some(value), model.value(key)),
                    Boarding::Join(_) => assert!(runs, "joined a load that is fenced"),
                    Boarding::Queue(_) => unreachable!("it is not strict"),
                    Boarding::Lead(lead) => {
                        assert!(!runs && model.value(key).is_none(), "loaded for nothing");
                        let (started, flushed) = (model.now, BTreeSet::new());
                        model.loads.push(Load { key, started, fenced: false, flushed });
                        leads.push(lead);
                    }
                }
            }
            Step::Refresh(key) => {
                let runs = model.loads.iter().any(|load| load.key == key && !load.fenced);
                let lead = cache.begin_refresh(&KEYS[key].to_owned(), now);
                assert_eq!(lead.is_none(), runs);
                if let Some(lead) = lead {
                    let (started, flushed) = (model.now, BTreeSet::new());
                    model.loads.push(Load { key, started, fenced: false, flushed });
                    leads.push(lead);
                }
            }
            Step::End { load, ref tags, time_to_live, time_to_idle, stored }
                if load < leads.len() =>
            {
                let (lead, load) = (leads.remove(load), model.loads.remove(load));
                model.drawn += 1;
                let mut loaded = tagged(model.drawn, tags);
                loaded.is_stored = stored;
                loaded.time_to_live = time_to_live.map(Duration::from_secs);
                loaded.time_to_idle = time_to_idle.map(Duration::from_secs);
                let outdated = tags.iter().any(|tag| load.flushed.contains(tag));
                let wanted = match (load.fenced || outdated, stored) {
                    (true, _) => Landing::Fenced,
                    (false, false) => Landing::Unstored,
                    (false, true) => {
                        model.store(load.key, load.started, tags, time_to_live, time_to_idle);
                        Landing::Stored
                    }
                };
                assert_eq!(lead.complete(loaded), wanted, "{load:?}");
            }
            Step::GiveUp(load) if load < leads.len() => {
                drop(leads.remove(load));
                model.loads.remove(load);
            }
            Step::End { .. } | Step::GiveUp(_) => {}
            Step::Insert { key, ref tags } => {
                model.drawn += 1;
                let value = tagged(model.drawn, tags);
                assert_eq!(
                    cache.insert(&KEYS[key].to_owned(), value, now).unwrap(),
                    Landing::Stored
                );
                model.drop_all(|it, _| it == key);
                model.store(key, model.now, tags, None, None);
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
            Step::FlushPrefix(prefix) => {
                cache.flush_prefix(PREFIXES[prefix]);
                model.drop_all(|key, _| KEYS[key].starts_with(PREFIXES[prefix]));
            }
            Step::FlushAll => {
                cache.flush_all();
                model.drop_all(|_, _| true);
            }
            Step::Distrust => {
                crate::cache::Flushable::distrust(cache);
                model.drop_all(|_, _| true);
            }
            Step::Wait(length) => model.now += length,
        }
        let now = seconds(model.now);
        let inspected = cache.iter(now).map(|it| {
            let left = it.expires_in.unwrap().as_secs();
            let tags: BTreeSet<_> = it.tags.into_iter().collect();
            (it.key, it.value, it.age.as_secs(), left, tags.len())
        });
        let inspected: BTreeSet<_> = inspected.collect();
        assert_eq!(inspected, model.inspected().into_iter().collect());
        for (key, name) in KEYS.iter().enumerate() {
            assert_eq!(cache.get_expired(*name, now), model.expired(key), "{name}");
        }
        // One only, so that others go unread.
        let key = number % KEYS.len();
        assert_eq!(cache.get(KEYS[key], now), model.read(key), "{}", KEYS[key]);
    }
    assert_eq!(
        removed() + cache.len() as u64,
        model.stored,
        "each copy is told of once, at its end"
    );
    // A read takes out what is distrusted.
    for key in KEYS {
        cache.get(key, seconds(model.now));
    }
    let tags: usize = model.copies.values().map(|copy| copy.tags.len()).sum();
    assert!(cache.tag_count() <= tags, "what is known of tags goes with the copies");
}

proptest! {
    #[test]
    fn whatever_is_done_a_read_gets_what_a_simple_map_would_give(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let ttl = Duration::from_secs(TIME_TO_LIVE);
        let removed = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&removed);
        let cache = cache_with(|config| {
            config.time_to_live = Some(ttl);
            config.keep_expired = Duration::from_secs(KEEP_EXPIRED);
            config.listener = Some(Arc::new(move |_, _, _| {
                count.fetch_add(1, Ordering::Relaxed);
            }));
        });
        play(&cache, || removed.load(Ordering::Relaxed), &steps);
    }
}
