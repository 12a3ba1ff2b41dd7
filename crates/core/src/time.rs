//! Owns the core's only notion of time: an age-measuring reading that callers pass in.
//! It must never order events: clock readings tie, so order is kept by stamps and numbers.

use std::ops::Add;
use std::time::Duration;

/// A reading of the node's own monotonic clock, in nanoseconds since a start that the node chose.
///
/// Readings of different nodes cannot be compared; only differences on one node mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The start of the node's clock.
    pub const ZERO: Time = Time(0);
    /// A time that never comes (584 years after the start).
    pub const NEVER: Time = Time(u64::MAX);

    /// The reading `nanos` nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Time(nanos)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Saturates at [`Time::NEVER`].
impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, length: Duration) -> Time {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(nanos))
    }
}
