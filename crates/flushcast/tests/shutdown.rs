//! A node that is shut down: in time, on any executor, and whoever reads its events is told.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use cluster::{Cluster, PATIENCE, until};
use flushcast::discovery::Fixed;
use flushcast::{Event, Node, NodeBuilder, Peer};
use tokio::runtime::Runtime;

fn builder() -> NodeBuilder {
    Node::builder("test")
        .listen("127.0.0.1:0".parse().unwrap())
        .confirm_within(Duration::from_millis(200))
}

/// Whether `shut_down` ends on a thread of its own.
fn ends(shut_down: impl FnOnce() + Send + 'static) -> bool {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        shut_down();
        // Nobody needs to listen any more.
        let _ = tell.send(());
    });
    told.recv_timeout(PATIENCE).is_ok()
}

#[test]
fn it_ends_though_the_nodes_runtime_is_not_driven() {
    let home = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let alone = home.block_on(builder().start()).unwrap();
    // The other one will neither read nor close what links them.
    let [node, _other] = home.block_on(async {
        let node = builder().start().await.unwrap();
        let list = Fixed::new([node.local_address()]);
        let other = builder().discovery(list).start().await.unwrap();
        until(&node, |peers| peers.iter().any(Peer::is_linked)).await;
        [node, other]
    });
    let ended = ends(move || {
        let runtime = Runtime::new().unwrap();
        for node in [alone, node] {
            runtime.block_on(node.shutdown()).unwrap();
        }
    });
    drop(home);
    assert!(ended, "nobody ended a wait");
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn it_can_be_awaited_on_any_executor() {
    let home = Runtime::new().unwrap();
    let node = home.block_on(builder().start()).unwrap();
    let ended = ends(move || {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut shut_down = pin!(node.shutdown());
        while shut_down.as_mut().poll(&mut context).is_pending() {
            std::thread::park();
        }
    });
    assert!(ended, "it panicked, or nobody ended a wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_end_behind_all_that_happened_before() {
    let cluster = Cluster::of(2).await;
    let node = &cluster.nodes[0];
    let mut events = node.events();
    cluster.nodes[1].shutdown().await.unwrap();
    until(node, |peers| !peers.iter().any(Peer::is_linked)).await;
    node.shutdown().await.unwrap();
    let to_the_end = async {
        let mut read = Vec::new();
        while let Some(event) = events.next().await {
            read.push(event);
        }
        read
    };
    let read = tokio::time::timeout(PATIENCE, to_the_end).await.expect("they do not end");
    assert!(read.contains(&Event::Left { node: "n1".to_owned() }), "{read:?}");
    let mut late = node.events();
    let none = tokio::time::timeout(PATIENCE, late.next()).await;
    assert_eq!(none, Ok(None), "there will be none");
}
