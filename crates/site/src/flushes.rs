//! Owns what an instance tells of its own flushes: when it announced each, and how soon the others
//! had applied it. Only the others' acknowledgements count, on this instance's clock: how long a
//! flush took is never told by two clocks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use flushcast::{Applied, Flush, FlushError, Outcome};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How many of its newest flushes an instance tells of.
const KEPT: usize = 12;

/// The newest flushes of one instance.
#[derive(Debug, Default)]
pub(crate) struct Flushes {
    kept: Mutex<FlushesReport>,
}

/// What an instance tells of its flushes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FlushesReport {
    /// The newest last.
    pub newest: VecDeque<FlushReport>,
    /// The newest one that each of the others has applied, by its name.
    pub reached: BTreeMap<String, Reached>,
}

/// One flush.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FlushReport {
    /// The save that it told of.
    pub version: u64,
    /// When it was announced, in milliseconds since 1970.
    pub at: i64,
    /// What became of it; nothing while the others are waited for.
    pub came_to: Option<Verdict>,
}

/// What became of a flush, by the names of the other instances.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// Who has applied it, the quickest first.
    pub applied: Vec<AppliedReport>,
    /// Who is cut off, and provably serves nothing older.
    pub fenced: Vec<String>,
    /// Of whom neither is known.
    pub unconfirmed: Vec<UnconfirmedReport>,
    /// Why the others were not told, or nothing is known of any of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An instance that has applied a flush.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AppliedReport {
    /// Its name.
    pub node: String,
    /// How long it took until that was known, in milliseconds.
    pub after: f64,
}

/// An instance of which nothing is known.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnconfirmedReport {
    /// Its name.
    pub node: String,
    /// Where its node listens.
    pub address: String,
    /// Why.
    pub reason: String,
}

/// The newest flush that an instance has applied.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reached {
    /// The save that it told of.
    pub version: u64,
    /// How long it took until that was known, in milliseconds.
    pub after: f64,
}

impl Flushes {
    /// Waits for what becomes of a flush, and remembers it. Whoever stops waiting changes nothing.
    pub(crate) async fn follow(self: &Arc<Self>, version: u64, flush: Flush) -> Verdict {
        self.begin(version);
        let flushes = Arc::clone(self);
        let followed = tokio::spawn(async move {
            let verdict = Verdict::from(flush.await);
            flushes.end(version, &verdict);
            verdict
        });
        followed.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    pub(crate) fn report(&self) -> FlushesReport {
        self.change(|kept| kept.clone())
    }

    fn begin(&self, version: u64) {
        let at = Timestamp::now().as_millisecond();
        self.change(|kept| {
            kept.newest.push_back(FlushReport { version, at, came_to: None });
            if kept.newest.len() > KEPT {
                kept.newest.pop_front();
            }
        });
    }

    fn end(&self, version: u64, verdict: &Verdict) {
        self.change(|kept| {
            for AppliedReport { node, after } in &verdict.applied {
                let reached = Reached { version, after: *after };
                let newest = kept.reached.entry(node.clone()).or_insert(reached);
                if newest.version < version {
                    *newest = reached;
                }
            }
            if let Some(flush) = kept.newest.iter_mut().find(|flush| flush.version == version) {
                flush.came_to = Some(verdict.clone());
            }
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut FlushesReport) -> T) -> T {
        change(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl From<Result<Outcome, FlushError>> for Verdict {
    fn from(flush: Result<Outcome, FlushError>) -> Verdict {
        let Outcome { applied, fenced, unconfirmed, .. } = match flush {
            Ok(outcome) => outcome,
            Err(error) => return Verdict { error: Some(error.to_string()), ..Verdict::default() },
        };
        let told = |Applied { node, after, .. }| AppliedReport {
            node,
            after: after.as_secs_f64() * 1000.0,
        };
        let mut applied: Vec<_> = applied.into_iter().map(told).collect();
        applied.sort_by(|one, other| one.after.total_cmp(&other.after));
        let unconfirmed = unconfirmed.into_iter().map(|peer| UnconfirmedReport {
            node: peer.node,
            address: peer.address.to_string(),
            reason: peer.reason.to_string(),
        });
        Verdict { applied, fenced, unconfirmed: unconfirmed.collect(), error: None }
    }
}
