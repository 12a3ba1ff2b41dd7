//! Owns a write of the application's own: like a load, it is the one flight of its key, so that who
//! misses meanwhile waits for it, and a flush that comes between keeps it from being stored.

use std::future::Future;

use super::{Landing, LoadError, Loaded};
use crate::Time;
use crate::cache::{Cache, Count, Key, Value};
use crate::planted::{Fault, planted};

/// Runs `write`, which changes the source and gives back the new value, and stores that here.
/// `announce` is called once the copy here is new, or gone: whether the write succeeded, failed, or
/// was given up in the middle, because then it is not known whether the source has changed.
///
/// # Errors
/// What `write` failed with, or that it panicked.
pub async fn put<K: Key, V: Value, W: Into<Loaded<V>>, E, L>(
    cache: &Cache<K, V>,
    key: &K,
    clock: impl Fn() -> Time,
    write: impl FnOnce() -> L,
    announce: impl FnOnce(),
) -> Result<V, LoadError<E>>
where
    E: Send + Sync + 'static,
    L: Future<Output = Result<W, E>>,
{
    let lead = cache.begin_write(key, clock());
    let mut unannounced = Unannounced { cache, key, stored: false, announce: Some(announce) };
    let (value, landing) = lead.write(&clock, write).await?;
    unannounced.stored = landing == Landing::Stored;
    if landing == Landing::Fenced && planted(Fault::FencedPutStored) {
        unannounced.stored = cache.insert(key, value.clone(), clock()).is_ok();
    }
    Ok(value)
}

/// Announces a write however it ends. No code of the application's comes between its drop here and that,
/// besides what is contained.
struct Unannounced<'w, K: Key, V: Value, A: FnOnce()> {
    cache: &'w Cache<K, V>,
    key: &'w K,
    stored: bool,
    announce: Option<A>,
}

impl<K: Key, V: Value, A: FnOnce()> Drop for Unannounced<'_, K, V, A> {
    fn drop(&mut self) {
        self.cache.counts.one(Count::KeysHere);
        // Somebody may have loaded what was true before the write, and stored it.
        if !self.stored && !self.cache.drop_key(self.key) {
            self.cache.counts.one(Count::Widened);
        }
        if let Some(announce) = self.announce.take() {
            announce();
        }
    }
}
