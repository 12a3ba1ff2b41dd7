//! Two nodes behind a router that lets both out by one address, and lets nobody in.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod cluster;

use std::net::SocketAddr;
use std::time::Duration;

use cluster::{Cluster, Discovery, network};
use flushcast_faults::words::{Change, Guarded, Standing};
use tokio::time::sleep;

/// Behind the router.
const INSIDE: [usize; 2] = [1, 2];
const ROUTER: usize = 3;
/// How long links are watched that should not be lost: longer than the bound.
const WATCHED: Duration = Duration::from_secs(4);

#[tokio::test]
async fn two_nodes_on_the_default_address_behind_one_router_both_take_part() {
    let Some(network) = network(4) else { return };
    network.behind_one_address(ROUTER, &INSIDE).unwrap();
    let outside = network.address(0);
    let mut cluster = Cluster::new(Some(network), Discovery::Members);
    cluster.list(outside);
    cluster.start(outside, &[]).await;
    let default = SocketAddr::from(([0, 0, 0, 0], 7400));
    for _ in INSIDE {
        cluster.start(default, &[]).await;
    }
    let is_linked = |name: &str, standing: &Standing| {
        let others = if name == "n0" { INSIDE.len() } else { 1 };
        standing.peers.iter().filter(|peer| peer.linked).count() == others
    };
    cluster.stand(0, is_linked).await;
    sleep(WATCHED).await;
    cluster.stand(0, |name, standing| standing.in_sync && is_linked(name, standing)).await;
    for node in &mut cluster.nodes {
        let happened = node.happened().await.unwrap();
        assert_eq!(happened.lost, 0, "{}: {happened:?}", node.name());
    }

    let change = cluster.nodes[0].change(1).await.unwrap();
    assert_eq!(applied(&change), ["n1", "n2"]);
    for node in INSIDE {
        let change = cluster.nodes[node].change(2).await.unwrap();
        assert!(applied(&change).contains(&"n0".to_owned()), "{change:?}");
    }
}

fn applied(change: &Change) -> Vec<String> {
    let outcome = change.flushes[&Guarded::Bounded].came_to.as_ref().unwrap();
    assert!(outcome.unconfirmed.is_empty(), "{change:?}");
    outcome.applied.clone()
}
