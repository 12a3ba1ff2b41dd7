//! Owns what a flush does: by key, by tag, by prefix, to everything.
//! Each makes loads from before it unable to install before it drops a copy, and drops the
//! application's values when no lock is held.

use std::borrow::Borrow;
use std::hash::Hash;

use super::copied::Copied;
use super::{Cache, Count, Effect, Flushable, Key, RemovalCause, Tag, Value};
use crate::planted::{Fault, planted};
use crate::wire::Scope;

/// Copies that a flush takes out under one lock before it goes on to the next shard: readers of a
/// shard wait for no more at a time, and get their turn while the others have theirs.
const AT_ONCE: usize = if cfg!(flushcast_shuttle) { 1 } else { 8 };

impl<K: Key, V: Value> Cache<K, V> {
    /// Drops the copy of `key` and fences its flight, here only; the caller announces it.
    pub fn flush_key<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.counts.one(Count::KeysHere);
        self.drop_key(key);
    }

    pub(crate) fn drop_key<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.shards.hash(key);
        let mut shard = self.shards.write(hash);
        let fenced = match planted(Fault::KeyFlushLeavesLoad) {
            true => None,
            false => shard.flights.take(hash, key),
        };
        let removed = shard.remove(hash, key);
        drop(shard);
        self.note_removed(removed, RemovalCause::Flushed);
        drop(fenced);
    }

    /// Drops every copy, and refuses every load that is under way, here only; the caller announces
    /// it.
    pub fn flush_all(&self) {
        self.counts.one(Count::AllHere);
        self.drop_all();
    }

    pub(super) fn drop_all(&self) {
        // The mark alone makes old copies and flights unusable, and is set first: what is
        // installed between the two lines is either marked or new. Clearing gives back memory.
        if !planted(Fault::WholeCacheFlushLeavesLoads) {
            self.trust.distrust();
        }
        self.shards.take_all(|removed| self.note_removed(Some(removed), RemovalCause::Flushed));
    }

    /// Drops every copy that has a tag, and refuses every load that is under way and comes to have
    /// it, here only; the caller announces it. Costs a look at each load under way, and a removal
    /// of each copy that has the tag.
    pub fn flush_tag(&self, tag: &str) {
        self.counts.one(Count::TagsHere);
        self.drop_tag(tag);
    }

    pub(super) fn drop_tag(&self, tag: &str) {
        let (mark, tag) = (self.trust.read_begins(), Tag::from(tag));
        let mut fenced = Vec::new();
        // Its tags are known when a load ends.
        for lock in self.shards.each().filter(|_| !planted(Fault::TagFlushLeavesLoads)) {
            let some = lock.write().flights.take_all(|flight| flight.note_flushed(mark, &tag));
            fenced.extend(some);
        }
        let (mut removed, mut some) = (Vec::new(), Vec::with_capacity(AT_ONCE));
        let mut left: Vec<_> = self.shards.each().collect();
        while !left.is_empty() {
            left.retain(|lock| {
                let mut shard = lock.write();
                some.extend(std::iter::from_fn(|| shard.pop_tagged(&tag, mark)).take(AT_ONCE));
                drop(shard);
                // Here and not above: it may have to make room, by moving all.
                let more = some.len() == AT_ONCE;
                removed.append(&mut some);
                more
            });
        }
        self.note_flushed(removed);
    }

    /// Drops every copy whose key's text begins so, and fences its flight, here only; the caller
    /// announces it. Costs a look at each copy.
    pub fn flush_prefix(&self, prefix: &str) {
        self.counts.one(Count::PrefixesHere);
        self.drop_prefix(prefix);
    }

    pub(super) fn drop_prefix(&self, prefix: &str) {
        let mut text = String::new();
        let mut named = |key: &K| {
            text.clear();
            key.write_text(&mut text);
            text.starts_with(prefix)
        };
        let (mut fenced, mut doomed) = (Vec::new(), Vec::new());
        for lock in self.shards.each() {
            if !planted(Fault::PrefixFlushLeavesLoads) {
                let some = lock.write().flights.take_all(|flight| named(flight.key()));
                fenced.extend(some);
            }
            // Others may read meanwhile. What comes to be held behind this was loaded after it.
            let shard = lock.read();
            let copies = shard.iter().filter(|copy| named(&copy.key));
            let copies: Vec<_> =
                copies.map(|copy| (self.shards.hash(&copy.key), copy.stamp())).collect();
            drop(shard);
            doomed.push((lock, copies));
        }
        let (mut removed, mut some) = (Vec::new(), Vec::with_capacity(AT_ONCE));
        while !doomed.is_empty() {
            doomed.retain_mut(|(lock, copies)| {
                let mut shard = lock.write();
                let next = copies.drain(copies.len().saturating_sub(AT_ONCE)..);
                some.extend(next.filter_map(|(hash, stamp)| shard.remove_stamped(hash, stamp)));
                drop(shard);
                removed.append(&mut some);
                !copies.is_empty()
            });
        }
        self.note_flushed(removed);
    }

    fn note_flushed(&self, removed: Vec<Copied<K, V>>) {
        let flushed = RemovalCause::Flushed;
        removed.into_iter().for_each(|removed| self.note_removed(Some(removed), flushed));
    }
}

impl<K: Key, V: Value> Flushable for Cache<K, V> {
    fn apply(&self, scope: Scope<'_>) -> Effect {
        match scope {
            Scope::Key(text) => {
                self.counts.one(Count::KeysFromElsewhere);
                match K::from_text(text) {
                    Ok(key) => self.drop_key(&key),
                    Err(_) => {
                        self.counts.one(Count::Widened);
                        self.drop_all();
                        return Effect::Widened;
                    }
                }
            }
            Scope::All => {
                self.counts.one(Count::AllFromElsewhere);
                self.drop_all();
            }
            Scope::Tag(tag) => {
                self.counts.one(Count::TagsFromElsewhere);
                self.drop_tag(tag);
            }
            Scope::Prefix(prefix) => {
                self.counts.one(Count::PrefixesFromElsewhere);
                self.drop_prefix(prefix);
            }
        }
        Effect::AsNamed
    }

    fn distrust(&self) {
        self.trust.distrust();
    }

    fn close(&self) {
        self.trust.close();
    }
}
