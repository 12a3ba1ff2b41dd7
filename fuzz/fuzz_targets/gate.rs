//! Whoever does not prove to be a member gets no link, whatever it sends: a node with a secret turns it
//! away, once, and members notice nothing.
//!
//! Any panic ends the process, also one that a task of tokio would catch: libfuzzer-sys sees to that.
#![no_main]

use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use flushcast::discovery::Fixed;
use flushcast::{Cache, Node, NodeBuilder, Peer, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer is waited for that need not come.
const ANSWER_WITHIN: Duration = Duration::from_millis(2);
/// Inputs between two flushes of a member, and between two members that come.
const FLUSH_EVERY: u64 = 32;
const JOIN_EVERY: u64 = 1024;

/// A node with a secret, and a member that stays linked with it.
struct World {
    runtime: Runtime,
    node: Node,
    /// One on it, and one on the member, which lives as long.
    caches: [Cache<u64, u64>; 2],
    inputs: u64,
}

/// How somebody ends its connection.
#[derive(Debug, Clone, Copy)]
enum End {
    /// It says no more, and reads until the node ends it.
    HalfClose,
    /// It is gone at once.
    Reset,
    /// It waits for an answer first.
    ResetBehindAnswer,
}

/// What somebody says, and how.
#[derive(Debug)]
struct Stranger<'b> {
    pieces: [&'b [u8]; 3],
    /// It reads an answer between the pieces.
    listens: bool,
    end: End,
}

impl<'b> Stranger<'b> {
    /// Two bytes say how, the others are said.
    fn read(bytes: &'b [u8]) -> Option<Self> {
        let (&[how, at], words) = bytes.split_first_chunk()?;
        // Which takes a port out of use for a minute, so that it is rare.
        let end = match how & 7 {
            0 => End::HalfClose,
            1..4 => End::Reset,
            _ => End::ResetBehindAnswer,
        };
        let (first, rest) = words.split_at(usize::from(at) * words.len() / 256);
        let (second, third) = rest.split_at(usize::from(how >> 4) * rest.len() / 16);
        Some(Self { pieces: [first, second, third], listens: how & 8 > 0, end })
    }

    /// The node may end the connection at any moment.
    async fn visit(&self, node: &Node) {
        let connected = TcpStream::connect(node.local_address()).await;
        let mut stream = connected.expect("the node listens");
        stream.set_nodelay(true).expect("it is a socket");
        stream.set_zero_linger().expect("it is a socket");
        for piece in self.pieces.into_iter().filter(|piece| !piece.is_empty()) {
            if stream.write_all(piece).await.is_err() {
                return;
            }
            match self.listens {
                true => listen(&mut stream).await,
                // The node reads the pieces one by one.
                false => tokio::task::yield_now().await,
            }
        }
        match self.end {
            End::Reset => {}
            End::ResetBehindAnswer => listen(&mut stream).await,
            End::HalfClose => {
                let _ = stream.shutdown().await;
                let read = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
                let _ = read.expect("the node ends what cannot become a link");
            }
        }
    }
}

async fn listen(stream: &mut TcpStream) {
    let _ = timeout(ANSWER_WITHIN, stream.read(&mut [0; 4096])).await;
}

fn builder(name: &str) -> NodeBuilder {
    let secret = Secret::new([b's'; 32]).expect("it is long enough");
    Node::builder("fuzz").listen(([127, 0, 0, 1], 0).into()).secret(secret).name(name)
}

async fn linked(node: &Node) {
    let linked = node.peers_until(|peers| peers.iter().any(Peer::is_linked));
    timeout(PATIENCE, linked).await.expect("members link");
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (node, member) = runtime.block_on(async {
            let node = builder("node").start().await.expect("it starts");
            let found = Fixed::new([node.local_address()]);
            let member = builder("member").discovery(found).start().await.expect("it starts");
            linked(&member).await;
            linked(&node).await;
            (node, member)
        });
        let cache = |node: &Node| node.cache("c").build().expect("a cache");
        let caches = [cache(&node), cache(&member)];
        Self { runtime, node, caches, inputs: 0 }
    }

    async fn meet(&self, stranger: &Stranger<'_>) {
        assert_eq!(self.node.turned_away(), self.inputs, "before {stranger:?}");
        stranger.visit(&self.node).await;
        let counted = async {
            while self.node.turned_away() == self.inputs {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, counted).await.expect("it is turned away");
        let is_member = |peer: &Peer| matches!(peer.name.as_deref(), Some("member" | "late"));
        assert!(self.node.peers().iter().all(is_member), "{:?}", self.node.peers());
    }

    /// A flush of the member reaches the node.
    async fn flush(&self) {
        let [here, there] = &self.caches;
        let key = self.inputs;
        here.insert(&key, 1).expect("it is stored");
        let outcome = there.flush(&key).await.expect("it is announced");
        assert!(outcome.is_complete() && outcome.applied_by() == ["node"], "{outcome}");
        assert_eq!(here.get(&key), None);
    }

    /// Whoever knows the secret still gets a link.
    async fn join(&self) {
        let found = Fixed::new([self.node.local_address()]);
        let late = builder("late").discovery(found).start().await.expect("it starts");
        linked(&late).await;
        late.shutdown().await.expect("it runs");
    }

    fn play(&mut self, bytes: &[u8]) {
        let Some(stranger) = Stranger::read(bytes) else { return };
        self.runtime.block_on(async {
            self.meet(&stranger).await;
            if self.inputs.is_multiple_of(FLUSH_EVERY) {
                self.flush().await;
            }
            if self.inputs.is_multiple_of(JOIN_EVERY) {
                self.join().await;
            }
        });
        self.inputs += 1;
    }
}

static WORLD: LazyLock<Mutex<World>> = LazyLock::new(|| World::new().into());

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| WORLD.lock().expect("panics end it").play(bytes));
