//! Owns one copy: a value under its key, with its ages. It must never decide whether a flush has named
//! it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::standing::Standing;
use super::{Birth, Stamp, Tag, TagList};
use crate::Time;
use crate::load::Failure;
use crate::planted::{Fault, planted};

/// A value together with what tells whether it may still be served. With a text for its key and a
/// pointer for its value it is as large as a line of memory, and on one: a hit fetches no other.
#[repr(align(64))]
pub(crate) struct Copied<K, V> {
    pub(super) key: K,
    pub(super) value: V,
    started: Time,
    /// When it has reached its age.
    pub(super) expires: Time,
    pub(super) standing: Standing,
    /// Behind one pointer, as most copies have none of it, and a hit seldom asks.
    more: Option<Box<More>>,
}

/// What few copies have.
pub(super) struct More {
    pub(super) tags: TagList,
    pub(super) weight: u32,
    /// How long its load took, in seconds.
    pub(super) took: f32,
    pub(super) time_to_idle: Length,
    /// When it was read last, in nanoseconds. Not of the schedule explorer's world: no promise
    /// depends on it.
    pub(super) used: AtomicU64,
    /// What the last load of the key has failed with, and until when it is not loaded again in the
    /// background for that.
    pub(super) failure: Option<Box<(Time, Failure)>>,
}

impl Default for More {
    fn default() -> Self {
        Self {
            tags: TagList::new(),
            weight: 1,
            took: 0.0,
            time_to_idle: Length::NONE,
            used: AtomicU64::default(),
            failure: None,
        }
    }
}

/// A length of time that there need not be, in half the memory: in nanoseconds, or the most of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Length(u64);

impl Length {
    const NONE: Length = Length(u64::MAX);

    fn get(self) -> Option<Duration> {
        (self != Self::NONE).then(|| Duration::from_nanos(self.0))
    }
}

impl From<Option<Duration>> for Length {
    fn from(length: Option<Duration>) -> Self {
        Self(length.and_then(|length| length.as_nanos().try_into().ok()).unwrap_or(u64::MAX))
    }
}

// What an allocator gives out as 64 bytes.
const _: () = assert!(size_of::<More>() <= 56);

impl<K, V> Copied<K, V> {
    pub(super) fn new(key: K, value: V, birth: Birth, expires: Time, more: More) -> Self {
        let More { tags, weight, time_to_idle, took, .. } = &more;
        let is_plain =
            tags.is_empty() && *weight == 1 && *time_to_idle == Length::NONE && *took == 0.0;
        let Birth { started, stamp } = birth;
        let standing = Standing::new(stamp, *time_to_idle != Length::NONE);
        let more = (!is_plain).then(|| Box::new(more));
        Self { key, value, started, expires, standing, more }
    }

    pub(super) fn birth(&self) -> Birth {
        Birth { started: self.started, stamp: self.stamp() }
    }

    /// Notes a failure; gives back the one from before.
    pub(super) fn note_failure(
        &mut self,
        failure: Box<(Time, Failure)>,
    ) -> Option<Box<(Time, Failure)>> {
        self.more.get_or_insert_with(Box::default).failure.replace(failure)
    }

    /// What a load has failed with, if it is to be left alone because of that.
    pub(super) fn failure(&self, now: Time) -> Option<&Failure> {
        let (until, failure) = &**self.more.as_ref()?.failure.as_ref()?;
        (*until > now).then_some(failure)
    }

    /// When its load did.
    pub(super) fn started(&self) -> Time {
        self.started
    }

    /// Unique within the cache.
    pub(super) fn stamp(&self) -> Stamp {
        self.standing.stamp()
    }

    /// Whether it is of this load, and young.
    pub(super) fn is_young_of(&self, stamp: Stamp) -> bool {
        self.standing.is_young() && self.stamp() == stamp
    }

    pub(super) fn tags(&self) -> &[Tag] {
        self.more.as_ref().map_or(&[], |more| &more.tags)
    }

    pub(super) fn weight(&self) -> u64 {
        self.more.as_ref().map_or(1, |more| more.weight.into())
    }

    /// How long its load did, in seconds, if that matters.
    pub(super) fn took(&self) -> f64 {
        self.more.as_ref().map_or(0.0, |more| more.took.into())
    }

    /// When it has reached its age, or nobody has read it for too long.
    pub(super) fn ends(&self) -> Time {
        let Some(more) = &self.more else { return self.expires };
        let Some(time_to_idle) = more.time_to_idle.get() else { return self.expires };
        self.expires.min(Time::from_nanos(more.used.load(Ordering::Relaxed)) + time_to_idle)
    }

    /// When it may be removed: `keep_expired` behind its end, or at its end if it is a fallback.
    pub(super) fn is_over_at(&self, keep_expired: Duration) -> Time {
        if self.standing.is_fallback() { self.ends() } else { self.ends() + keep_expired }
    }

    /// Whether it is young enough at `now`. That it was told to expire is no question of the clock.
    pub(super) fn is_fresh(&self, now: Time) -> bool {
        self.ends() > now && !self.standing.has_expired()
    }

    /// It has expired, `now` at the latest: no read that comes later takes it for fresh, whatever its clock
    /// says.
    pub(super) fn expire(&mut self, now: Time) {
        if planted(Fault::FreshThoughExpired) {
            return;
        }
        self.expires = self.expires.min(now);
        self.standing.expire();
    }

    /// Notes a read, and says whether it may use the copy, which has not reached its age: not if nobody
    /// has read it for too long, or it was told to expire.
    pub(super) fn note_read(&self, now: Time) -> bool {
        self.standing.is_read_enough() || self.note_in_memory(now)
    }

    // Seldom needed, and what a hit offers to its caller is to be short.
    #[inline(never)]
    fn note_in_memory(&self, now: Time) -> bool {
        let is_used = self.is_fresh(now);
        if is_used {
            self.standing.warm();
            self.touch(now);
        }
        is_used
    }

    /// It was read at this time, if that matters.
    fn touch(&self, now: Time) {
        let Some(more) = &self.more else { return };
        // Readers on other cores keep their line as long as the clock stands.
        if more.time_to_idle != Length::NONE && more.used.load(Ordering::Relaxed) < now.as_nanos() {
            more.used.store(now.as_nanos(), Ordering::Relaxed);
        }
    }
}
