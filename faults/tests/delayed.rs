//! Everything that travels between two nodes takes longer than the bound, and nothing is lost.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod cluster;

use std::time::Duration;

use cluster::{Cluster, Discovery, loopback};
use flushcast_faults::proxy::DelayProxy;
use flushcast_faults::words::BOUND;
use tokio::time::sleep;

const KEY: u64 = 7;
/// Each way: a flush arrives after the bound, and an answer tells of what is past. There and back
/// it is less than what counts as silence.
const DELAY: Duration = Duration::from_millis(2_300);
/// For readers to look at what came of it.
const A_WHILE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn answers_that_come_late_prove_nothing_about_now() {
    let listen = loopback(2);
    let mut proxies = Vec::new();
    for (&proxy, &node) in loopback(2).iter().zip(&listen) {
        proxies.push(DelayProxy::start(proxy, node).await.unwrap());
    }
    let addresses: Vec<_> = proxies.iter().map(DelayProxy::address).collect();
    let mut cluster = Cluster::new(None, Discovery::Fixed(addresses.clone()));
    for (listen, address) in listen.into_iter().zip(addresses) {
        cluster.start(listen, &["--advertise", &address.to_string()]).await;
    }
    cluster.warm().await;
    cluster.read_all_the_time(0..10).await;

    // In two steps, each until answers have travelled for so long: one would look like silence.
    for delay in [DELAY / 2, DELAY] {
        proxies.iter().for_each(|proxy| proxy.delay_by(delay));
        sleep(DELAY * 2).await;
    }
    let change = cluster.nodes[0].change(KEY).await.unwrap();
    sleep(A_WHILE).await;
    let claims = cluster.claims().await;
    claims.assert_kept(&change);
    claims.assert_read_since(&change);
    assert!(claims.served_old_for("n1", &change) > BOUND, "the flush came through at once");
}
