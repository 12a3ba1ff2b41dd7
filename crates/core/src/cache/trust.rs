//! Owns the one question asked of copies and flights alike: may a read that starts now use it?
//! It must never compare clock readings to tell what came first: order is the stamps' work.

use std::sync::Arc;
use std::time::Duration;

use super::Guarantee;
use super::tag_flushes::{Outdated, TagFlushes};
use crate::Time;
use crate::planted::{Fault, planted};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A place in the order of what happens to one cache: starts of loads, flushes and marks of distrust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub(super) u64);

impl Stamp {
    /// No later than any other.
    pub(crate) const FIRST: Stamp = Stamp(0);

    /// The place right behind it.
    pub(super) fn next(self) -> Stamp {
        Stamp(self.0 + 1)
    }
}

/// When a load started: by the clock, for its age, and by the stamp, for its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    /// The clock's reading before the loader was called.
    pub started: Time,
    /// Unique within the cache.
    pub stamp: Stamp,
}

/// The latest moment for which the node can prove that it had applied every flush.
/// [`Time::NEVER`] while there is nobody to be in step with.
#[derive(Debug, Default)]
pub struct Proof(AtomicU64);

impl Proof {
    /// The proven moment.
    #[inline]
    pub fn get(&self) -> Time {
        Time::from_nanos(self.0.load(Ordering::Acquire))
    }

    /// To be called by the node alone, which sees to it that a proof that was given stays true.
    pub(crate) fn set(&self, time: Time) {
        self.0.store(time.as_nanos(), Ordering::Release);
    }
}

/// What one cache trusts.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) order: Arc<Order>,
    rule: Rule,
}

/// The order of what happens to one cache, and from where on in it anything is trusted. Apart from the
/// cache, so that who distrusts need not hold its copies.
#[derive(Debug, Default)]
pub(super) struct Order {
    distrust_before: AtomicU64,
    next_stamp: Apart,
    tag_flushes: Mutex<TagFlushes>,
    /// How many flushes and marks of distrust are being applied.
    under_way: AtomicU64,
}

/// A flush that is being applied for as long as this is held.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Order>);

impl UnderWay {
    /// To be called before its mark is drawn.
    pub(super) fn begin(order: &Arc<Order>) -> Self {
        order.under_way.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(order))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Order {
    /// Whether each flush that has drawn its mark has dropped all that it names. While one has not, a load
    /// from behind its mark may still find a copy that it names.
    pub(super) fn is_settled(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
    }

    pub(super) fn draw(&self) -> Stamp {
        Stamp(self.next_stamp.0.fetch_add(1, Ordering::SeqCst))
    }

    /// The place of a flush that names tags of these hashes: no load from before it that comes to have one
    /// of them is stored from here on, but as one that has expired, unless it `drops`.
    pub(super) fn flush_begins(&self, tags: impl Iterator<Item = u64>, drops: bool) -> Stamp {
        // Under the lock, so that what is remembered is in order.
        let mut tag_flushes = self.tag_flushes.lock();
        let mark = self.draw();
        tags.for_each(|tag| tag_flushes.add(mark, tag, drops));
        mark
    }

    /// Everything whose load started before this call is unusable when it returns. Some atomics.
    pub(super) fn distrust(&self) {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        self.distrust_before(self.draw());
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }

    /// Everything whose load started before `mark` was drawn is unusable when this returns.
    pub(super) fn distrust_before(&self, mark: Stamp) {
        self.distrust_before.fetch_max(mark.0, Ordering::SeqCst);
    }

    /// Nothing is usable from here on, neither what is held nor what is loaded.
    pub(super) fn close(&self) {
        self.distrust_before.store(u64::MAX, Ordering::SeqCst);
    }
}

/// Written by each load, beside which reads go on that look at the rest: memory that processors do not
/// fetch together with that.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart(AtomicU64);

/// How long a proof lasts, in nanoseconds: it is added on every hit.
#[derive(Debug, Clone, Copy)]
struct Lease(u64);

impl Lease {
    #[inline]
    fn lasts(self, proven: Time, now: Time) -> bool {
        proven.as_nanos().saturating_add(self.0) >= now.as_nanos()
    }
}

impl From<Duration> for Lease {
    fn from(lease: Duration) -> Self {
        Self(u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// What proof is asked for, with how long it lasts: for ever, where none is.
#[derive(Debug)]
struct Rule {
    lease: Lease,
    proof: Arc<Proof>,
    /// The load's own age does not count.
    is_strict: bool,
}

impl Trust {
    /// Trusts every load that starts from now on. `proof` is the node's, on the clock that the
    /// readings of this cache are of; that clock lags at most `clock_step`.
    pub(super) fn new(guarantee: Guarantee, clock_step: Duration, proof: Arc<Proof>) -> Self {
        let lease = guarantee.lease(clock_step).unwrap_or(Duration::MAX).into();
        let rule = Rule { lease, proof, is_strict: guarantee == Guarantee::Strict };
        Self { order: Arc::default(), rule }
    }

    /// To be called before the loader is, with a reading of the clock taken before this call.
    pub(super) fn birth(&self, started: Time) -> Birth {
        Birth { started, stamp: self.order.draw() }
    }

    /// Whether a read that starts at `now` may use what was born at `birth`.
    #[inline]
    pub(super) fn usable(&self, birth: Birth, now: Time) -> bool {
        self.trusts(birth) && self.proven(birth, now)
    }

    /// Whether a read that starts at `now`, and whose place in the order is `read`, may wait for a
    /// load that is under way. A strict one that is cut off may only if that load started after
    /// it: an older one may have looked at the source before a flush that nobody waits to be
    /// applied here.
    pub(super) fn joinable(&self, birth: Birth, read: Stamp, now: Time) -> bool {
        self.usable(birth, now)
            || (self.rule.is_strict
                && self.trusts(birth)
                && (birth.stamp > read || planted(Fault::CutOffReadJoinsOlderLoad)))
    }

    /// Whether what was born at `birth` is new enough, as far as the node can prove it.
    #[inline]
    pub(super) fn proven(&self, birth: Birth, now: Time) -> bool {
        let Rule { lease, proof, is_strict } = &self.rule;
        let proven = proof.get();
        // A node in step needs no more than this.
        if lease.lasts(proven, now) && proven > Time::ZERO {
            return true;
        }
        // At the start of the clock there is no proof yet, however little time has passed.
        !is_strict && lease.lasts(proven.max(birth.started), now)
    }

    /// From which place on reads must not have a value with tags of these hashes, whose load started at
    /// `birth`: there one of them was flushed since, or has expired.
    pub(super) fn outdated(&self, birth: Birth, tags: &[u64]) -> Option<Outdated> {
        if tags.is_empty() || planted(Fault::TagFlushLeavesLoads) {
            return None;
        }
        self.order.tag_flushes.lock().behind(birth.stamp, tags)
    }

    /// What was loaded before is not trusted.
    pub(super) fn mark(&self) -> Stamp {
        Stamp(self.order.distrust_before.load(Ordering::SeqCst))
    }

    /// Whether nothing has distrusted it since: what may be stored.
    #[inline]
    pub(super) fn trusts(&self, birth: Birth) -> bool {
        birth.stamp.0 >= self.order.distrust_before.load(Ordering::SeqCst)
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
        let trust = Trust::new(Guarantee::Eventual, Duration::ZERO, Arc::default());
        let before = trust.birth(at(9));
        assert!(trust.usable(before, at(9)));
        trust.order.distrust();
        let after = trust.birth(at(9));
        assert!(!trust.usable(before, at(9)), "the clock has not moved; the order has");
        assert!(trust.usable(after, at(9)));
    }

    #[test]
    fn with_a_bound_the_younger_of_proof_and_start_must_be_within_it() {
        let proof = Arc::new(Proof::default());
        let trust = Trust::new(Guarantee::Bounded(SECOND * 5), SECOND / 2, Arc::clone(&proof));
        let birth = trust.birth(at(10));
        assert!(trust.usable(birth, at(14)), "its own age is within the bound");
        assert!(!trust.usable(birth, at(15)), "what the clock may lag is taken off");
        proof.set(at(12));
        assert!(trust.usable(birth, at(16)));
        assert!(!trust.usable(birth, at(17)));
        proof.set(Time::NEVER);
        assert!(trust.usable(birth, at(1_000_000)), "there is nobody to be in step with");
    }

    #[test]
    fn strictly_only_a_proof_makes_a_copy_usable_however_young_it_is() {
        let proof = Arc::new(Proof::default());
        let trust = Trust::new(Guarantee::Strict, Duration::ZERO, Arc::clone(&proof));
        let read = trust.order.draw();
        let birth = trust.birth(at(10));
        assert!(!trust.usable(birth, at(10)));
        assert!(!trust.usable(birth, at(1)), "there is no proof yet");
        assert!(trust.joinable(birth, read, at(10)), "the load started after the read");
        assert!(!trust.joinable(birth, trust.order.draw(), at(10)), "the read came later");
        proof.set(at(9));
        assert!(trust.usable(birth, at(10)));
        assert!(trust.joinable(birth, trust.order.draw(), at(10)), "in step, it may wait for it");
    }

    const LEASE: u64 = 1000;

    proptest::proptest! {
        #[test]
        fn a_proof_that_lasts_is_enough_and_if_not_strictly_a_start_that_does(
            guarantee in proptest::sample::select(vec![
                Guarantee::Eventual, Guarantee::Bounded(SECOND), Guarantee::Strict
            ]),
            proven in edges(),
            started in edges(),
            now in edges(),
        ) {
            let lease = if guarantee == Guarantee::Eventual { u64::MAX } else { LEASE };
            let mut trust = Trust::new(guarantee, Duration::ZERO, Arc::default());
            trust.rule.lease = Lease(lease);
            trust.rule.proof.set(Time::from_nanos(proven));
            let birth = trust.birth(Time::from_nanos(started));
            let lasts = |from: u64| u128::from(from) + u128::from(lease) >= u128::from(now);
            let expected = match guarantee {
                Guarantee::Strict => proven > 0 && lasts(proven),
                _ => lasts(proven) || lasts(started),
            };
            proptest::prop_assert_eq!(trust.usable(birth, Time::from_nanos(now)), expected);
        }
    }

    fn edges() -> impl proptest::strategy::Strategy<Value = u64> {
        let around = |time: u64| time.saturating_sub(1)..=time.saturating_add(1);
        let edges = [0, LEASE, 2 * LEASE, u64::MAX - LEASE, u64::MAX];
        proptest::sample::select(edges.into_iter().flat_map(around).collect::<Vec<_>>())
    }

    #[test]
    fn without_a_bound_age_alone_makes_nothing_unusable() {
        let trust = Trust::new(Guarantee::Eventual, Duration::ZERO, Arc::default());
        let birth = trust.birth(at(0));
        assert!(trust.usable(birth, at(1_000_000)));
    }
}
