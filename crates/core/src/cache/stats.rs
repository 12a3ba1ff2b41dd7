//! Owns the counts of what happens to one cache. They order nothing: whoever reads them beside what
//! goes on gets a moment's picture of each, not of all together.
//!
//! Striped: each thread adds to one of a few lines of memory, so that threads do not wait for each
//! other's, and every count is exact.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// What is counted, by its place in a stripe.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Count {
    Hits,
    Misses,
    Loads,
    FailedLoads,
    LoadNanos,
    Joins,
    Fenced,
    OutOfRoom,
    FlushesHere,
    FlushesFromElsewhere,
}

const COUNTS: usize = Count::FlushesFromElsewhere as usize + 1;
/// Threads beyond these share.
const STRIPES: usize = 16;

/// A line of memory of its own, and its neighbour's, which processors fetch together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe([AtomicU64; COUNTS]);

#[derive(Debug)]
pub(crate) struct Counts(Box<[Stripe]>);

impl Default for Counts {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| Stripe::default()).collect())
    }
}

impl Counts {
    pub(crate) fn add(&self, what: Count, by: u64) {
        self.0[stripe()].0[what as usize].fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn one(&self, what: Count) {
        self.add(what, 1);
    }

    fn sum(&self, what: Count) -> u64 {
        self.0.iter().map(|stripe| stripe.0[what as usize].load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            hits: self.sum(Count::Hits),
            misses: self.sum(Count::Misses),
            loads: self.sum(Count::Loads),
            failed_loads: self.sum(Count::FailedLoads),
            load_time: Duration::from_nanos(self.sum(Count::LoadNanos)),
            joins: self.sum(Count::Joins),
            fenced: self.sum(Count::Fenced),
            evictions: self.sum(Count::OutOfRoom),
            flushes_here: self.sum(Count::FlushesHere),
            flushes_from_elsewhere: self.sum(Count::FlushesFromElsewhere),
        }
    }
}

/// The stripe of this thread, the same for all caches.
fn stripe() -> usize {
    std::thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    OWN.with(|own| match own.get() {
        usize::MAX => {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            let drawn = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
            own.set(drawn);
            drawn
        }
        drawn => drawn,
    })
}

/// What has happened to a cache since it was made. Each count is exact; they are not of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that found a copy they could use.
    pub hits: u64,
    /// Reads that did not: they loaded, joined a load, or only looked.
    pub misses: u64,
    /// Loads that have ended, by whatever, and writes by `put`.
    pub loads: u64,
    /// Of these, those without a value: an error, a panic, or a caller that went away.
    pub failed_loads: u64,
    /// How long all loads took together.
    pub load_time: Duration,
    /// Reads that waited for a load that was under way.
    pub joins: u64,
    /// Loads whose value was not stored, because a flush or a write came between.
    pub fenced: u64,
    /// Copies that made room for others.
    pub evictions: u64,
    /// Flushes that this node's application has called, of whatever scope; a call with many keys
    /// counts each.
    pub flushes_here: u64,
    /// Flushes that came from other nodes; each key, tag or prefix counts.
    pub flushes_from_elsewhere: u64,
}

impl Stats {
    /// The share of reads that were hits, from 0 to 1; nothing before the first read.
    pub fn hit_ratio(&self) -> Option<f64> {
        let reads = self.hits + self.misses;
        (reads > 0).then(|| self.hits as f64 / reads as f64)
    }
}
