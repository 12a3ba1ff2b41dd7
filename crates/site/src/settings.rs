//! The caching part of the site: this is the file to copy.
//!
//! Reads go through the cache, which loads from the store where it has no copy. A save changes the
//! store first and flushes second. Never puts a saved value into a cache: whoever needs it loads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flushcast::{Cache, CacheError, Flush, Guarantee, LoadError, Node};

use crate::store::{self, ReadError, SaveError, Saved, Setting, Snapshot, Store};

/// The name of the cache, the same on every instance: a flush names it.
const CACHE: &str = "settings";
/// The one key of the cache: all settings are one copy.
const KEY: &str = "all";
/// More than the one copy there is; what is over is never used.
const CAPACITY: u64 = 8;
/// No copy is served that is older than this, even where flushes cannot arrive: it is loaded anew.
pub(crate) const BOUND: Duration = Duration::from_secs(5);
/// So long that only a flush can explain a change seen earlier.
const TIME_TO_LIVE: Duration = Duration::from_secs(60 * 60);

/// The settings as one instance sees them.
#[derive(Debug)]
pub struct Settings {
    store: Store,
    cache: Cache<String, Arc<LocalCopy>>,
    loads: AtomicU64,
    hits: AtomicU64,
}

/// The copy that one instance keeps in its memory.
#[derive(Debug)]
pub struct LocalCopy {
    /// The settings, and the version and date of their save.
    pub snapshot: Snapshot,
    /// When this instance began to load it: UTC, RFC 3339, with milliseconds.
    pub loaded_at: String,
    /// Which of this instance's loads it was, from 1.
    pub load: u64,
}

/// How often an instance's reads were served, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Reads that asked the database.
    pub loads: u64,
    /// Reads that did not.
    pub hits: u64,
}

impl Settings {
    /// The settings in `store`, cached at `node`.
    ///
    /// # Errors
    /// The node has a cache of that name already.
    pub fn new(node: &Node, store: Store) -> Result<Settings, CacheError> {
        let cache = node
            .cache(CACHE)
            .capacity(CAPACITY)
            .time_to_live(TIME_TO_LIVE)
            .guarantee(Guarantee::Bounded(BOUND))
            .build()?;
        let (loads, hits) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Settings { store, cache, loads, hits })
    }

    /// This instance's copy, loaded now if it has none.
    ///
    /// # Errors
    /// The load's error, for all who waited for that load; the next read loads anew.
    pub async fn read(&self) -> Result<Arc<LocalCopy>, LoadError<ReadError>> {
        let before = self.loads.load(Ordering::Relaxed);
        let copy = self.look().await?;
        if copy.load <= before {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        Ok(copy)
    }

    /// Like [`read`](Self::read), for those who look at the copy only: it counts as no hit.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn look(&self) -> Result<Arc<LocalCopy>, LoadError<ReadError>> {
        self.cache.get_or_load(KEY, || self.load()).await
    }

    /// Saves the settings, then drops the copy of every instance, this one's included. Gives back
    /// the save, and the flush, which may be awaited: a save stays saved, whatever becomes of it.
    ///
    /// # Errors
    /// `expected` is not the newest version any more, or the store failed: nothing was changed, as
    /// far as the error does not say otherwise.
    pub async fn save(
        &self,
        expected: u64,
        settings: Vec<Setting>,
    ) -> Result<(Saved, Flush), SaveError> {
        let (store, cache) = (self.store.clone(), self.cache.clone());
        // A task of its own, which nobody cancels: when the client hangs up in between, what is
        // saved is announced all the same. So is what may have been saved.
        let save_and_announce = async move {
            match store.save(expected, settings).await {
                Ok(saved) => Ok((saved, cache.flush(KEY))),
                Err(error @ SaveError::Unknown(_)) => {
                    cache.flush(KEY);
                    Err(error)
                }
                Err(error) => Err(error),
            }
        };
        let saved = tokio::spawn(save_and_announce).await;
        saved.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// How this instance's reads were served until now.
    pub fn counts(&self) -> Counts {
        let [loads, hits] = [&self.loads, &self.hits].map(|count| count.load(Ordering::Relaxed));
        Counts { loads, hits }
    }

    async fn load(&self) -> Result<Arc<LocalCopy>, ReadError> {
        let load = self.loads.fetch_add(1, Ordering::Relaxed) + 1;
        let loaded_at = store::now();
        let snapshot = self.store.load().await?;
        Ok(Arc::new(LocalCopy { snapshot, loaded_at, load }))
    }
}
