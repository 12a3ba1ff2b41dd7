//! Owns what tells that a copy is over: of no use to anybody any more. It must never remove one.

use std::time::Duration;

use super::copied::Copied;
use super::trust::Trust;
use super::{RemovalCause, Stamp};
use crate::Time;

/// What copies are judged by, at one moment.
pub(super) struct Judge<'c> {
    pub(super) trust: &'c Trust,
    pub(super) keep_expired: Duration,
    pub(super) now: Time,
}

impl Judge<'_> {
    /// When a copy will be over, if nobody reads it and no flush names it; if it is, why.
    pub(super) fn over<K, V>(&self, copy: &Copied<K, V>) -> Result<Time, RemovalCause> {
        if !self.trust.trusts(copy.birth()) {
            return Err(RemovalCause::Distrusted);
        }
        // What is only unproven stays: it is served again once the node is back in step.
        let over = copy.is_over_at(self.keep_expired);
        if over > self.now { Ok(over) } else { Err(RemovalCause::Expired) }
    }

    /// What was loaded before is not trusted.
    pub(super) fn mark(&self) -> Stamp {
        self.trust.mark()
    }
}
