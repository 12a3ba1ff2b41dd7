//! Owns the bench that all tests of a node share: one node, and a script of who answers where and
//! what its peers say. It must never look into the node where its own words, its copies and its
//! proof tell enough.

mod any_bytes;
mod deaths;
mod dropped;
mod floods;
mod frames;
mod handshake;
mod holders;
mod leaving;
mod limits;
mod loops;
mod moves;
mod order;
mod proofs;
mod relinks;
mod strict;
mod suspects;
mod touches;

use std::time::Duration;

use frames::{at, flush, flush_of, heard, hello, renew, welcome};

use super::*;
use crate::ack::{Outcome, Reason};
use crate::cache::{Boarding, Cache, CacheConfig, Guarantee, HashSeeds};
use crate::peers::Listed;
use crate::wire::{
    self, Flush, Frame, FrameReader, Grant, Heard, Hello, Linked, Position, Renew, Versions,
    Welcome,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// How long an answer takes: nothing of this world happens in one moment with what it follows.
const DELAY: Duration = Duration::from_micros(10);
/// The node under test: its life, and its place.
const OWN: u16 = 5;

fn life(number: u16) -> Incarnation {
    Incarnation((u128::from(number) << 64).to_be_bytes())
}

/// Where the node with that life is, if it has one clean address.
fn address(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::from(([10, 0, high, low], 7400))
}

/// Who answers at an address.
#[derive(Debug, Clone)]
enum There {
    Refuses,
    /// Something that is no node of Flushcast.
    Foreign,
    Tls,
    Version(Versions),
    Full,
    Cluster(&'static str),
    /// A node of that life, which says to be there, and has this fixed list.
    Node(u16, Vec<SocketAddr>, Vec<SocketAddr>),
}

impl There {
    /// A node that says to be where its life's number is.
    fn node(number: u16) -> Self {
        Self::Node(number, vec![address(number)], Vec::new())
    }
}

/// What a peer answers when it is asked.
#[derive(Debug, Clone, Default)]
struct Told {
    head: u64,
    lost: Vec<Heard>,
    linked: Vec<Linked>,
}

/// A node with one cache, `c`, that can hold key `k`.
struct Bench {
    node: Node,
    caches: Arc<Caches>,
    cache: Arc<Cache<String, u64>>,
    outputs: Vec<Output>,
    now: Time,
    there: BTreeMap<SocketAddr, There>,
    /// The peers that answer, by connection.
    told: BTreeMap<ConnId, Told>,
    /// What whoever is dialled answers at first.
    told_first: Told,
    /// What the node has said, but for questions that were answered.
    sent: BTreeMap<ConnId, Vec<Frame<'static>>>,
    /// The questions that were answered.
    asked: Vec<(ConnId, Renew)>,
    /// Whether flushes are applied as soon as they are given out.
    applies: bool,
}

impl Bench {
    fn new() -> Self {
        Self::with(Guarantee::Eventual, |_| {})
    }

    fn with(guarantee: Guarantee, change: impl FnOnce(&mut NodeConfig)) -> Self {
        let caches = Arc::new(Caches::default());
        let config = CacheConfig::new(10, guarantee, HashSeeds([1, 2, 3, 4]));
        let cache = Cache::register(&caches, "c", config).unwrap();
        let mut config = NodeConfig {
            cluster: "test".into(),
            name: "me".into(),
            incarnation: life(OWN),
            address: address(OWN),
            labels: BTreeMap::new(),
            log: LogLimits::default(),
            sources: 1,
            fixed: None,
            trust_refusals: None,
            limits: Limits::default(),
            seed: 1,
        };
        change(&mut config);
        Self {
            node: Node::new(config, Arc::clone(&caches)),
            caches,
            cache,
            outputs: Vec::new(),
            now: Time::ZERO + SECOND,
            there: BTreeMap::new(),
            told: BTreeMap::new(),
            told_first: Told::default(),
            sent: BTreeMap::new(),
            asked: Vec::new(),
            applies: true,
        }
    }

    /// A node that is linked with those lives, each at its one listed place, and in step with all.
    fn among(peers: &[u16]) -> Self {
        Self::new().linked_with(peers)
    }

    fn linked_with(mut self, peers: &[u16]) -> Self {
        for &peer in peers {
            self.there.entry(address(peer)).or_insert(There::node(peer));
        }
        self.feed(Input::Tick);
        self.list(&peers.iter().map(|&peer| address(peer)).collect::<Vec<_>>());
        self.run(2 * SECOND);
        assert!(self.node.in_sync(self.now), "{:?}", self.node.cut_off(self.now));
        self.outputs.clear();
        self.sent.clear();
        self.asked.clear();
        self
    }

    fn feed(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        self.drain();
        if self.applies {
            self.apply();
        }
        self.has_no_place_for_nobody();
    }

    /// A place that no list has is there for a lost life, or for who says to be there.
    fn has_no_place_for_nobody(&self) {
        let lives = &self.node.lives;
        for (id, place) in self.node.roster.iter().filter(|(_, place)| !place.is_listed()) {
            let is_needed = lives.apart().any(|(_, it)| it.is_lost() && it.places.contains(&id));
            assert!(is_needed || !place.claimants.is_empty(), "{place:?}");
        }
    }

    fn drain(&mut self) {
        self.outputs.extend(std::iter::from_fn(|| self.node.poll_output()));
    }

    /// Applies all that was heard.
    fn apply(&mut self) {
        while let Some(life) = self.node.lives_with_work() {
            if let Work::Apply(batch) = self.node.take_work_of(life) {
                self.finish(&batch);
            }
        }
    }

    fn finish(&mut self, batch: &Batch) {
        self.caches.begin(Time::ZERO, batch.flushes()).finish();
        let (life, upto) = (batch.life, batch.upto);
        self.node.handle(self.now, Input::Applied { life, upto, widened: Vec::new() });
        self.drain();
    }

    fn hear(&mut self, conn: ConnId, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        wire::encode(frame, &mut bytes).unwrap();
        self.hear_bytes(conn, &bytes);
    }

    fn hear_bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        self.feed(Input::Received { conn, bytes });
    }

    fn list(&mut self, addresses: &[SocketAddr]) {
        let listed: Vec<_> = addresses.iter().copied().map(Listed::from).collect();
        self.list_named(&listed);
    }

    fn list_named(&mut self, listed: &[Listed]) {
        let listed = listed.to_vec();
        self.feed(Input::Members { source: "list".into(), listed, complete: true });
    }

    /// Somebody connects and says hello.
    fn accept(&mut self, frame: &Frame<'_>) -> ConnId {
        let conn = self.node.next_conn();
        self.feed(Input::Accepted { conn, from: "10.0.0.99:50000".parse().unwrap() });
        self.hear(conn, frame);
        conn
    }

    /// A node of that life has dialled, and is ready for flushes: it answers from here on.
    fn dialled_by(&mut self, number: u16) -> ConnId {
        self.dialled_at(number, address(number))
    }

    /// The same, of one that says to be there.
    fn dialled_at(&mut self, number: u16, place: SocketAddr) -> ConnId {
        let conn = self.accept(&hello(number, vec![place]));
        self.hear(conn, &Frame::Go { resume: Seq::START, is_evidence: false });
        self.told.insert(conn, Told::default());
        conn
    }

    /// Lets time pass. Everybody answers, as the script says.
    fn run(&mut self, length: Duration) {
        let end = self.now + length;
        loop {
            self.answer();
            let due = self.node.next_deadline();
            if due > end {
                break;
            }
            self.now = self.now.max(due);
            self.feed(Input::Tick);
        }
        self.now = self.now.max(end);
        self.feed(Input::Tick);
        self.answer();
    }

    fn answer(&mut self) {
        for _ in 0..1000 {
            let dials = self.take_dials();
            let is_quiet = dials.is_empty();
            for (conn, address) in dials {
                self.now = self.now + DELAY;
                self.answer_dial(conn, address);
            }
            if !self.answer_questions() && is_quiet {
                return;
            }
        }
        panic!("it dials and asks without end");
    }

    fn answer_dial(&mut self, conn: ConnId, address: SocketAddr) {
        let connected = Input::Connected { conn, local: None };
        match self.there.get(&address).cloned() {
            None => {}
            Some(There::Refuses) => self.refuse(conn),
            Some(There::Foreign) => {
                self.feed(connected);
                self.hear_bytes(conn, b"HTTP/1.1 400 Bad Request\r\n\r\n");
            }
            Some(There::Tls) => {
                self.feed(connected);
                // A fatal alert: what was said is no handshake.
                self.hear_bytes(conn, &[21, 3, 3, 0, 2, 2, 50]);
            }
            Some(There::Version(versions)) => {
                self.feed(connected);
                self.hear(conn, &Frame::Reject(wire::Reject::NoCommonVersion { versions }));
            }
            Some(There::Full) => {
                self.feed(connected);
                self.hear(conn, &Frame::Reject(wire::Reject::Full));
            }
            Some(There::Cluster(cluster)) => {
                self.feed(connected);
                let other = wire::Reject::OtherCluster { cluster };
                self.hear(conn, &Frame::Reject(other));
            }
            Some(There::Node(number, claims, fixed)) => {
                self.feed(connected);
                self.hear(conn, &welcome(number, claims, fixed));
                self.told.insert(conn, self.told_first.clone());
            }
        }
    }

    fn refuse(&mut self, conn: ConnId) {
        self.feed(Input::DialFailed { conn, why: Reason::Refused });
    }

    /// Whether anybody was asked anything.
    fn answer_questions(&mut self) -> bool {
        let mut any = false;
        for conn in self.told.keys().copied().collect::<Vec<_>>() {
            let frames = self.transmit(conn);
            for frame in frames {
                let Frame::Renew(renew) = frame else {
                    self.sent.entry(conn).or_default().push(frame);
                    continue;
                };
                any = true;
                self.now = self.now + DELAY;
                self.grant(conn, renew);
            }
        }
        any
    }

    fn grant(&mut self, conn: ConnId, renew: Renew) {
        let told = self.told.get(&conn).cloned().unwrap_or_default();
        let (head, lost, linked) = (Seq(told.head), told.lost, told.linked);
        let grant = Grant { nonce: renew.nonce, head, lost, linked };
        self.asked.push((conn, renew));
        self.hear(conn, &Frame::Grant(grant));
    }

    fn transmit(&mut self, conn: ConnId) -> Vec<Frame<'static>> {
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
            // A test's frames are few, and live as long as the test.
            frames.push(wire::decode(body.to_vec().leak()).unwrap());
        }
        frames
    }

    /// What was said over `conn` since this was last asked, but for questions that were answered.
    fn take_sent(&mut self, conn: ConnId) -> Vec<Frame<'static>> {
        let mut sent = self.sent.remove(&conn).unwrap_or_default();
        sent.extend(self.transmit(conn));
        sent
    }

    /// Whether nothing will be said over `conn` any more.
    fn is_over(&mut self, conn: ConnId) -> bool {
        while self.node.transmit(conn, 100, &mut Vec::new()) == Transmit::Data {}
        self.node.transmit(conn, 100, &mut Vec::new()) == Transmit::Finished
    }

    /// What a peer answers from here on.
    fn tell(&mut self, number: u16, told: Told) {
        let conn = self.conn_to(number);
        self.told.insert(conn, told);
    }

    /// A peer answers no more, and its connection stays open.
    fn mute(&mut self, number: u16) {
        let conn = self.conn_to(number);
        self.told.remove(&conn);
    }

    fn expect_sent(&mut self, conn: ConnId, frames: &[Frame<'_>]) {
        assert_eq!(self.take_sent(conn), frames);
    }

    /// The question that waits to be sent over `conn`.
    fn take_question(&mut self, conn: ConnId) -> Renew {
        let sent = self.take_sent(conn).into_iter();
        let mut asked = sent.filter_map(|frame| match frame {
            Frame::Renew(renew) => Some(renew),
            _ => None,
        });
        asked.next_back().expect("nothing was asked")
    }

    /// What is wanted of lives that are over, and of whom.
    fn wants(&self) -> Vec<(ConnId, Position)> {
        let wants = self
            .asked
            .iter()
            .flat_map(|(conn, renew)| renew.want.iter().map(move |&want| (*conn, want)));
        wants.collect()
    }

    fn take_dials(&mut self) -> Vec<(ConnId, SocketAddr)> {
        let mut dials = Vec::new();
        self.outputs.retain(|output| match *output {
            Output::Dial { conn, address } => {
                dials.push((conn, address));
                false
            }
            _ => true,
        });
        dials
    }

    fn take_reports(&mut self) -> Vec<Report> {
        let mut reports = Vec::new();
        self.outputs.retain(|output| match output {
            Output::Report(report) => {
                reports.push(report.clone());
                false
            }
            _ => true,
        });
        reports
    }

    fn reports(&mut self, wanted: fn(&Report) -> bool) -> bool {
        self.take_reports().iter().any(wanted)
    }

    fn is_closed(&self, conn: ConnId) -> bool {
        self.outputs.contains(&Output::Close { conn })
    }

    /// The connection over which a life is linked.
    fn conn_to(&self, number: u16) -> ConnId {
        let conns = self.node.lives.get(life(number)).map(|life| life.conns.clone());
        *conns.unwrap_or_default().last().expect("it is not linked")
    }

    /// The connections of a life break, and it answers no more.
    fn lose(&mut self, number: u16) {
        let conns = self.node.lives.get(life(number)).map(|life| life.conns.clone());
        for conn in conns.unwrap_or_default() {
            self.told.remove(&conn);
            self.feed(Input::Closed { conn, why: "reset".into() });
        }
    }

    /// A life dies: whoever dials it is refused.
    fn kill(&mut self, number: u16) {
        self.there.insert(address(number), There::Refuses);
        self.lose(number);
    }

    fn hold(&self) {
        match self.cache.board(&"k".to_owned(), self.cache.read_begins(), self.now) {
            Boarding::Lead(lead) => drop(lead.complete(1)),
            _ => panic!("a copy is held already"),
        }
    }

    fn holds(&self) -> bool {
        self.cache.get("k", self.now).is_some()
    }

    fn announce(&mut self) -> Seq {
        let seq = self.node.announce("c", vec![Scope::Key("k")]).unwrap();
        self.drain();
        seq
    }

    /// Up to when it is proven that nothing is missed.
    fn proof(&self) -> Time {
        self.caches.proof(Guarantee::default()).get()
    }

    /// Whether the proof is as young as it is while all is well.
    fn is_fresh(&self) -> bool {
        self.now.since(self.proof()) <= wire::RENEW_EVERY + 50 * MS
    }

    /// Awaits what was announced, for that long.
    fn await_for(&mut self, seq: Seq, length: Duration, strict: bool) {
        let deadline = self.now + length;
        self.node.await_applied(self.now, seq, self.now, deadline, strict);
        self.drain();
    }

    /// What the last awaited flush came to, if it did.
    fn take_outcome(&mut self) -> Option<Outcome> {
        let mut found = None;
        self.outputs.retain(|output| match output {
            Output::Settled { outcome, .. } => {
                found = Some(outcome.clone());
                false
            }
            _ => true,
        });
        found
    }
}
