//! Owns the read that loads: hit, join or lead, until there is a value.

use std::borrow::Borrow;
use std::future::Future;
use std::hash::Hash;

use super::{Ending, LoadError, Loaded};
use crate::Time;
use crate::cache::{Boarding, Cache, Key, Value};
use crate::wire::MAX_KEY_BYTES;

/// The copy of `key`, or what one load of it gives: this caller's, or one that is under way.
///
/// `clock` is read at the start and again whenever this caller has to begin anew, because the one
/// it waited for went away.
///
/// # Errors
/// The loader's error or panic, this caller's or that of the load it joined; a key over the limit.
pub async fn get_or_load<K, V, Q, W, E, F, L>(
    cache: &Cache<K, V>,
    key: &Q,
    clock: impl Fn() -> Time,
    loader: F,
) -> Result<V, LoadError<E>>
where
    K: Key + Borrow<Q>,
    V: Value,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    W: Into<Loaded<V>>,
    E: Send + Sync + 'static,
    F: FnOnce() -> L,
    L: Future<Output = Result<W, E>>,
{
    if let Some(value) = cache.get(key, clock()) {
        return Ok(value);
    }
    let key = key.to_owned();
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
                let _ = waiter.await;
            }
            Boarding::Join(waiter) => match waiter.await {
                Ending::Value { value, outdated_since } => {
                    if outdated_since.is_none_or(|mark| began < mark) {
                        return Ok(value);
                    }
                }
                Ending::BadTags(tags, longest) => {
                    return Err(LoadError::BadTags { tags, longest });
                }
                Ending::Panicked(message) => return Err(LoadError::Panicked { message }),
                Ending::Failed(error) => {
                    // Another call may load the same key with a loader of another error type;
                    // its error cannot be told here, so this caller tries for itself.
                    if let Ok(error) = error.downcast::<E>() {
                        return Err(LoadError::Failed(error));
                    }
                }
                Ending::Abandoned => {}
            },
        }
    };
    lead.run(loader).await
}
