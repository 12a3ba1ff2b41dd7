//! Owns how a cache is spread over locks. A shard holds all that is known of its keys: copies,
//! loads under way and tags, so that one lock orders reads, installs and flushes.
//! It must never run the application's code under a lock, besides comparing, hashing, writing and
//! cloning keys and cloning values.

use std::hash::Hash;
use std::ops::Range;

use ahash::RandomState;

use super::copied::Copied;
use super::store::{Leaving, Store};
use super::tags::{Tags, TagsLeaving};
use super::{AsKey, HashSeeds, Stamp, Tag};
use crate::Time;
use crate::load::Flights;
use crate::sync::locks::{Lock, Locks, Reading, Writing};

/// What is known of some keys.
pub(crate) struct Shard<K, V> {
    copies: Store<K, V>,
    pub(crate) flights: Flights<K, V>,
    tags: Tags,
}

pub(super) struct Shards<K, V> {
    shards: Locks<Shard<K, V>>,
    hasher: RandomState,
    /// Of a shard.
    capacity: u64,
}

/// Enough for the cores of most machines.
const FEWEST_SHARDS: u64 = if cfg!(flushcast_shuttle) { 2 } else { 12 };
/// Unless that leaves fewer copies to each, or not many more: chance would fill some of them long before
/// others.
const FEWEST_COPIES_OF_A_SHARD: u64 = 64;
/// A table of so many is walked, or moved to another one, while its lock is held.
const MOST_BUCKETS_OF_A_SHARD: u64 = 4096;
const MOST_SHARDS: u64 = 4096;

/// How many copies fill so many buckets. In a table that is fuller, copies that come and go leave so
/// much behind that it has to be moved often; in an emptier one they take more memory.
const fn copies_in(buckets: u64) -> u64 {
    buckets / 16 * 11
}

fn shard_count(capacity: u64, is_weighed: bool) -> u64 {
    let few = FEWEST_SHARDS.min(capacity / FEWEST_COPIES_OF_A_SHARD).max(1);
    // How many copies are in so much weight is not known, and each must fit into a shard.
    if is_weighed || few < FEWEST_SHARDS || cfg!(flushcast_shuttle) {
        return few;
    }
    // The fewest, from there on, that leave no bucket idle when all are full.
    let mut buckets = MOST_BUCKETS_OF_A_SHARD;
    while copies_in(buckets) * few > capacity && copies_in(buckets / 2) >= FEWEST_COPIES_OF_A_SHARD
    {
        buckets /= 2;
    }
    capacity.div_ceil(copies_in(buckets)).min(MOST_SHARDS)
}

pub(super) fn hasher(HashSeeds([a, b, c, d]): HashSeeds) -> RandomState {
    RandomState::with_seeds(a, b, c, d)
}

impl<K: Hash + Eq, V> Shards<K, V> {
    pub(super) fn new(capacity: u64, is_weighed: bool, seeds: HashSeeds) -> Self {
        let hasher = hasher(seeds);
        let count = shard_count(capacity, is_weighed);
        let capacity = capacity / count;
        let shards = Locks::new((0..count).map(|_| Shard::new(capacity, &hasher)));
        Self { shards, hasher, capacity }
    }

    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Its own, seeded one.
    pub(super) fn hasher(&self) -> RandomState {
        self.hasher.clone()
    }

    fn of(&self, hash: u64) -> Lock<'_, Shard<K, V>> {
        // The lowest and the highest bits pick the place within a shard. The bits between, as a part of
        // all that they can be, are the same part of the shards.
        let part = u64::from((hash >> 16) as u32);
        self.shards.at(((part * self.shards.len() as u64) >> 32) as usize)
    }

    pub(super) fn read(&self, hash: u64) -> Reading<'_, Shard<K, V>> {
        self.of(hash).read()
    }

    /// What who read a shard has [added](Reading::add_to_tally).
    pub(super) fn tally(&self) -> u64 {
        self.shards.tally()
    }

    pub(super) fn write(&self, hash: u64) -> Writing<'_, Shard<K, V>> {
        self.of(hash).write()
    }

    /// Each shard's lock in turn.
    pub(super) fn each(&self) -> impl Iterator<Item = Lock<'_, Shard<K, V>>> {
        self.shards.iter()
    }

    /// The lock of one of the shards, counted from 0.
    pub(super) fn nth(&self, shard: usize) -> Option<Lock<'_, Shard<K, V>>> {
        (shard < self.shards.len()).then(|| self.shards.at(shard))
    }

    /// Takes all copies of one of the shards out, to be dropped without its lock.
    pub(super) fn take_out(&self, shard: usize) -> Option<Cleared<K, V>> {
        let lock = self.nth(shard)?;
        let mut empty = Shard::new(self.capacity, &self.hasher);
        {
            let mut shard = lock.write();
            std::mem::swap(&mut shard.copies, &mut empty.copies);
            std::mem::swap(&mut shard.tags, &mut empty.tags);
        }
        Some(Cleared { copies: empty.copies.into_copies(), tags: empty.tags.into_iter() })
    }
}

/// What a shard held, to be dropped bit by bit.
pub(super) struct Cleared<K, V> {
    copies: Leaving<K, V>,
    tags: TagsLeaving,
}

impl<K, V> Cleared<K, V> {
    /// Drops one of what is left: a copy as `note` does. False if nothing was.
    pub(super) fn drop_one(&mut self, note: impl FnOnce(Copied<K, V>)) -> bool {
        match self.copies.next() {
            Some(copy) => {
                note(copy);
                true
            }
            None => self.tags.next().is_some(),
        }
    }
}

impl<K: Hash + Eq, V> Shard<K, V> {
    fn new(capacity: u64, hasher: &RandomState) -> Self {
        let copies = Store::new(capacity, hasher.clone());
        Self { copies, flights: Flights::default(), tags: Tags::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.copies.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.copies.weight()
    }

    pub(super) fn find<Q, Via>(&self, hash: u64, key: &Q) -> Option<&Copied<K, V>>
    where
        Q: AsKey<K, Via> + ?Sized,
    {
        self.copies.find(hash, key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Copied<K, V>> {
        self.copies.iter()
    }

    /// How many [places](Store::at_places) it has for copies.
    pub(super) fn places(&self) -> usize {
        self.copies.places()
    }

    pub(super) fn at_places(
        &self,
        places: Range<usize>,
    ) -> impl Iterator<Item = (usize, &Copied<K, V>)> {
        self.copies.at_places(places)
    }

    /// How often copies may have changed their places.
    pub(super) fn moves(&self) -> u64 {
        self.copies.moves()
    }

    /// Puts a copy in; `gone` gets what made room, and what it replaces, and itself if it is too heavy.
    pub(super) fn insert(&mut self, hash: u64, copy: Copied<K, V>, gone: &mut Vec<Copied<K, V>>) {
        self.tags.add(copy.tags(), copy.stamp(), hash);
        let before = gone.len();
        self.copies.insert(hash, copy, gone);
        for copy in &gone[before..] {
            self.tags.remove(copy.tags(), copy.stamp());
        }
    }

    pub(super) fn remove<Q, Via>(&mut self, hash: u64, key: &Q) -> Option<Copied<K, V>>
    where
        Q: AsKey<K, Via> + ?Sized,
    {
        self.end(hash, |copy| key.equals(&copy.key), None)
    }

    /// Takes a copy out, if it is the one of this load.
    pub(super) fn remove_stamped(&mut self, hash: u64, stamp: Stamp) -> Option<Copied<K, V>> {
        self.end(hash, |copy| copy.stamp() == stamp, None)
    }

    /// Takes a copy out, or, if it is to stay, has it expire where it is.
    pub(super) fn end(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&Copied<K, V>) -> bool,
        stays: Option<Time>,
    ) -> Option<Copied<K, V>> {
        let Some(now) = stays else {
            let removed = self.copies.remove(hash, is_it);
            return self.untagged(removed);
        };
        if let Some(copy) = self.copies.find_mut(hash, is_it) {
            copy.expire(now);
        }
        None
    }

    /// Like [`end`](Self::end), of the copy at this place, if it is the one of this load.
    pub(super) fn end_at(
        &mut self,
        place: usize,
        stamp: Stamp,
        stays: Option<Time>,
    ) -> Option<Copied<K, V>> {
        let Some(now) = stays else {
            let removed = self.copies.remove_at(place, stamp);
            return self.untagged(removed);
        };
        if let Some(copy) = self.copies.at_mut(place, stamp) {
            copy.expire(now);
        }
        None
    }

    fn untagged(&mut self, removed: Option<Copied<K, V>>) -> Option<Copied<K, V>> {
        if let Some(copy) = &removed {
            self.tags.remove(copy.tags(), copy.stamp());
        }
        removed
    }

    /// The next copy with this tag whose load began at `from` or behind it, and before `mark`: the hash of
    /// its key, and its stamp.
    pub(super) fn next_tagged(&self, tag: &Tag, from: Stamp, mark: Stamp) -> Option<(u64, Stamp)> {
        self.tags.next(tag, from, mark)
    }

    #[cfg(all(test, not(flushcast_shuttle)))]
    pub(super) fn tag_count(&self) -> usize {
        self.tags.len()
    }
}
