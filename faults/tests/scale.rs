//! A cluster grows from three nodes to ten and shrinks back, while all of them are read.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod cluster;

use std::time::Duration;

use cluster::claims::Claims;
use cluster::{Cluster, Discovery, KEYS, loopback};
use flushcast_faults::process::Process;
use flushcast_faults::words::{Change, Command, Guarded};

const FEW: usize = 3;
const MANY: u8 = 10;
/// Keys from here on are never changed.
const UNCHANGED: u64 = 50;
/// How long a load takes: long enough for others to want the same.
const LOAD: Duration = Duration::from_millis(5);

#[tokio::test]
async fn old_nodes_keep_their_copies_and_nobody_serves_old_ones() {
    let mut cluster = Cluster::new(None, Discovery::Members);
    let (mut changes, mut gone) = (Vec::new(), Claims::default());
    for address in loopback(MANY) {
        cluster.start(address, &[]).await;
        cluster.list(address);
        cluster.linked().await;
        let node = cluster.nodes.last_mut().unwrap();
        node.order(Command::Slow { by: LOAD }).await.unwrap();
        // Two at a time, which want the same keys.
        for _ in 0..2 {
            let reader = Command::StartReader { keys: KEYS, pause: cluster::PAUSE };
            node.order(reader).await.unwrap();
        }
        changes.push(change(&mut cluster).await);
    }
    while cluster.nodes.len() > FEW {
        let mut node = cluster.nodes.pop().unwrap();
        let history = node.history().await.unwrap();
        gone.add(node.name(), history);
        assert_loaded_once(&mut node).await;
        node.order(Command::Stop).await.unwrap();
        cluster.unlist(node.address());
        cluster.linked().await;
        changes.push(change(&mut cluster).await);
    }
    tokio::time::sleep(flushcast_faults::words::BOUND * 2).await;

    let claims = cluster.claims().await;
    for change in &changes {
        claims.assert_bounded(change);
        claims.assert_read_since(change);
        gone.assert_bounded(change);
    }
    for node in &mut cluster.nodes {
        assert_loaded_once(node).await;
    }
}

/// Another node changes another key, which then has a copy everywhere again.
async fn change(cluster: &mut Cluster) -> Change {
    // So that nobody loads the new version before it is flushed, and then once more.
    for node in &mut cluster.nodes {
        node.read(KEYS).await.unwrap();
    }
    let count = cluster.nodes.len();
    let change = cluster.nodes[count / 2].change(count as u64).await.unwrap();
    let outcome = change.flushes[&Guarded::Eventual].came_to.as_ref().unwrap();
    assert_eq!(outcome.applied.len(), count - 1, "{change:#?}");
    change
}

/// Each version of each key was loaded once, however many wanted it and whoever came and went.
async fn assert_loaded_once(node: &mut Process) {
    let was_cut_off = node.happened().await.unwrap().cut_off > 0;
    for (cache, keys) in node.loads().await.unwrap() {
        // What nobody proves to be new any more has to be loaded again.
        if cache == Guarded::Bounded && was_cut_off {
            continue;
        }
        for (key, versions) in keys {
            let once = versions.values().all(|&loads| loads == 1);
            let never_flushed = key < UNCHANGED || versions.len() == 1;
            assert!(once && never_flushed, "{} {cache:?} {key}: {versions:?}", node.name());
        }
    }
}
