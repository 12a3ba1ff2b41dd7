//! A firewall refuses in the name of two living nodes: for both it looks as if the other were dead.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod cluster;

use std::time::Duration;

use cluster::{Cluster, KEYS, network};
use flushcast_faults::words::{BOUND, Change, Guarded};
use tokio::time::{Instant, sleep_until};

const HERE: u64 = 7;
const THERE: u64 = 8;
/// How long it refuses.
const LASTS: Duration = Duration::from_secs(10);

#[tokio::test]
async fn refusals_that_are_not_trusted_prove_nothing() {
    let Some((mut cluster, changes)) = refuse_and_change(&["--distrust-refusals"]).await else {
        return;
    };
    let claims = cluster.claims().await;
    for (change, other) in &changes {
        claims.assert_kept(change);
        claims.assert_read_since(change);
        let old = claims.served_old_for(other, change);
        assert!(old > BOUND * 2, "nothing was refused: {old:?}");
    }

    cluster.network().heal().unwrap();
    cluster.in_sync(0, 1).await;
    for node in &mut cluster.nodes {
        for (cache, versions) in node.read(KEYS).await.unwrap() {
            for (change, _) in &changes {
                assert_eq!(versions[&change.key], change.version, "{} {cache:?}", node.name());
            }
        }
    }
}

/// The condition of the promises, shown as it fails: such a firewall looks like a death, and what
/// is believed to be dead is not waited for. It shows too that the other test is one.
#[tokio::test]
async fn refusals_that_are_trusted_are_taken_for_a_death() {
    let Some((mut cluster, changes)) = refuse_and_change(&[]).await else { return };
    let claims = cluster.claims().await;
    for (change, other) in &changes {
        let old = claims.served_old_in(Guarded::Bounded, other, change);
        assert!(old > BOUND * 2, "{other} has not believed the refusals: {old:?}");
    }
}

/// Has both nodes refused for some time, with a change by each; gives back each change with the
/// name of the other node.
async fn refuse_and_change(arguments: &[&str]) -> Option<(Cluster, [(Change, &'static str); 2])> {
    let mut cluster = Cluster::in_network(network(2)?, 2, arguments).await;
    cluster.read_all_the_time(0..10).await;
    cluster.network().reject(0, 1).unwrap();
    let until = Instant::now() + LASTS;
    let [here, there] = cluster.two(0, 1);
    let (here, there) = tokio::join!(here.change(HERE), there.change(THERE));
    sleep_until(until).await;
    Some((cluster, [(here.unwrap(), "n1"), (there.unwrap(), "n0")]))
}
