//! Owns the simple map: what a cache is to hold, and what has become of its loads, told by one map and one list.
//! Which copy makes room it follows from what the cache tells.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flushcast_core::cache::RemovalCause;

use super::{FALLBACK_LIVES, KEYS, PAUSE, REFRESH_AFTER, TIME_TO_LIVE};

#[derive(Debug, Clone)]
pub(super) struct Copy {
    pub(super) value: u64,
    pub(super) weight: u64,
    pub(super) tags: BTreeSet<usize>,
    pub(super) started: u64,
    pub(super) expires: u64,
    /// How long it may go unread, and when it was read last.
    pub(super) idle: Option<u64>,
    pub(super) used: u64,
    /// It stands in for what could not be loaded.
    pub(super) is_fallback: bool,
    /// Until when the source is left alone, which has failed.
    pub(super) paused: u64,
}

impl Copy {
    pub(super) fn ends(&self) -> u64 {
        self.idle.map_or(self.expires, |idle| self.expires.min(self.used + idle))
    }

    /// When nobody has a use for it any more.
    fn is_over_at(&self, keep_expired: u64) -> u64 {
        self.ends() + if self.is_fallback { 0 } else { keep_expired }
    }
}

/// A load, or a write of the application's own, that is under way.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) key: usize,
    pub(super) started: u64,
    /// A flush, or a younger one, has come between.
    pub(super) fenced: bool,
    pub(super) flushed: BTreeSet<usize>,
    /// Tags that were told to expire.
    pub(super) expired: BTreeSet<usize>,
}

impl Load {
    pub(super) fn begin(key: usize, started: u64) -> Self {
        let (flushed, expired) = (BTreeSet::new(), BTreeSet::new());
        Self { key, started, fenced: false, flushed, expired }
    }
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) now: u64,
    pub(super) copies: BTreeMap<usize, Copy>,
    pub(super) loads: Vec<Load>,
    pub(super) drawn: u64,
    pub(super) capacity: u64,
    pub(super) keep_expired: u64,
    pub(super) other_tags: usize,
    /// The weights of the values that take room, distrusted ones too.
    pub(super) held: BTreeMap<u64, u64>,
}

impl Model {
    pub(super) fn value(&self, key: usize) -> Option<u64> {
        let held = self.copies.get(&key).filter(|copy| copy.ends() > self.now);
        held.map(|copy| copy.value)
    }

    /// The load that a read may wait for.
    pub(super) fn running(&self, key: usize) -> Option<usize> {
        self.loads.iter().position(|load| load.key == key && !load.fenced)
    }

    /// A write outruns the load of its key.
    pub(super) fn begin_write(&mut self, key: usize) {
        let outrun = self.loads.iter_mut().filter(|load| load.key == key);
        outrun.for_each(|load| load.fenced = true);
        self.loads.push(Load::begin(key, self.now));
    }

    /// A load has failed. Whether all who wait get what was drawn last, as a fallback: where nothing is held.
    pub(super) fn fail(&mut self, load: &Load, falls_back: bool) -> bool {
        let held = self.copies.get_mut(&load.key);
        let held = held.filter(|it| !it.is_fallback && it.is_over_at(self.keep_expired) > self.now);
        if let Some(copy) = held {
            if !load.fenced {
                copy.paused = self.now + PAUSE;
            }
            return false;
        }
        if falls_back && !load.fenced {
            let expires = self.now + FALLBACK_LIVES;
            let copy = Copy { expires, is_fallback: true, ..self.copy(load.started, &[], 1) };
            self.answer(load.key, copy, true);
        }
        falls_back
    }

    /// The keys that are to be loaded again without a read.
    pub(super) fn due(&self) -> BTreeSet<String> {
        let is_due = |copy: &Copy| {
            let is_old = copy.ends() <= self.now || copy.started + REFRESH_AFTER <= self.now;
            is_old && copy.paused <= self.now && !copy.is_fallback
        };
        let due = self.copies.iter().filter(|(_, copy)| is_due(copy));
        due.map(|(&key, _)| KEYS[key].to_owned()).collect()
    }

    pub(super) fn read(&mut self, key: usize) -> Option<u64> {
        let value = self.value(key)?;
        self.copies.entry(key).and_modify(|copy| copy.used = self.now);
        Some(value)
    }

    /// All that is known of the copies that would be served.
    pub(super) fn inspected(&self) -> Vec<(String, u64, u64, u64, usize)> {
        let served = self.copies.iter().filter(|(_, copy)| copy.ends() > self.now);
        let known = served.map(|(&key, copy)| {
            let (age, left) = (self.now - copy.started, copy.ends() - self.now);
            (KEYS[key].to_owned(), copy.value, age, left, copy.tags.len())
        });
        known.collect()
    }

    pub(super) fn expired(&self, key: usize) -> Option<(u64, Duration)> {
        let held = self.copies.get(&key).filter(|copy| !copy.is_fallback)?;
        let since = self.now.checked_sub(held.ends())?;
        (since < self.keep_expired).then_some((held.value, Duration::from_secs(since)))
    }

    /// As a flush does.
    pub(super) fn drop_all(&mut self, named: impl Fn(usize, Option<&Copy>) -> bool) {
        self.copies.retain(|&key, copy| !named(key, Some(copy)));
        let loads = self.loads.iter_mut().filter(|load| named(load.key, None));
        loads.for_each(|load| load.fenced = true);
    }

    /// As what makes copies expire does: without a time for which they are kept, nobody has a use for them.
    pub(super) fn expire_all(&mut self, named: impl Fn(usize, Option<&Copy>) -> bool) {
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
    pub(super) fn answer(&mut self, key: usize, copy: Copy, stored: bool) -> bool {
        let fits = copy.weight <= self.capacity && copy.is_over_at(self.keep_expired) > self.now;
        self.copies.remove(&key);
        if stored && fits {
            self.held.insert(copy.value, copy.weight);
            self.copies.insert(key, copy);
        }
        stored && fits
    }

    /// A value that takes room though nobody can ever be given it.
    pub(super) fn over(&self) -> Option<u64> {
        let lives = |&&value: &&u64| {
            let held = self.copies.values().find(|copy| copy.value == value);
            held.is_some_and(|copy| copy.is_over_at(self.keep_expired) > self.now)
        };
        self.held.keys().find(|value| !lives(value)).copied()
    }

    pub(super) fn weight(&self) -> u64 {
        self.held.values().sum()
    }

    pub(super) fn copy(&self, started: u64, tags: &[usize], weight: u64) -> Copy {
        let (expires, tags) = (started + TIME_TO_LIVE, tags.iter().copied().collect());
        Copy {
            value: self.drawn,
            weight,
            tags,
            started,
            expires,
            idle: None,
            used: self.now,
            is_fallback: false,
            paused: 0,
        }
    }

    /// Follows what the cache has told of a copy: each once, and none makes room for nothing.
    pub(super) fn hear(&mut self, name: &str, value: u64, cause: RemovalCause, by_hand: bool) {
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
