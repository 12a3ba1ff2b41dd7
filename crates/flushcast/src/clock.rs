//! Owns the node's clock: the age of things since the node's start, on a clock that never jumps.
//!
//! A hit reads it, so on Linux it is the cheapest one that a stopped process cannot be fooled by:
//! `CLOCK_MONOTONIC_COARSE`, which the kernel moves on at each tick, 1 to 10 ms apart. It may
//! therefore lag that much, and never leads. Elsewhere it is the standard library's.

use std::time::Duration;

use flushcast_core::Time;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Duration,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: reading() }
    }

    pub(crate) fn now(&self) -> Time {
        Time::ZERO + reading().saturating_sub(self.start)
    }
}

/// The time since some moment in the past, the same for all threads.
#[cfg(target_os = "linux")]
fn reading() -> Duration {
    use rustix::time::{ClockId, clock_gettime};

    let reading = clock_gettime(ClockId::MonotonicCoarse);
    // Neither part of a monotonic reading is ever negative.
    Duration::new(reading.tv_sec.unsigned_abs(), reading.tv_nsec.unsigned_abs() as u32)
}

/// The time since some moment in the past, the same for all threads.
#[cfg(not(target_os = "linux"))]
fn reading() -> Duration {
    use std::sync::LazyLock;
    use std::time::Instant;

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_on_and_never_back() {
        let clock = Clock::new();
        let first = clock.now();
        let mut last = first;
        while last == first {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }
}
