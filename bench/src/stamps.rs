//! Owns the moments at which followers applied flushes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` in nanoseconds: one clock for all processes of a machine.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |part: i64| u64::try_from(part).unwrap_or_default();
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// A slot for each flush of a round.
#[derive(Debug)]
pub struct Stamps {
    slots: Vec<AtomicU64>,
}

impl Stamps {
    /// Slots that hold 0.
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { slots: (0..count).map(|_| AtomicU64::new(0)).collect() })
    }

    /// Writes the time into a slot. A slot that does not exist is nobody's.
    pub fn stamp(&self, slot: usize) {
        if let Some(slot) = self.slots.get(slot) {
            slot.store(now(), Ordering::Release);
        }
    }

    /// What stands in the slots.
    pub fn nanos(&self) -> Vec<u64> {
        self.slots.iter().map(|slot| slot.load(Ordering::Acquire)).collect()
    }
}

/// A cached value that notes when the cache drops it, which it does while it applies a flush.
/// Caches hold it in an [`Arc`], so that the clones of a read note nothing.
#[derive(Debug)]
pub struct Stamped {
    stamps: Arc<Stamps>,
    slot: usize,
}

impl Stamped {
    /// A value that stamps `slot` at its end.
    pub fn new(stamps: &Arc<Stamps>, slot: usize) -> Arc<Self> {
        Arc::new(Self { stamps: Arc::clone(stamps), slot })
    }
}

impl Drop for Stamped {
    fn drop(&mut self) {
        self.stamps.stamp(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_handle_stamps_its_slot_and_no_other() {
        let stamps = Stamps::new(2);
        let (value, before) = (Stamped::new(&stamps, 1), now());
        drop(Arc::clone(&value));
        assert_eq!(stamps.nanos(), [0, 0], "a clone is not the cache's copy");
        drop(value);
        let nanos = stamps.nanos();
        assert_eq!(nanos[0], 0);
        assert!(nanos[1] >= before && nanos[1] <= now());
    }
}
