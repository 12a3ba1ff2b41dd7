//! Owns what a simulated node is known to have applied, as seen from inside: it stands in front of
//! the data's cache, and finds in every flush, behind what is to be dropped, which change it is of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flushcast_core::Time;
use flushcast_core::cache::{Apply, Cache, Flushable};
use flushcast_core::wire::Scope;

use crate::what::{Id, KEYS, Said, What};

/// In front of what is no key.
const MARK: char = '!';

/// One change of the truth, as the flush behind it tells it: `life/number/what/version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// The life of the node that made it, counted over the whole run.
    pub(crate) life: u64,
    /// Its number among the changes of that life, from 1.
    pub(crate) number: u64,
    /// What was changed, and how it was told.
    pub(crate) said: Said,
    /// The version it was given.
    pub(crate) version: u64,
}

impl Change {
    pub(crate) fn text(self) -> String {
        format!("{}/{}/{}/{}", self.life, self.number, self.said.word(), self.version)
    }

    /// As it stands in a flush.
    pub(crate) fn mark(self) -> String {
        format!("{MARK}{}", self.text())
    }

    fn parse(mark: &str) -> Option<Self> {
        let mut parts = mark.strip_prefix(MARK)?.split('/');
        let mut next = || parts.next();
        Some(Self {
            life: next()?.parse().ok()?,
            number: next()?.parse().ok()?,
            said: Said::parse(next()?)?,
            version: next()?.parse().ok()?,
        })
    }
}

/// What happened to the caches of a node, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Heard {
    Applied(Change),
    Distrusted,
}

/// Shared by the node's registry and the simulator; one thread uses both.
pub(crate) struct Tap {
    data: Arc<dyn Flushable>,
    heard: Ear,
}

type Ear = Arc<Mutex<Vec<Heard>>>;

impl Tap {
    pub(crate) fn new(data: &Arc<Cache<Id, u64>>) -> Shared {
        Arc::new(Self { data: data.reach(), heard: Ear::default() })
    }

    /// What was heard since the last call.
    pub(crate) fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut *lock(&self.heard))
    }
}

fn lock(heard: &Ear) -> MutexGuard<'_, Vec<Heard>> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is heard of once the data has applied it.
struct Hearing {
    data: Box<dyn Apply>,
    changes: Vec<Change>,
    heard: Ear,
}

impl Apply for Hearing {
    fn step(&mut self) -> bool {
        let is_done = self.data.step();
        if is_done {
            lock(&self.heard).extend(self.changes.drain(..).map(Heard::Applied));
        }
        is_done
    }

    fn widened(&self) -> usize {
        self.data.widened()
    }
}

impl Flushable for Tap {
    fn begin(&self, scopes: &[Scope<'_>], now: Time) -> Box<dyn Apply> {
        let (mut changes, mut rest) = (Vec::new(), Vec::new());
        for &scope in scopes {
            match scope {
                Scope::Key(text) if text.starts_with(MARK) => changes.extend(Change::parse(text)),
                _ => rest.push(scope),
            }
        }
        let data = self.data.begin(&rest, now);
        Box::new(Hearing { data, changes, heard: Arc::clone(&self.heard) })
    }

    fn flush_all(&self) {
        self.data.flush_all();
    }

    // The data hears of it by itself.
    fn distrust(&self) {
        lock(&self.heard).push(Heard::Distrusted);
    }

    fn close(&self) {}

    fn is_held(&self) -> bool {
        true
    }
}

/// The oldest version of a key that a read may get.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Floor {
    pub(crate) fresh: u64,
    /// As one that has expired.
    pub(crate) expired: u64,
}

impl Floor {
    pub(crate) fn least(self, is_expired: bool) -> u64 {
        if is_expired { self.expired } else { self.fresh }
    }
}

/// The oldest version of each key that a read starting now may get.
#[derive(Debug, Clone, Default)]
pub(crate) struct Floors([Floor; KEYS]);

impl Floors {
    pub(crate) fn of(&self, key: usize) -> Floor {
        self.0[key]
    }

    pub(crate) fn raise(&mut self, said: Said, version: u64) {
        for (_, floor) in self.0.iter_mut().enumerate().filter(|(at, _)| said.what.names(*at)) {
            floor.fresh = version.max(floor.fresh);
            if !said.expires {
                floor.expired = version.max(floor.expired);
            }
        }
    }
}

/// The source of truth: versions only grow, over all keys together.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    versions: [u64; KEYS],
    drawn: u64,
}

impl Truth {
    pub(crate) fn change(&mut self, what: What) -> u64 {
        self.drawn += 1;
        for at in (0..KEYS).filter(|&at| what.names(at)) {
            self.versions[at] = self.drawn;
        }
        self.drawn
    }

    /// What is true now, as the least that a load starting now gives.
    pub(crate) fn floors(&self) -> Floors {
        Floors(self.versions.map(|version| Floor { fresh: version, expired: version }))
    }
}

pub(crate) type Shared = Arc<Tap>;
pub(crate) type ByLife<T> = BTreeMap<u64, T>;
