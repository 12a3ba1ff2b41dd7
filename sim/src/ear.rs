//! Owns an ear: what the caches of a life have heard, where nobody asks what they hold.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flushcast_core::Time;
use flushcast_core::cache::{Apply, Flushable};
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

/// Keys that are on their way into an ear.
struct Hearing {
    ear: Arc<Ear>,
    keys: Vec<String>,
}

impl Apply for Hearing {
    fn step(&mut self) -> bool {
        self.keys.drain(..).for_each(|key| self.ear.note(&key));
        true
    }

    fn widened(&self) -> usize {
        0
    }
}

/// A registry's way to it.
pub(crate) struct ToEar(pub(crate) Arc<Ear>);

impl Flushable for ToEar {
    fn begin(&self, scopes: &[Scope<'_>], _: Time) -> Box<dyn Apply> {
        let key = |scope: &Scope<'_>| match scope {
            Scope::Key(key) => Some((*key).to_owned()),
            _ => None,
        };
        let keys = scopes.iter().filter_map(key).collect();
        Box::new(Hearing { ear: Arc::clone(&self.0), keys })
    }

    fn flush_all(&self) {}

    fn distrust(&self) {
        self.0.note(DISTRUST);
    }

    fn close(&self) {}

    fn is_held(&self) -> bool {
        true
    }
}
