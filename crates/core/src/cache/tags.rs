//! Owns which copies have which tag. It must never be asked on a hit.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Stamp;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// A text that copies have in common, so that they can be flushed together.
pub type Tag = Arc<str>;

#[derive(Debug)]
pub(crate) struct Tags<K> {
    /// The copies that have a tag, by the stamp of their load: a key may come to have a younger copy
    /// while an older one is taken out.
    holders: Mutex<BTreeMap<Tag, BTreeMap<Stamp, K>>>,
    /// Whether any copy has ever had a tag.
    used: AtomicBool,
}

impl<K> Default for Tags<K> {
    fn default() -> Self {
        Self { holders: Mutex::default(), used: AtomicBool::new(false) }
    }
}

impl<K: Clone> Tags<K> {
    /// Notes that a copy has these tags, before it is stored.
    pub(crate) fn add(&self, tags: &[Tag], stamp: Stamp, key: &K) {
        if tags.is_empty() {
            return;
        }
        self.used.store(true, Ordering::SeqCst);
        let mut holders = self.holders.lock();
        for tag in tags {
            let held = match holders.get_mut(tag) {
                Some(held) => held,
                None => holders.entry(Arc::clone(tag)).or_default(),
            };
            held.insert(stamp, key.clone());
        }
    }

    /// A copy is gone.
    pub(crate) fn remove(&self, tags: &[Tag], stamp: Stamp) {
        if tags.is_empty() {
            return;
        }
        let mut holders = self.holders.lock();
        for tag in tags {
            if let Some(held) = holders.get_mut(tag) {
                held.remove(&stamp);
                if held.is_empty() {
                    holders.remove(tag);
                }
            }
        }
    }

    /// Has `take_out` take out one copy that has a tag.
    ///
    /// It runs under the lock, so that whoever finds none left may rely on it, whoever else takes
    /// them out; so it must give back the value, rather than drop it.
    pub(crate) fn pop<T>(&self, tag: &str, take_out: impl FnOnce(Stamp, &K) -> T) -> Option<T> {
        let mut holders = self.holders.lock();
        let held = holders.get_mut(tag)?;
        let (stamp, key) = held.pop_first()?;
        if held.is_empty() {
            holders.remove(tag);
        }
        Some(take_out(stamp, &key))
    }

    /// Whether any copy may have tags.
    pub(crate) fn are_used(&self) -> bool {
        self.used.load(Ordering::SeqCst)
    }

    /// How many copies have tags, each counted once for each of its tags.
    #[cfg(all(test, not(flushcast_shuttle)))]
    pub(crate) fn len(&self) -> usize {
        self.holders.lock().values().map(BTreeMap::len).sum()
    }
}
