//! Owns the way to the truth: it reads, it counts, and it can be made slow.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flushcast::LoadError;
use flushcast_faults::truth::Truth;
use flushcast_faults::words::{Guarded, Loads};

use crate::caches::Kept;

/// Clones are the same loader.
#[derive(Debug, Clone)]
pub(crate) struct Loader {
    truth: Truth,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    slow_by_micros: AtomicU64,
    loads: Mutex<Loads>,
}

impl Loader {
    pub(crate) fn new(truth: Truth) -> Self {
        Self { truth, shared: Arc::default() }
    }

    pub(crate) fn truth(&self) -> &Truth {
        &self.truth
    }

    pub(crate) fn slow(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.shared.slow_by_micros.store(micros, Ordering::Relaxed);
    }

    pub(crate) fn loads(&self) -> Loads {
        self.shared.loads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A read as an app does it.
    pub(crate) async fn read(&self, kept: &Kept, key: u64) -> Result<u64, LoadError<io::Error>> {
        kept.cache.get_or_load(&key, || self.load(kept.guarded, key)).await
    }

    async fn load(&self, guarded: Guarded, key: u64) -> io::Result<u64> {
        let version = self.truth.version(key)?;
        {
            let mut loads = self.shared.loads.lock().unwrap_or_else(PoisonError::into_inner);
            let versions = loads.entry(guarded).or_default().entry(key).or_default();
            *versions.entry(version).or_default() += 1;
        }
        // Behind the reading: what is changed meanwhile makes this load one that brings old values.
        let slow_by = Duration::from_micros(self.shared.slow_by_micros.load(Ordering::Relaxed));
        if slow_by > Duration::ZERO {
            tokio::time::sleep(slow_by).await;
        }
        Ok(version)
    }
}
