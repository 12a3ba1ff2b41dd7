//! A node whose cable is pulled: what it serves, what the others are told, and what heals it.
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod cluster;

use std::time::Duration;

use cluster::{Cluster, PATIENCE, load, until};
use flushcast::{Cache, Event, Guarantee, Node, Reason};

fn bounded(node: &Node) -> Cache<String, u64> {
    let guarantee = Guarantee::Bounded(Guarantee::SMALLEST_BOUND);
    node.cache("bounded").guarantee(guarantee).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_node_is_bounded_and_heals_by_replay() {
    let mut cluster = Cluster::new();
    for _ in 0..3 {
        cluster.join_with(|builder| builder.confirm_within(Duration::from_millis(300))).await;
    }
    cluster.all_linked().await;
    let caches: Vec<_> = cluster.nodes.iter().map(bounded).collect();
    let (cut, read) = (&cluster.nodes[2], &caches[2]);
    until(cut, |_| cut.in_sync()).await;
    load(read, "flushed", 1).await;
    load(read, "kept", 1).await;
    let mut events = cut.events();

    cut.cut();
    let outcome = caches[0].flush("flushed").await.unwrap();
    assert_eq!(outcome.applied_by(), ["n1"]);
    assert_eq!(outcome.unconfirmed[0].reason, Reason::Silent, "nobody is told of a cut");
    // Both sides of it notice, and nothing old is served.
    for node in &cluster.nodes {
        until(node, |_| !node.in_sync()).await;
    }
    let gone = async {
        while read.get("kept").is_some() || read.get("flushed").is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("served beyond the bound");
    assert_eq!(cut.cut_off().len(), 2);
    // Long enough for every link to be given up.
    until(cut, |peers| peers.iter().all(|peer| !peer.is_linked())).await;

    cut.heal();
    cluster.all_linked().await;
    for node in &cluster.nodes {
        until(node, |_| node.in_sync()).await;
    }
    assert_eq!(read.get("kept"), Some(1), "nobody flushed it: it is served again");
    assert_eq!(read.get("flushed"), None);
    let mut replayed = 0;
    loop {
        match events.next().await.unwrap() {
            Event::Healed { replayed: count, reset: false, .. } => replayed += count,
            Event::InSync { .. } => break,
            Event::Reset { .. } | Event::Healed { .. } => panic!("nothing had to be wiped"),
            _ => {}
        }
    }
    assert_eq!(replayed, 1);
    assert_eq!(caches[2].flush("flushed").await.unwrap().applied_by(), ["n0", "n1"]);
}
