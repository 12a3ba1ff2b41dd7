//! Owns the node's sweep: the task that takes expired copies out of its caches, though nobody asks for them.
//! It must never hold other tasks up for longer than a bounded piece of it takes.

use std::sync::Arc;
use std::time::Duration;

use flushcast_core::cache::Sweep;

use crate::driver::Shared;

/// Pause between two sweeps. One looks at nothing in a cache in which nothing can have expired since the last.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Sweeps all caches now and then, until the node stops: a piece at a time, with a turn for other tasks behind
/// each.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        for (is_strict, cache) in shared.caches.to_sweep() {
            let clock = shared.clocks.of_reads(is_strict);
            let mut sweep = Sweep::default();
            while !cache.sweep(&mut sweep, clock.now()) {
                tokio::task::yield_now().await;
            }
        }
    }
}
