//! A burst that is more than the flush log holds, with one follower stopped all the while. The
//! only test of its process, as it measures what memory the process takes.
#![cfg(target_os = "linux")]

mod cluster;

use cluster::{BURST, Cluster, MIB};
use flushcast::LogLimits;
use flushcast_bench::words::Keys;

/// Most flushes that the log holds: half a percent of the burst.
const LOG: LogLimits = LogLimits { entries: 1_000, bytes: MIB };
/// Length of a key's beginning. A frame has at most 300 bytes with it, and all of them are 54 MB:
/// more than any system takes for a reader that does not read, so that the reset is not avoided.
const PREFIX: usize = 250;
const FRAME: usize = 300;
/// What the log may hold.
const MOST_LOG: usize = LOG.entries * FRAME;
/// What the publisher may take: the log, the copies that it had itself, and for each connection
/// a buffer of 64 KiB to write and one of 16 KiB to read, with what the allocator rounds up. A
/// queue for the follower that is stopped would take about 50 MB.
const MOST_PUBLISHER: usize = 4 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_beyond_the_log_resets_one_that_was_stopped_and_it_serves_no_old_copy() {
    let mut cluster = Cluster::start(LOG).await;
    let burst = Keys::new(format!("{:-<PREFIX$}", "burst"), BURST);
    let kept = Keys::new("kept-", 1_000);
    cluster.load(&burst).await;
    cluster.load(&kept).await;

    cluster.stop(2).await;
    let (outcome, peak) = cluster.burst(&burst).await;
    cluster.assert_c_is_unconfirmed(&outcome);
    cluster.applied_by(&["a", "b"]).await;
    assert!(peak.log <= MOST_LOG && peak.publisher <= MOST_PUBLISHER, "{peak:?}");
    // They may have been told by a reset too, as the log is much shorter than the burst.
    for follower in &mut cluster.followers[..2] {
        assert_eq!(follower.count(&burst).await.unwrap(), 0, "{}: old copies", follower.name());
    }

    cluster.resume(2);
    cluster.applied_by(&["a", "b", "c"]).await;
    assert_eq!(cluster.served(&burst).await, [0; 3], "old copies");
    let [_, _, kept_by_c] = cluster.served(&kept).await;
    assert_eq!(kept_by_c, 0, "it cannot know what else it has missed");

    // From here on it is a follower like any other: what it loads stays until a flush names it.
    let again = Keys::new(burst.prefix.as_str(), 1_000);
    cluster.load(&again).await;
    cluster.load(&kept).await;
    cluster.flush("kept-7").await;
    assert_eq!(cluster.served(&again).await, [again.count; 3], "loaded after the reset");
    assert_eq!(cluster.served(&kept).await, [kept.count - 1; 3], "all but the one flushed");
}
