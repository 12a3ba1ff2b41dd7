//! Owns what a loader gives: a value, with what is to become of its copy.

use std::time::Duration;

use crate::cache::Tag;
use crate::wire::{MAX_TAG_BYTES, MAX_TAGS};

/// A value, with what is to become of its copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<V> {
    pub(crate) value: V,
    pub(crate) tags: Vec<Tag>,
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) is_stored: bool,
}

impl<V> Loaded<V> {
    /// A value that is stored as the cache says.
    pub fn new(value: V) -> Self {
        Self { value, tags: Vec::new(), time_to_live: None, is_stored: true }
    }

    /// Gives the copy a tag, by which it can be flushed together with others. At most 64, of at most
    /// 256 bytes each, or the load fails.
    ///
    /// A tag costs nothing when the copy is read. It costs a map entry: the key once more, and 40
    /// bytes or so, besides the tag's text in each copy.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Tag>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// How old this copy may get, counted from the start of its load, in place of what the cache
    /// says.
    #[must_use]
    pub fn time_to_live(mut self, age: Duration) -> Self {
        self.time_to_live = Some(age);
        self
    }

    /// Stores no copy: those who wait for this load get the value, the next read loads anew.
    #[must_use]
    pub fn not_stored(mut self) -> Self {
        self.is_stored = false;
        self
    }

    /// What is wrong with the tags, if anything.
    pub(crate) fn check_tags(&mut self) -> Result<(), (usize, usize)> {
        self.tags.sort_unstable();
        self.tags.dedup();
        let longest = self.tags.iter().map(|tag| tag.len()).max().unwrap_or(0);
        let fits = self.tags.len() <= MAX_TAGS && longest <= MAX_TAG_BYTES;
        if fits { Ok(()) } else { Err((self.tags.len(), longest)) }
    }
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}
