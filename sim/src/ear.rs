//! Owns an ear: what the caches of a life have heard, where nobody asks what they hold.

use std::sync::{Mutex, MutexGuard, PoisonError};

use flushcast_core::cache::{Effect, Flushable};
use flushcast_core::wire::Scope;

const DISTRUST: &str = "distrust";

/// The keys that were flushed, in order and once each: what comes again changes nothing.
#[derive(Debug, Default)]
pub(crate) struct Ear(Mutex<Vec<String>>);

impl Ear {
    pub(crate) fn has(&self, key: &str) -> bool {
        self.heard().iter().any(|it| it == key)
    }

    /// It has heard it, or trusts nothing that it held.
    pub(crate) fn covers(&self, key: &str) -> bool {
        self.has(key) || self.has(DISTRUST)
    }

    fn note(&self, key: &str) {
        let mut heard = self.heard();
        if let Err(at) = heard.binary_search_by(|it| it.as_str().cmp(key)) {
            heard.insert(at, key.to_owned());
        }
    }

    fn heard(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flushable for Ear {
    fn apply(&self, scope: Scope<'_>) -> Effect {
        if let Scope::Key(key) = scope {
            self.note(key);
        }
        Effect::AsNamed
    }

    fn distrust(&self) {
        self.note(DISTRUST);
    }

    fn close(&self) {}
}
