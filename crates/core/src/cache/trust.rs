//! Owns the one question asked of copies and flights alike: may a read that starts now use it?
//! It must never compare clock readings to tell what came first: order is the stamps' work.

use std::sync::Arc;
use std::time::Duration;

use crate::Time;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A place in the order of what happens to one cache: starts of loads and marks of distrust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

/// When a load started: by the clock, for its age, and by the stamp, for its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    /// The clock's reading before the loader was called.
    pub started: Time,
    /// Unique within the cache.
    pub stamp: Stamp,
}

/// The latest moment for which the node can prove that it had applied every flush.
#[derive(Debug, Default)]
pub struct Proof(AtomicU64);

impl Proof {
    /// The proven moment.
    pub fn get(&self) -> Time {
        Time::from_nanos(self.0.load(Ordering::Acquire))
    }

    /// Moves the proof on to `time`; never back.
    pub fn advance(&self, time: Time) {
        self.0.fetch_max(time.as_nanos(), Ordering::AcqRel);
    }
}

/// What one cache trusts.
#[derive(Debug)]
pub struct Trust {
    next_stamp: AtomicU64,
    distrust_before: AtomicU64,
    /// How long a copy may be used beyond the proof; `None` asks for no proof.
    bound: Option<Duration>,
    proof: Arc<Proof>,
}

impl Trust {
    /// Trusts every load that starts from now on.
    pub fn new(bound: Option<Duration>, proof: Arc<Proof>) -> Self {
        Self { next_stamp: AtomicU64::new(0), distrust_before: AtomicU64::new(0), bound, proof }
    }

    /// To be called before the loader is, with a reading of the clock taken before this call.
    pub fn birth(&self, started: Time) -> Birth {
        Birth { started, stamp: self.draw() }
    }

    /// Whether a read that starts at `now` may use what was born at `birth`.
    pub fn usable(&self, birth: Birth, now: Time) -> bool {
        self.trusts(birth)
            && self.bound.is_none_or(|bound| self.proof.get().max(birth.started) + bound >= now)
    }

    /// Everything whose load started before this call is unusable when it returns. One atomic.
    pub fn distrust(&self) {
        let mark = self.draw();
        self.distrust_before.fetch_max(mark.0, Ordering::SeqCst);
    }

    /// Nothing is usable from here on, neither what is held nor what is loaded.
    pub fn close(&self) {
        self.distrust_before.store(u64::MAX, Ordering::SeqCst);
    }

    /// Whether nothing has distrusted it since: what may be stored.
    pub fn trusts(&self, birth: Birth) -> bool {
        birth.stamp.0 >= self.distrust_before.load(Ordering::SeqCst)
    }

    fn draw(&self) -> Stamp {
        Stamp(self.next_stamp.fetch_add(1, Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Time {
        Time::ZERO + SECOND * u32::try_from(seconds).unwrap()
    }

    #[test]
    fn what_started_before_the_distrust_is_unusable_and_what_starts_after_is_not() {
        let trust = Trust::new(None, Arc::default());
        let before = trust.birth(at(9));
        assert!(trust.usable(before, at(9)));
        trust.distrust();
        let after = trust.birth(at(9));
        assert!(!trust.usable(before, at(9)), "the clock has not moved; the order has");
        assert!(trust.usable(after, at(9)));
    }

    #[test]
    fn with_a_bound_the_younger_of_proof_and_start_must_be_within_it() {
        let proof = Arc::new(Proof::default());
        let trust = Trust::new(Some(SECOND * 5), Arc::clone(&proof));
        let birth = trust.birth(at(10));
        assert!(trust.usable(birth, at(15)), "its own age is within the bound");
        assert!(!trust.usable(birth, at(16)), "neither proof nor age is");
        proof.advance(at(12));
        assert!(trust.usable(birth, at(17)));
        assert!(!trust.usable(birth, at(18)));
        proof.advance(at(3));
        assert_eq!(proof.get(), at(12), "a proof never goes back");
    }

    #[test]
    fn without_a_bound_age_alone_makes_nothing_unusable() {
        let trust = Trust::new(None, Arc::default());
        let birth = trust.birth(at(0));
        assert!(trust.usable(birth, at(1_000_000)));
    }
}
