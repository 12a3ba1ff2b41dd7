//! Scenarios as data: what goes in, what must come out. Here is the bench that they share.

mod deaths;
mod rules;
mod strict;
mod trouble;

use std::time::Duration;

use super::*;
use crate::Time;
use crate::ack::Outcome;
use crate::cache::{Cache, CacheConfig, Guarantee, HashSeeds};
use crate::wire::{
    self, About, Flush, Frame, FrameReader, Hello, Inquire, Position, Testify, Versions, Welcome,
};

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 7400))
}

fn life(byte: u8) -> Incarnation {
    Incarnation([byte; 16])
}

/// How far the clock of reads may lag.
const STEP: Duration = Duration::from_millis(4);

/// A node with one cache that holds key `k`, and what it does.
struct Bench {
    node: Node,
    cache: Arc<Cache<String, u64>>,
    outputs: Vec<Output>,
    now: Time,
}

impl Bench {
    fn new() -> Self {
        Self::with(Guarantee::Eventual)
    }

    fn with(guarantee: Guarantee) -> Self {
        let caches = Arc::new(Caches::default());
        let mut config = CacheConfig::new(10, guarantee, HashSeeds([1, 2, 3, 4]));
        config.clock_step = STEP;
        let cache = Cache::register(&caches, "c", config).unwrap();
        let config = NodeConfig {
            cluster: "test".into(),
            name: "me".into(),
            incarnation: life(1),
            address: address(1),
            labels: BTreeMap::new(),
            log: LogLimits::default(),
            sources: 1,
            fixed: None,
            trust_refusals: true,
            seed: 1,
        };
        Self { node: Node::new(config, caches), cache, outputs: Vec::new(), now: Time::ZERO }
    }

    fn feed(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        self.outputs.extend(std::iter::from_fn(|| self.node.poll_output()));
    }

    fn hear(&mut self, conn: ConnId, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        wire::encode(frame, &mut bytes).unwrap();
        self.feed(Input::Received { conn, bytes: &bytes });
    }

    /// Everything that `conn` has to send, as debug texts of frames.
    fn said(&mut self, conn: ConnId) -> Vec<String> {
        let mut reader = FrameReader::default();
        loop {
            let mut out = Vec::new();
            match self.node.transmit(conn, 100, &mut out) {
                Transmit::Data => reader.push(&out),
                Transmit::Idle | Transmit::Finished => break,
            }
        }
        let mut frames = Vec::new();
        while let Some(body) = reader.next_body().unwrap() {
            frames.push(format!("{:?}", wire::decode(body).unwrap()));
        }
        frames
    }

    fn members(&mut self, addresses: Vec<SocketAddr>) {
        let listed = addresses.into_iter().map(Into::into).collect();
        self.feed(Input::Members { source: "list".into(), listed, complete: true });
    }

    fn dialled(&mut self) -> ConnId {
        let dial = self.outputs.iter().rev().find_map(|output| match output {
            Output::Dial { conn, .. } => Some(*conn),
            _ => None,
        });
        dial.expect("nothing was dialled")
    }

    /// Follows an origin of that life at 10.0.0.2.
    fn follow(&mut self, life: Incarnation) -> ConnId {
        self.members(vec![address(2)]);
        let conn = self.dialled();
        self.feed(Input::Connected { conn });
        let said = self.said(conn);
        assert!(said[0].starts_with("Hello"), "{said:?}");
        self.hear(conn, &welcome(life, 1, 0));
        assert_eq!(self.said(conn), ["Renew { nonce: 0 }"]);
        conn
    }

    /// Is followed by a node of that life, which listens at 10.0.0.(its life).
    fn followed(&mut self, life: Incarnation, resume_after: Option<Position>) -> ConnId {
        let conn = self.node.next_conn();
        self.feed(Input::Accepted { conn, from: address(3) });
        self.hear(conn, &hello("test", life, resume_after));
        conn
    }

    fn hold(&self, value: u64) {
        match self.cache.board(&"k".to_owned(), self.cache.read_begins(), Time::ZERO) {
            crate::cache::Boarding::Lead(lead) => drop(lead.complete(value)),
            _ => panic!("a copy is held already"),
        }
    }

    fn holds(&self) -> bool {
        self.cache.get("k", Time::ZERO).is_some()
    }

    /// Lets time pass, until so long after the start.
    fn later(&mut self, seconds: u64) {
        self.now = Time::ZERO + Duration::from_secs(seconds);
        self.feed(Input::Tick);
    }

    fn wait(&mut self, length: Duration) {
        self.now = self.now + length;
        self.feed(Input::Tick);
    }

    /// The number of the question that it asks of a witness, if it does.
    fn nonce_asked_of(&mut self, conn: ConnId) -> Option<u64> {
        let said = self.said(conn);
        let asked = said.iter().find(|frame| frame.starts_with("Inquire"))?;
        asked.split(|it: char| !it.is_ascii_digit()).find(|it| !it.is_empty())?.parse().ok()
    }

    /// What the last settled flush came to.
    fn outcome(&self) -> Option<&Outcome> {
        self.outputs.iter().rev().find_map(|output| match output {
            Output::Settled { outcome, .. } => Some(outcome),
            _ => None,
        })
    }

    fn reported(&self, wanted: fn(&Report) -> bool) -> bool {
        self.outputs.iter().any(|output| matches!(output, Output::Report(it) if wanted(it)))
    }
}

fn hello(cluster: &str, incarnation: Incarnation, resume_after: Option<Position>) -> Frame<'_> {
    Frame::Hello(Hello {
        versions: Versions::OURS,
        cluster,
        node: "peer",
        incarnation,
        address: address(incarnation.0[0]),
        labels: Vec::new(),
        resume_after,
        fixed: Vec::new(),
    })
}

fn welcome(incarnation: Incarnation, first: u64, head: u64) -> Frame<'static> {
    Frame::Welcome(Welcome {
        version: wire::VERSION,
        node: "peer",
        incarnation,
        labels: Vec::new(),
        first: Seq(first),
        head: Seq(head),
        fixed: Vec::new(),
    })
}

fn flush(seq: u64) -> Frame<'static> {
    Frame::Flush(Flush {
        seq: Seq(seq),
        cache: "c",
        scopes: vec![Scope::Key("k")],
        inherited: None,
    })
}

/// The answer of a witness whose log is at `head`, about 10.0.0.2.
fn testify(nonce: u64, head: u64, lives: Vec<Position>) -> Frame<'static> {
    let lives = lives.into_iter().map(|at| (address(2), at)).collect();
    let head = Seq(head);
    Frame::Testify(Testify { nonce, in_touch: false, forgotten: 0, head, lives })
}
