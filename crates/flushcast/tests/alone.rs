//! A node that knows nobody: being alone is a proof of sync like any other, renewed while something
//! drives the node, and over when nothing does.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::time::{Duration, Instant};

use cluster::{BOUND, PATIENCE, bounded, load, on_loopback, until};
use flushcast::discovery::{Dns, Fixed};
use flushcast::{Node, NodeBuilder};
use tokio::runtime::Builder;

fn builder(name: &str) -> NodeBuilder {
    Node::builder("test").name(name).listen(on_loopback(0)).confirm_within(BOUND)
}

/// Serves a copy for longer than the bound, as it is in sync all the time.
async fn assert_serves_beyond_the_bound(node: &Node) {
    let cache = bounded(node);
    let start = Instant::now();
    load(&cache, "kept", 1).await;
    while start.elapsed() < BOUND * 2 {
        let served = cache.get("kept");
        let (age, in_sync) = (start.elapsed(), node.in_sync());
        assert_eq!((in_sync, served), (true, Some(1)), "{age:?} old, with {:?}", node.discovery());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_discovery_serves_its_copies_beyond_the_bound() {
    let node = builder("alone").start().await.unwrap();
    assert_serves_beyond_the_bound(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lists_nobody_serves_its_copies_beyond_the_bound() {
    let node = builder("alone").discovery(Fixed::new([] as [&str; 0])).start().await.unwrap();
    assert_serves_beyond_the_bound(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_name_does_not_resolve_serves_its_copies_beyond_the_bound() {
    // RFC 6761 keeps this domain from ever resolving.
    let node = builder("alone").discovery(Dns::new("flushcast.invalid", 7400));
    assert_serves_beyond_the_bound(&node.start().await.unwrap()).await;
}

#[test]
fn a_node_that_was_alone_and_is_not_driven_serves_nothing_older_than_the_bound() {
    // Runs the node only while it is polled, which it is not from here on.
    let stalled = Builder::new_current_thread().enable_all().build().unwrap();
    let (alone, copies) = stalled.block_on(async {
        // Its source has told that there is nobody else.
        let nobody = Fixed::new([] as [&str; 0]);
        let node = builder("alone").discovery(nobody).start().await.unwrap();
        let cache = bounded(&node);
        // Long enough for whatever a start brings to be over.
        tokio::time::sleep(BOUND).await;
        load(&cache, "k", 1).await;
        (node, cache)
    });
    assert_eq!(copies.get("k"), Some(1));

    let driven = Builder::new_multi_thread().enable_all().build().unwrap();
    let _joiner = driven.block_on(async {
        let list = Fixed::new([alone.local_address()]);
        let joiner = builder("joiner").discovery(list).start().await.unwrap();
        // Nobody answers it; it is heard of later, if at all.
        drop(bounded(&joiner).flush("k"));
        let flushed = Instant::now();
        // The promise: no read that starts later than the bound after the flush.
        while flushed.elapsed() <= BOUND {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (served, age) = (copies.get("k"), flushed.elapsed());
        assert_eq!(
            served,
            None,
            "served {age:?} after it was flushed, in sync: {}",
            alone.in_sync()
        );
        joiner
    });

    // It works again once it is driven, and is told of the flush.
    let heard = async {
        until(&alone, |peers| peers.iter().any(|peer| peer.applied.0 > 0)).await;
        until(&alone, |_| alone.in_sync()).await;
        assert_eq!(copies.get("k"), None);
    };
    stalled.block_on(async { tokio::time::timeout(PATIENCE, heard).await.unwrap() });
}
