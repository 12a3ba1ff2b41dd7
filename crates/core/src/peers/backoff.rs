//! Owns how long to wait before an address is dialled again: for ever, but ever more seldom.

use std::time::Duration;

use crate::wire::RENEW_EVERY;

const FIRST: Duration = Duration::from_millis(50);
/// Longest pause between two dials of an address that does not answer.
const LONGEST: Duration = Duration::from_secs(2);
/// Pause after an answer that only a person can change, such as another cluster's.
const AFTER_REJECTION: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after another failure: doubled each time, the last half of it by chance, so that
    /// a hundred nodes do not dial a restarted one in the same moment.
    pub(crate) fn failed(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        whole / 2 + whole.mul_f64(rng.f64() / 2.0)
    }

    /// The pause after nobody was found, which is a proof to be renewed like any other.
    pub(crate) fn empty(&mut self, rng: &mut fastrand::Rng) -> Duration {
        self.failed(rng).min(RENEW_EVERY / 2)
    }

    pub(crate) fn rejected(&mut self, rng: &mut fastrand::Rng) -> Duration {
        AFTER_REJECTION / 2 + AFTER_REJECTION.mul_f64(rng.f64() / 2.0)
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_start_anew_after_success() {
        let (mut rng, mut backoff) = (fastrand::Rng::with_seed(1), Backoff::default());
        let pauses: Vec<_> = (0..100).map(|_| backoff.failed(&mut rng)).collect();
        assert!(pauses[0] <= FIRST && pauses[0] >= FIRST / 2);
        assert!(pauses[99] <= LONGEST && pauses[99] >= LONGEST / 2);
        backoff.succeeded();
        assert!(backoff.failed(&mut rng) <= FIRST);
    }
}
