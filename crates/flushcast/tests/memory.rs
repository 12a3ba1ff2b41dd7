//! What a cache, and a node, give back when nobody asks for it.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use flushcast::discovery::Fixed;
use flushcast::{Node, RemovalCause};

async fn node() -> Node {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let alone = Fixed::new([""; 0]);
    Node::builder("memory").listen(address).discovery(alone).start().await.unwrap()
}

/// The task of the node never runs again: this is its only thread.
#[tokio::test]
async fn a_node_that_is_dropped_without_a_goodbye_frees_its_port_at_once() {
    let node = node().await;
    let address = node.local_address();
    assert!(std::net::TcpListener::bind(address).is_err(), "it listens");
    drop(node);
    std::net::TcpListener::bind(address).unwrap();
}

/// The node's pauses pass at once, while copies expire by the clock of the machine.
#[tokio::test(start_paused = true)]
async fn copies_that_nobody_asks_for_are_swept_out_once_they_have_expired_and_the_listener_is_told()
{
    let node = node().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let cache = node.cache::<u64, u64>("swept").time_to_live(Duration::from_millis(20));
    let listener = move |&key: &u64, _: &u64, cause| tell.lock().unwrap().push((key, cause));
    let cache = cache.on_removal(listener).build().unwrap();
    let kept = node.cache("kept").time_to_live(Duration::from_millis(20)).sweep(false);
    let kept = kept.build().unwrap();
    for key in 0..1000_u64 {
        cache.insert(&key, key).unwrap();
        kept.insert(&key, key).unwrap();
    }
    while !cache.is_empty() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut told = std::mem::take(&mut *told.lock().unwrap());
    told.sort_unstable_by_key(|&(key, _)| key);
    assert_eq!(told, (0..1000).map(|key| (key, RemovalCause::Expired)).collect::<Vec<_>>());
    assert_eq!(kept.len(), 1000, "it is not swept");
    kept.evict_expired();
    assert_eq!(kept.len(), 0);
}

#[tokio::test]
async fn a_value_that_is_too_heavy_is_counted_and_the_listener_is_told() {
    let node = node().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let cache = node.cache::<u64, u64>("heavy").capacity(1_000_000).weigher(|_, &value| value);
    let listener = move |&key: &u64, _: &u64, cause| tell.lock().unwrap().push((key, cause));
    let cache = cache.on_removal(listener).build().unwrap();
    (0..1000).for_each(|key| cache.insert(&key, 100).unwrap());
    cache.insert(&1000, 1_000_001).unwrap();
    assert_eq!(std::mem::take(&mut *told.lock().unwrap()), [(1000, RemovalCause::TooHeavy)]);
    assert_eq!((cache.stats().too_heavy, cache.stats().evictions, cache.len()), (1, 0, 1000));
    cache.insert(&1001, 950_000).unwrap();
    assert_eq!(cache.get(&1001), Some(950_000), "most of the capacity");
    assert_eq!((cache.stats().evictions, cache.weight()), (500, 1_000_000));
}
