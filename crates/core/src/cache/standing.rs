//! Owns what a shard keeps in mind of a copy to tell whether it is to make room.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Stamp;

/// The stamp of a copy's load, which never changes, and below it how often the copy was read, whether
/// it is young, has a time to idle, was told to expire, says that there is none, and is a fallback: in one
/// word, to save memory. The schedule explorer does not see it: what threads change in it at the same time
/// decides what makes room, and no promise depends on that. That a copy was told to expire is only set while
/// nobody else has it.
#[derive(Debug)]
pub(super) struct Standing(AtomicU64);

const HEAT: u64 = 0b11;
const HOTTEST: u64 = 0b10;
const YOUNG: u64 = 0b100;
const IDLES: u64 = 0b1000;
const EXPIRED: u64 = 0b1_0000;
const ABSENT: u64 = 0b10_0000;
const FALLBACK: u64 = 0b100_0000;
const BITS: u32 = 7;

impl Standing {
    /// Of a copy that nobody has read yet.
    pub(super) fn new(stamp: Stamp, idles: bool) -> Self {
        Self(AtomicU64::new(stamp.0 << BITS | if idles { IDLES } else { 0 }))
    }

    #[inline]
    pub(super) fn stamp(&self) -> Stamp {
        Stamp(self.get() >> BITS)
    }

    /// Whether there is nothing to be noted of a read, or to be asked: enough are remembered, when the
    /// last was does not matter, and it was not told to expire.
    #[inline]
    pub(super) fn is_read_enough(&self) -> bool {
        self.get() & (HOTTEST | IDLES | EXPIRED) == HOTTEST
    }

    /// Whether it was told to expire.
    pub(super) fn has_expired(&self) -> bool {
        self.get() & EXPIRED != 0
    }

    pub(super) fn expire(&mut self) {
        *self.0.get_mut() |= EXPIRED;
    }

    /// The copy was read. Of two reads at the same time one may be forgotten.
    pub(super) fn warm(&self) {
        let standing = self.get();
        // Readers on other cores keep their line of what is read all the time.
        if standing & HEAT < HOTTEST {
            self.0.store(standing + 1, Ordering::Relaxed);
        }
    }

    /// Takes one read off what is remembered; false if none was.
    pub(super) fn cool(&mut self) -> bool {
        let standing = self.0.get_mut();
        let was_warm = *standing & HEAT > 0;
        *standing -= u64::from(was_warm);
        was_warm
    }

    /// It says that there is none.
    pub(super) fn make_absent(&mut self) {
        *self.0.get_mut() |= ABSENT;
    }

    pub(super) fn is_absent(&self) -> bool {
        self.get() & ABSENT != 0
    }

    /// It stands in for what could not be loaded.
    pub(super) fn make_fallback(&mut self) {
        *self.0.get_mut() |= FALLBACK;
    }

    pub(super) fn is_fallback(&self) -> bool {
        self.get() & FALLBACK != 0
    }

    pub(super) fn is_young(&self) -> bool {
        self.get() & YOUNG != 0
    }

    pub(super) fn make_young(&mut self) {
        *self.0.get_mut() |= YOUNG;
    }

    /// It is not young any more, and has to be read again to stay.
    pub(super) fn settle(&mut self) {
        *self.0.get_mut() &= !(YOUNG | HEAT);
    }

    /// Takes the place of `other`: is as young, and was read as often.
    pub(super) fn inherit(&mut self, other: &Standing) {
        *self.0.get_mut() |= other.get() & (YOUNG | HEAT);
    }

    #[inline]
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
