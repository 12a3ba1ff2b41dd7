//! Owns what a cache can promise, and how long it may serve what nobody has proven lately.

use std::time::Duration;

use crate::wire::RENEW_EVERY;

/// How old a copy may be when it is served. Every node of the cluster must give a cache of one
/// name the same guarantee: each keeps it for its own reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// Copies are served until they expire; flushes that were missed are healed on reconnect.
    Eventual,
    /// No read returns a copy older than a flush that was issued more than this long before the
    /// read, whatever fails. While the node is cut off, a copy lives at most this long. A flush that is not
    /// awaited delays nobody; awaiting one ends at a deadline of the caller's. At least [`Guarantee::SMALLEST_BOUND`].
    Bounded(Duration),
    /// Once a flush was awaited and came back `Ok`, no read that starts later on any node of the
    /// roster returns an older value. While the node is cut off, every read goes to the source; a
    /// flush waits for a silent node's lease to run out, once, for [`Guarantee::STRICT_LEASE`].
    Strict,
}

impl Guarantee {
    /// The smallest bound that can be proven all the time: two renewals, so that one may be late.
    pub const SMALLEST_BOUND: Duration = RENEW_EVERY.saturating_mul(2);
    /// How long a node goes on serving copies of a [`Guarantee::Strict`] cache without a new proof.
    /// The same on all nodes: those who flush wait for it.
    pub const STRICT_LEASE: Duration = Duration::from_secs(2);

    /// How long copies may be served beyond a proof, by a clock that lags up to `step` and may run
    /// slow within the margin; none where no proof is asked for.
    pub(crate) fn lease(self, step: Duration) -> Option<Duration> {
        let whole = match self {
            Guarantee::Eventual => return None,
            Guarantee::Bounded(bound) => bound,
            Guarantee::Strict => Guarantee::STRICT_LEASE,
        };
        Some(whole.saturating_sub(drift(whole)).saturating_sub(step))
    }

    /// How long whoever flushes waits for a lease that it cannot see, by a clock that may run fast.
    pub(crate) fn strict_wait() -> Duration {
        Guarantee::STRICT_LEASE + drift(Guarantee::STRICT_LEASE)
    }
}

/// Five seconds, bounded.
impl Default for Guarantee {
    fn default() -> Self {
        Guarantee::Bounded(Duration::from_secs(5))
    }
}

/// How far a clock may be off over `length`: one in a thousand, twice what time daemons allow
/// themselves.
pub(crate) fn drift(length: Duration) -> Duration {
    length / 1000
}
