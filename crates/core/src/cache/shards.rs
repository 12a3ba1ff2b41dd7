//! Owns how a cache is spread over locks. A shard holds all that is known of its keys: copies,
//! loads under way and tags, so that one lock orders reads, installs and flushes.
//! It must never run the application's code under a lock, besides comparing, hashing, writing and
//! cloning keys and cloning values.

use std::borrow::Borrow;
use std::hash::Hash;

use quick_cache::unsync::Cache as Policy;
use quick_cache::{Lifecycle, Options, OptionsBuilder, Weighter};

use super::copied::Copied;
use super::hashing::{Held, Once};
use super::tags::Tags;
use super::{HashSeeds, Stamp, Tag};
use crate::load::Flights;
use crate::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What is known of some keys. Aligned, so that readers on other cores, who write the lock in front of
/// it, leave it in their caches.
#[repr(align(64))]
pub(crate) struct Shard<K, V> {
    copies: Policy<Held<K>, Copied<V>, ByWeight, Once, OutOfRoom>,
    pub(crate) flights: Flights<K, V>,
    tags: Tags<K>,
}

/// What was taken out, to be dropped when no lock is held.
pub(super) type Removed<K, V> = (K, Copied<V>);

pub(super) struct Shards<K, V> {
    shards: Box<[RwLock<Shard<K, V>>]>,
    once: Once,
    /// Of a shard.
    options: Options,
}

/// The policy's share of the capacity for copies that were read again, and the share of it for what is
/// remembered of those that made room. Measured: with the policy's own defaults, 0.97 and 0.5, a load
/// that moves on gets two hits in a hundred fewer, and a steady one 0.3 more.
const HOT: f64 = 0.92;
const REMEMBERED: f64 = 1.0;
/// Copies of a shard of a large cache: few enough for a walk over them to hold its lock briefly.
const COPIES_OF_A_SHARD: u64 = 8192;
/// Below that many copies to a shard, chance fills some of them long before others.
const FEWEST_COPIES_OF_A_SHARD: u64 = 64;
/// Enough for the cores of most machines.
const SHARDS_OF_A_SMALL_CACHE: u64 = if cfg!(flushcast_shuttle) { 2 } else { 16 };
const MOST_SHARDS: u64 = 1024;

fn shard_count(capacity: u64, is_weighed: bool) -> u64 {
    let for_cores = SHARDS_OF_A_SMALL_CACHE.min(capacity / FEWEST_COPIES_OF_A_SHARD);
    // How many copies are in so much weight is not known, and each must fit into a shard.
    let for_walks = if is_weighed { 0 } else { capacity / COPIES_OF_A_SHARD };
    for_cores.max(for_walks).clamp(1, MOST_SHARDS).next_power_of_two()
}

impl<K: Hash + Eq + Clone, V> Shards<K, V> {
    pub(super) fn new(capacity: u64, is_weighed: bool, seeds: HashSeeds) -> Self {
        let HashSeeds([a, b, c, d]) = seeds;
        let once = Once(ahash::RandomState::with_seeds(a, b, c, d));
        let count = match cfg!(flushcast_shuttle) {
            true => SHARDS_OF_A_SMALL_CACHE,
            false => shard_count(capacity, is_weighed),
        };
        let each = capacity / count;
        let items = usize::try_from(each).unwrap_or(usize::MAX).min((1 << 20) / count as usize);
        let mut options = OptionsBuilder::new();
        options.weight_capacity(each).estimated_items_capacity(items);
        options.hot_allocation(HOT).ghost_allocation(REMEMBERED);
        // The builder fails only when one of the two values above is missing.
        let Ok(options) = options.build() else { unreachable!("both capacities are given") };
        let shard = || RwLock::new(Shard::new(&options, &once));
        let shards = (0..count).map(|_| shard()).collect();
        Self { shards, once, options }
    }

    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.once.hash(key)
    }

    /// Its own, seeded one.
    pub(super) fn hasher(&self) -> ahash::RandomState {
        self.once.0.clone()
    }

    fn of(&self, hash: u64) -> &RwLock<Shard<K, V>> {
        // The low and the highest bits pick the place within a shard.
        &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)]
    }

    pub(super) fn read(&self, hash: u64) -> RwLockReadGuard<'_, Shard<K, V>> {
        self.of(hash).read()
    }

    pub(super) fn write(&self, hash: u64) -> RwLockWriteGuard<'_, Shard<K, V>> {
        self.of(hash).write()
    }

    /// Each shard's lock in turn.
    pub(super) fn each(&self) -> impl Iterator<Item = &RwLock<Shard<K, V>>> {
        self.shards.iter()
    }

    /// Takes all copies out, shard by shard, and drops them as `note` does, without a lock.
    pub(super) fn take_all(&self, mut note: impl FnMut(Removed<K, V>)) {
        for shard in &self.shards {
            let mut empty = Shard::new(&self.options, &self.once);
            {
                let mut shard = shard.write();
                std::mem::swap(&mut shard.copies, &mut empty.copies);
                std::mem::swap(&mut shard.tags, &mut empty.tags);
            }
            empty.copies.drain().for_each(|(Held(key), copy)| note((key, copy)));
        }
    }
}

impl<K: Hash + Eq + Clone, V> Shard<K, V> {
    fn new(options: &Options, once: &Once) -> Self {
        let copies = Policy::with_options(options.clone(), ByWeight, once.clone(), OutOfRoom);
        Self { copies, flights: Flights::default(), tags: Tags::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.copies.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.copies.weight()
    }

    pub(super) fn find<Q>(&self, shards: &Shards<K, V>, hash: u64, key: &Q) -> Option<&Copied<V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.copies.get(&shards.once.probe(hash, key))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &Copied<V>)> {
        self.copies.iter().map(|(Held(key), copy)| (key, copy))
    }

    /// Puts a copy in; `gone` gets what made room, and what it replaces.
    pub(super) fn insert(&mut self, key: K, copy: Copied<V>, gone: &mut Gone<K, V>) {
        self.tags.add(copy.tags(), copy.birth.stamp, &key);
        let before = gone.0.len();
        self.copies.insert_with_lifecycle(Held(key), copy, gone);
        for (_, copy) in &gone.0[before..] {
            self.tags.remove(copy.tags(), copy.birth.stamp);
        }
    }

    pub(super) fn remove<Q>(
        &mut self,
        shards: &Shards<K, V>,
        hash: u64,
        key: &Q,
    ) -> Option<Removed<K, V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.remove_if(shards, hash, key, |_| true)
    }

    /// Takes a copy out, if it is the one of this load.
    pub(super) fn remove_stamped<Q>(
        &mut self,
        shards: &Shards<K, V>,
        hash: u64,
        key: &Q,
        stamp: Stamp,
    ) -> Option<Removed<K, V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.remove_if(shards, hash, key, |copy| copy.birth.stamp == stamp)
    }

    fn remove_if<Q>(
        &mut self,
        shards: &Shards<K, V>,
        hash: u64,
        key: &Q,
        wanted: impl FnOnce(&Copied<V>) -> bool,
    ) -> Option<Removed<K, V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (Held(key), copy) = self.copies.remove_if(&shards.once.probe(hash, key), wanted)?;
        self.tags.remove(copy.tags(), copy.birth.stamp);
        Some((key, copy))
    }

    /// Takes out a copy with this tag whose load began before `mark`, if one is left.
    pub(super) fn pop_tagged(
        &mut self,
        shards: &Shards<K, V>,
        tag: &Tag,
        mark: Stamp,
    ) -> Option<Removed<K, V>> {
        loop {
            // Each is taken off, whatever becomes of its copy, so that this comes to an end.
            let (key, stamp) = self.tags.pop(tag, mark)?;
            let removed = self.remove_stamped(shards, shards.hash(&key), &key, stamp);
            if removed.is_some() {
                return removed;
            }
        }
    }

    #[cfg(all(test, not(flushcast_shuttle)))]
    pub(super) fn tag_count(&self) -> usize {
        self.tags.len()
    }
}

/// Keeps what the policy takes out, to make room or to replace it, until no lock is held.
#[derive(Debug, Clone, Copy)]
struct OutOfRoom;

pub(super) struct Gone<K, V>(pub(super) Vec<Removed<K, V>>);

impl<K, V> Default for Gone<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K, V> Lifecycle<Held<K>, Copied<V>> for OutOfRoom {
    type RequestState = Gone<K, V>;

    fn on_evict(&self, gone: &mut Gone<K, V>, Held(key): Held<K>, copy: Copied<V>) {
        gone.0.push((key, copy));
    }
}

/// The weight that a copy was given: the same whenever the policy asks.
#[derive(Debug, Clone, Copy)]
struct ByWeight;

impl<K, V> Weighter<Held<K>, Copied<V>> for ByWeight {
    fn weight(&self, _: &Held<K>, copy: &Copied<V>) -> u64 {
        copy.weight()
    }
}
