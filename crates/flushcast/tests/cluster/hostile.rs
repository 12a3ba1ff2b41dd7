//! A member that breaks the protocol, or lies in it: a connection that says any frame at any time,
//! as nodes without a secret take everybody on this machine for a member.

use std::net::SocketAddr;

use flushcast::discovery::Fixed;
use flushcast::{Cache, Event, Guarantee, Node, Peer};
use flushcast_core::wire::{
    self, END_OF_WORDS, Flush, Frame, FrameReader, Grant, Hello, Incarnation, Position, Scope, Seq,
    VERSION, Versions, Welcome,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::told::Told;
use super::{PATIENCE, bounded, free, load, until};

/// What it says of itself.
#[derive(Debug, Clone)]
pub struct Posing {
    pub cluster: String,
    pub name: String,
    pub life: Incarnation,
    pub claims: Vec<SocketAddr>,
    pub fixed: Vec<SocketAddr>,
}

impl Posing {
    /// As a node of a life that nobody has met, at no place.
    pub fn of(number: u64) -> Self {
        let life = Incarnation((u128::from(number) << 64 | 0xbad).to_be_bytes());
        let name = format!("hostile-{number}");
        Self { cluster: "test".to_owned(), name, life, claims: Vec::new(), fixed: Vec::new() }
    }

    /// As a node that lives.
    pub fn as_life(life: Incarnation, name: &str) -> Self {
        Self { life, name: name.to_owned(), ..Self::of(0) }
    }

    pub fn at(self, claim: SocketAddr) -> Self {
        Self { claims: vec![claim], ..self }
    }

    pub fn given(self, fixed: &[SocketAddr]) -> Self {
        Self { fixed: fixed.to_vec(), ..self }
    }

    pub fn hello(&self) -> Frame<'_> {
        Frame::Hello(Hello {
            versions: Versions::OURS,
            cluster: &self.cluster,
            node: &self.name,
            life: self.life,
            claims: self.claims.clone(),
            labels: Vec::new(),
            fixed: self.fixed.clone(),
            end: END_OF_WORDS,
        })
    }

    pub fn welcome(&self) -> Frame<'_> {
        Frame::Welcome(Welcome {
            version: VERSION,
            node: &self.name,
            life: self.life,
            claims: self.claims.clone(),
            labels: Vec::new(),
            fixed: self.fixed.clone(),
            resume: Seq::START,
        })
    }

    /// Dials, and says hello.
    pub async fn greet(&self, node: SocketAddr) -> Hostile {
        let mut hostile = Hostile::dial(node).await;
        hostile.say(&self.hello()).await;
        hostile
    }

    /// Dials, and goes through the handshake.
    pub async fn link(&self, node: SocketAddr) -> Hostile {
        let mut hostile = self.greet(node).await;
        hostile.wait_for(|frame| matches!(frame, Frame::Welcome(_)).then_some(())).await;
        hostile.say(&GO).await;
        hostile
    }
}

/// The dialler is ready for flushes from the first one on.
pub const GO: Frame<'static> = Frame::Go { resume: Seq::START, is_evidence: false };

/// A flush of all that `cache` holds.
pub fn flush_of(cache: &str, seq: u64, inherited: Option<Position>) -> Frame<'_> {
    Frame::Flush(Flush { seq: Seq(seq), cache, scopes: vec![Scope::All], inherited })
}

/// One connection of it.
pub struct Hostile {
    stream: TcpStream,
    reader: FrameReader,
}

impl Hostile {
    pub async fn dial(node: SocketAddr) -> Self {
        Self::over(TcpStream::connect(node).await.unwrap())
    }

    /// Waits until a node dials it.
    pub async fn dialled_at(listener: &TcpListener) -> Self {
        let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await;
        Self::over(accepted.expect("nobody dials").unwrap().0)
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, reader: FrameReader::default() }
    }

    /// Where this end is, as the node tells of it.
    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    pub async fn say(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        wire::encode(frame, &mut bytes).unwrap();
        // It may have been dropped already.
        let _ = self.stream.write_all(&bytes).await;
    }

    /// Reads until there is a frame of which `wanted` makes something; `None` when the node ends the
    /// connection before.
    pub async fn hear<T>(&mut self, mut wanted: impl FnMut(&Frame<'_>) -> Option<T>) -> Option<T> {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            while let Some(body) = self.reader.next_body().unwrap() {
                if let Some(found) = wanted(&wire::decode(body).unwrap()) {
                    return Some(found);
                }
            }
            match self.stream.read(&mut bytes).await {
                Ok(count @ 1..) => self.reader.push(&bytes[..count]),
                _ => return None,
            }
        }
    }

    /// The same, where it is sure to come.
    pub async fn wait_for<T>(&mut self, wanted: impl FnMut(&Frame<'_>) -> Option<T>) -> T {
        let heard = tokio::time::timeout(PATIENCE, self.hear(wanted)).await;
        heard.expect("it does not come").expect("the node has ended the connection")
    }

    /// Waits until the node has ended the connection.
    pub async fn is_dropped(&mut self) {
        let ended = tokio::time::timeout(PATIENCE, self.hear(|_| None::<()>)).await;
        assert!(ended.is_ok(), "the node keeps the connection");
    }

    /// Does what a node does, until the node ends the connection: it answers each question, with the
    /// head of a log that ends at `head`, and acknowledges what it reads.
    pub async fn obey(mut self, head: u64) {
        loop {
            let answer = self.hear(|frame| match frame {
                Frame::Renew(renew) => Some(Frame::Grant(Grant {
                    nonce: renew.nonce,
                    head: Seq(head),
                    lost: Vec::new(),
                    linked: Vec::new(),
                })),
                Frame::Flush(Flush { seq, .. }) | Frame::Over { seq, .. } => {
                    Some(Frame::Ack { applied: *seq })
                }
                _ => None,
            });
            let Some(answer) = answer.await else { return };
            self.say(&answer).await;
        }
    }

    /// The same, beside what else happens.
    pub fn obeys(self, head: u64) -> JoinHandle<()> {
        tokio::spawn(self.obey(head))
    }
}

/// A place that accepts connections and says nothing, for as long as it is held.
pub struct Mute {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Mute {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        Self { address, task }
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Honest nodes that all have the same fixed list, and what they have told.
pub struct Honest {
    pub nodes: Vec<Node>,
    pub told: Vec<Told>,
    pub list: Vec<SocketAddr>,
}

impl Honest {
    /// So many nodes, linked with each other; `beside` are on their list as well.
    pub async fn of(count: usize, beside: &[SocketAddr]) -> Self {
        let mut list: Vec<_> = free::<4>()[..count].to_vec();
        let own = list.clone();
        list.extend(beside);
        // As nodes tell it to each other.
        list.sort_unstable();
        let mut nodes = Vec::new();
        for (number, at) in own.into_iter().enumerate() {
            nodes.push(start_honest(number, at, &list).await);
        }
        let told = nodes.iter().map(Told::by).collect();
        let honest = Self { nodes, told, list };
        honest.all_linked().await;
        honest
    }

    async fn all_linked(&self) {
        for node in &self.nodes {
            let others = self.nodes.iter().filter(|other| other.name() != node.name());
            for other in others {
                until(node, |peers| peer_named(peers, other.name()).is_some_and(Peer::is_linked))
                    .await;
            }
        }
    }

    /// The life that the first node knows by this name.
    pub fn life(&self, name: &str) -> Incarnation {
        peer_named(&self.nodes[0].peers(), name).and_then(|peer| peer.incarnation).unwrap()
    }

    pub fn bounded(&self) -> Vec<Cache<String, u64>> {
        self.nodes.iter().map(bounded).collect()
    }

    pub fn strict(&self) -> Vec<Cache<String, u64>> {
        let strict =
            |node: &Node| node.cache("numbers").guarantee(Guarantee::Strict).build().unwrap();
        self.nodes.iter().map(strict).collect()
    }

    pub async fn in_sync(&self) {
        for node in &self.nodes {
            until(node, |_| node.in_sync()).await;
        }
    }

    /// Waits until the first node has told that it ended a connection from there, and gives back why.
    pub async fn offence(&self, from: SocketAddr) -> String {
        let why = self.told[0].wait_for(|event| match event {
            Event::Offence { from: at, why } if *at == from => Some(why.clone()),
            _ => None,
        });
        why.await
    }

    /// What is expected of honest nodes whatever others say: a flush by each is applied by all, the
    /// old value is gone by then, and what it did not name is still there.
    pub async fn assert_well(&self, caches: &[Cache<String, u64>]) {
        self.in_sync().await;
        for (writer, written) in caches.iter().enumerate() {
            for cache in caches {
                load(cache, "flushed", 1).await;
                load(cache, "kept", 1).await;
            }
            let outcome = written.flush("flushed").await.unwrap();
            for (reader, cache) in caches.iter().enumerate() {
                let name = self.nodes[reader].name();
                let has_applied = reader == writer || outcome.applied_by().contains(&name);
                assert!(has_applied, "{outcome:?}");
                assert_eq!(cache.get("flushed"), None);
                assert_eq!(cache.get("kept"), Some(1), "{}", self.told[reader].text());
            }
        }
        self.assert_untouched();
    }

    /// No honest link was lost, and no copy for want of trust.
    pub fn assert_untouched(&self) {
        for (node, told) in self.nodes.iter().zip(&self.told) {
            let is_honest = |name: &str| name.starts_with("honest");
            let lost = told.count(|event| match event {
                Event::Lost { node, .. } | Event::Left { node } => is_honest(node),
                _ => false,
            });
            assert_eq!((lost, told.distrusted()), (0, 0), "{}:\n{}", node.name(), told.text());
        }
    }
}

pub async fn start_honest(number: usize, at: SocketAddr, list: &[SocketAddr]) -> Node {
    let node = Node::builder("test").name(format!("honest-{number}")).listen(at);
    let node = node.confirm_within(PATIENCE).discovery(Fixed::new(list));
    node.start().await.unwrap()
}

pub fn peer_named<'p>(peers: &'p [Peer], name: &str) -> Option<&'p Peer> {
    peers.iter().find(|peer| peer.name.as_deref() == Some(name))
}

impl Drop for Honest {
    /// What they have told is what explains a test that fails.
    #[allow(clippy::print_stdout, reason = "a test that fails tells why")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (node, told) in self.nodes.iter().zip(&self.told) {
                println!("{}:\n{}", node.name(), told.text());
            }
        }
    }
}
