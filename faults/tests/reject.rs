//! A firewall refuses in the name of two living nodes: for both it looks as if the other were dead.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod cluster;

use std::time::Duration;

use cluster::{Cluster, KEYS, network};
use flushcast_faults::words::BOUND;
use tokio::time::{Instant, sleep_until};

const HERE: u64 = 7;
const THERE: u64 = 8;
/// How long it refuses.
const LASTS: Duration = Duration::from_secs(10);

#[tokio::test]
async fn refusals_that_are_not_trusted_prove_nothing() {
    let Some(network) = network(2) else { return };
    let mut cluster = Cluster::in_network(network, 2, &["--distrust-refusals"]).await;
    cluster.read_all_the_time(0..10).await;

    cluster.network().reject(0, 1).unwrap();
    let healed = Instant::now() + LASTS;
    let [here, there] = cluster.two(0, 1);
    let (here, there) = tokio::join!(here.change(HERE), there.change(THERE));
    let (here, there) = (here.unwrap(), there.unwrap());
    sleep_until(healed).await;

    let claims = cluster.claims().await;
    for change in [&here, &there] {
        claims.assert_kept(change);
        claims.assert_read_since(change);
    }
    let old = [claims.served_old_for("n1", &here), claims.served_old_for("n0", &there)];
    assert!(old.iter().all(|&old| old > BOUND * 2), "nothing was refused: {old:?}");

    cluster.network().heal().unwrap();
    cluster.in_sync(0, 1).await;
    for node in &mut cluster.nodes {
        for (cache, versions) in node.read(KEYS).await.unwrap() {
            let new = [versions[&HERE], versions[&THERE]];
            assert_eq!(new, [here.version, there.version], "{} {cache:?}", node.name());
        }
    }
}
