//! Owns which tags were flushed of late in one cache: a load knows its tags when it ends, and asks then.
//! It must never forget a flush without saying so.

use std::collections::VecDeque;

use super::Stamp;

/// Flushes of tags that a cache remembers: at 16 bytes each, 256 KiB once there were so many. At 3,000 each
/// second, a load with tags may take five seconds.
pub(crate) const REMEMBERED: usize = if cfg!(flushcast_shuttle) { 2 } else { 16_384 };

/// The hash of each flushed tag and where it was flushed, in order. Two tags that share a hash cost the
/// copy of one of them, at most.
#[derive(Debug, Default)]
pub(super) struct TagFlushes {
    recent: VecDeque<(Stamp, u64)>,
    /// Where the last one was flushed that is not there any more.
    forgotten: Option<Stamp>,
}

impl TagFlushes {
    /// A tag was flushed at `mark`, which is no earlier than those before.
    pub(super) fn add(&mut self, mark: Stamp, tag: u64) {
        if self.recent.len() == REMEMBERED {
            self.forgotten = self.recent.pop_front().map(|(mark, _)| mark);
        }
        self.recent.push_back((mark, tag));
    }

    /// Where the first of these tags was flushed behind `start`; `start` itself where that is not known.
    pub(super) fn first_behind(&self, start: Stamp, tags: &[u64]) -> Option<Stamp> {
        if self.forgotten.is_some_and(|forgotten| start < forgotten) {
            return Some(start);
        }
        let from = self.recent.partition_point(|&(mark, _)| mark < start);
        let mut behind = self.recent.range(from..);
        behind.find(|(_, tag)| tags.contains(tag)).map(|&(mark, _)| mark)
    }
}
