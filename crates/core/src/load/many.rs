//! Owns the read of many keys at once: one call of the loader for all that nobody else loads.
//!
//! Each key has a flight of its own, with its own fences and its own end. Whoever leads some and waits for
//! others loads first and waits then, so that two who want each other's keys do not wait for ever.

use std::future::Future;

use hashbrown::HashMap;

use super::lead::run_within;
use super::limit::Read;
use super::nesting::place;
use super::read::check_length;
use super::{Failure, Lead, LoadError, Loaded};
use crate::Time;
use crate::cache::app_code::let_all_go;
use crate::cache::{Boarding, Cache, Count, Key, Value};

/// What each of some keys came to, in their order: its value, none, or why it was not loaded.
pub type Many<V, E> = Vec<Result<Option<V>, LoadError<E>>>;

/// The copies of `keys` that were found, which has counted each as a read, and the others loaded: `loader` is
/// called with the keys that nobody loads yet, and once more for those whose load somebody else gave up. A key
/// that it says nothing of has no value: all who wait for it in a read of many are told so, and a copy that
/// has expired is dropped. If `leaves_failed`, one whose load has failed a moment ago, and of which an expired
/// copy may be served, is not loaded, and has the error of that load.
///
/// Each key has its own error: the loader's error or panic, or that it took too long, for all that this call
/// loads; that of a load it joined; bad tags; a key over the limit, of which the loader is not told.
pub async fn get_or_load_many<K: Key, V: Value, W: Into<Loaded<V>>, E, L, I>(
    cache: &Cache<K, V>,
    keys: &[K],
    found: Vec<Option<V>>,
    leaves_failed: bool,
    clock: impl Fn() -> Time,
    mut loader: impl FnMut(Vec<K>) -> L,
) -> Many<V, E>
where
    E: Send + Sync + 'static,
    L: Future<Output = Result<I, E>>,
    I: IntoIterator<Item = (K, W)>,
{
    // What is held has a text within the limit.
    let check = |(key, found): (&K, Option<V>)| match found {
        Some(value) => Ok(Some(value)),
        None => check_length(key).map(|()| None),
    };
    let mut told: Many<V, E> = keys.iter().zip(found).map(check).collect();
    let read = Read { began: cache.read_begins(), at: clock() };
    // One that is asked for twice is loaded at its first place.
    let mut firsts = HashMap::with_hasher(cache.hasher());
    let (mut wanted, mut again) = (Vec::new(), Vec::new());
    for at in (0..told.len()).filter(|&at| matches!(told[at], Ok(None))) {
        match *firsts.entry(&keys[at]).or_insert(at) {
            first if first == at => wanted.push(at),
            first => again.push((at, first)),
        }
    }
    while !wanted.is_empty() {
        let (mut leads, mut led, mut waiters) = (Vec::new(), Vec::new(), Vec::new());
        for at in std::mem::take(&mut wanted) {
            let has_failed = |failure: &Failure| failure.downcast().filter(|_| leaves_failed);
            match cache.board_unless(&keys[at], read.began, clock(), has_failed) {
                Err(failure) => told[at] = Err(failure),
                Ok(Boarding::Hit(value)) => told[at] = Ok(Some(value)),
                Ok(Boarding::Lead(lead)) => {
                    leads.push(lead);
                    led.push(at);
                }
                Ok(Boarding::Join(waiter)) => waiters.push((at, true, waiter)),
                Ok(Boarding::Queue(waiter)) => waiters.push((at, false, waiter)),
            }
        }
        for (at, it) in led.into_iter().zip(run_many(leads, &clock, &mut loader).await) {
            told[at] = it;
        }
        for (at, is_for_this_read, waiter) in waiters {
            if is_for_this_read {
                cache.counts.one(Count::Joins);
            }
            match cache.wait(waiter, read, is_for_this_read, clock()).await {
                Ok(Some(value)) => told[at] = Ok(value),
                Ok(None) => wanted.push(at),
                Err(error) => told[at] = Err(error),
            }
        }
    }
    for (at, first) in again {
        told[at] = told[first].clone();
    }
    told
}

/// Loads all of these in one call, and gives what each came to, in their order.
pub async fn run_many<K: Key, V: Value, W: Into<Loaded<V>>, E, L, I>(
    leads: Vec<Lead<'_, K, V>>,
    clock: impl Fn() -> Time,
    loader: impl FnOnce(Vec<K>) -> L,
) -> Many<V, E>
where
    E: Send + Sync + 'static,
    L: Future<Output = Result<I, E>>,
    I: IntoIterator<Item = (K, W)>,
{
    let Some(first) = leads.first() else { return Vec::new() };
    let (limit, hasher) = (first.load_limit(), first.hasher());
    let led: Vec<_> = leads.iter().map(|lead| place(lead.flight())).collect();
    let asked = leads.iter().map(|lead| lead.key().clone()).collect();
    // What it gives is its own code as well, and is asked for all of it before anything is stored.
    let given = run_within(limit, &led, || {
        let loading = loader(asked);
        async {
            let mut given = HashMap::with_hasher(hasher);
            for (key, value) in loading.await? {
                // The first word on each counts.
                given.entry(key).or_insert_with(|| value.into());
            }
            Ok(given)
        }
    });
    let mut given: Result<HashMap<_, Loaded<V>, _>, LoadError<E>> = given.await;
    let now = clock();
    let end = |lead: Lead<'_, K, V>| {
        let loaded = match &mut given {
            Ok(given) => given.remove(lead.key()).map(Loaded::checked).transpose(),
            Err(error) => Err(error.clone()),
        };
        match loaded {
            Ok(Some(loaded)) => Ok(Some(lead.give(loaded, now).0)),
            Ok(None) => {
                lead.complete_without_value(now);
                Ok(None)
            }
            Err(error) => lead.fail(error, now).map(Some),
        }
    };
    let told = leads.into_iter().map(end).collect();
    // What is left was not asked for.
    let_all_go(given.into_iter().flatten());
    told
}
