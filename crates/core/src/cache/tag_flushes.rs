//! Owns which tags were flushed of late in one cache: a load knows its tags when it ends, and asks then.
//! It must never forget a flush without saying so.

use std::collections::VecDeque;

use super::Stamp;
use super::pass::Verb;
use crate::Time;

/// How a load came to be outdated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outdated {
    /// The first place where a tag of it was named.
    pub(super) since: Stamp,
    /// Whether one was flushed, or all have only expired.
    pub(super) is_flushed: bool,
}

impl Outdated {
    /// What that makes of a load that ends `now`.
    pub(super) fn verb(self, now: Time) -> Verb {
        if self.is_flushed { Verb::Flush } else { Verb::Expire(now) }
    }
}

/// Flushes of tags that a cache remembers: at 16 bytes each, 256 KiB once there were so many. At 3,000 each
/// second, a load with tags may take five seconds.
pub(crate) const REMEMBERED: usize = if cfg!(flushcast_shuttle) { 2 } else { 16_384 };

/// Of the hash of a tag, what says how it was named: set where what has it was to be dropped, and not where
/// it has expired.
const FLUSHED: u64 = 1;

/// The hash of each flushed tag and where it was flushed, in order. Two tags that share a hash cost the
/// copy of one of them, at most.
#[derive(Debug, Default)]
pub(super) struct TagFlushes {
    recent: VecDeque<(Stamp, u64)>,
    /// Where the last one was flushed that is not there any more.
    forgotten: Option<Stamp>,
}

impl TagFlushes {
    /// A tag was flushed, or has expired, at `mark`, which is no earlier than those before.
    pub(super) fn add(&mut self, mark: Stamp, tag: u64, is_flushed: bool) {
        if self.recent.len() == REMEMBERED {
            self.forgotten = self.recent.pop_front().map(|(mark, _)| mark);
        }
        let tag = if is_flushed { tag | FLUSHED } else { tag & !FLUSHED };
        self.recent.push_back((mark, tag));
    }

    /// What has come between a load of these tags that began at `start` and now: from `start` on, where
    /// that is not known.
    pub(super) fn behind(&self, start: Stamp, tags: &[u64]) -> Option<Outdated> {
        if self.forgotten.is_some_and(|forgotten| start < forgotten) {
            return Some(Outdated { since: start, is_flushed: true });
        }
        let from = self.recent.partition_point(|&(mark, _)| mark < start);
        let is_one = |tag: u64| tags.iter().any(|it| it | FLUSHED == tag | FLUSHED);
        let mut behind = self.recent.range(from..).filter(|(_, tag)| is_one(*tag));
        let &(since, first) = behind.next()?;
        let is_flush = |tag: u64| tag & FLUSHED != 0;
        let is_flushed = is_flush(first) || behind.any(|&(_, tag)| is_flush(tag));
        Some(Outdated { since, is_flushed })
    }
}
