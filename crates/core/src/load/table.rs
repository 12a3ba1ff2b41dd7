//! Owns which flights a read may find: at most one for each key.
//! It must never be locked while a loader runs.

use std::borrow::Borrow;
use std::sync::Arc;

use hashbrown::HashTable;

use super::Flight;
use crate::sync::Mutex;

/// Locks that flights are spread over.
const SHARDS: usize = if cfg!(flushcast_shuttle) { 2 } else { 64 };

/// Flights by key, under sharded locks. A shard's lock also orders installs against flushes.
pub(crate) struct FlightTable<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
}

type Shard<K, V> = HashTable<Arc<Flight<K, V>>>;

impl<K, V> Default for FlightTable<K, V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(HashTable::new())).collect() }
    }
}

impl<K: Eq, V> FlightTable<K, V> {
    /// Each shard in turn, locked.
    pub(crate) fn shards(&self) -> impl Iterator<Item = Flights<'_, K, V>> {
        self.shards.iter().map(|shard| Flights { shard: shard.lock() })
    }

    /// Locks the shard of a key with this hash.
    pub(crate) fn lock(&self, hash: u64) -> Flights<'_, K, V> {
        // The low bits of the hash pick the place within the shard's table.
        Flights { shard: self.shards[(hash >> 48) as usize % SHARDS].lock() }
    }
}

#[cfg(not(flushcast_shuttle))]
type Guard<'t, T> = parking_lot::MutexGuard<'t, T>;
#[cfg(flushcast_shuttle)]
type Guard<'t, T> = shuttle::sync::MutexGuard<'t, T>;

/// A locked shard.
pub(crate) struct Flights<'t, K, V> {
    shard: Guard<'t, Shard<K, V>>,
}

impl<K: Eq, V> Flights<'_, K, V> {
    pub(crate) fn find<Q>(&self, hash: u64, key: &Q) -> Option<&Arc<Flight<K, V>>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.shard.find(hash, |flight| flight.key().borrow() == key)
    }

    /// Puts a flight in; gives back the one of the same key that it outruns.
    pub(crate) fn put(&mut self, flight: Arc<Flight<K, V>>) -> Option<Arc<Flight<K, V>>> {
        let outrun = self.take(flight.hash(), flight.key());
        self.shard.insert_unique(flight.hash(), flight, |held| held.hash());
        outrun
    }

    /// Takes the flight of `key` out.
    pub(crate) fn take<Q>(&mut self, hash: u64, key: &Q) -> Option<Arc<Flight<K, V>>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if self.shard.is_empty() {
            return None;
        }
        let found = self.shard.find_entry(hash, |flight| flight.key().borrow() == key);
        found.ok().map(|entry| entry.remove().0)
    }

    /// Looks at all flights, and takes out those that are wanted.
    pub(crate) fn take_all(
        &mut self,
        wanted: impl Fn(&Flight<K, V>) -> bool,
    ) -> Vec<Arc<Flight<K, V>>> {
        self.shard.extract_if(|flight| wanted(flight)).collect()
    }

    /// Takes this very flight out; false if it was fenced or outrun.
    pub(crate) fn take_exactly(&mut self, flight: &Arc<Flight<K, V>>) -> bool {
        let found = self.shard.find_entry(flight.hash(), |held| Arc::ptr_eq(held, flight));
        found.ok().map(|entry| entry.remove()).is_some()
    }
}
