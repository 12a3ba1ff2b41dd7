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

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// In nanoseconds, as all readings: they are taken on every hit.
    start: u64,
    /// On the clock that stands still while the machine sleeps, read exactly: so the quick clock
    /// never leads, from its start on.
    start_awake: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: reading(), start_awake: awake_reading() }
    }

    /// The node's own clock.
    pub(crate) fn now(&self) -> Time {
        Time::from_nanos(reading().saturating_sub(self.start))
    }

    /// The clock of reads that need not count the time that the machine sleeps.
    pub(crate) fn quick(&self) -> Time {
        Time::from_nanos(quick_reading().saturating_sub(self.start_awake))
    }

    /// How long the machine has slept until `now`, a reading of the node's own clock: so far the
    /// quick clock is behind, besides its coarseness.
    pub(crate) fn slept(&self, now: Time) -> Duration {
        now.since(Time::from_nanos(awake_reading().saturating_sub(self.start_awake)))
    }

    /// How far the quick clock may lag for its coarseness alone.
    pub(crate) fn step() -> Duration {
        quick_step()
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::time::Duration;

    use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

    pub(super) fn reading() -> u64 {
        nanos(clock_gettime(ClockId::Boottime))
    }

    pub(super) fn awake_reading() -> u64 {
        nanos(clock_gettime(ClockId::Monotonic))
    }

    pub(super) fn quick_reading() -> u64 {
        nanos(clock_gettime(ClockId::MonotonicCoarse))
    }

    pub(super) fn quick_step() -> Duration {
        Duration::from_nanos(nanos(clock_getres(ClockId::MonotonicCoarse)))
    }

    /// Neither part of these readings is ever negative, and 584 years fit.
    fn nanos(time: Timespec) -> u64 {
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::sync::LazyLock;
    use std::time::{Duration, Instant};

    pub(super) fn reading() -> u64 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn awake_reading() -> u64 {
        reading()
    }

    pub(super) fn quick_reading() -> u64 {
        reading()
    }

    pub(super) fn quick_step() -> Duration {
        // Where the clock is coarser than this, it is not by much: 15.6 ms on old Windows.
        Duration::from_millis(16)
    }
}

use system::{awake_reading, quick_reading, quick_step, reading};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_move_on_and_never_back() {
        let clock = Clock::new();
        for read in [Clock::now, Clock::quick] {
            let first = read(&clock);
            let mut last = first;
            while last == first {
                let now = read(&clock);
                assert!(now >= last);
                last = now;
            }
        }
    }

    #[test]
    fn the_quick_clock_lags_and_never_leads() {
        let clock = Clock::new();
        for _ in 0..100_000 {
            let quick = clock.quick();
            let now = clock.now();
            assert!(quick <= now, "{quick:?} {now:?}");
        }
    }
}
