//! Owns locks of many readers or one writer for a row of values, made for reads that are short and far
//! more frequent than writes: a reader writes to a line of memory of its own thread and to no other, so
//! that readers on other cores do not slow each other down. That line also has a tally, for what readers
//! count. Who holds a lock must never wait for anything.
//!
//! As in Dice and Kogan, "BRAVO: Biased Locking for Reader-Writer Locks" (USENIX ATC 2019), a reader
//! announces in its thread's place which value it reads, and then looks whether somebody writes it. A
//! writer says that it writes, and then waits until no place names its value. Here readers have no bias to
//! be revoked: each writer looks at the places of all threads, at most 31. A reader that reads something
//! already, or has no place of its own, counts itself beside the value instead. One that finds a writer
//! takes back what it said, waits until nobody writes, and is counted then.
//!
//! # Why `unsafe`
//! What is read is shared without an ordinary lock, which is the point of it. All of it rests on two
//! claims, which the tests beside this hold, under the schedule explorer and with real threads:
//! - A place is written by one thread at a time ([`stripe`]), and names a value as long as a guard of that
//!   thread, which does not leave it, lends it. A count is at least that of the guards that are counted.
//! - Of a reader and a writer of the same value, at least one sees the other: both first write what the
//!   other looks at, and all these accesses are in the one order of `SeqCst`, with that to how many places
//!   there are.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::AtomicU64;

use super::atomic::{AtomicBool, AtomicUsize, Ordering};
use super::stripe::{self, SHARED, STRIPES};
use super::{Mutex, MutexGuard, relax};

#[cfg(test)]
mod tests;

/// A row of values, each with a lock.
pub(crate) struct Locks<T> {
    row: Box<[Locked<T>]>,
    /// Of each thread that has one of its own; the last is of all others, who only tally there.
    places: Box<[Place; STRIPES]>,
}

/// Aligned, so that it has no line of memory in common with its neighbour; in this order, so that a
/// reader's look at `is_written` fetches the head of the value.
#[repr(C, align(64))]
struct Locked<T> {
    is_written: AtomicBool,
    /// Held by who writes, and by a reader that has found a writer, as it is counted.
    turn: Mutex<()>,
    /// Readers that are announced in no place.
    counted: AtomicUsize,
    value: UnsafeCell<T>,
}

impl<T> Locked<T> {
    /// Counts a reader. A method of this, so that a hit need not put a [`Lock`] together in memory for it.
    #[cold]
    fn count(&self) {
        self.counted.fetch_add(1, Ordering::SeqCst);
        if self.is_written.load(Ordering::SeqCst) {
            self.counted.fetch_sub(1, Ordering::Release);
            let _turn = self.turn.lock();
            self.counted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: as for an ordinary lock of many readers or one writer, by the claims in this module's head.
// Threads that read get `&T`, which takes `T: Sync`; one that writes can take the value out, which takes
// `T: Send`.
unsafe impl<T: Send + Sync> Sync for Locked<T> {}

/// A thread's: a line of memory of its own, and its neighbour's, which processors fetch together.
#[derive(Default)]
#[repr(align(128))]
struct Place {
    /// Which value it reads, by its number in the row from 1 on, or 0.
    name: AtomicUsize,
    /// What it has [added](Reading::add_to_tally). Not of the explorer's world: it orders nothing.
    tally: AtomicU64,
}

const NOTHING: usize = 0;

/// One of the row.
pub(crate) struct Lock<'a, T> {
    locks: &'a Locks<T>,
    locked: &'a Locked<T>,
    name: usize,
}

impl<T> Clone for Lock<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Lock<'_, T> {}

impl<T> Locks<T> {
    pub(crate) fn new(values: impl Iterator<Item = T>) -> Self {
        let locked = |value| Locked {
            is_written: AtomicBool::new(false),
            turn: Mutex::new(()),
            counted: AtomicUsize::new(0),
            value: UnsafeCell::new(value),
        };
        Self {
            row: values.map(locked).collect(),
            places: Box::new(std::array::from_fn(|_| Place::default())),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.row.len()
    }

    pub(crate) fn at(&self, index: usize) -> Lock<'_, T> {
        Lock { locks: self, locked: &self.row[index], name: index + 1 }
    }

    /// What readers have [added](Reading::add_to_tally).
    pub(crate) fn tally(&self) -> u64 {
        self.places.iter().map(|place| place.tally.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Lock<'_, T>> {
        (0..self.len()).map(|index| self.at(index))
    }
}

impl<'a, T> Lock<'a, T> {
    /// Lends the value to be read. Waits for who writes it: for ever, if that is this thread, or if this
    /// thread reads anything of the row already and a writer waits for that.
    pub(crate) fn read(self) -> Reading<'a, T> {
        let place = self.announce();
        if place.is_none() {
            self.locked.count();
        }
        Reading { lock: self, place, _stays: PhantomData }
    }

    fn announce(self) -> Option<&'a Place> {
        let place = self.locks.places[..SHARED].get(stripe::own())?;
        // Nobody else writes to it.
        if place.name.load(Ordering::Relaxed) != NOTHING {
            return None;
        }
        place.name.swap(self.name, Ordering::SeqCst);
        if self.locked.is_written.load(Ordering::SeqCst) {
            place.name.store(NOTHING, Ordering::Release);
            return None;
        }
        Some(place)
    }

    /// Lends the value to be written. Waits for all who read or write it: for ever, if this thread does.
    pub(crate) fn write(self) -> Writing<'a, T> {
        let turn = self.locked.turn.lock();
        self.locked.is_written.swap(true, Ordering::SeqCst);
        // Behind that: a thread that has its first place later sees that somebody writes.
        for place in self.locks.places.iter().take(stripe::drawn()) {
            wait_until(|| place.name.load(Ordering::SeqCst) != self.name);
        }
        wait_until(|| self.locked.counted.load(Ordering::SeqCst) == 0);
        Writing { locked: self.locked, _turn: turn, _stays: PhantomData }
    }
}

fn wait_until(is_over: impl Fn() -> bool) {
    let mut turns: u32 = 0;
    while !is_over() {
        relax(turns);
        turns = turns.saturating_add(1);
    }
}

/// What a guard of this thread must not leave: the place that it was announced in is this thread's.
type Stays = PhantomData<*mut ()>;

/// A value that is lent to be read.
pub(crate) struct Reading<'a, T> {
    lock: Lock<'a, T>,
    /// Where it is announced; otherwise it is counted.
    place: Option<&'a Place>,
    _stays: Stays,
}

impl<T> Reading<'_, T> {
    /// Adds one to the [tally](Locks::tally) of the row: an addition to the line of memory that is at hand.
    pub(crate) fn add_to_tally(&self) {
        let Some(Place { tally, .. }) = self.place else {
            self.lock.locks.places[SHARED].tally.fetch_add(1, Ordering::Relaxed);
            return;
        };
        // Nobody else writes to it.
        tally.store(tally.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

impl<T> Deref for Reading<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: nobody has a `&mut T` while this guard lives. A writer that came before was seen or has
        // released what this thread acquired with its look at `is_written` or its turn; one that comes
        // later waits for the place that names this value, or for the count.
        unsafe { &*self.lock.locked.value.get() }
    }
}

impl<T> Drop for Reading<'_, T> {
    fn drop(&mut self) {
        match self.place {
            Some(place) => place.name.store(NOTHING, Ordering::Release),
            None => drop(self.lock.locked.counted.fetch_sub(1, Ordering::Release)),
        }
    }
}

/// A value that is lent to be written.
pub(crate) struct Writing<'a, T> {
    locked: &'a Locked<T>,
    _turn: MutexGuard<'a, ()>,
    _stays: Stays,
}

impl<T> Deref for Writing<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: as for `deref_mut`.
        unsafe { &*self.locked.value.get() }
    }
}

impl<T> DerefMut for Writing<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: nobody else has a reference to the value while this guard lives: who was announced or
        // counted was waited for, who announces it from here on sees `is_written`, and then, like other
        // writers, waits for its turn.
        unsafe { &mut *self.locked.value.get() }
    }
}

impl<T> Drop for Writing<'_, T> {
    fn drop(&mut self) {
        // The turn is the next one's behind this.
        self.locked.is_written.store(false, Ordering::Release);
    }
}
