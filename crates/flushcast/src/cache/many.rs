//! Owns loads of many keys by a cache's own loader: one by one, or all in one call of a bulk loader.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use flushcast_core::load::{self, Lead};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::read_through::BulkLoader;
use crate::alarm;
use crate::{Key, LoadError, ReadThrough, Served, Value};

/// Most keys that [`ReadThrough::refresh_due`] asks a bulk loader for at a time.
const BULK: usize = 1000;

/// What [`ReadThrough::refresh_due`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Refreshed {
    /// Copies that were loaded again, or found to be gone.
    pub loaded: usize,
    /// Those whose load has failed: they are left for a
    /// [while](crate::CacheBuilder::pause_after_failure).
    pub failed: usize,
}

impl<K: Key, V: Value, E: fmt::Display + Send + Sync + 'static> ReadThrough<K, V, E> {
    /// The copies of many keys, in their order, with those loaded that are not here: by one call of the
    /// [bulk loader](Self::bulk_loader), as in [`Cache::get_or_load_many`](crate::Cache::get_or_load_many);
    /// or, without one, each as in [`load`](Self::load), [some](Self::loads_at_once) at a time, and then
    /// each has a value unless it has an error. Copies that are due are loaded again in the background.
    /// Call it at the start to warm a cache up.
    ///
    /// Collect it into a `Result` where one error is as bad as many.
    ///
    /// # Errors
    /// Each key has its own, of those of `load`. They keep no other key from being loaded and stored; an
    /// error of a bulk loader is that of each key it was called for.
    pub async fn load_many(&self, keys: &[K]) -> Vec<Result<Option<V>, LoadError<E>>> {
        let Some(bulk) = &self.bulk_loader else {
            return self.each(keys, |key| async move { self.load(key).await.map(Some) }).await;
        };
        let (parts, found) = (&self.cache.parts, self.look_up_many(keys, bulk));
        load::get_or_load_many(&parts.copies, keys, found, false, || parts.now(), &**bulk).await
    }

    /// Like [`load_many`](Self::load_many), with expired copies as in
    /// [`load_or_expired`](Self::load_or_expired). A bulk loader is called in the background, and
    /// `serve_expired_after` holds where each key that has to be loaded has an expired copy; otherwise this
    /// waits for the load in any case. Those whose copies were flushed by then are loaded in one more call.
    ///
    /// # Errors
    /// Each key has its own, where no copy is held.
    pub async fn load_many_or_expired(
        &self,
        keys: &[K],
    ) -> Vec<Result<Option<Served<V, E>>, LoadError<E>>> {
        let Some(bulk) = &self.bulk_loader else {
            return self
                .each(keys, |key| async move { self.load_or_expired(key).await.map(Some) })
                .await;
        };
        let found = self.look_up_many(keys, bulk);
        let missed = keys.iter().zip(&found).enumerate().filter(|(_, (_, found))| found.is_none());
        let (wanted, asked): (Vec<_>, Vec<_>) =
            missed.map(|(at, (key, _))| (at, key.clone())).unzip();
        let mut told: Vec<_> = found.into_iter().map(|it| Ok(it.map(Served::Fresh))).collect();
        if wanted.is_empty() {
            return told;
        }
        let has_copies = asked.iter().all(|key| self.cache.get_expired(key).is_some());
        let parts = &self.cache.parts;
        let (copies, clock, loader) = (Arc::clone(&parts.copies), parts.clock, Arc::clone(bulk));
        let loading = self.cache.spawn(async move {
            let none = vec![None; asked.len()];
            load::get_or_load_many(&copies, &asked, none, true, || clock.now(), &*loader).await
        });
        let loaded = match parts.limits.patience.filter(|_| has_copies) {
            Some(patience) => alarm::within(patience, loading).await,
            None => Some(loading.await),
        };
        let cancelled = |_| vec![Err(LoadError::Cancelled); wanted.len()];
        let loaded = loaded.map(|loaded| loaded.unwrap_or_else(cancelled));
        let (mut loaded, mut flushed) = (loaded.into_iter().flatten(), Vec::new());
        for at in wanted {
            let key = &keys[at];
            let error = match loaded.next() {
                Some(Ok(loaded)) => {
                    told[at] = Ok(loaded.map(Served::Fresh));
                    continue;
                }
                Some(Err(error)) => Some(error),
                // Others take too long; this one may be left alone.
                None => self.failure_of(key),
            };
            told[at] = match (self.expired_for(key, error.clone()), error) {
                (Some(served), _) => Ok(Some(served)),
                (None, Some(error)) => Err(error),
                (None, None) => {
                    flushed.push(at);
                    continue;
                }
            };
        }
        // What has no copy any more is loaded, in one call again.
        let asked: Vec<_> = flushed.iter().map(|&at| keys[at].clone()).collect();
        let none = vec![None; asked.len()];
        let now = || parts.now();
        let loaded = load::get_or_load_many(&parts.copies, &asked, none, false, now, &**bulk).await;
        for (at, loaded) in flushed.into_iter().zip(loaded) {
            told[at] = loaded.map(|loaded| loaded.map(Served::Fresh));
        }
        told
    }

    /// Loads all copies again that are due by [`refresh_after`](crate::CacheBuilder::refresh_after), or have
    /// expired and are [still held](crate::CacheBuilder::keep_expired), without anybody reading them:
    /// [some](Self::loads_at_once) at a time, or by calls of the bulk loader for 1,000 each. Those that
    /// are loaded already, or have just failed, are left. Counts as no read.
    ///
    /// Looks at each copy. Runs on the caller's task, and waits for all of these loads, each at most
    /// [`load_time_out`](crate::CacheBuilder::load_time_out).
    pub async fn refresh_due(&self) -> Refreshed {
        let parts = &self.cache.parts;
        let due: Vec<K> = parts.copies.due(|| parts.now()).collect();
        let mut refreshed = Refreshed::default();
        let mut count = |is_loaded: bool| {
            *(if is_loaded { &mut refreshed.loaded } else { &mut refreshed.failed }) += 1;
        };
        match &self.bulk_loader {
            Some(bulk) => {
                for keys in due.chunks(BULK) {
                    let leads = keys.iter().filter_map(|key| self.begin_due(key)).collect();
                    let told = load::run_many(leads, || parts.now(), &**bulk).await;
                    told.iter().for_each(|it| count(it.is_ok()));
                }
            }
            None => {
                let load = |key| async move { Some(self.run(self.begin_due(key)?).await.is_ok()) };
                let told = self.each(&due, load).await;
                told.into_iter().flatten().for_each(count);
            }
        }
        refreshed
    }

    /// What is here of these keys; what is due is loaded again in the background, in one call.
    fn look_up_many(&self, keys: &[K], bulk: &Arc<BulkLoader<K, V, E>>) -> Vec<Option<V>> {
        let mut due = Vec::<Lead<'static, K, V>>::new();
        let look_up = |key| {
            let (value, is_due) = self.cache.get_or_due(key)?;
            due.extend(is_due.then(|| self.begin_due(key)).flatten());
            Some(value)
        };
        let found = keys.iter().map(look_up).collect();
        if !due.is_empty() {
            let (clock, bulk) = (self.cache.parts.clock, Arc::clone(bulk));
            let name = self.cache.name().to_owned();
            drop(self.cache.spawn(async move {
                let told = load::run_many(due, || clock.now(), &*bulk).await;
                if let Some(error) = told.into_iter().find_map(Result::err) {
                    tracing::warn!(cache = name, %error, "a load in the background failed");
                }
            }));
        }
        found
    }

    /// Does this for each key, some at a time, in their order.
    async fn each<'k, T, L: Future<Output = T>>(
        &self,
        keys: &'k [K],
        load: impl Fn(&'k K) -> L,
    ) -> Vec<T> {
        let numbered = |(at, key)| {
            let loading = load(key);
            async move { (at, loading.await) }
        };
        let (mut keys, mut loading) = (keys.iter().enumerate(), FuturesUnordered::new());
        let mut told: Vec<Option<T>> = keys.clone().map(|_| None).collect();
        loop {
            let free = self.loads_at_once - loading.len();
            loading.extend(keys.by_ref().take(free).map(numbered));
            let Some((at, it)) = loading.next().await else { break };
            told[at] = Some(it);
        }
        told.into_iter().flatten().collect()
    }
}
