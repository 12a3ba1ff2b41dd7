//! Owns which copies of a shard are held, and which make room.
//! It must never decide what may be served.
//!
//! What is over makes room first, as far as a short look finds it. Beyond that the policy is S3-FIFO (Yang,
//! Zhang, Qiu, Yue and Vinayak, "FIFO queues are all you need for cache eviction", SOSP 2023): a new copy is young, and makes room if nobody reads it while a small share of
//! the capacity comes in behind it; what is read settles; what comes back soon after it made room settles
//! at once. Three things differ. For less memory, settled copies are in no queue, but a hand goes round the
//! table, as in CLOCK, and of what made room only a part of the hash is remembered. For loops over more
//! than fits, what comes back settles only in place of one that nobody reads.

use std::collections::VecDeque;
use std::hash::Hash;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;

use hashbrown::{HashTable, hash_table};
use smallvec::SmallVec;

use super::app_code::{caught, contain, let_all_go};
use super::copied::Copied;
use super::ghosts::Ghosts;
use super::judge::Judge;
use super::pass::Stay;
use super::room::Room;
use super::rounds::Rounds;
use super::{AsKey, RemovalCause, Stamp};
use crate::Time;

/// Young copies make room when they are more than this part of the capacity. Measured: with a tenth, as
/// in the paper, a steady load gets 0.2 hits in a hundred fewer, and one that moves on 0.2 more.
const PART_OF_YOUNG: u64 = 14;
/// Flushed copies leave their places in line behind: so many more than twice the copies there are.
const SPARE_PLACES: usize = 64;
/// A table with fewer buckets has no use for being moved.
const FEWEST_BUCKETS: usize = 64;
/// Copies that make room under one lock. Where more have to, for a heavy one, other shards are next.
pub(super) const AT_ONCE: usize = if cfg!(flushcast_shuttle) { 1 } else { 8 };
/// Places that are looked at for a copy that is over when one has to make room.
const LOOKS: usize = 64;
/// Settled copies that the hand passes in search of one that was not read. Then the next one makes room.
const STEPS: usize = 256;
/// Settled copies that it passes for a copy that comes back: does it find none that was not read, that one
/// is young again. So a loop over more than fits does not drive out what the loop comes back to: of a loop
/// over 1.1 times what fits, 84 % are hits; with a search to the end 70 %. With 1 to 3, all else is the
/// same.
const STEPS_OF_RETURN: usize = 2;

/// The hash of a key, and the stamp of a copy.
type Place = (u64, Stamp);

/// A copy that is held no more, and why.
type Gone<K, V> = (Copied<K, V>, RemovalCause);

/// What is gone by one change. Most often that is one copy at most; as it lies on a line of memory, a place
/// for it from an allocator takes longer than the change does.
pub(super) type Going<K, V> = SmallVec<[Gone<K, V>; 1]>;

pub(super) struct Store<K, V> {
    copies: HashTable<Copied<K, V>>,
    /// Of this and all other shards of the cache.
    room: Arc<Room>,
    weight: u64,
    weight_of_young: u64,
    /// Of each young copy, in the order in which they came, and of some that are not there any more.
    line: VecDeque<Place>,
    /// Of the bucket at which the hand stands.
    hand: usize,
    rounds: Rounds,
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
        self.room.give_back(std::mem::take(&mut self.weight));
        Leaving(std::mem::take(&mut self.copies).into_iter())
    }
}

impl<K: Hash + Eq, V> Store<K, V> {
    pub(super) fn new(room: Arc<Room>) -> Self {
        Self {
            copies: HashTable::new(),
            room,
            weight: 0,
            weight_of_young: 0,
            line: VecDeque::new(),
            hand: 0,
            rounds: Rounds::default(),
            ghosts: Ghosts::default(),
            moves: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.copies.len()
    }

    #[inline]
    pub(super) fn find<Q: AsKey<K, Via> + ?Sized, Via>(
        &self,
        hash: u64,
        key: &Q,
    ) -> Option<&Copied<K, V>> {
        // Keys are compared outside of the search, which is leaner then: nearly always the first copy
        // with the same few bits of the hash is the one.
        let likely = self.copies.find(hash, |_| true)?;
        if key.equals(&likely.key) { Some(likely) } else { self.search(hash, key) }
    }

    #[cold]
    fn search<Q: AsKey<K, Via> + ?Sized, Via>(&self, hash: u64, key: &Q) -> Option<&Copied<K, V>> {
        self.copies.find(hash, |copy| key.equals(&copy.key))
    }

    /// To change what decides neither where it is, nor what it weighs.
    pub(super) fn find_mut<Q: AsKey<K, Via> + ?Sized, Via>(
        &mut self,
        hash: u64,
        key: &Q,
    ) -> Option<&mut Copied<K, V>> {
        self.copies.find_mut(hash, |copy| key.equals(&copy.key))
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

    pub(super) fn at_places(&self, places: Range<usize>) -> impl Iterator<Item = &Copied<K, V>> {
        places.filter_map(|place| self.copies.get_bucket(place))
    }

    pub(super) fn moves(&self) -> u64 {
        self.moves
    }

    /// Has the copy expire for which this holds, where it is.
    pub(super) fn expire(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&Copied<K, V>) -> bool,
        stay: Stay,
    ) {
        if let Some(copy) = self.copies.find_mut(hash, is_it) {
            copy.expire(stay.expired);
            // That may be earlier than what a round has seen of it.
            self.rounds.note(stay.over);
        }
    }

    /// Puts a copy in, and has others make room, as many as may under one lock. `gone` gets these, what it
    /// replaces, and the copy itself if it is too heavy to be held.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        copy: Copied<K, V>,
        judge: &Judge<'_>,
        gone: &mut Going<K, V>,
    ) {
        // Before anything is counted: comparing may panic. The copy is not dropped here, under a lock.
        let (copies, key) = (&mut self.copies, &copy.key);
        let held = match caught(move || copies.find_mut(hash, |held| held.key == *key)) {
            Ok(held) => held,
            Err(panic) => {
                gone.push((copy, RemovalCause::Evicted));
                resume_unwind(panic)
            }
        };
        if copy.weight() > self.room.capacity {
            let old = held.map(|held| held.stamp());
            let old = old.and_then(|stamp| self.remove(hash, |held| held.stamp() == stamp));
            gone.extend(old.map(|old| (old, RemovalCause::Replaced)));
            return gone.push((copy, RemovalCause::TooHeavy));
        }
        self.room.take(copy.weight());
        let over = judge.over(&copy).unwrap_or_default();
        match held {
            Some(held) => {
                let old = std::mem::replace(held, copy);
                held.standing.inherit(&old.standing);
                self.weight = self.weight - old.weight() + held.weight();
                if held.standing.is_young() {
                    self.weight_of_young = self.weight_of_young - old.weight() + held.weight();
                    self.line.push_back((hash, held.stamp()));
                    self.tidy_line();
                }
                self.room.give_back(old.weight());
                gone.push((old, RemovalCause::Replaced));
                self.make_room(judge, gone);
            }
            None => {
                let settles = self.ghosts.has(hash) && self.makes_room_for_return(gone);
                let young = if settles { 0 } else { copy.weight() };
                self.make_room_for(young, judge, gone);
                self.insert_new(hash, copy, settles, gone);
            }
        }
        // Behind all that makes room: a round that ends there has not seen it.
        self.rounds.note(over);
    }

    fn insert_new(
        &mut self,
        hash: u64,
        mut copy: Copied<K, V>,
        settles: bool,
        gone: &mut Going<K, V>,
    ) {
        let (len, buckets) = (self.copies.len(), self.copies.num_buckets());
        if len == self.copies.capacity() {
            // What removed copies leave behind fills the table in time. Where it is large enough for what is
            // held, another one of the same size takes its place, and otherwise one of twice the size.
            let is_large = len <= buckets / 4 * 3 && buckets >= FEWEST_BUCKETS;
            self.move_to(if is_large { buckets / 8 * 7 } else { buckets.max(1) }, gone);
        }
        self.weight += copy.weight();
        if !settles {
            copy.standing.make_young();
            self.weight_of_young += copy.weight();
            self.line.push_back((hash, copy.stamp()));
        }
        self.add(hash, copy);
        self.tidy_line();
    }

    /// Puts a copy where there is room for it, so that no key is hashed here.
    fn add(&mut self, hash: u64, copy: Copied<K, V>) {
        self.copies.insert_unique(hash, copy, |copy| self.room.hasher.hash_one(&copy.key));
    }

    fn is_too_large(&self) -> bool {
        let buckets = self.copies.num_buckets();
        self.copies.len() < buckets / 16 && buckets >= FEWEST_BUCKETS
    }

    /// Gives a table back that is far too large, because many copies have gone, for a small one.
    fn fit_table(&mut self, gone: &mut Going<K, V>) {
        if self.is_too_large() {
            self.move_to(2 * self.copies.len(), gone);
            let copies = &self.copies;
            self.line.retain(|place| is_taken(copies, place));
            self.line.shrink_to_fit();
        }
    }

    /// Moves the copies to a table with room for so many. A copy whose key's hash panics is evicted.
    fn move_to(&mut self, room: usize, gone: &mut Going<K, V>) {
        for copy in std::mem::replace(&mut self.copies, HashTable::with_capacity(room)) {
            match contain(|| self.room.hasher.hash_one(&copy.key)) {
                Some(hash) => self.add(hash, copy),
                None => {
                    self.note_removed(&copy);
                    gone.push((copy, RemovalCause::Evicted));
                }
            }
        }
        self.moves += 1;
        self.rounds.begin_anew();
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
        self.room.give_back(copy.weight());
    }

    /// Has copies make room, as many as may under one lock; false if there is none left.
    pub(super) fn make_room(&mut self, judge: &Judge<'_>, gone: &mut Going<K, V>) -> bool {
        self.make_room_for(0, judge, gone)
    }

    /// For so much weight of young ones to come.
    fn make_room_for(&mut self, young: u64, judge: &Judge<'_>, gone: &mut Going<K, V>) -> bool {
        for _ in 0..AT_ONCE {
            if !self.room.is_over() {
                break;
            }
            let over = self.take_over(judge, &mut { LOOKS });
            let Some(evicted) = over.or_else(|| self.evict(young)) else { return false };
            gone.push(evicted);
        }
        true
    }

    /// Looks at the next so many places, and takes out what is over, as many copies as may be under one lock.
    pub(super) fn sweep(&mut self, judge: &Judge<'_>, places: usize, gone: &mut Going<K, V>) {
        let mut left = places;
        gone.extend(std::iter::from_fn(|| self.take_over(judge, &mut left)).take(AT_ONCE));
        self.fit_table(gone);
    }

    /// A copy may be over then, earlier than it would have been.
    pub(super) fn note_over(&mut self, over: Time) {
        self.rounds.note(over);
    }

    /// Whether there may be any that is over, or memory that those have left behind that were flushed.
    pub(super) fn may_be_swept(&self, judge: &Judge<'_>) -> bool {
        self.rounds.may_find(judge) || self.is_too_large()
    }

    /// Takes out the next that is over, if it is at one of the next so many places.
    fn take_over(&mut self, judge: &Judge<'_>, places: &mut usize) -> Option<Gone<K, V>> {
        while *places > 0 {
            *places -= 1;
            let place = self.rounds.next(judge, self.copies.num_buckets())?;
            let Ok(at) = self.copies.get_bucket_entry(place) else { continue };
            match judge.over(at.get()) {
                Ok(over) => self.rounds.saw(over),
                Err(cause) => {
                    let (copy, _) = at.remove();
                    self.note_removed(&copy);
                    return Some((copy, cause));
                }
            }
        }
        None
    }

    fn evict(&mut self, to_come: u64) -> Option<Gone<K, V>> {
        // The table of what was flushed may be large: it is not to be searched again and again for nothing.
        if self.copies.is_empty() {
            self.fit_table(&mut Going::new());
            return None;
        }
        let evicted = self.evict_young(to_come).or_else(|| self.evict_settled());
        // While there was room, all were in it.
        if self.line.capacity() > 8 * self.line.len() + SPARE_PLACES {
            self.line.shrink_to(2 * self.line.len());
        }
        Some((evicted?, RemovalCause::Evicted))
    }

    fn has_too_many_young(&self, to_come: u64) -> bool {
        self.weight_of_young + to_come > self.weight / PART_OF_YOUNG
    }

    /// As long as there are too many of them, the young ones that were read settle; gives back the first
    /// that was not.
    fn evict_young(&mut self, to_come: u64) -> Option<Copied<K, V>> {
        while self.has_too_many_young(to_come) {
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

    /// Whether a copy that comes back soon after it made room may settle at once: if that takes no room of
    /// settled ones, or if one is found near the hand that was not read since it was there.
    fn makes_room_for_return(&mut self, gone: &mut Going<K, V>) -> bool {
        if !self.room.is_over() || self.has_too_many_young(0) {
            return true;
        }
        let evicted = (0..STEPS_OF_RETURN).find_map(|_| self.look_at_next_settled(false));
        let is_room = evicted.is_some();
        gone.extend(evicted.map(|copy| (copy, RemovalCause::Evicted)));
        is_room
    }

    /// Moves the hand to the next settled copy that was not read since it was there.
    fn evict_settled(&mut self) -> Option<Copied<K, V>> {
        (0..=STEPS).find_map(|step| self.look_at_next_settled(step == STEPS))
    }

    /// Moves the hand to the next settled copy, and takes it out if it must go, or was not read since the hand
    /// was there.
    fn look_at_next_settled(&mut self, must_go: bool) -> Option<Copied<K, V>> {
        let buckets = self.copies.num_buckets();
        for _ in 0..buckets {
            self.hand = if self.hand + 1 < buckets { self.hand + 1 } else { 0 };
            let Ok(mut at) = self.copies.get_bucket_entry(self.hand) else { continue };
            let standing = &mut at.get_mut().standing;
            if standing.is_young() {
                continue;
            }
            if standing.cool() && !must_go {
                return None;
            }
            let (copy, _) = at.remove();
            self.note_removed(&copy);
            return Some(copy);
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
