//! Owns which flights a read may find: at most one for each key. The cache keeps one for each of its
//! shards, under that shard's lock, which also orders installs against flushes.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashTable;

use super::Flight;
use crate::cache::AsKey;

/// Flights by key.
pub(crate) struct Flights<K, V>(HashTable<Arc<Flight<K, V>>>);

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(HashTable::new())
    }
}

impl<K: Hash + Eq, V> Flights<K, V> {
    pub(crate) fn find<Q: AsKey<K, Via> + ?Sized, Via>(
        &self,
        hash: u64,
        key: &Q,
    ) -> Option<&Arc<Flight<K, V>>> {
        self.0.find(hash, |flight| key.equals(flight.key()))
    }

    /// Puts a flight in; gives back the one of the same key that it outruns.
    pub(crate) fn put(&mut self, flight: Arc<Flight<K, V>>) -> Option<Arc<Flight<K, V>>> {
        let outrun = self.take(flight.hash(), flight.key());
        self.0.insert_unique(flight.hash(), flight, |held| held.hash());
        outrun
    }

    /// Takes the flight of `key` out.
    pub(crate) fn take<Q: AsKey<K, Via> + ?Sized, Via>(
        &mut self,
        hash: u64,
        key: &Q,
    ) -> Option<Arc<Flight<K, V>>> {
        if self.0.is_empty() {
            return None;
        }
        let found = self.0.find_entry(hash, |flight| key.equals(flight.key()));
        found.ok().map(|entry| entry.remove().0)
    }

    /// Looks at all flights, and takes out those that are wanted.
    pub(crate) fn take_all(
        &mut self,
        mut wanted: impl FnMut(&Flight<K, V>) -> bool,
    ) -> Vec<Arc<Flight<K, V>>> {
        self.0.extract_if(|flight| wanted(flight)).collect()
    }

    /// Takes this very flight out; false if it was fenced or outrun.
    pub(crate) fn take_exactly(&mut self, flight: &Arc<Flight<K, V>>) -> bool {
        let found = self.0.find_entry(flight.hash(), |held| Arc::ptr_eq(held, flight));
        found.ok().map(|entry| entry.remove()).is_some()
    }
}
