//! What caches promise, over real sockets: copies beyond the bound are not served, a strict flush
//! is confirmed by all or says by whom not, and what cannot be promised is refused.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::net::SocketAddr;
use std::time::Duration;

use cluster::relay::Relay;
use cluster::{PATIENCE, free, load, numbers, until};
use flushcast::discovery::{Dns, Fixed};
use flushcast::{Cache, CacheError, Event, FlushError, Guarantee, Node, NodeBuilder, NotStrict};

const SHORTEST: Guarantee = Guarantee::Bounded(Guarantee::SMALLEST_BOUND);

fn cache(node: &Node, guarantee: Guarantee) -> Result<Cache<String, u64>, CacheError> {
    node.cache("numbers").guarantee(guarantee).build()
}

fn builder(name: &str, listen: SocketAddr) -> NodeBuilder {
    Node::builder("test").name(name).listen(listen).confirm_within(PATIENCE)
}

async fn start(name: &str, listen: SocketAddr, list: &[SocketAddr]) -> Node {
    builder(name, listen).discovery(Fixed::new(list)).start().await.unwrap()
}

async fn linked(node: &Node) {
    until(node, |peers| peers.iter().all(flushcast::Peer::is_linked)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_not_served_beyond_the_bound_while_cut_off_and_again_once_healed() {
    let [near, far] = free();
    // What `reader` hears of `writer` goes over the relay: that one dials nobody itself.
    let relay = Relay::to(far).await;
    let writer = builder("writer", far).advertise(relay.address);
    let writer = writer.start().await.unwrap();
    let reader = start("reader", near, &[relay.address]).await;
    let written = cache(&writer, SHORTEST).unwrap();
    let read = cache(&reader, SHORTEST).unwrap();
    // Linked is not yet in sync: who was there before has to be settled.
    until(&reader, |peers| peers.iter().any(flushcast::Peer::is_linked)).await;
    until(&reader, |_| reader.in_sync()).await;
    load(&read, "kept", 1).await;
    load(&read, "flushed", 1).await;

    let mut events = reader.events();
    relay.silence(true);
    let flush = written.flush("flushed");
    until(&reader, |_| !reader.in_sync()).await;
    let cut_off = reader.cut_off();
    assert!(cut_off.iter().all(|it| it.since >= Guarantee::SMALLEST_BOUND / 2), "{cut_off:?}");
    assert!(!cut_off.is_empty());
    // The clock of reads is coarse: what the node calls over may be served a moment longer, within
    // the bound.
    let gone = async {
        while read.get("kept").is_some() || read.get("flushed").is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("served beyond the bound");

    relay.silence(false);
    assert!(flush.await.unwrap().is_complete());
    until(&reader, |_| reader.in_sync()).await;
    assert_eq!(read.get("kept"), Some(1), "nobody flushed it: it is served again");
    assert_eq!(read.get("flushed"), None);
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(Event::InSync { .. })) {
        seen.push(events.next().await.unwrap());
    }
    assert!(seen.iter().any(|event| matches!(event, Event::CutOff { .. })), "{seen:?}");
    assert!(!seen.iter().any(|event| matches!(event, Event::Reset { .. })), "{seen:?}");
}

/// Three nodes with a strict cache each, in sync, that hold a copy; a flush is confirmed by all, the
/// last node is killed, and the next flush is confirmed by one and not waited for by the other.
async fn kill_the_last(
    list: [SocketAddr; 3],
    change: impl Fn(NodeBuilder) -> NodeBuilder,
) -> (Vec<Node>, Vec<Cache<String, u64>>) {
    let mut nodes = Vec::new();
    for (number, &address) in list.iter().enumerate() {
        let builder = change(builder(&format!("n{number}"), address));
        nodes.push(builder.discovery(Fixed::new(list)).start().await.unwrap());
    }
    let mut caches: Vec<_> =
        nodes.iter().map(|node| cache(node, Guarantee::Strict).unwrap()).collect();
    for node in &nodes {
        linked(node).await;
        until(node, |_| node.in_sync()).await;
    }
    for cache in &caches {
        load(cache, "k", 1).await;
        assert_eq!(cache.get("k"), Some(1));
    }
    let outcome = caches[0].flush("k").await.unwrap();
    assert_eq!(outcome.applied_by(), ["n1", "n2"]);
    assert!(caches.iter().all(|cache| cache.get("k").is_none()));

    drop((nodes.pop(), caches.pop()));
    let outcome = caches[0].flush("k").await.unwrap();
    assert_eq!((outcome.applied_by(), &*outcome.fenced), (vec!["n1"], &["n2".to_owned()][..]));
    (nodes, caches)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_flush_is_confirmed_by_all_and_a_killed_node_is_fenced() {
    let (nodes, caches) = kill_the_last(free(), |builder| builder.trust_refusals(true)).await;
    // Refused dials are proofs, once the two have asked each other.
    for (node, cache) in nodes.iter().zip(&caches) {
        until(node, |_| node.in_sync()).await;
        load(cache, "k", 2).await;
        assert_eq!(cache.get("k"), Some(2), "{:?}", node.cut_off());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_prove_nothing_for_strict_caches_by_default_until_the_killed_node_is_back() {
    let list: [_; 3] = free();
    let (nodes, caches) = kill_the_last(list, |builder| builder).await;
    for (node, cache) in nodes.iter().zip(&caches) {
        until(node, |_| !node.in_sync()).await;
        let cut_off = node.cut_off();
        assert_eq!(cut_off.iter().map(|it| it.node.as_str()).collect::<Vec<_>>(), ["n2"]);
        load(cache, "k", 2).await;
        assert_eq!(cache.get("k"), None, "refusals are trusted: {:#?}", node.peers());
    }
    // A bounded cache beside it goes on.
    let bounded: Cache<String, u64> =
        nodes[0].cache("bounded").guarantee(SHORTEST).build().unwrap();
    load(&bounded, "k", 1).await;
    tokio::time::sleep(Guarantee::SMALLEST_BOUND * 2).await;
    assert_eq!(bounded.get("k"), Some(1), "{:#?}", nodes[0].peers());

    let again = start("n2", list[2], &list).await;
    let copies = cache(&again, Guarantee::Strict).unwrap();
    for (node, cache) in nodes.iter().zip(&caches) {
        until(node, |_| node.in_sync()).await;
        load(cache, "k", 3).await;
        assert_eq!(cache.get("k"), Some(3), "{:#?}", node.peers());
    }
    let outcome = copies.flush("k").await.unwrap();
    assert_eq!(outcome.applied_by(), ["n0", "n1"], "{outcome}");
    assert!(caches.iter().all(|cache| cache.get("k").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_promised_is_refused_with_the_reason() {
    let [own, other] = free();
    let node = start("n", own, &[own, other]).await;
    let short = Guarantee::Bounded(Duration::from_millis(10));
    let refused = cache(&node, short).unwrap_err();
    assert!(matches!(refused, CacheError::BoundTooShort { .. }), "{refused}");
    assert!(refused.to_string().contains("the smallest is 1s"), "{refused}");
    cache(&node, Guarantee::Strict).unwrap();
    for share in [-0.1, 1.1, f64::NAN] {
        let refused = node.cache::<u64, u64>("jitter").time_to_live_jitter(share).build();
        assert!(matches!(refused, Err(CacheError::BadJitter(_))), "{share}");
    }

    let any = "127.0.0.1:0".parse().unwrap();
    let alone = builder("alone", any).start().await.unwrap();
    let why = cache(&alone, Guarantee::Strict).unwrap_err();
    assert!(matches!(why, CacheError::NotStrict(NotStrict::NoList)), "{why}");
    let dns = builder("dns", any).discovery(Dns::new("localhost", 7400)).start().await.unwrap();
    let why = cache(&dns, Guarantee::Strict).unwrap_err();
    assert!(matches!(why, CacheError::NotStrict(NotStrict::OtherSource { .. })), "{why}");
    let unlisted = builder("unlisted", any).discovery(Fixed::new([other])).start().await.unwrap();
    let why = cache(&unlisted, Guarantee::Strict).unwrap_err();
    assert!(why.to_string().contains(&other.to_string()), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_cache_is_refused_where_its_flushes_could_not_wait_for_a_lease() {
    let [own, short] = free();
    let node = |at, within| builder("n", at).discovery(Fixed::new([at])).confirm_within(within);
    let node_short = node(short, Duration::from_millis(100)).start().await.unwrap();
    let why = cache(&node_short, Guarantee::Strict).unwrap_err();
    assert!(matches!(why, CacheError::ConfirmTooShort { .. }), "{why}");
    assert!(why.to_string().contains("confirm_within is 100ms, set it to 2.1s"), "{why}");
    // Other caches do not care.
    cache(&node_short, SHORTEST).unwrap();
    let node = node(own, Duration::from_millis(2100)).start().await.unwrap();
    cache(&node, Guarantee::Strict).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_lists_that_differ_are_refused_with_both() {
    let [first, second, third] = free();
    let one = start("one", first, &[first, second]).await;
    let strict = cache(&one, Guarantee::Strict).unwrap();
    let two = start("two", second, &[first, second, third]).await;
    until(&one, |peers| peers.iter().any(flushcast::Peer::is_linked)).await;
    until(&two, |peers| peers.iter().any(flushcast::Peer::is_linked)).await;
    let why = strict.flush("k").await.unwrap_err();
    assert!(matches!(why, FlushError::ListsDiffer(_)), "{why}");
    assert!(why.to_string().contains(&third.to_string()), "{why}");
    let why = cache(&two, Guarantee::Strict).unwrap_err();
    assert!(matches!(why, CacheError::ListsDiffer(_)), "{why}");
    load(&strict, "k", 1).await;
    assert_eq!(strict.get("k"), None, "no strict copy is served");
    // Other caches do not care.
    let bounded = numbers(&two);
    load(&bounded, "k", 1).await;
    assert_eq!(bounded.get("k"), Some(1));
}
