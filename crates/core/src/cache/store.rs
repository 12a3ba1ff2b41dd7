//! Owns which copies of a shard are held: so much weight of them at most, and which make room.
//! It must never look at an age: what may be served is not its business.
//!
//! The policy is S3-FIFO (Yang, Zhang, Qiu, Yue and Vinayak, "FIFO queues are all you need for cache
//! eviction", SOSP 2023): a new copy is young, and makes room if nobody reads it while a small share of
//! the capacity comes in behind it; what is read settles; what comes back soon after it made room settles
//! at once. Two things differ, for less memory: settled copies are in no queue, but a hand goes round the
//! table, as in CLOCK; and of what made room only a part of the hash is remembered.

use std::collections::VecDeque;
use std::hash::Hash;
use std::ops::Range;

use ahash::RandomState;
use hashbrown::{HashTable, hash_table};

use super::app_code::let_all_go;
use super::copied::Copied;
use super::ghosts::Ghosts;
use super::standing::Standing;
use super::{AsKey, Stamp};

/// Young copies make room when they are more than this part of the capacity. Measured: with a tenth, as
/// in the paper, a steady load gets 0.2 hits in a hundred fewer, and one that moves on 0.2 more.
const PART_OF_YOUNG: u64 = 14;
/// Flushed copies leave their places in line behind: so many more than twice the copies there are.
const SPARE_PLACES: usize = 64;
/// A table with fewer buckets has no use for being moved.
const FEWEST_BUCKETS: usize = 64;

/// The hash of a key, and the stamp of a copy.
type Place = (u64, Stamp);

pub(super) struct Store<K, V> {
    copies: HashTable<Copied<K, V>>,
    hasher: RandomState,
    /// Most of it.
    capacity: u64,
    weight: u64,
    weight_of_young: u64,
    /// Of each young copy, in the order in which they came, and of some that are not there any more.
    line: VecDeque<Place>,
    /// Of the bucket at which the hand stands.
    hand: usize,
    ghosts: Ghosts,
    /// How often copies may have changed their places.
    moves: u64,
}

/// Copies that were taken out together, to be dropped one by one. Those that are left when this is dropped
/// are, too, whatever the drop of one of them does.
pub(super) struct Leaving<K, V>(hash_table::IntoIter<Copied<K, V>>);

impl<K, V> Iterator for Leaving<K, V> {
    type Item = Copied<K, V>;

    fn next(&mut self) -> Option<Copied<K, V>> {
        self.0.next()
    }
}

impl<K, V> Drop for Leaving<K, V> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<(K, V)>() {
            let_all_go(&mut self.0);
        }
    }
}

impl<K, V> Drop for Store<K, V> {
    fn drop(&mut self) {
        drop(self.take_copies());
    }
}

impl<K, V> Store<K, V> {
    fn take_copies(&mut self) -> Leaving<K, V> {
        Leaving(std::mem::take(&mut self.copies).into_iter())
    }
}

impl<K: Hash + Eq, V> Store<K, V> {
    /// For so much weight.
    pub(super) fn new(capacity: u64, hasher: RandomState) -> Self {
        Self {
            copies: HashTable::new(),
            hasher,
            capacity,
            weight: 0,
            weight_of_young: 0,
            line: VecDeque::new(),
            hand: 0,
            ghosts: Ghosts::default(),
            moves: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.copies.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    #[inline]
    pub(super) fn find<Q, Via>(&self, hash: u64, key: &Q) -> Option<&Copied<K, V>>
    where
        Q: AsKey<K, Via> + ?Sized,
    {
        // Keys are compared outside of the search, which is leaner then: nearly always the first copy
        // with the same few bits of the hash is the one.
        let likely = self.copies.find(hash, |_| true)?;
        if key.equals(&likely.key) { Some(likely) } else { self.search(hash, key) }
    }

    #[cold]
    fn search<Q, Via>(&self, hash: u64, key: &Q) -> Option<&Copied<K, V>>
    where
        Q: AsKey<K, Via> + ?Sized,
    {
        self.copies.find(hash, |copy| key.equals(&copy.key))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Copied<K, V>> {
        self.copies.iter()
    }

    /// Everything that was held.
    pub(super) fn into_copies(mut self) -> Leaving<K, V> {
        self.take_copies()
    }

    /// How many places its table has. Copies stay at theirs, as long as none [moves](Self::moves).
    pub(super) fn places(&self) -> usize {
        self.copies.num_buckets()
    }

    /// The copies at these places, each with its own.
    pub(super) fn at_places(
        &self,
        places: Range<usize>,
    ) -> impl Iterator<Item = (usize, &Copied<K, V>)> {
        places.filter_map(|place| Some((place, self.copies.get_bucket(place)?)))
    }

    pub(super) fn moves(&self) -> u64 {
        self.moves
    }

    /// Takes the copy at this place out, if it is the one of this load.
    pub(super) fn remove_at(&mut self, place: usize, stamp: Stamp) -> Option<Copied<K, V>> {
        let at = self.copies.get_bucket_entry(place).ok()?;
        if at.get().stamp() != stamp {
            return None;
        }
        let (copy, _) = at.remove();
        self.note_removed(&copy);
        Some(copy)
    }

    /// The copy at this place, if it is the one of this load.
    pub(super) fn at_mut(&mut self, place: usize, stamp: Stamp) -> Option<&mut Copied<K, V>> {
        self.copies.get_bucket_mut(place).filter(|copy| copy.stamp() == stamp)
    }

    /// The copy for which this holds.
    pub(super) fn find_mut(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&Copied<K, V>) -> bool,
    ) -> Option<&mut Copied<K, V>> {
        self.copies.find_mut(hash, is_it)
    }

    /// Puts a copy in. `gone` gets what it replaces, what makes room, and the copy itself if it is too
    /// heavy to be held.
    pub(super) fn insert(&mut self, hash: u64, copy: Copied<K, V>, gone: &mut Vec<Copied<K, V>>) {
        if copy.weight() > self.capacity {
            gone.extend(self.remove(hash, |held| held.key == copy.key));
            gone.push(copy);
            return;
        }
        match self.copies.find_mut(hash, |held| held.key == copy.key) {
            Some(held) => {
                let old = std::mem::replace(held, copy);
                held.standing.inherit(&old.standing);
                self.weight = self.weight - old.weight() + held.weight();
                if held.standing.is_young() {
                    self.weight_of_young = self.weight_of_young - old.weight() + held.weight();
                    self.line.push_back((hash, held.stamp()));
                    self.tidy_line();
                }
                gone.push(old);
                self.make_room(0, gone);
            }
            None => {
                self.make_room(copy.weight(), gone);
                self.insert_new(hash, copy);
            }
        }
    }

    fn insert_new(&mut self, hash: u64, mut copy: Copied<K, V>) {
        self.keep_table();
        self.weight += copy.weight();
        if !self.ghosts.has(hash) {
            copy.standing.make_young();
            self.weight_of_young += copy.weight();
            self.line.push_back((hash, copy.stamp()));
        }
        let Self { copies, hasher, .. } = self;
        // Then it grows, or is tidied where it is.
        self.moves += u64::from(copies.len() == copies.capacity());
        copies.insert_unique(hash, copy, |copy| hasher.hash_one(&copy.key));
        self.tidy_line();
    }

    /// What removed copies leave behind fills the table in time, and then it would double. Where it is
    /// large enough for what is held, another one of the same size takes its place; where it is far too
    /// large, because many have gone or others are heavier, a small one.
    fn keep_table(&mut self) {
        let Self { copies, hasher, .. } = self;
        let (len, buckets) = (copies.len(), copies.num_buckets());
        let is_full = len == copies.capacity() && len <= buckets / 4 * 3;
        let is_idle = len < buckets / 16;
        if buckets < FEWEST_BUCKETS || !(is_full || is_idle) {
            return;
        }
        let room = if is_idle { 2 * len } else { buckets / 8 * 7 };
        self.moves += 1;
        for copy in std::mem::replace(copies, HashTable::with_capacity(room)) {
            let hash = hasher.hash_one(&copy.key);
            copies.insert_unique(hash, copy, |copy| hasher.hash_one(&copy.key));
        }
        if is_idle {
            let copies = &self.copies;
            self.line.retain(|place| is_taken(copies, place));
            self.line.shrink_to_fit();
        }
    }

    /// Takes the copy out for which this holds; it is asked of copies whose hash may be another, too.
    pub(super) fn remove(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&Copied<K, V>) -> bool,
    ) -> Option<Copied<K, V>> {
        let (copy, _) = self.copies.find_entry(hash, is_it).ok()?.remove();
        self.note_removed(&copy);
        Some(copy)
    }

    fn note_removed(&mut self, copy: &Copied<K, V>) {
        self.weight -= copy.weight();
        if copy.standing.is_young() {
            self.weight_of_young -= copy.weight();
        }
    }

    fn make_room(&mut self, weight: u64, gone: &mut Vec<Copied<K, V>>) {
        while self.weight > self.capacity - weight {
            let Some(evicted) = self.evict_young().or_else(|| self.evict_settled()) else {
                // Only if a key's hash function has panicked before: nothing is there any more.
                (self.weight, self.weight_of_young) = (0, 0);
                return;
            };
            gone.push(evicted);
        }
        // While there was room, all were in it.
        if self.line.capacity() > 8 * self.line.len() + SPARE_PLACES {
            self.line.shrink_to(2 * self.line.len());
        }
    }

    /// As long as there are too many of them, the young ones that were read settle; gives back the first
    /// that was not.
    fn evict_young(&mut self) -> Option<Copied<K, V>> {
        let most = self.capacity / PART_OF_YOUNG;
        while self.weight_of_young > most || self.weight_of_young == self.weight {
            let (hash, stamp) = self.line.pop_front()?;
            let is_next = |copy: &Copied<K, V>| copy.is_young_of(stamp);
            let Ok(mut next) = self.copies.find_entry(hash, is_next) else { continue };
            if next.get_mut().standing.cool() {
                self.weight_of_young -= next.get().weight();
                next.get_mut().standing.settle();
                continue;
            }
            let (copy, _) = next.remove();
            self.note_removed(&copy);
            self.ghosts.add(hash, self.copies.len());
            return Some(copy);
        }
        None
    }

    /// Moves the hand to the next settled copy that was not read since it was there.
    fn evict_settled(&mut self) -> Option<Copied<K, V>> {
        let buckets = self.copies.num_buckets();
        // Each is cooler when the hand has passed it: after as many rounds as there are degrees, one is
        // cold. If none is settled, a young one has to go.
        let rounds = usize::from(Standing::HOTTEST) + 1;
        for step in 0..2 * rounds * buckets {
            self.hand = if self.hand + 1 < buckets { self.hand + 1 } else { 0 };
            let Ok(mut at) = self.copies.get_bucket_entry(self.hand) else { continue };
            let standing = &mut at.get_mut().standing;
            if (!standing.is_young() || step >= rounds * buckets) && !standing.cool() {
                let (copy, _) = at.remove();
                self.note_removed(&copy);
                return Some(copy);
            }
        }
        None
    }

    /// Takes places out of the line that flushed copies left behind. Looks at two, so that it gets done
    /// while each copy adds one.
    fn tidy_line(&mut self) {
        for _ in 0..2 {
            if self.line.len() <= 2 * self.copies.len() + SPARE_PLACES {
                return;
            }
            let Some(place) = self.line.pop_front() else { return };
            if is_taken(&self.copies, &place) {
                self.line.push_back(place);
            }
        }
    }
}

/// Whether the copy with this place in line is there, and young.
fn is_taken<K, V>(copies: &HashTable<Copied<K, V>>, &(hash, stamp): &Place) -> bool {
    copies.find(hash, |copy| copy.is_young_of(stamp)).is_some()
}

#[cfg(all(test, not(flushcast_shuttle)))]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests;
