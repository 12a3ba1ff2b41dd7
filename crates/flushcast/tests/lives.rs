//! Nodes that leave, die and come back: what others hold and prove does not suffer by it.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cluster::strangers::BlackHole;
use cluster::told::Told;
use cluster::{BOUND, PATIENCE, bounded, free, in_sync_beyond_the_bound, load, until};
use flushcast::discovery::Fixed;
use flushcast::{Cache, Guarantee, LinkState, Node, Peer, StartError};

/// Starts a node there, once a former life has let go of the address.
async fn start(name: &str, listen: SocketAddr, list: &[SocketAddr]) -> Node {
    let start = async {
        loop {
            let node = Node::builder("test").name(name).listen(listen).confirm_within(PATIENCE);
            match node.discovery(Fixed::new(list)).start().await {
                Ok(node) => return node,
                Err(StartError::Listen { .. }) => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
            }
        }
    };
    let started = tokio::time::timeout(PATIENCE, start).await;
    started.unwrap_or_else(|_| panic!("{listen} is not free"))
}

async fn linked_with(node: &Node, names: &[&str]) {
    let is_linked = |peers: &[Peer], name: &str| {
        peers.iter().any(|peer| peer.is_linked() && peer.name.as_deref() == Some(name))
    };
    until(node, |peers| names.iter().all(|name| is_linked(peers, name))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_said_goodbye_and_went_silent_keep_no_new_life_from_counting() {
    let list: [_; 4] = free();
    let [at, first, second, restarted] = list;
    let lister = start("lister", at, &list).await;
    let leavers = [start("first", first, &list).await, start("second", second, &list).await];
    let former = start("restarted", restarted, &list).await;
    linked_with(&lister, &["first", "second", "restarted"]).await;
    in_sync_beyond_the_bound(&[&lister]).await;

    for node in &leavers {
        node.shutdown().await.unwrap();
    }
    // Refused for a while, as long as their machine is on.
    let refused = |peer: &Peer| {
        let trouble = format!("{:?}", peer.following);
        ![first, second].contains(&peer.address) || trouble.contains("nobody listens")
    };
    until(&lister, |peers| peers.iter().all(refused)).await;
    let _off = [BlackHole::at(first).await, BlackHole::at(second).await];

    drop(former);
    let again = start("restarted", restarted, &list).await;
    linked_with(&lister, &["restarted"]).await;
    let copies = bounded(&lister);
    load(&copies, "kept", 1).await;
    in_sync_beyond_the_bound(&[&lister]).await;
    let peers = lister.peers();
    let peer = peers.iter().find(|peer| peer.address == restarted).unwrap();
    assert_eq!(peer.following, LinkState::Open);
    assert!(peer.in_step < BOUND, "{peer:#?}");
    assert_eq!(copies.get("kept"), Some(1));
    let flushed = bounded(&again);
    assert!(flushed.flush("kept").await.unwrap().applied_by().contains(&"lister"));
    assert_eq!(copies.get("kept"), None);
}

/// More than the lives that are over which anybody remembers.
const RESTARTS: usize = 270;

fn eventual(node: &Node) -> Cache<String, u64> {
    node.cache("numbers").guarantee(Guarantee::Eventual).build().unwrap()
}

/// Waits until what was granted at `place` since `restarted` counts at `node`: those who were there
/// before are settled.
async fn counts(node: &Node, place: SocketAddr, restarted: Instant) {
    let is_proven = |peer: &Peer| peer.address == place && peer.in_step < restarted.elapsed();
    let proven = async {
        while !node.peers().iter().any(is_proven) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let proven = tokio::time::timeout(PATIENCE, proven).await;
    proven.unwrap_or_else(|_| panic!("{}: still {:#?}", node.name(), node.peers()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_and_restarted_hundreds_of_times_costs_nobody_a_copy() {
    let list: [_; 3] = free();
    let [first, second] =
        [start("first", list[0], &list).await, start("second", list[1], &list).await];
    linked_with(&first, &["second"]).await;
    let survivors = [&first, &second];
    let (told, caches) = (survivors.map(Told::by), survivors.map(eventual));
    let kept: Vec<_> = (0..100).map(|number| format!("kept {number}")).collect();
    for restart in 0..RESTARTS {
        let restarted = Instant::now();
        let node = start("restarted", list[2], &list).await;
        linked_with(&node, &["first", "second"]).await;
        let key = format!("flushed {restart}");
        for cache in &caches {
            load(cache, &key, 1).await;
        }
        let outcome = eventual(&node).flush(key.as_str()).await.unwrap();
        assert_eq!(outcome.applied_by(), ["first", "second"], "restart {restart}");
        for survivor in survivors {
            counts(survivor, list[2], restarted).await;
        }
        for ((node, cache), told) in survivors.iter().zip(&caches).zip(&told) {
            assert_eq!(cache.get(key.as_str()), None);
            let held = kept.iter().filter(|key| cache.get(key.as_str()).is_some()).count();
            // The first life may find that something was missed before it.
            let all = if restart == 0 { held } else { kept.len() };
            assert_eq!(held, all, "{}, restart {restart}: {}", node.name(), told.text());
        }
        if restart == 0 {
            for cache in &caches {
                for key in &kept {
                    load(cache, key, 1).await;
                }
            }
        }
    }
}
