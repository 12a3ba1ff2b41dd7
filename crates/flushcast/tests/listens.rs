//! The application's code that a node tells something: what listens to the log, and the wakers of whoever
//! waits. It may wait, or ask the node; nothing of the node waits for it.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod cluster;

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use cluster::{PATIENCE, numbers, until};
use flushcast::discovery::{Discovery, Fixed, Members};
use flushcast::{Event, Node, NodeBuilder, Peer};
use tokio::runtime::Runtime;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};

type First = Box<dyn FnOnce() + Send>;

/// What is to be done at the first line of a node that has this name.
static FIRST: Mutex<BTreeMap<&'static str, First>> = Mutex::new(BTreeMap::new());

/// What listens to the log. There is one for all tests: `tracing` keeps in mind for all threads who
/// wants which lines, and threads without a listener of their own would count as one that wants none.
struct Listener;

impl Listener {
    fn at_first_line_of(node: &'static str, first: impl FnOnce() + Send + 'static) {
        FIRST.lock().unwrap().insert(node, Box::new(first));
        // Another test may have been first.
        let _ = tracing::subscriber::set_global_default(Listener);
    }
}

impl tracing::Subscriber for Listener {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("flushcast")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut node = NodeName(String::new());
        event.record(&mut node);
        let first = FIRST.lock().unwrap().remove(node.0.as_str());
        if let Some(first) = first {
            first();
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct NodeName(String);

impl Visit for NodeName {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "node" {
            value.clone_into(&mut self.0);
        }
    }
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

fn builder(name: &str) -> NodeBuilder {
    Node::builder("test")
        .listen("127.0.0.1:0".parse().unwrap())
        .name(name)
        .confirm_within(Duration::from_millis(300))
}

/// A node with such a listener, and another one that has it log that they are linked. Both run on one
/// thread of `runtime`'s.
fn logs(
    runtime: &Runtime,
    name: &'static str,
    listens: impl FnOnce(&Node) + Send + 'static,
) -> [Node; 2] {
    let (tell, told) = mpsc::channel::<Node>();
    Listener::at_first_line_of(name, move || listens(&told.recv_timeout(PATIENCE).unwrap()));
    let node = runtime.block_on(builder(name).start()).unwrap();
    tell.send(node.clone()).unwrap();
    let list = Fixed::new([node.local_address()]);
    let other = runtime.block_on(builder("other").discovery(list).start()).unwrap();
    [node, other]
}

fn one_thread() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn nobody_waits_for_whoever_reads_the_log() {
    let runtime = one_thread();
    // As a terminal that is paused, or a log driver that is behind.
    let (blocked, is_blocked) = mpsc::channel();
    let (unblock, wait) = mpsc::channel::<()>();
    let [node, other] = logs(&runtime, "stuck", move |_| {
        blocked.send(()).unwrap();
        let _ = wait.recv();
    });
    is_blocked.recv_timeout(PATIENCE).unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        Runtime::new().unwrap().block_on(async {
            until(&node, |peers| peers.iter().all(Peer::is_linked)).await;
            let mut events = node.events();
            // It announces, hears, applies and answers.
            let (here, there) = (numbers(&node), numbers(&other));
            for (flusher, applies) in [(&here, "other"), (&there, "stuck")] {
                while !flusher.flush("k").await.unwrap().applied_by().contains(&applies) {}
            }
            other.shutdown().await.unwrap();
            while events.next().await != Some(Event::Left { node: "other".to_owned() }) {}
            node.shutdown().await.unwrap();
        });
        tell.send(()).unwrap();
    });
    let ended = told.recv_timeout(PATIENCE);
    drop(unblock);
    runtime.shutdown_background();
    assert_eq!(ended, Ok(()), "somebody waits for the log");
}

/// A discovery source that fails at first.
struct Fails;

impl Discovery for Fails {
    fn name(&self) -> String {
        "fails".to_owned()
    }

    fn watch(self: Box<Self>, members: Members) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        members.failed("it is down".to_owned());
        members.set(Vec::new());
        Box::pin(std::future::pending())
    }
}

#[test]
fn nor_does_a_discovery_source_that_has_something_to_say() {
    let (unblock, wait) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Listener::at_first_line_of("fails", move || {
            let _ = wait.recv();
        });
        let node = runtime.block_on(builder("fails").discovery(Fails).start()).unwrap();
        let [source] = node.discovery().try_into().unwrap();
        tell.send(source.error).unwrap();
    });
    let error = told.recv_timeout(PATIENCE);
    drop(unblock);
    assert_eq!(error, Ok(None), "it waits for the log");
}

#[test]
fn whoever_reads_the_log_may_ask_the_node() {
    let runtime = one_thread();
    let (tell, told) = mpsc::channel();
    let nodes = logs(&runtime, "asked", move |node| {
        ask(node);
        tell.send(()).unwrap();
    });
    let told = told.recv_timeout(PATIENCE);
    if told.is_err() {
        // Its lock is held for ever.
        std::mem::forget(nodes);
    }
    runtime.shutdown_background();
    assert_eq!(told, Ok(()), "the log waits for the node, and the node for the log");
}

fn ask(node: &Node) {
    let _ = (node.in_sync(), node.peers(), node.cut_off(), node.flush_log_bytes());
    // Unless somebody has it who asks as well.
    if let Ok(cache) = node.cache::<String, u64>("asked").build() {
        drop(cache.flush("k"));
    }
}

/// An executor that asks the node before it goes on with a task.
struct Asks(Node, Thread);

impl Wake for Asks {
    fn wake(self: Arc<Self>) {
        ask(&self.0);
        self.1.unpark();
    }
}

/// Has somebody wait for something of a node on such an executor. Once it waits, the node gets a peer.
fn waits_where_wakers_ask<F: Future>(wait: impl FnOnce(Node) -> F + Send + 'static) {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let runtime = Runtime::new().unwrap();
    let list = Fixed::new([silent.local_addr().unwrap()]);
    let node = runtime.block_on(builder("node").discovery(list).start()).unwrap();
    let (tell, told) = mpsc::channel();
    let waiting = node.clone();
    std::thread::spawn(move || {
        let waker = Waker::from(Arc::new(Asks(waiting.clone(), std::thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut waits = pin!(wait(waiting));
        while waits.as_mut().poll(&mut context).is_pending() {
            // Nobody needs to listen any more.
            let _ = tell.send("waits");
            std::thread::park();
        }
        let _ = tell.send("has ended");
    });
    assert_eq!(told.recv_timeout(PATIENCE), Ok("waits"));
    let list = Fixed::new([node.local_address()]);
    let other = runtime.block_on(builder("other").discovery(list).start()).unwrap();
    let mut ended = Ok("waits");
    while ended == Ok("waits") {
        ended = told.recv_timeout(PATIENCE);
    }
    if ended.is_err() {
        // Its lock is held for ever.
        std::mem::forget((node, other));
    }
    runtime.shutdown_background();
    assert_eq!(ended, Ok("has ended"), "a waker waits for the node, and the node for it");
}

#[test]
fn a_waker_of_an_awaited_flush_may_ask_the_node() {
    waits_where_wakers_ask(|node| numbers(&node).flush("k").into_future());
}

#[test]
fn so_may_one_of_whoever_waits_for_an_event() {
    waits_where_wakers_ask(|node| async move {
        let mut events = node.events();
        while !matches!(events.next().await, Some(Event::Following { .. })) {}
    });
}

#[test]
fn so_may_one_of_whoever_waits_for_peers() {
    waits_where_wakers_ask(|node| async move {
        node.peers_until(|peers| peers.iter().any(Peer::is_linked)).await
    });
}

#[test]
fn so_may_one_of_a_shutdown() {
    waits_where_wakers_ask(|node| async move { node.shutdown().await });
}
