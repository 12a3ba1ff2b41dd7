//! Owns the counts of what happens to one cache. They order nothing: whoever reads them beside what
//! goes on gets a moment's picture of each, not of all together.
//!
//! Every count is exact. Not of the schedule explorer's world: nothing depends on a count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is counted, by its place in a stripe.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Count {
    HitsDue,
    ExpiredAsFailed,
    ExpiredAsSlow,
    Loads,
    FailedLoads,
    Fallbacks,
    LoadNanos,
    Joins,
    Fenced,
    Evictions,
    TooHeavy,
    KeysHere,
    TagsHere,
    PrefixesHere,
    AllHere,
    KeysFromElsewhere,
    TagsFromElsewhere,
    PrefixesFromElsewhere,
    AllFromElsewhere,
    Widened,
}

const COUNTS: usize = Count::Widened as usize + 1;

/// Whoever counts writes to the same lines of memory. What is counted here costs far more than that; a
/// hit does not, and is counted in its shard.
#[derive(Debug, Default)]
pub(crate) struct Counts([AtomicU64; COUNTS]);

impl Counts {
    /// Gives back the count from before.
    pub(crate) fn add(&self, what: Count, by: u64) -> u64 {
        self.0[what as usize].fetch_add(by, Ordering::Relaxed)
    }

    pub(crate) fn one(&self, what: Count) {
        self.add(what, 1);
    }

    fn sum(&self, what: Count) -> u64 {
        self.0[what as usize].load(Ordering::Relaxed)
    }

    /// Without what is counted in shards: reads, and what a cache holds.
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            hits_due: self.sum(Count::HitsDue),
            expired_as_failed: self.sum(Count::ExpiredAsFailed),
            expired_as_slow: self.sum(Count::ExpiredAsSlow),
            loads: self.sum(Count::Loads),
            failed_loads: self.sum(Count::FailedLoads),
            fallbacks: self.sum(Count::Fallbacks),
            load_time: Duration::from_nanos(self.sum(Count::LoadNanos)),
            joins: self.sum(Count::Joins),
            fenced: self.sum(Count::Fenced),
            evictions: self.sum(Count::Evictions),
            too_heavy: self.sum(Count::TooHeavy),
            flushes_here: FlushCounts {
                keys: self.sum(Count::KeysHere),
                tags: self.sum(Count::TagsHere),
                prefixes: self.sum(Count::PrefixesHere),
                all: self.sum(Count::AllHere),
            },
            flushes_from_elsewhere: FlushCounts {
                keys: self.sum(Count::KeysFromElsewhere),
                tags: self.sum(Count::TagsFromElsewhere),
                prefixes: self.sum(Count::PrefixesFromElsewhere),
                all: self.sum(Count::AllFromElsewhere),
            },
            widened: self.sum(Count::Widened),
            ..Stats::default()
        }
    }
}

/// Why an expired copy is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The source has failed.
    Failed,
    /// The source has not answered yet.
    Slow,
}

/// Flushes by their scope, and what was told to expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FlushCounts {
    /// Of keys; a call with many counts each.
    pub keys: u64,
    /// Of tags.
    pub tags: u64,
    /// Of prefixes.
    pub prefixes: u64,
    /// Of the whole cache.
    pub all: u64,
}

impl FlushCounts {
    /// Of whatever scope.
    pub fn total(&self) -> u64 {
        let Self { keys, tags, prefixes, all } = self;
        keys + tags + prefixes + all
    }
}

/// What has happened to a cache since it was made. Each count is exact; they are not of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that found a copy they could use.
    pub hits: u64,
    /// Reads that did not: they loaded, joined a load, or only looked.
    pub misses: u64,
    /// Of the hits, those whose copy was due to be loaded again in the background.
    pub hits_due: u64,
    /// Expired copies that were served because the source had failed.
    pub expired_as_failed: u64,
    /// Expired copies that were served because the source had not answered yet.
    pub expired_as_slow: u64,
    /// Loads that have ended, by whatever, and writes by `put`.
    pub loads: u64,
    /// Of these, those without a value: an error, a panic, or a caller that went away.
    pub failed_loads: u64,
    /// Loads that have failed, and gave a fallback to all who waited.
    pub fallbacks: u64,
    /// How long all loads took together, besides those whose caller went away. One for many keys
    /// counts for each of them.
    pub load_time: Duration,
    /// Reads that waited for a load that was under way.
    pub joins: u64,
    /// Loads whose value was not stored, because a flush or a write came between.
    pub fenced: u64,
    /// Copies that made room for others.
    pub evictions: u64,
    /// Values that were not held because they are heavier than the capacity.
    pub too_heavy: u64,
    /// Flushes that this node's application has called, `put` included.
    pub flushes_here: FlushCounts,
    /// Flushes that came from other nodes.
    pub flushes_from_elsewhere: FlushCounts,
    /// Keys in these that are none of this cache's type, and panics of the application's code for a key
    /// that was flushed, here or elsewhere: each has dropped the whole cache. Also keys flushed here that do
    /// not read back from their text: each has dropped the whole cache of all other nodes.
    pub widened: u64,
    /// Copies that are held, unusable ones that nobody asked for since included.
    pub copies: usize,
    /// Their weight.
    pub weight: u64,
}

impl Stats {
    /// The share of reads that were hits, from 0 to 1; nothing before the first read.
    pub fn hit_ratio(&self) -> Option<f64> {
        let reads = self.hits + self.misses;
        (reads > 0).then(|| self.hits as f64 / reads as f64)
    }
}
