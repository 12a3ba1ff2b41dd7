//! Owns what a loader gives: a value, with what is to become of its copy.

use std::time::Duration;

use super::LoadError;
use crate::cache::app_code::let_go;
use crate::cache::{Tag, TagList};
use crate::wire::{MAX_TAG_BYTES, MAX_TAGS};

/// A value, with what is to become of its copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<V> {
    pub(crate) value: V,
    pub(crate) tags: TagList,
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) time_to_idle: Option<Duration>,
    pub(crate) weight: Option<u64>,
    pub(crate) is_stored: bool,
    pub(crate) is_absent: bool,
}

impl<V> Loaded<V> {
    /// A value that is stored as the cache says.
    pub fn new(value: V) -> Self {
        Self {
            value,
            tags: TagList::new(),
            time_to_live: None,
            time_to_idle: None,
            weight: None,
            is_stored: true,
            is_absent: false,
        }
    }

    /// Gives the copy a tag, by which it can be flushed together with others. At most 64, of at most
    /// 256 bytes each, or the load fails.
    ///
    /// A read of the copy does not look at its tags. Each costs an entry of an ordered map of 50 to
    /// 65 bytes, besides the tag's text; a copy that has any costs 64 bytes more, and one that has
    /// several some 20 for each of them.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Tag>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// How old this copy may get, counted from the start of its load, in place of what the cache
    /// says. One that has reached its age when its load ends, 0 for instance, is stored only for when the
    /// source fails, if the cache keeps expired copies.
    #[must_use]
    pub fn time_to_live(mut self, age: Duration) -> Self {
        self.time_to_live = Some(age);
        self
    }

    /// How long this copy may go unread, in place of what the cache says.
    #[must_use]
    pub fn time_to_idle(mut self, length: Duration) -> Self {
        self.time_to_idle = Some(length);
        self
    }

    /// How heavy this copy is, in place of what the cache's weigher says. 0 counts as 1.
    #[must_use]
    pub fn weight(mut self, weight: u64) -> Self {
        self.weight = Some(weight);
        self
    }

    /// Stores no copy: all who wait for this load get the value, and the next read loads again. An older
    /// copy is dropped, because this answer is newer.
    #[must_use]
    pub fn not_stored(mut self) -> Self {
        self.is_stored = false;
        self
    }

    /// The value.
    pub fn value(&self) -> &V {
        &self.value
    }

    /// The same with its tags in order, if they are within their limits.
    pub(crate) fn checked<E>(mut self) -> Result<Self, LoadError<E>> {
        self.tags.sort_unstable();
        self.tags.dedup();
        self.tags.shrink_to_fit();
        let longest = self.tags.iter().map(|tag| tag.len()).max().unwrap_or(0);
        let tags = self.tags.len();
        if tags <= MAX_TAGS && longest <= MAX_TAG_BYTES {
            return Ok(self);
        }
        let_go(self);
        Err(LoadError::BadTags { tags, longest })
    }
}

impl<T> Loaded<Option<T>> {
    /// There is none: stored as long as the cache says that [absent ones](Self::absent) are, which by
    /// default is not at all. A copy from before is dropped in either case.
    pub fn absent() -> Self {
        Self { is_absent: true, ..Self::new(None) }
    }

    /// What was found, as any other value; [`absent`](Self::absent) if nothing was.
    pub fn found(found: Option<T>) -> Self {
        if found.is_some() { Self::new(found) } else { Self::absent() }
    }
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}
