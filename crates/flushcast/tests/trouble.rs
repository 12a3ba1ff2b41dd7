//! What goes wrong around a node, over real sockets: panics, half-open links, a runtime that ends.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::time::Duration;

use cluster::{Cluster, PATIENCE, load, numbers, until};
use flushcast::discovery::Fixed;
use flushcast::{Cache, Flush, FlushError, Guarantee, Key, KeyError, Node, Peer, StartError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Touchy(u64);

impl Key for Touchy {
    fn write_text(&self, out: &mut String) {
        self.0.write_text(out);
    }

    fn from_text(text: &str) -> Result<Self, KeyError> {
        Ok(Touchy(text.parse().expect("a parser that panics")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_keys_parser_drops_that_cache_and_the_link_goes_on() {
    let cluster = Cluster::of(2).await;
    let texts: Cache<String, u64> = cluster.nodes[0].cache("mixed").build().unwrap();
    let touchy: Cache<Touchy, u64> = cluster.nodes[1].cache("mixed").build().unwrap();
    touchy.get_or_load(&Touchy(1), || async { Ok::<_, std::io::Error>(1) }).await.unwrap();
    let other = cluster.caches();
    load(&other[1], "k", 1).await;
    assert_eq!(texts.flush("not a number").await.unwrap().applied_by(), ["n1"]);
    assert_eq!(touchy.get(&Touchy(1)), None);
    assert_eq!(other[0].flush("k").await.unwrap().applied_by(), ["n1"]);
    assert_eq!(other[1].get("k"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_left_reads_through() {
    let cluster = Cluster::of(2).await;
    let caches = cluster.caches();
    load(&caches[1], "k", 1).await;
    cluster.nodes[1].shutdown().await.unwrap();
    assert!(!cluster.nodes[1].in_sync(), "nobody tells it of changes");
    assert!(caches[0].flush("k").await.unwrap().is_complete());
    assert_eq!(load(&caches[1], "k", 2).await, 2);
    assert_eq!(load(&caches[1], "k", 3).await, 3, "nobody would tell it of the next change");
}

/// A relay to `target` whose first connection can be cut without its dialler being told.
fn relay(listener: TcpListener, target: std::net::SocketAddr, cut: Arc<Notify>) {
    tokio::spawn(async move {
        let mut first = true;
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(target).await.unwrap();
            let cut = std::mem::take(&mut first).then(|| Arc::clone(&cut));
            tokio::spawn(async move {
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    () = async { match cut { Some(cut) => cut.notified().await, None => std::future::pending().await } } => {
                        drop(far);
                        // The near end stays open, as behind a router that has forgotten it.
                        std::future::pending::<()>().await;
                    }
                }
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_link_is_noticed_and_what_was_missed_is_replayed() {
    let listen = || "127.0.0.1:0".parse().unwrap();
    let brief = Duration::from_millis(10);
    let origin = Node::builder("test").listen(listen()).name("origin").confirm_within(brief);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (via, cut) = (listener.local_addr().unwrap(), Arc::new(Notify::new()));
    let origin = origin.advertise(via).start().await.unwrap();
    relay(listener, origin.local_address(), Arc::clone(&cut));
    // As behind a router: nobody can dial it.
    let nowhere = "0.0.0.0:7400".parse().unwrap();
    let follower = Node::builder("test").listen(listen()).advertise(nowhere);
    let follower = follower.discovery(Fixed::new([via]));
    let follower = follower.start().await.unwrap();
    until(&origin, |peers| peers.iter().any(Peer::is_linked)).await;
    // Without a bound: what is healed is seen apart from what is proven.
    let eventual = |node: &Node| node.cache("numbers").guarantee(Guarantee::Eventual).build();
    let (source, copies) = (eventual(&origin).unwrap(), eventual(&follower).unwrap());
    load(&copies, "named", 1).await;
    load(&copies, "kept", 1).await;
    cut.notify_one();
    until(&origin, |peers| peers.iter().all(|peer| !peer.follows)).await;
    let outcome = source.flush("named").await.unwrap();
    assert_eq!(outcome.unconfirmed.len(), 1, "{outcome:?}");
    assert_eq!(copies.get("named"), Some(1), "it cannot know yet");
    // Nothing tells the follower but the silence.
    let back = async {
        while source.flush("probe").await.unwrap().applied.is_empty() {
            until(&origin, |peers| peers.iter().any(|peer| peer.follows)).await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    assert_eq!((copies.get("named"), copies.get("kept")), (None, Some(1)));
}

#[test]
fn a_flush_does_not_wait_for_ever_when_the_runtime_is_gone() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let node = Node::builder("test").listen("127.0.0.1:0".parse().unwrap());
    let node = runtime.block_on(node.discovery(Fixed::new([address])).start()).unwrap();
    let cache = numbers(&node);
    runtime.block_on(until(&node, |peers| peers.len() == 1));
    runtime.block_on(load(&cache, "held", 1));
    let before = cache.flush("k");
    drop(runtime);
    assert_eq!(cache.get("held"), None, "nobody would tell it of a change");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bounded =
        |flush: Flush| async { tokio::time::timeout(PATIENCE, flush.into_future()).await };
    assert_eq!(runtime.block_on(bounded(before)).unwrap(), Err(FlushError::NodeStopped));
    assert_eq!(runtime.block_on(bounded(cache.flush("k"))).unwrap(), Err(FlushError::NodeLeft));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let wrong = Node::builder("test").listen(address).start().await.unwrap_err();
    assert!(wrong.to_string().contains("choose another address"), "{wrong}");
    let start = |cluster: &str, name: &str| {
        Node::builder(cluster).name(name).listen("127.0.0.1:0".parse().unwrap()).start()
    };
    let long = "n".repeat(129);
    for (cluster, name) in [("", "n"), ("c", ""), ("c\n", "n"), ("c", long.as_str())] {
        let wrong = start(cluster, name).await.unwrap_err();
        assert!(matches!(wrong, StartError::BadText { .. }), "{wrong}");
    }
    let node = start("c", "n").await.unwrap();
    assert!(node.cache::<u64, u64>("").build().is_err());
    assert!(node.cache::<u64, u64>(long).build().is_err());
    assert!(node.cache::<u64, u64>("c").capacity(0).build().is_err());
}

#[test]
fn a_node_outside_a_runtime_says_so() {
    let start = Node::builder("test").start();
    let mut start = std::pin::pin!(start);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match start.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Err(StartError::NoRuntime)) => {}
        other => panic!("{other:?}"),
    }
}
