//! Owns the read that loads: hit, join or lead, until there is a value.

use std::future::Future;
use std::sync::Arc;

use super::limit::Read;
use super::{Failure, Lead, LoadError, Loaded, Waiter};
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
pub async fn get_or_load<K: Key, V: Value, Q, Via, W: Into<Loaded<V>>, E, L>(
    cache: &Cache<K, V>,
    key: &Q,
    clock: impl Fn() -> Time,
    loader: impl FnOnce() -> L,
) -> Result<V, LoadError<E>>
where
    Q: ToKey<K, Via> + ?Sized,
    E: Send + Sync + 'static,
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
pub async fn load_missed<K: Key, V: Value, W: Into<Loaded<V>>, E, L>(
    cache: &Cache<K, V>,
    key: K,
    clock: impl Fn() -> Time,
    loader: impl FnOnce() -> L,
) -> Result<V, LoadError<E>>
where
    E: Send + Sync + 'static,
    L: Future<Output = Result<W, E>>,
{
    check_length(&key)?;
    match value_or_lead(cache, &key, &clock, |_| None).await? {
        Found::Value(value) => Ok(value),
        Found::Lead(lead) => lead.run(clock, loader).await,
    }
}

enum Found<'c, K: Key, V: Value> {
    Value(V),
    Lead(Lead<'c, K, V>),
}

/// A copy, or what others' loads give, until it is this read's turn to lead.
async fn value_or_lead<'c, K: Key, V: Value, E: Send + Sync + 'static>(
    cache: &'c Cache<K, V>,
    key: &K,
    clock: &impl Fn() -> Time,
    leaves_failed: impl Fn(&Failure) -> Option<LoadError<E>>,
) -> Result<Found<'c, K, V>, LoadError<E>> {
    let mut now = clock();
    let read = Read { began: cache.read_begins(), at: now };
    loop {
        match cache.board_unless(key, read.began, now, &leaves_failed)? {
            Boarding::Hit(value) => return Ok(Found::Value(value)),
            Boarding::Lead(lead) => return Ok(Found::Lead(lead)),
            Boarding::Queue(waiter) => {
                cache.wait(waiter, read, false, clock()).await?;
            }
            Boarding::Join(waiter) => {
                cache.counts.one(Count::Joins);
                // One that ends without a value is a bulk load's: this caller's loader may have one.
                if let Some(Some(value)) = cache.wait(waiter, read, true, clock()).await? {
                    return Ok(Found::Value(value));
                }
            }
        }
        now = clock();
    }
}

/// What a load of `key` that is under way gives, or one that `start` is to run, on a task of its own: who asked
/// may go away. Nothing if that one ends without a value for this read: its task is gone with its runtime, or
/// a tag of it was flushed meanwhile. Then who asked is to load for itself.
///
/// # Errors
/// What that load has failed with, as in `get_or_load`; or the last one, a moment ago, if an expired copy is
/// held that is left alone because of that.
pub async fn load_by<K: Key, V: Value, E: Send + Sync + 'static>(
    cache: &Arc<Cache<K, V>>,
    key: &K,
    clock: impl Fn() -> Time,
    start: impl FnOnce(Lead<'static, K, V>),
) -> Result<Option<V>, LoadError<E>> {
    let lead = match value_or_lead(cache, key, &clock, Failure::downcast).await? {
        Found::Value(value) => return Ok(Some(value)),
        Found::Lead(lead) => lead,
    };
    let waiter = Waiter::new(Arc::clone(lead.flight()));
    // Before that load, so that what comes behind its start is not this read's to care for.
    let read = Read { began: lead.flight().birth().stamp, at: clock() };
    start(lead.own(cache));
    Ok(cache.wait(waiter, read, true, clock()).await?.flatten())
}

/// What a load of `key` gives that began after this call did, whether a copy is there or not.
///
/// # Errors
/// Those of `get_or_load`.
pub async fn refresh<K: Key, V: Value, W: Into<Loaded<V>>, E, L>(
    cache: &Arc<Cache<K, V>>,
    key: &K,
    clock: impl Fn() -> Time,
    loader: impl FnOnce() -> L,
) -> Result<V, LoadError<E>>
where
    E: Send + Sync + 'static,
    L: Future<Output = Result<W, E>>,
{
    check_length(key)?;
    let read = Read { began: cache.read_begins(), at: clock() };
    loop {
        let waiter = match cache.begin_refresh(key, clock()) {
            Ok(lead) => return lead.run(clock, loader).await,
            Err(waiter) => waiter,
        };
        let is_for_this = waiter.flight().birth().stamp > read.began;
        if let Some(Some(value)) = cache.wait(waiter, read, is_for_this, clock()).await? {
            return Ok(value);
        }
    }
}

/// # Errors
/// Its text is over the limit.
pub(crate) fn check_length<E>(key: &impl Key) -> Result<(), LoadError<E>> {
    match key.to_text().len() {
        ..=MAX_KEY_BYTES => Ok(()),
        bytes => Err(LoadError::KeyTooLong { bytes }),
    }
}
