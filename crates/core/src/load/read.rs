//! Owns the read that loads: hit, join or lead, until there is a value.

use std::future::Future;

use super::{LoadError, Loaded};
use crate::Time;
use crate::cache::{Boarding, Cache, Count, Key, ToKey, Value};
use crate::wire::MAX_KEY_BYTES;

/// The copy of `key`, or what one load of it gives: this caller's, or one that is under way.
///
/// `clock` is read at the start and again whenever this caller has to begin anew, because the one
/// it waited for went away.
///
/// # Errors
/// The loader's error or panic, or that it took too long, this caller's or that of the load it joined; a key
/// over the limit.
pub async fn get_or_load<K, V, Q, Via, W, E, F, L>(
    cache: &Cache<K, V>,
    key: &Q,
    clock: impl Fn() -> Time,
    loader: F,
) -> Result<V, LoadError<E>>
where
    K: Key,
    V: Value,
    Q: ToKey<K, Via> + ?Sized,
    W: Into<Loaded<V>>,
    E: Send + Sync + 'static,
    F: FnOnce() -> L,
    L: Future<Output = Result<W, E>>,
{
    match cache.get(key, clock()) {
        Some(value) => Ok(value),
        None => load_missed(cache, key.to_key(), clock, loader).await,
    }
}

/// Like [`get_or_load`], for a read that has looked for the copy and is counted, or for what is no read.
///
/// # Errors
/// Those of `get_or_load`.
pub async fn load_missed<K, V, W, E, F, L>(
    cache: &Cache<K, V>,
    key: K,
    clock: impl Fn() -> Time,
    loader: F,
) -> Result<V, LoadError<E>>
where
    K: Key,
    V: Value,
    W: Into<Loaded<V>>,
    E: Send + Sync + 'static,
    F: FnOnce() -> L,
    L: Future<Output = Result<W, E>>,
{
    let bytes = key.to_text().len();
    if bytes > MAX_KEY_BYTES {
        return Err(LoadError::KeyTooLong { bytes });
    }
    let began = cache.read_begins();
    let lead = loop {
        match cache.board(&key, began, clock()) {
            Boarding::Hit(value) => return Ok(value),
            Boarding::Lead(lead) => break lead,
            Boarding::Queue(waiter) => {
                // Whatever it comes to is not for this read.
                let _ = cache.wait(waiter, clock()).await;
            }
            Boarding::Join(waiter) => {
                cache.counts.one(Count::Joins);
                // One that ends without a value is a bulk load's: this caller's loader may have one.
                if let Some(Some(value)) = cache.wait(waiter, clock()).await.told(began)? {
                    return Ok(value);
                }
            }
        }
    };
    lead.run(clock, loader).await
}
