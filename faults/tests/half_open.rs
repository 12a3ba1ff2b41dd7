//! Packets between two of three nodes get lost, both ways or one way, and no connection breaks.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod cluster;

use std::collections::BTreeSet;
use std::time::Duration;

use cluster::claims::copies_lost;
use cluster::{Cluster, KEYS, PAUSE, network};
use flushcast_faults::namespaces::{Namespaces, NetworkError};
use flushcast_faults::words::{BOUND, Guarded};
use tokio::time::{Instant, sleep, sleep_until};

/// Read all the time. The others are left alone until the nodes have healed.
const READ: std::ops::Range<u64> = 0..50;
/// Changed by one of the two nodes each, while they are cut off from each other.
const HERE: u64 = 7;
const THERE: u64 = 8;
/// From the cut to the changes: shorter than a renewal of the proof of sync.
const SHORTLY: Duration = Duration::from_millis(200);
/// Enough reads to tell whether copies are served.
const A_WHILE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn nothing_gets_through_for_a_minute() {
    let both = |network: &Namespaces| network.cut(0, 1);
    cut_and_heal(both, Duration::from_secs(60), [true, true]).await;
}

#[tokio::test]
async fn nothing_gets_there() {
    let there = |network: &Namespaces| network.cut_one_way(0, 1);
    cut_and_heal(there, Duration::from_secs(10), [true, false]).await;
}

#[tokio::test]
async fn nothing_comes_back() {
    let back = |network: &Namespaces| network.cut_one_way(1, 0);
    cut_and_heal(back, Duration::from_secs(10), [false, true]).await;
}

/// `misses` tells of which of the two changes the other node cannot hear.
async fn cut_and_heal(
    cut: impl Fn(&Namespaces) -> Result<(), NetworkError>,
    lasts: Duration,
    misses: [bool; 2],
) {
    let Some(network) = network(3) else { return };
    let mut cluster = Cluster::in_network(network, 3, &[]).await;
    let warm = cluster.loads().await;
    cluster.read_all_the_time(READ).await;
    cut(cluster.network()).unwrap();
    let healed = Instant::now() + lasts;
    sleep(SHORTLY).await;
    let [here, there] = cluster.two(0, 1);
    let (here, there) = tokio::join!(here.change(HERE), there.change(THERE));
    let (here, there) = (here.unwrap(), there.unwrap());
    sleep_until(healed).await;

    let claims = cluster.claims().await;
    for (change, other) in [(&here, "n1"), (&there, "n0")] {
        claims.assert_kept(change);
        claims.assert_read_since(change);
        let strict = change.flushes[&Guarded::Strict].came_to.as_ref().unwrap();
        assert_eq!((&*strict.applied, &*strict.fenced), (&["n2".into()][..], &[other.into()][..]));
    }
    // The cut was one: without a promise, what is old was served until the end of it.
    let old = [claims.served_old_for("n1", &here), claims.served_old_for("n0", &there)];
    assert_eq!(old.map(|old| old > BOUND * 2), misses, "{old:?}");
    for (node, from) in [(0, &["n1"][..]), (1, &["n0"]), (2, &[])] {
        let standing = cluster.nodes[node].standing().await.unwrap();
        assert_eq!(standing.cut_off, from, "n{node}: {standing:?}");
        assert_eq!(standing.in_sync, from.is_empty(), "n{node}: {standing:?}");
    }

    cluster.network().heal().unwrap();
    cluster.in_sync(0, 2).await;
    // Loads that began before are counted by then.
    sleep(PAUSE * 5).await;
    let before = cluster.loads().await;
    for node in &mut cluster.nodes {
        for (cache, versions) in node.read(KEYS).await.unwrap() {
            let new = [versions[&HERE], versions[&THERE]];
            assert_eq!(new, [here.version, there.version], "{} {cache:?}", node.name());
        }
    }
    sleep(A_WHILE).await;
    let after = cluster.loads().await;
    let named = |key| [HERE, THERE].contains(&key);
    let mut replays = 0;
    for (node, loads) in after.iter().enumerate() {
        let lost = copies_lost(&before[node], loads, |_, key| named(key));
        assert_eq!(lost, [], "n{node} has loaded anew what no flush has named");
        let unproven = |cache, key| cache != Guarded::Eventual || named(key);
        let lost = copies_lost(&warm[node], loads, unproven);
        assert_eq!(lost, [], "n{node} has lost copies that need no proof");
        // Replay alone has healed it, and on nobody else: whether the link broke, or whoever still
        // heard the other has held on to it.
        let happened = cluster.nodes[node].happened().await.unwrap();
        assert_eq!((happened.distrusted, happened.uncounted), (0, 0), "n{node}: {happened:?}");
        let healed = happened.healed.iter().filter(|healed| !healed.reset);
        let healed: BTreeSet<_> = healed.map(|healed| healed.node.as_str()).collect();
        let cut_off = [&["n1"][..], &["n0"], &[]][node];
        assert_eq!(healed, cut_off.iter().copied().collect(), "n{node}: {happened:?}");
        replays += happened.healed.len();
    }
    assert!(replays > 0, "nobody has noticed the cut");
    let claims = cluster.claims().await;
    for change in [&here, &there] {
        claims.assert_kept(change);
    }
}
