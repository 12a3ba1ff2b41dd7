//! Owns how a cache is spread over locks. A shard holds all that is known of its keys: copies,
//! loads under way and tags, so that one lock orders reads, installs and flushes.
//! It must never run the application's code under a lock, besides comparing, hashing, writing and
//! cloning keys and cloning values.

use std::hash::Hash;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;

use super::app_code::caught;
use super::copied::Copied;
use super::judge::Judge;
use super::pass::Stay;
use super::room::Room;
use super::store::{Going, Leaving, Store};
use super::tags::{Tags, TagsLeaving};
use super::{AsKey, HashSeeds, Stamp, Stats, Tag};
use crate::Time;
use crate::load::Flights;
use crate::sync::{RwLock, RwLockWriteGuard};

/// What is known of some keys.
pub(crate) struct Shard<K, V> {
    /// Reads that found what they could use. Each is exact, whoever reads at the same time; not of the
    /// explorer's world.
    hits: AtomicU64,
    misses: AtomicU64,
    copies: Store<K, V>,
    pub(crate) flights: Flights<K, V>,
    tags: Tags,
}

/// A shard, on lines of memory of its own, with its lock's word.
#[repr(align(64))]
struct Apart<K, V>(RwLock<Shard<K, V>>);

pub(super) struct Shards<K, V> {
    shards: Box<[Apart<K, V>]>,
    hasher: RandomState,
    room: Arc<Room>,
}

/// How many copies fill a table of 4,096 places. It is walked, or moved to another one, while its lock is
/// held. In a table that is fuller, copies that come and go leave so much behind that it has to be moved
/// often; in an emptier one they take more memory.
const COPIES_OF_A_SHARD: u64 = if cfg!(flushcast_shuttle) { 1 } else { 4096 / 16 * 11 };
const MOST_SHARDS: u64 = if cfg!(flushcast_shuttle) { 2 } else { 4096 };
/// With a weigher: how many copies are in so much weight is not known.
const MOST_SHARDS_IF_WEIGHED: u64 = 64;

fn shard_count(capacity: u64, is_weighed: bool) -> u64 {
    let most = if is_weighed { MOST_SHARDS_IF_WEIGHED } else { MOST_SHARDS };
    capacity.div_ceil(COPIES_OF_A_SHARD).clamp(1, most)
}

pub(super) fn hasher(HashSeeds([a, b, c, d]): HashSeeds) -> RandomState {
    RandomState::with_seeds(a, b, c, d)
}

impl<K: Hash + Eq, V> Shards<K, V> {
    pub(super) fn new(capacity: u64, is_weighed: bool, seeds: HashSeeds) -> Self {
        let hasher = hasher(seeds);
        let room = Arc::new(Room::new(capacity, hasher.clone()));
        let shard = |_| Apart(RwLock::new(Shard::new(Arc::clone(&room))));
        let shards = (0..shard_count(capacity, is_weighed)).map(shard).collect();
        Self { shards, hasher, room }
    }

    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Its own, seeded one.
    pub(super) fn hasher(&self) -> RandomState {
        self.hasher.clone()
    }

    /// The lock of the shard of a key. Who holds it must wait for nothing.
    pub(super) fn of(&self, hash: u64) -> &RwLock<Shard<K, V>> {
        &self.shards[self.index(hash)].0
    }

    fn index(&self, hash: u64) -> usize {
        // The lowest and the highest bits pick the place within a shard. The bits between, as a part of
        // all that they can be, are the same part of the shards.
        let part = u64::from((hash >> 16) as u32);
        ((part * self.shards.len() as u64) >> 32) as usize
    }

    pub(super) fn write(&self, hash: u64) -> RwLockWriteGuard<'_, Shard<K, V>> {
        self.of(hash).write()
    }

    /// Each shard's lock in turn.
    pub(super) fn each(&self) -> impl Iterator<Item = &RwLock<Shard<K, V>>> {
        self.shards.iter().map(|shard| &shard.0)
    }

    /// The lock of one of the shards, counted from 0.
    pub(super) fn nth(&self, shard: usize) -> Option<&RwLock<Shard<K, V>>> {
        self.shards.get(shard).map(|shard| &shard.0)
    }

    /// The weight of all that is held.
    pub(super) fn weight(&self) -> u64 {
        self.room.weight()
    }

    /// Has copies of other shards than that of a key make room, if its own had too few.
    pub(super) fn make_room(&self, hash: u64, judge: &Judge<'_>, gone: &mut Going<K, V>) {
        let count = self.shards.len();
        let (mut next, mut empty) = (self.index(hash), 0);
        // Ends when all are: then others are about to put in what they have taken room for.
        while self.room.is_over() && empty < count {
            next = (next + 1) % count;
            let is_left = self.shards[next].0.write().make_room(judge, gone);
            empty = if is_left { 0 } else { empty + 1 };
        }
    }

    /// Takes all copies of one of the shards out, to be dropped without its lock.
    pub(super) fn take_out(&self, shard: usize) -> Option<Cleared<K, V>> {
        let lock = self.nth(shard)?;
        let mut empty = Shard::new(Arc::clone(&self.room));
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
    fn new(room: Arc<Room>) -> Self {
        let copies = Store::new(room);
        let (flights, tags) = (Flights::default(), Tags::default());
        Self { hits: AtomicU64::new(0), misses: AtomicU64::new(0), copies, flights, tags }
    }

    /// Counts a read.
    pub(super) fn note_hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds what it holds, and the reads of it so far.
    pub(super) fn add_to(&self, stats: &mut Stats) {
        stats.hits += self.hits.load(Ordering::Relaxed);
        stats.misses += self.misses.load(Ordering::Relaxed);
        stats.copies += self.len();
    }

    pub(super) fn len(&self) -> usize {
        self.copies.len()
    }

    pub(super) fn find<Q: AsKey<K, Via> + ?Sized, Via>(
        &self,
        hash: u64,
        key: &Q,
    ) -> Option<&Copied<K, V>> {
        self.copies.find(hash, key)
    }

    /// To change what decides neither where it is, nor what it weighs.
    pub(super) fn find_mut<Q: AsKey<K, Via> + ?Sized, Via>(
        &mut self,
        hash: u64,
        key: &Q,
    ) -> Option<&mut Copied<K, V>> {
        self.copies.find_mut(hash, key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Copied<K, V>> {
        self.copies.iter()
    }

    /// How many [places](Store::at_places) it has for copies.
    pub(super) fn places(&self) -> usize {
        self.copies.places()
    }

    pub(super) fn at_places(&self, places: Range<usize>) -> impl Iterator<Item = &Copied<K, V>> {
        self.copies.at_places(places)
    }

    /// How often copies may have changed their places.
    pub(super) fn moves(&self) -> u64 {
        self.copies.moves()
    }

    /// [Puts a copy in](Store::insert).
    pub(super) fn insert(
        &mut self,
        hash: u64,
        copy: Copied<K, V>,
        judge: &Judge<'_>,
        gone: &mut Going<K, V>,
    ) {
        self.tags.add(copy.tags(), copy.stamp(), hash);
        self.change(gone, |copies, gone| copies.insert(hash, copy, judge, gone));
    }

    /// [Has copies make room](Store::make_room).
    fn make_room(&mut self, judge: &Judge<'_>, gone: &mut Going<K, V>) -> bool {
        self.change(gone, |copies, gone| copies.make_room(judge, gone))
    }

    /// [Looks for what is over](Store::sweep).
    pub(super) fn sweep(&mut self, judge: &Judge<'_>, places: usize, gone: &mut Going<K, V>) {
        self.change(gone, |copies, gone| copies.sweep(judge, places, gone));
    }

    /// Whether there may be any that is over.
    pub(super) fn may_be_swept(&self, judge: &Judge<'_>) -> bool {
        self.copies.may_be_swept(judge)
    }

    /// A copy may be over then, earlier than it would have been.
    pub(super) fn note_over(&mut self, over: Time) {
        self.copies.note_over(over);
    }

    /// Runs a change that may remove copies. If comparing keys panics, what it has removed until then stays
    /// removed.
    fn change<T>(
        &mut self,
        gone: &mut Going<K, V>,
        act: impl FnOnce(&mut Store<K, V>, &mut Going<K, V>) -> T,
    ) -> T {
        let before = gone.len();
        let acted = caught(|| act(&mut self.copies, gone));
        for (copy, _) in &gone[before..] {
            self.tags.remove(copy.tags(), copy.stamp());
        }
        acted.unwrap_or_else(|panic| resume_unwind(panic))
    }

    pub(super) fn remove<Q: AsKey<K, Via> + ?Sized, Via>(
        &mut self,
        hash: u64,
        key: &Q,
    ) -> Option<Copied<K, V>> {
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
        stays: Option<Stay>,
    ) -> Option<Copied<K, V>> {
        let removed = match stays {
            Some(stay) => {
                self.copies.expire(hash, is_it, stay);
                None
            }
            None => self.copies.remove(hash, is_it),
        };
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
