//! Owns the read of many keys at once: one call of the loader for all that nobody else loads.
//!
//! Each key has a flight of its own, with its own fences. Whoever leads some and waits for others
//! loads first and waits then, so that two who want each other's keys do not wait for ever.

use std::future::Future;

use hashbrown::HashMap;

use super::lead::run_within;
use super::{Ending, Lead, LoadError, Loaded};
use crate::Time;
use crate::cache::{Boarding, Cache, Count, Key, Value};
use crate::wire::MAX_KEY_BYTES;

/// The copies of `keys`, in their order, loaded where there are none: `loader` is called with the keys
/// that nobody loads yet, and once more for those whose load somebody else gave up. A key that it says
/// nothing of has no value: all who wait for it in a read of many are told so, and a copy that has expired
/// is dropped.
///
/// # Errors
/// The loader's error or panic, or that it took too long, this caller's or that of a load it joined; a key
/// over the limit, and then the loader was not called. Bad tags of one key, and then the others' values are
/// stored.
pub async fn get_or_load_many<K, V, W, E, F, L, I>(
    cache: &Cache<K, V>,
    keys: &[K],
    clock: impl Fn() -> Time,
    mut loader: F,
) -> Result<Vec<Option<V>>, LoadError<E>>
where
    K: Key,
    V: Value,
    W: Into<Loaded<V>>,
    E: Send + Sync + 'static,
    F: FnMut(Vec<K>) -> L,
    L: Future<Output = Result<I, E>>,
    I: IntoIterator<Item = (K, W)>,
{
    if let Some(bytes) = keys.iter().map(|key| key.to_text().len()).find(|&it| it > MAX_KEY_BYTES) {
        return Err(LoadError::KeyTooLong { bytes });
    }
    let now = clock();
    let mut values: Vec<_> = keys.iter().map(|key| cache.get(key, now)).collect();
    let began = cache.read_begins();
    // One that is asked for twice is loaded at its first place.
    let mut firsts = HashMap::with_hasher(cache.hasher());
    let (mut wanted, mut again) = (Vec::new(), Vec::new());
    for at in (0..keys.len()).filter(|&at| values[at].is_none()) {
        match *firsts.entry(&keys[at]).or_insert(at) {
            first if first == at => wanted.push(at),
            first => again.push((at, first)),
        }
    }
    while !wanted.is_empty() {
        let (mut leads, mut waiters) = (Vec::new(), Vec::new());
        for at in std::mem::take(&mut wanted) {
            match cache.board(&keys[at], began, clock()) {
                Boarding::Hit(value) => values[at] = Some(value),
                Boarding::Lead(lead) => leads.push((at, lead)),
                Boarding::Join(waiter) => waiters.push((at, true, waiter)),
                Boarding::Queue(waiter) => waiters.push((at, false, waiter)),
            }
        }
        load_led(cache, keys, leads, &clock, &mut loader, &mut values).await?;
        for (at, is_for_this_read, waiter) in waiters {
            if is_for_this_read {
                cache.counts.one(Count::Joins);
            }
            let ending = cache.wait(waiter, clock()).await;
            match if is_for_this_read { ending.told(began)? } else { None } {
                Some(value) => values[at] = value,
                None => wanted.push(at),
            }
        }
    }
    for (at, first) in again {
        values[at] = values[first].clone();
    }
    Ok(values)
}

/// Loads what this caller leads, in one call.
async fn load_led<K, V, W, E, F, L, I>(
    cache: &Cache<K, V>,
    keys: &[K],
    leads: Vec<(usize, Lead<'_, K, V>)>,
    clock: impl Fn() -> Time,
    loader: &mut F,
    values: &mut [Option<V>],
) -> Result<(), LoadError<E>>
where
    K: Key,
    V: Value,
    W: Into<Loaded<V>>,
    E: Send + Sync + 'static,
    F: FnMut(Vec<K>) -> L,
    L: Future<Output = Result<I, E>>,
    I: IntoIterator<Item = (K, W)>,
{
    if leads.is_empty() {
        return Ok(());
    }
    let asked = leads.iter().map(|&(at, _)| keys[at].clone()).collect();
    // What it gives is its own code as well, and is asked for all of it before anything is stored.
    let told = run_within(cache.load_limit(), || {
        let loading = loader(asked);
        async { loading.await.map(|told| told.into_iter().map(loaded).collect::<Vec<_>>()) }
    });
    let told = told.await;
    let now = clock();
    let (error, ending) = match told {
        Ok(told) => {
            let mut led = HashMap::with_hasher(cache.hasher());
            led.extend(leads.into_iter().map(|(at, lead)| (&keys[at], (at, lead))));
            let mut failed = Ok(());
            for (key, mut loaded) in told {
                let Some((at, lead)) = led.remove(&key) else { continue };
                if let Err((tags, longest)) = loaded.check_tags() {
                    lead.fail(Ending::BadTags(tags, longest), now);
                    failed = Err(LoadError::BadTags { tags, longest });
                    continue;
                }
                values[at] = Some(loaded.value.clone());
                lead.complete_at(loaded, now);
            }
            for (_, lead) in led.into_values() {
                lead.complete_without_value(now);
            }
            return failed;
        }
        Err(failed) => failed,
    };
    for (_, lead) in leads {
        lead.fail(ending.clone(), now);
    }
    Err(error)
}

fn loaded<K, V, W: Into<Loaded<V>>>((key, loaded): (K, W)) -> (K, Loaded<V>) {
    (key, loaded.into())
}
