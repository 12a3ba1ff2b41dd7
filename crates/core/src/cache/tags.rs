//! Owns which copies of a shard have which tag. It must never be asked on a hit.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Stamp;

/// A text that copies have in common, so that they can be flushed together.
pub type Tag = Arc<str>;

/// The tags of one copy: of most copies that have any it is one, which lies where the list does.
pub(crate) type TagList = SmallVec<[Tag; 1]>;

/// The hash of the key of each copy that has tags, by tag and by the stamp of its load, which are unique
/// together.
#[derive(Debug, Default)]
pub(super) struct Tags(BTreeMap<(Tag, Stamp), u64>);

/// All that was known, to be dropped one by one.
pub(super) type TagsLeaving = std::collections::btree_map::IntoIter<(Tag, Stamp), u64>;

impl Tags {
    pub(super) fn into_iter(self) -> TagsLeaving {
        self.0.into_iter()
    }

    /// A copy with these tags is stored.
    pub(super) fn add(&mut self, tags: &[Tag], stamp: Stamp, hash: u64) {
        self.0.extend(tags.iter().map(|tag| ((Arc::clone(tag), stamp), hash)));
    }

    /// It is gone.
    pub(super) fn remove(&mut self, tags: &[Tag], stamp: Stamp) {
        for tag in tags {
            self.0.remove(&(Arc::clone(tag), stamp));
        }
    }

    /// The first of the copies that have a tag and whose load began at `from` or behind it, and before
    /// `mark`: the hash of its key, and its stamp.
    pub(super) fn next(&self, tag: &Tag, from: Stamp, mark: Stamp) -> Option<(u64, Stamp)> {
        if from >= mark {
            return None;
        }
        let range = (Arc::clone(tag), from)..(Arc::clone(tag), mark);
        self.0.range(range).next().map(|((_, stamp), &hash)| (hash, *stamp))
    }

    /// How many copies have tags, each counted once for each of its tags.
    #[cfg(all(test, not(flushcast_shuttle)))]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
