//! Owns flushes that are being applied, piece by piece, to the caches that they name.
//! It must never hold a lock between two pieces, nor need that of the node.

use std::sync::Arc;

use super::Flushable;
use super::app_code::contain;

/// What is left of applying some scopes to one cache.
pub trait Apply: Send {
    /// Does one bounded piece; gives back whether all is done. Then no read that starts later gets what
    /// was named, and no load from before the job began installs it.
    fn step(&mut self) -> bool;

    /// How often something was named that could not be told apart, so that the whole cache was dropped.
    fn widened(&self) -> usize;
}

/// A cache that was dropped as a whole, though less of it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Widened {
    /// Its name.
    pub cache: String,
    /// For how many keys that are none of its type, and panics of the application's code for it.
    pub times: usize,
}

/// Flushes that are being applied. Made by [`Caches::begin`](super::Caches::begin); dropped before it is
/// done, it leaves some of them unapplied.
///
/// Runs the application's code: keys' parsers, hashes and texts, values' drops, listeners. So it must be
/// stepped without any lock that such code may ask for.
pub struct Applying {
    /// The last one is next.
    jobs: Vec<Job>,
    widened: Vec<Widened>,
}

struct Job {
    name: String,
    cache: Arc<dyn Flushable>,
    apply: Box<dyn Apply>,
}

impl Applying {
    pub(super) fn new(
        jobs: impl Iterator<Item = (String, Arc<dyn Flushable>, Box<dyn Apply>)>,
    ) -> Self {
        let job = |(name, cache, apply)| Job { name, cache, apply };
        Self { jobs: jobs.map(job).collect(), widened: Vec::new() }
    }

    /// Does one bounded piece of the work; gives back whether all is applied. Calls behind that do
    /// nothing.
    ///
    /// A piece looks at some hundred copies, or takes as many out, besides what the application's code for
    /// them takes.
    pub fn step(&mut self) -> bool {
        let Some(job) = self.jobs.last_mut() else { return true };
        // What is in there catches what it calls. Should it panic itself, the others still count.
        let stepped = contain(|| job.apply.step());
        if stepped == Some(false) {
            return false;
        }
        let panicked = usize::from(stepped.is_none());
        if panicked > 0 {
            job.cache.distrust();
        }
        let times = job.apply.widened() + panicked;
        if let Some(Job { name: cache, .. }) = self.jobs.pop()
            && times > 0
        {
            self.widened.push(Widened { cache, times });
        }
        self.jobs.is_empty()
    }

    /// Goes on until all is applied.
    pub fn finish(&mut self) {
        while !self.step() {}
    }

    /// The caches that were dropped as a whole, as far as they are done.
    pub fn widened(&self) -> &[Widened] {
        &self.widened
    }
}

impl std::fmt::Debug for Applying {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let left: Vec<_> = self.jobs.iter().map(|job| &job.name).collect();
        out.debug_struct("Applying").field("left", &left).field("widened", &self.widened).finish()
    }
}
