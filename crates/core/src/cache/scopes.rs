//! Owns the flushes that name more than one key: by tag, by prefix, by everything.
//! Each makes loads from before it unable to install before it drops a copy: whoever installs does so
//! under the lock of a shard of the flight table, so that behind each of these locks, what did not see
//! the flush is there to be dropped.

use super::copies::Cache;
use super::{Count, Key, Tag, Value};
use crate::planted::{Fault, planted};

impl<K: Key, V: Value> Cache<K, V> {
    /// Drops every copy, and refuses every load that is under way, here only; the caller announces
    /// it.
    pub fn flush_all(&self) {
        self.counts.one(Count::FlushesHere);
        self.drop_all();
    }

    pub(super) fn drop_all(&self) {
        // The mark alone makes old copies and flights unusable, and is set first: what is
        // installed between the two lines is either marked or new. Clearing gives back memory.
        if !planted(Fault::WholeCacheFlushLeavesLoads) {
            self.trust.distrust();
        }
        match self.tags.are_used() {
            true => self.copies.drain().for_each(|gone| self.note_gone(Some(gone))),
            false => self.copies.clear(),
        }
    }

    /// Drops every copy that has a tag, and refuses every load that is under way and comes to have
    /// it, here only; the caller announces it. Costs a look at each load under way, and a removal
    /// of each copy that has the tag.
    pub fn flush_tag(&self, tag: &str) {
        self.counts.one(Count::FlushesHere);
        self.drop_tag(tag);
    }

    pub(super) fn drop_tag(&self, tag: &str) {
        let (mark, named) = (self.trust.read_begins(), Tag::from(tag));
        let mut fenced = Vec::new();
        for mut flights in self.flights.shards() {
            // Its tags are known when it ends.
            if !planted(Fault::TagFlushLeavesLoads) {
                fenced.extend(flights.take_all(|flight| flight.note_flushed(mark, &named)));
            }
        }
        let take_out =
            |stamp, key: &K| self.copies.remove_if(key, |held| held.birth.stamp == stamp);
        while let Some(dropped) = self.tags.pop(tag, take_out) {
            self.note_gone(dropped);
        }
    }

    /// Drops every copy whose key's text begins so, and fences its flight, here only; the caller
    /// announces it. Costs a look at each copy.
    pub fn flush_prefix(&self, prefix: &str) {
        self.counts.one(Count::FlushesHere);
        self.drop_prefix(prefix);
    }

    pub(super) fn drop_prefix(&self, prefix: &str) {
        let named = |key: &K| key.to_text().starts_with(prefix);
        let mut fenced = Vec::new();
        for mut flights in self.flights.shards() {
            if !planted(Fault::PrefixFlushLeavesLoads) {
                fenced.extend(flights.take_all(|flight| named(flight.key())));
            }
        }
        for (key, copy) in self.copies.iter() {
            if named(&key) {
                // A younger one was loaded after this flush began.
                let stamp = copy.birth.stamp;
                self.note_gone(self.copies.remove_if(&key, |held| held.birth.stamp == stamp));
            }
        }
    }
}
