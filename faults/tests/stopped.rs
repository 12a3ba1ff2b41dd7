//! A process is stopped, as a debugger or a paused machine would, and runs again.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod cluster;

use std::time::Duration;

use cluster::{Cluster, Discovery, KEYS, loopback};
use flushcast_faults::words::Command;
use tokio::time::{Instant, sleep, sleep_until};

/// The key that is changed, and read without a rest: the first read after the stop is to come
/// before anything that waits in a socket.
const KEY: u64 = 0;
/// How long the process stands still.
const LASTS: Duration = Duration::from_secs(8);
/// For readers to look at what came of it.
const A_WHILE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_node_that_was_stopped_does_not_take_what_it_holds_for_new() {
    let addresses = loopback(3);
    let mut cluster = Cluster::new(None, Discovery::Fixed(addresses.clone()));
    for address in addresses {
        cluster.start(address, &[]).await;
    }
    cluster.warm().await;
    cluster.read_all_the_time(0..10).await;
    let hot = Command::StartReader { keys: KEY..KEY + 1, pause: Duration::ZERO };
    cluster.nodes[1].order(hot).await.unwrap();

    cluster.nodes[1].stop().await.unwrap();
    let runs_again = Instant::now() + LASTS;
    let [writer, stopped] = cluster.two(0, 1);
    let resume = async {
        sleep_until(runs_again).await;
        stopped.resume().unwrap();
    };
    let (change, ()) = tokio::join!(writer.change(KEY), resume);
    let change = change.unwrap();
    sleep(A_WHILE).await;

    cluster.in_sync(0, 2).await;
    let claims = cluster.claims().await;
    claims.assert_kept(&change);
    claims.assert_read_since(&change);
    for node in &mut cluster.nodes {
        for (cache, versions) in node.read(KEYS).await.unwrap() {
            assert_eq!(versions[&KEY], change.version, "{} {cache:?}", node.name());
        }
    }
}
