//! A burst, with one follower stopped all the while (I4, I5). The only test of its process, as it
//! measures what memory the process takes.
#![cfg(target_os = "linux")]

mod cluster;

use cluster::{BURST, Cluster, MIB};
use flushcast::LogLimits;
use flushcast_bench::words::Keys;

/// A frame with such a key has 62 bytes. All of them are 12 MB: less than the flush log may hold,
/// more than the system takes for a reader that does not read.
const PREFIX: &str = "customers/europe/north/region-7/house-";
/// What the flush log may hold by default.
const MOST_LOG: usize = 16 * MIB;
/// What the publisher may take: the log, with 4 bytes for each of at most 262,144 flushes; one
/// chunk of it that is being filled and may be twice its 1 MiB; for each connection a buffer of
/// 64 KiB to write and one of 16 KiB to read; and as much again as the last three for what the
/// allocator keeps. A queue for the follower that is stopped would take another 12 MB and more.
const MOST_PUBLISHER: usize = MOST_LOG + 8 * MIB;
/// What a follower that keeps up may take: what it reads at once and one frame, rounded up.
const MOST_FOLLOWER: usize = 4 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_reaches_all_and_one_that_was_stopped_catches_up() {
    let mut cluster = Cluster::start(LogLimits::default()).await;
    let (burst, kept) = (Keys::new(PREFIX, BURST), Keys::new("kept-", 1_000));
    cluster.load(&kept).await;
    // First it is back before its link is given up, then after: the log is then at its limit.
    for given_up in [false, true] {
        cluster.load(&burst).await;
        let before = cluster.rss().await;
        cluster.stop(2).await;
        let (outcome, peak) = cluster.burst(&burst).await;
        cluster.assert_c_is_unconfirmed(&outcome);
        cluster.applied_by(&["a", "b"]).await;
        assert!(peak.log <= MOST_LOG && peak.publisher <= MOST_PUBLISHER, "{peak:?}");
        for (before, follower) in before.into_iter().zip(&mut cluster.followers[..2]) {
            let name = follower.name().to_owned();
            assert_eq!(follower.count(&burst).await.unwrap(), 0, "{name}: old copies");
            assert_eq!(follower.count(&kept).await.unwrap(), kept.count, "{name}: kept copies");
            let grown = follower.rss().await.unwrap().saturating_sub(before);
            assert!(grown <= MOST_FOLLOWER, "{name} has grown by {grown} bytes");
        }

        if given_up {
            cluster.c_is_given_up().await;
        }
        cluster.resume(2);
        cluster.applied_by(&["a", "b", "c"]).await;
        assert_eq!(cluster.served(&burst).await, [0; 3], "old copies");
        // Not by a reset: what no flush has named is served by all, the stopped one included.
        assert_eq!(cluster.served(&kept).await, [kept.count; 3], "kept copies");
    }
}
