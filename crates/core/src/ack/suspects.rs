//! Owns who was waited for in vain: later flushes name them at once, and are not held up by them.
//! It must never keep one that has acknowledged what was waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Time;
use crate::peers::Subject;
use crate::wire::Seq;

/// Nobody is suspected for having missed a deadline that was shorter than this.
pub(crate) const SUSPECTED_AFTER: Duration = Duration::from_millis(100);

/// The first flush that one was waited for in vain.
#[derive(Debug, Clone, Copy)]
struct Missed {
    seq: Seq,
    announced: Time,
}

/// Whoever was waited for in vain: lives, and places where nobody was ever met.
#[derive(Debug, Default)]
pub(crate) struct Suspects(BTreeMap<Subject, Missed>);

impl Suspects {
    pub(crate) fn add(&mut self, who: Subject, seq: Seq, announced: Time) {
        self.0.entry(who).or_insert(Missed { seq, announced });
    }

    /// Since when one is suspected that has acknowledged what is up to `acked`; it is not any more if
    /// that is enough.
    pub(crate) fn look_at(&mut self, who: Subject, acked: Seq) -> Option<Time> {
        let missed = *self.0.get(&who)?;
        if acked >= missed.seq {
            self.0.remove(&who);
            return None;
        }
        Some(missed.announced)
    }

    /// Since when one is suspected.
    pub(crate) fn since(&self, who: Subject) -> Option<Time> {
        self.0.get(&who).map(|missed| missed.announced)
    }

    pub(crate) fn forget(&mut self, who: Subject) {
        self.0.remove(&who);
    }
}
