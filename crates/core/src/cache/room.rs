//! Owns how much weight the shards of a cache hold together, and how much they may.
//! It must never decide which copies make room.

use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;

/// What all shards of a cache share. The weight is not of the schedule explorer's world: what it decides is
/// when copies make room.
pub(super) struct Room {
    pub(super) capacity: u64,
    weight: AtomicU64,
    pub(super) hasher: RandomState,
}

impl Room {
    pub(super) fn new(capacity: u64, hasher: RandomState) -> Self {
        Self { capacity, weight: AtomicU64::new(0), hasher }
    }

    /// So much is to be held; what is over the capacity then has to make room.
    pub(super) fn take(&self, weight: u64) {
        self.weight.fetch_add(weight, Ordering::Relaxed);
    }

    /// So much is held no more.
    pub(super) fn give_back(&self, weight: u64) {
        self.weight.fetch_sub(weight, Ordering::Relaxed);
    }

    /// Whether copies have to make room.
    pub(super) fn is_over(&self) -> bool {
        self.weight() > self.capacity
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }
}
