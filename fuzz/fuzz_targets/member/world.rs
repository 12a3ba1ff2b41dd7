//! Owns a small world: a node among strangers who say anything, and one honest peer. Both are real; what
//! travels between them is carried in order.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::ack::{Outcome, Reason, TicketId};
use flushcast_core::cache::{Cache, CacheConfig, Caches, Guarantee, HashSeeds};
use flushcast_core::flush::LogLimits;
use flushcast_core::node::{Batch, ConnId, Input, Limits, NodeConfig, Output, Transmit, Work};
use flushcast_core::{Node, Time};

use crate::script::Plan;
use crate::stranger::Stranger;
use crate::words::{HONEST, OWN, address, life};

/// Connections of strangers at a time, dials included.
pub(crate) const STRANGERS: usize = 12;
/// What passes between two steps: nothing happens in one moment with what it follows.
const STEP: Duration = Duration::from_micros(10);
/// How long a dial may take.
const DIAL_WITHIN: Duration = Duration::from_secs(3);
/// More words than two nodes have for each other at one time.
const MOST_TALK: usize = 2000;
/// Most ticks at one moment: all can be due there once, each place, each life and each awaited flush.
const MOST_AT_ONCE: usize = 256;
/// Most bytes of flushes that are asked for at once.
const ENOUGH: usize = 1000;

pub(crate) const LIMITS: Limits = Limits {
    peers: 5,
    tail: LogLimits { entries: 8, bytes: 512 },
    lives_over: 4,
    forget_after: Duration::from_millis(500),
    patience: Duration::from_secs(2),
    ask_within: Duration::from_secs(2),
};
pub(crate) const SHORT_LOG: LogLimits = LogLimits { entries: 16, bytes: 2048 };

/// One of the two real nodes.
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) caches: Arc<Caches>,
    /// Its copies are served until they are flushed or distrusted, whatever is proven.
    pub(crate) cache: Arc<Cache<String, u64>>,
    /// Kept for what they demand.
    _others: Vec<Arc<Cache<String, u64>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Own,
    Honest,
}

/// A connection of the two real nodes.
struct Wire {
    own: ConnId,
    honest: ConnId,
    /// What waits to be read at this node, while it applies flushes.
    to_own: VecDeque<Vec<u8>>,
}

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) own: Member,
    pub(crate) honest: Member,
    wires: Vec<Wire>,
    /// Dials between the two.
    dials: Vec<(Side, ConnId)>,
    pub(crate) strangers: Vec<Stranger>,
    pub(crate) is_broken: bool,
    /// What was given out to be applied, and what it came over.
    pub(crate) given_out: VecDeque<(Option<ConnId>, Batch)>,
    pub(crate) holds: bool,
    /// Connections that wait until somebody else has applied flushes of their life.
    waiting: BTreeSet<ConnId>,
    /// What was applied at this node of the honest one's, by number.
    pub(crate) applied: Vec<u64>,
    pub(crate) settled: Vec<(Side, TicketId, Outcome)>,
}

impl Member {
    fn new(number: usize, plan: Plan) -> Self {
        let caches = Arc::new(Caches::default());
        let register = |name, guarantee| {
            let config = CacheConfig::new(1000, guarantee, HashSeeds([1, 2, 3, 4]));
            Cache::register(&caches, name, config).expect("a new registry")
        };
        let cache = register("c", Guarantee::Eventual);
        let mut others = vec![register("d", Guarantee::default())];
        if plan.is_strict && number == OWN {
            others.push(register("s", Guarantee::Strict));
        }
        let port = address(number).port();
        let is_anywhere = plan.is_anywhere && number == OWN;
        let is_short = plan.has_short_log && number == OWN;
        let config = NodeConfig {
            cluster: "fuzz".to_owned(),
            name: format!("n{number}"),
            incarnation: life(number),
            address: if is_anywhere { ([0, 0, 0, 0], port).into() } else { address(number) },
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            log: if is_short { SHORT_LOG } else { LogLimits::default() },
            sources: 1,
            fixed: plan.is_strict.then(|| vec![address(HONEST), address(OWN)]),
            trust_refusals: plan.distrusts_refusals.then_some(false),
            limits: if number == OWN { LIMITS } else { Limits::default() },
            seed: 1,
        };
        Self { node: Node::new(config, Arc::clone(&caches)), caches, cache, _others: others }
    }
}

impl World {
    /// Two nodes that are linked, as far as the honest one's list leads.
    pub(crate) fn new(plan: Plan) -> Self {
        let mut world = Self {
            now: Time::ZERO + Duration::from_secs(1),
            own: Member::new(OWN, plan),
            honest: Member::new(HONEST, plan),
            wires: Vec::new(),
            dials: Vec::new(),
            strangers: Vec::new(),
            is_broken: false,
            given_out: VecDeque::new(),
            holds: false,
            waiting: BTreeSet::new(),
            applied: Vec::new(),
            settled: Vec::new(),
        };
        world.feed(Side::Own, Input::Tick);
        world.feed(Side::Honest, Input::Tick);
        world.list(Side::Honest, "a", &[address(OWN)], true);
        let own: &[_] = if plan.lists_honest { &[address(HONEST)] } else { &[] };
        world.list(Side::Own, "a", own, true);
        world.run(Duration::from_millis(700));
        world
    }

    pub(crate) fn list(&mut self, side: Side, source: &str, all: &[SocketAddr], complete: bool) {
        let listed = all.iter().map(|&address| address.into()).collect();
        self.feed(side, Input::Members { source: source.into(), listed, complete });
    }

    pub(crate) fn member(&mut self, side: Side) -> &mut Member {
        match side {
            Side::Own => &mut self.own,
            Side::Honest => &mut self.honest,
        }
    }

    /// Whether each of the two takes itself for linked with the other.
    pub(crate) fn are_linked(&self) -> bool {
        let links = |member: &Member, number| member.node.links_with(life(number));
        links(&self.own, HONEST) > 0 && links(&self.honest, OWN) > 0
    }

    pub(crate) fn feed(&mut self, side: Side, input: Input<'_>) {
        let now = self.now;
        self.member(side).node.handle(now, input);
        self.drain(side);
    }

    /// Does what a node says.
    pub(crate) fn drain(&mut self, side: Side) {
        while let Some(output) = self.member(side).node.poll_output() {
            match output {
                Output::Dial { conn, address: to } => self.dial(side, conn, to),
                Output::Close { conn } => self.close(side, conn),
                Output::Settled { ticket, outcome } => self.settled.push((side, ticket, outcome)),
                Output::Report(report) => assert!(!report.to_string().is_empty()),
                Output::Wake { .. } | Output::Rearm | Output::PeersChanged => {}
            }
        }
    }

    fn dial(&mut self, side: Side, conn: ConnId, to: SocketAddr) {
        let other = if side == Side::Own { HONEST } else { OWN };
        if to == address(other) {
            self.dials.push((side, conn));
        } else if side == Side::Own && self.strangers.len() < STRANGERS {
            self.strangers.push(Stranger::new(conn, Some(self.now)));
        } else {
            let why = Reason::Unreachable("nobody is there".to_owned());
            self.feed(side, Input::DialFailed { conn, why });
        }
    }

    /// A node has ended a connection at once.
    fn close(&mut self, side: Side, conn: ConnId) {
        self.strangers.retain(|it| side != Side::Own || it.conn != conn);
        self.dials.retain(|dial| *dial != (side, conn));
        let ended = |it: &Wire| conn == if side == Side::Own { it.own } else { it.honest };
        if let Some(at) = self.wires.iter().position(ended) {
            let wire = self.wires.remove(at);
            let (other, conn) = match side {
                Side::Own => (Side::Honest, wire.honest),
                Side::Honest => (Side::Own, wire.own),
            };
            // What was sent before arrives.
            if other == Side::Own {
                wire.to_own.iter().for_each(|bytes| self.hear(wire.own, bytes));
            }
            self.ended(other, conn, "closed by the other end");
        }
        // What was heard over it counts.
        if side == Side::Own {
            self.waiting.remove(&conn);
        }
        self.apply_rest(side);
    }

    /// A connection is over, and its end is told of.
    pub(crate) fn ended(&mut self, side: Side, conn: ConnId, why: &str) {
        if side == Side::Own {
            self.strangers.retain(|it| it.conn != conn);
            self.waiting.remove(&conn);
        }
        self.feed(side, Input::Closed { conn, why: why.to_owned() });
        self.apply_rest(side);
    }

    /// Somebody connects, or nobody if there are enough already.
    pub(crate) fn accept(&mut self) -> Option<usize> {
        if self.strangers.len() >= STRANGERS {
            return None;
        }
        let conn = self.own.node.next_conn();
        self.strangers.push(Stranger::new(conn, None));
        self.feed(Side::Own, Input::Accepted { conn, from: ([10, 0, 9, 9], 50_000).into() });
        self.strangers.iter().position(|it| it.conn == conn)
    }

    /// Whether bytes that have come for it are read: not while what it has brought is being applied.
    pub(crate) fn reads(&self, conn: ConnId) -> bool {
        let is_given_out = self.given_out.iter().any(|(of, _)| *of == Some(conn));
        !is_given_out && !self.waiting.contains(&conn)
    }

    /// Bytes come for this node.
    pub(crate) fn hear(&mut self, conn: ConnId, bytes: &[u8]) {
        self.feed(Side::Own, Input::Received { conn, bytes });
        self.apply_heard(conn);
    }

    fn apply_heard(&mut self, conn: ConnId) {
        loop {
            match self.own.node.take_work(conn) {
                Work::None => return,
                Work::Busy => {
                    self.waiting.insert(conn);
                    return;
                }
                Work::Apply(batch) => {
                    self.given_out.push_back((Some(conn), batch));
                    if self.holds {
                        return;
                    }
                    self.apply_next();
                }
            }
        }
    }

    /// Has applied what was heard of lives whose connections are over.
    pub(crate) fn apply_rest(&mut self, side: Side) {
        while let Some(life) = self.member(side).node.lives_with_work() {
            let Work::Apply(batch) = self.member(side).node.take_work_of(life) else { continue };
            match side {
                Side::Honest => self.finish_at_honest(&batch),
                Side::Own => {
                    self.given_out.push_back((None, batch));
                    if !self.holds {
                        self.apply_next();
                    }
                }
            }
        }
    }

    /// Applies what was given out first.
    pub(crate) fn apply_next(&mut self) {
        let Some((conn, batch)) = self.given_out.pop_front() else { return };
        if batch.life == life(HONEST) {
            self.applied.extend(batch.flushes().filter_map(|(_, scope)| {
                scope.text().strip_prefix('h').and_then(|number| number.parse::<u64>().ok())
            }));
        }
        self.own.caches.begin(Time::ZERO, batch.flushes()).finish();
        let (life, upto) = (batch.life, batch.upto);
        self.feed(Side::Own, Input::Applied { life, upto, widened: Vec::new() });
        if let Some(conn) = conn {
            self.apply_heard(conn);
        }
        for conn in std::mem::take(&mut self.waiting) {
            self.apply_heard(conn);
        }
        self.apply_rest(Side::Own);
    }

    fn finish_at_honest(&mut self, batch: &Batch) {
        self.honest.caches.begin(Time::ZERO, batch.flushes()).finish();
        let (life, upto) = (batch.life, batch.upto);
        self.feed(Side::Honest, Input::Applied { life, upto, widened: Vec::new() });
    }

    /// What the two real nodes have for each other arrives.
    pub(crate) fn carry(&mut self) {
        for _ in 0..MOST_TALK {
            self.now = self.now + STEP;
            let mut moved = self.connect_dials();
            for conn in self.wires.iter().map(|it| it.own).collect::<Vec<_>>() {
                moved |= self.carry_out(conn) | self.carry_in(conn);
            }
            if !moved {
                return;
            }
        }
        panic!("they talk without end");
    }

    fn connect_dials(&mut self) -> bool {
        let dials = std::mem::take(&mut self.dials);
        for &(side, conn) in &dials {
            if self.is_broken {
                let why = Reason::Unreachable("no route".to_owned());
                self.feed(side, Input::DialFailed { conn, why });
                continue;
            }
            let (other, from) = match side {
                Side::Own => (Side::Honest, OWN),
                Side::Honest => (Side::Own, HONEST),
            };
            let end = self.member(other).node.next_conn();
            let (own, honest) = if side == Side::Own { (conn, end) } else { (end, conn) };
            self.wires.push(Wire { own, honest, to_own: VecDeque::new() });
            let from = SocketAddr::new(address(from).ip(), 50_001);
            self.feed(other, Input::Accepted { conn: end, from });
            self.feed(side, Input::Connected { conn, local: Some(from) });
        }
        !dials.is_empty()
    }

    fn wire(&mut self, own: ConnId) -> Option<&mut Wire> {
        self.wires.iter_mut().find(|it| it.own == own)
    }

    /// From this node to the honest one.
    fn carry_out(&mut self, own: ConnId) -> bool {
        let Some(honest) = self.wire(own).map(|it| it.honest) else { return false };
        let mut bytes = Vec::new();
        match self.own.node.transmit(own, ENOUGH, &mut bytes) {
            Transmit::Idle => false,
            Transmit::Finished => {
                self.finish(own, Side::Own);
                true
            }
            Transmit::Data => {
                self.feed(Side::Honest, Input::Received { conn: honest, bytes: &bytes });
                while let Work::Apply(batch) = self.honest.node.take_work(honest) {
                    self.finish_at_honest(&batch);
                }
                true
            }
        }
    }

    /// From the honest node to this one, which reads it when it can.
    fn carry_in(&mut self, own: ConnId) -> bool {
        let Some(honest) = self.wire(own).map(|it| it.honest) else { return false };
        let mut bytes = Vec::new();
        let said = self.honest.node.transmit(honest, ENOUGH, &mut bytes);
        let Some(wire) = self.wire(own) else { return false };
        if said == Transmit::Data {
            wire.to_own.push_back(bytes);
        }
        let mut moved = said == Transmit::Data;
        while self.reads(own) {
            let Some(bytes) = self.wire(own).and_then(|it| it.to_own.pop_front()) else { break };
            self.hear(own, &bytes);
            moved = true;
        }
        let is_read = self.wire(own).is_some_and(|it| it.to_own.is_empty());
        if said == Transmit::Finished && is_read {
            self.finish(own, Side::Honest);
            moved = true;
        }
        moved
    }

    /// A node has said its last words over a connection, and they were read.
    fn finish(&mut self, own: ConnId, by: Side) {
        let Some(at) = self.wires.iter().position(|it| it.own == own) else { return };
        let Wire { own, honest, .. } = self.wires.remove(at);
        let why = |side| if side == by { "ended" } else { "closed by the other end" };
        self.ended(Side::Honest, honest, why(Side::Honest));
        self.ended(Side::Own, own, why(Side::Own));
    }

    /// The network between the two is gone.
    pub(crate) fn break_wires(&mut self) {
        self.is_broken = true;
        for Wire { own, honest, .. } in std::mem::take(&mut self.wires) {
            self.ended(Side::Own, own, "reset");
            self.ended(Side::Honest, honest, "reset");
        }
    }

    /// A stranger takes what the node has to say.
    pub(crate) fn read(&mut self, who: usize) {
        let stranger = self.strangers.get_mut(who).filter(|it| it.dialled.is_none());
        let Some(stranger) = stranger else { return };
        let mut bytes = Vec::new();
        let conn = stranger.conn;
        match self.own.node.transmit(conn, ENOUGH, &mut bytes) {
            Transmit::Data => stranger.listen(&bytes),
            Transmit::Idle => {}
            Transmit::Finished => self.ended(Side::Own, conn, "ended"),
        }
    }

    /// Lets time pass, in which both nodes run.
    pub(crate) fn run(&mut self, length: Duration) {
        let end = self.now + length;
        let (mut at_once, mut ticks) = (0, 0);
        loop {
            self.carry();
            let before = self.now;
            let deadlines =
                [Side::Own, Side::Honest].map(|it| self.member(it).node.next_deadline());
            let dials = self.strangers.iter().filter_map(|it| Some(it.dialled? + DIAL_WITHIN));
            let due = deadlines.into_iter().chain(dials).min().unwrap_or(Time::NEVER);
            if due > end {
                break;
            }
            // What was due already, and is due again, takes no time.
            at_once = if due <= before { at_once + 1 } else { 0 };
            ticks += 1;
            assert!(at_once < MOST_AT_ONCE, "it ticks without end");
            // Each may be due every millisecond, and once more at the start.
            assert!(ticks < 2 * length.as_millis() + 200, "{ticks} ticks in {length:?}");
            self.now = self.now.max(due);
            for (side, deadline) in [Side::Own, Side::Honest].into_iter().zip(deadlines) {
                if deadline <= self.now {
                    self.feed(side, Input::Tick);
                }
            }
            self.end_dials();
        }
        self.now = self.now.max(end);
    }

    fn end_dials(&mut self) {
        let is_late = |it: &&Stranger| it.dialled.is_some_and(|at| at + DIAL_WITHIN <= self.now);
        for conn in self.strangers.iter().filter(is_late).map(|it| it.conn).collect::<Vec<_>>() {
            let why = Reason::Unreachable("no answer".to_owned());
            self.dial_failed(conn, why);
        }
    }

    pub(crate) fn dial_failed(&mut self, conn: ConnId, why: Reason) {
        self.strangers.retain(|it| it.conn != conn);
        self.feed(Side::Own, Input::DialFailed { conn, why });
    }

    /// Neither node runs for so long; both go on in one moment.
    pub(crate) fn pause(&mut self, length: Duration) {
        for side in [Side::Own, Side::Honest] {
            // As a shell has it armed.
            self.member(side).node.next_deadline();
        }
        self.now = self.now + length;
        self.feed(Side::Own, Input::Tick);
        self.feed(Side::Honest, Input::Tick);
    }

    /// Connections that are open, and dials.
    pub(crate) fn conns(&self) -> usize {
        let dials = self.dials.iter().filter(|(side, _)| *side == Side::Own).count();
        self.wires.len() + self.strangers.len() + dials
    }
}
