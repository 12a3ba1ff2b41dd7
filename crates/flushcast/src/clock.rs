//! Owns the node's clocks: the age of things since the node's start, on clocks that never jump.
//!
//! On Linux the node's own clock is `CLOCK_BOOTTIME`, which goes on while the machine sleeps:
//! proofs and leases are counted on it, and strict caches read it. Other caches read
//! `CLOCK_MONOTONIC_COARSE`, the cheapest one that a stopped process cannot be fooled by: the
//! kernel moves it on at each tick, so that it lags by up to a [`step`](Clock::step) and never
//! leads, and it stands still while the machine sleeps. Elsewhere both are the standard library's
//! clock, which may or may not count the time that the machine sleeps.

use std::time::Duration;

use flushcast_core::Time;

/// Both of a node's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    /// The node's own.
    pub(crate) exact: Clock,
    quick: Clock,
}

impl Clocks {
    pub(crate) fn new() -> Self {
        let exact = Clock { source: EXACT, start: reading(EXACT) };
        // Behind the other's, and read exactly: so this one never leads, from its start on.
        let quick = Clock { source: QUICK, start: reading(AWAKE) };
        Self { exact, quick }
    }

    /// The one that a cache's reads are on: of a strict one, the node's own.
    pub(crate) fn of_reads(&self, strict: bool) -> Clock {
        if strict { self.exact } else { self.quick }
    }

    /// The node's own time of now, and how long the machine has slept until then: so far the quick
    /// clock is behind, besides its coarseness.
    pub(crate) fn now_and_slept(&self) -> (Time, Duration) {
        // In this order: a process that is stopped between the two takes the pause for sleep, and its
        // proofs for older than they are. The other way round it would miss as much of a sleep, and
        // serve copies for as much too long.
        let awake = Time::from_nanos(reading(AWAKE).saturating_sub(self.quick.start));
        let now = self.exact.now();
        (now, now.since(awake))
    }
}

/// One of them. Each hit asks one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    source: Source,
    /// In nanoseconds, as all readings.
    start: u64,
}

impl Clock {
    #[inline]
    pub(crate) fn now(&self) -> Time {
        Time::from_nanos(reading(self.source).saturating_sub(self.start))
    }

    /// How far it may lag for its coarseness alone.
    pub(crate) fn step(&self) -> Duration {
        step(self.source)
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::time::Duration;

    use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

    pub(super) type Source = ClockId;
    pub(super) const EXACT: Source = ClockId::Boottime;
    pub(super) const AWAKE: Source = ClockId::Monotonic;
    pub(super) const QUICK: Source = ClockId::MonotonicCoarse;

    #[inline]
    pub(super) fn reading(source: Source) -> u64 {
        nanos(clock_gettime(source))
    }

    pub(super) fn step(source: Source) -> Duration {
        match source {
            QUICK => Duration::from_nanos(nanos(clock_getres(source))),
            _ => Duration::ZERO,
        }
    }

    /// Neither part of these readings is ever negative, and 584 years fit.
    #[inline]
    fn nanos(time: Timespec) -> u64 {
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::sync::LazyLock;
    use std::time::{Duration, Instant};

    #[derive(Debug, Clone, Copy)]
    pub(super) enum Source {
        Exact,
        Quick,
    }

    pub(super) const EXACT: Source = Source::Exact;
    pub(super) const AWAKE: Source = Source::Exact;
    pub(super) const QUICK: Source = Source::Quick;

    #[inline]
    pub(super) fn reading(_: Source) -> u64 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn step(source: Source) -> Duration {
        match source {
            Source::Exact => Duration::ZERO,
            // Where the clock is coarser than this, it is not by much: 15.6 ms on old Windows.
            Source::Quick => Duration::from_millis(16),
        }
    }
}

use system::{AWAKE, EXACT, QUICK, Source, reading, step};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_move_on_and_never_back() {
        let Clocks { exact, quick } = Clocks::new();
        for clock in [exact, quick] {
            let first = clock.now();
            let mut last = first;
            while last == first {
                let now = clock.now();
                assert!(now >= last);
                last = now;
            }
        }
    }

    #[test]
    fn strict_reads_are_on_a_clock_that_does_not_lag() {
        let clocks = Clocks::new();
        assert_eq!(clocks.of_reads(true).step(), Duration::ZERO);
        assert!(clocks.of_reads(false).step() > Duration::ZERO);
    }

    /// Elsewhere both are one clock, and nothing counts as sleep.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_pause_while_the_clocks_are_read_counts_as_sleep_and_hides_none() {
        let mut clocks = Clocks::new();
        // As if the machine had slept since then, so that too little of it can be told.
        clocks.exact.start -= 1_000_000_000;
        let in_the_other_order = |_| {
            let now = clocks.exact.now();
            let awake = reading(AWAKE) - clocks.quick.start;
            now.since(Time::from_nanos(awake))
        };
        // Each is too little, by what has passed in between.
        let at_least = (0..10_000).map(in_the_other_order).max().unwrap_or_default();
        assert!(at_least > Duration::ZERO);
        for _ in 0..10_000 {
            let (_, told) = clocks.now_and_slept();
            assert!(told >= at_least, "{told:?} {at_least:?}");
        }
    }

    #[test]
    fn the_quick_clock_lags_and_never_leads() {
        let Clocks { exact, quick } = Clocks::new();
        for _ in 0..100_000 {
            let quick = quick.now();
            let exact = exact.now();
            assert!(quick <= exact, "{quick:?} {exact:?}");
        }
    }
}
