//! Owns a small cluster in which what happens next is a choice, for a model checker to try all of
//! them. There is no chance here, and no time passes but when all is at rest.
//!
//! Bytes arrive in the order in which they were sent, all over the cluster, except where a way is
//! held up: trying all orders is beyond any machine, and few bugs need many delays (Emmi, Qadeer,
//! Rakamaric: Delay-Bounded Scheduling, POPL 2011). Deaths, starts and breaks come at any moment.
//!
//! The real cores cannot be copied: a state is the choices that led to it, taken again.

mod life;

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use flushcast_core::Time;
use flushcast_core::ack::Reason;
use flushcast_core::node::{ConnId, Input, Output, Transmit};
use flushcast_core::peers::Listed;
use flushcast_core::wire::Scope;

use crate::member::{address_of, slot_of};
use life::{CACHE, Life};

/// Who flushes, and dies first.
const AUTHOR: usize = 0;
/// Where the first node is, too, in a world with two places for one life.
const SECOND_OF_AUTHOR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)), 7400);
/// Ends a start that comes to no rest.
const MOST_STEPS_TO_START: usize = 2_000;

/// How much may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Nodes.
    pub nodes: usize,
    /// Flushes, all by the first node.
    pub flushes: u8,
    /// Deaths, of the first node and then of the second.
    pub deaths: u8,
    /// Starts of the dead.
    pub starts: u8,
    /// Whether the first node is listed under a second address as well.
    pub two_places: bool,
    /// Whether the story begins with a break of the connections between the first two nodes.
    pub begins_with_break: bool,
    /// Ways that are held up, each for as long as it pleases.
    pub delays: u8,
    /// Times that the next timer goes off: at most one of them before the first flush.
    pub ticks: u8,
}

/// Something that may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// What was sent first, of all that is not held up, arrives.
    Arrive,
    /// It is lost, with all that a dead node sent behind it.
    Lose,
    /// The way on which it is is held up.
    Delay,
    /// A way is held up no longer.
    Release(Way),
    /// The first node flushes.
    Flush,
    /// The node in a slot is killed.
    Kill(usize),
    /// Another life begins in a slot.
    Start(usize),
    /// Time passes until the next timer goes off.
    Tick,
}

/// One direction of a link: towards a side of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Way {
    link: usize,
    side: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct End {
    slot: usize,
    life: u64,
    conn: ConnId,
}

#[derive(Debug)]
struct Link {
    ends: [End; 2],
    open: [bool; 2],
}

/// Something on its way.
#[derive(Debug, Hash)]
enum Sent {
    Dial {
        from: End,
        to: usize,
    },
    Bytes {
        way: Way,
        bytes: Vec<u8>,
    },
    /// The last on its way: the other side has gone.
    Gone {
        way: Way,
    },
}

impl Sent {
    fn way(&self) -> Option<Way> {
        match *self {
            Sent::Dial { .. } => None,
            Sent::Bytes { way, .. } | Sent::Gone { way } => Some(way),
        }
    }
}

/// A flush of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Flushed {
    at: Time,
    life: u64,
    number: u8,
}

impl Flushed {
    fn key(&self) -> String {
        format!("{}/{}", self.life, self.number)
    }
}

/// A cluster, and what may still happen to it.
#[derive(Debug)]
pub struct Small {
    bounds: Bounds,
    left: Bounds,
    slots: Vec<Option<Life>>,
    lives: u64,
    links: Vec<Link>,
    sent: VecDeque<Sent>,
    held: Vec<Way>,
    now: Time,
    flushed: Vec<Flushed>,
    /// Somebody was to hear a flush from somebody other than its author.
    has_tail: bool,
}

impl Small {
    /// A cluster in which all are linked and in step.
    pub fn new(bounds: Bounds) -> Self {
        let mut small = Self {
            bounds,
            left: Bounds { ticks: u8::MAX, ..bounds },
            slots: (0..bounds.nodes).map(|_| None).collect(),
            lives: 0,
            links: Vec::new(),
            sent: VecDeque::new(),
            held: Vec::new(),
            now: Time::ZERO,
            flushed: Vec::new(),
            has_tail: false,
        };
        (0..bounds.nodes).for_each(|slot| small.start(slot));
        for _ in 0..MOST_STEPS_TO_START {
            let next = if small.sent.is_empty() { Step::Tick } else { Step::Arrive };
            if next == Step::Tick && small.is_in_step() {
                small.left = bounds;
                if bounds.begins_with_break {
                    small.break_links();
                }
                return small;
            }
            small.take(next);
        }
        panic!("the small cluster does not come to rest")
    }

    /// Nothing links the first two nodes, and both ends are told at once.
    fn break_links(&mut self) {
        for link in 0..self.links.len() {
            let Link { ends, open } = &self.links[link];
            let slots = [ends[0].slot.min(ends[1].slot), ends[0].slot.max(ends[1].slot)];
            if *open != [true; 2] || slots != [AUTHOR, AUTHOR + 1] {
                continue;
            }
            for side in 0..2 {
                self.links[link].open[side] = false;
                self.forget(Way { link, side });
            }
            self.links[link].ends.into_iter().for_each(|end| self.tell_gone(end));
        }
    }

    fn is_in_step(&self) -> bool {
        let others = self.slots.len() - 1;
        self.slots.iter().flatten().all(|life| {
            let peers = life.core.peers(self.now);
            let linked = peers.iter().filter(|peer| peer.is_linked()).count();
            linked == others && life.proof.get() > Time::ZERO
        })
    }

    /// Everything that may happen next, always in the same order.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        match self.next_to_arrive() {
            Some(at) => {
                steps.push(Step::Arrive);
                if let Sent::Bytes { way, .. } = self.sent[at] {
                    if !self.links[way.link].open[1 - way.side] {
                        steps.push(Step::Lose);
                    }
                    if self.left.delays > 0 && self.left.flushes == 0 {
                        steps.push(Step::Delay);
                    }
                }
            }
            None if self.may_tick() => steps.push(Step::Tick),
            None => {}
        }
        steps.extend(self.held.iter().copied().map(Step::Release));
        let lives = |slot: usize| self.slots.get(slot).is_some_and(Option::is_some);
        if self.left.flushes > 0 && lives(AUTHOR) {
            steps.push(Step::Flush);
        }
        // Who has flushed everything dies, while some of what it told is under way; then the next.
        let next = usize::from(!lives(AUTHOR));
        if self.left.deaths > 0 && self.left.flushes == 0 && lives(next) && self.tells(next) {
            steps.push(Step::Kill(next));
        }
        if self.left.starts > 0 {
            steps.extend((0..self.slots.len()).filter(|&slot| !lives(slot)).map(Step::Start));
        }
        steps
    }

    fn may_tick(&self) -> bool {
        let has_begun = !self.flushed.is_empty() || self.left.ticks == self.bounds.ticks;
        self.left.ticks > 0 && has_begun
    }

    /// Whether something that the node in a slot has sent is under way.
    fn tells(&self, slot: usize) -> bool {
        let from = |way: Way| self.links[way.link].ends[1 - way.side].slot;
        self.sent.iter().filter_map(Sent::way).any(|way| from(way) == slot)
    }

    fn next_to_arrive(&self) -> Option<usize> {
        self.sent.iter().position(|sent| sent.way().is_none_or(|way| !self.held.contains(&way)))
    }

    /// Lets one of [`steps`](Self::steps) happen.
    pub fn take(&mut self, step: Step) {
        match step {
            Step::Arrive => {
                if let Some(sent) = self.next_to_arrive().and_then(|at| self.sent.remove(at)) {
                    self.arrive(sent);
                }
            }
            Step::Lose => {
                let way = self.next_to_arrive().and_then(|at| self.sent[at].way());
                let is_lost = |it: &Sent| matches!(it, Sent::Bytes { .. }) && it.way() == way;
                self.sent.retain(|sent| !is_lost(sent));
            }
            Step::Delay => {
                self.left.delays -= 1;
                self.held.extend(self.next_to_arrive().and_then(|at| self.sent[at].way()));
            }
            Step::Release(way) => self.held.retain(|held| *held != way),
            Step::Flush => self.flush(),
            Step::Kill(slot) => {
                self.left.deaths -= 1;
                self.kill(slot);
            }
            Step::Start(slot) => {
                self.left.starts -= 1;
                self.start(slot);
            }
            Step::Tick => self.tick(),
        }
        self.note_tail();
    }

    /// A node's proof that is not true: something that was flushed before it is not applied there,
    /// and its author lives, or somebody else who lives has applied it.
    pub fn untrue_proof(&self) -> Option<String> {
        let lives = || self.slots.iter().flatten();
        lives().find_map(|life| {
            let proof = life.proof.get();
            let missed = self.flushed.iter().skip(life.before).find(|flushed| {
                let is_proven = flushed.at < proof && proof < Time::NEVER;
                let mut others = lives().filter(|it| it.number != life.number);
                is_proven
                    && flushed.life != life.number
                    && !life.heard.covers(&flushed.key())
                    && others.any(|it| it.number == flushed.life || it.heard.has(&flushed.key()))
            })?;
            Some(format!("life {} is proven as of {proof:?} without {missed:?}", life.number))
        })
    }

    /// Whether a tail was handed over: all who live have heard all that the dead have flushed, and some
    /// not from them.
    pub fn tail_is_handed_over(&self) -> bool {
        let lives = || self.slots.iter().flatten();
        let is_dead = |it: &&Flushed| lives().all(|life| life.number != it.life);
        let mut of_dead = self.flushed.iter().filter(is_dead);
        self.has_tail && of_dead.all(|it| lives().all(|life| life.heard.has(&it.key())))
    }

    /// The same for clusters in which the same may happen.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let mut text = String::new();
        for life in &self.slots {
            text.clear();
            // Writing to a text does not fail.
            let _ = write!(text, "{life:?}");
            text.hash(&mut hasher);
        }
        self.links.iter().for_each(|link| (link.ends, link.open).hash(&mut hasher));
        let rest = (&self.sent, &self.held, self.now, &self.flushed, self.left, self.has_tail);
        rest.hash(&mut hasher);
        hasher.finish()
    }

    fn start(&mut self, slot: usize) {
        self.lives += 1;
        let life = Life::begin(self.lives, slot, self.flushed.len());
        self.slots[slot] = Some(life);
        let places = (0..self.slots.len()).map(address_of);
        let second = self.bounds.two_places.then_some(SECOND_OF_AUTHOR);
        let listed: Vec<Listed> = places.chain(second).map(Listed::from).collect();
        self.feed(slot, Input::Members { source: "list".into(), listed, complete: true });
    }

    fn flush(&mut self) {
        self.left.flushes -= 1;
        let number = self.left.flushes;
        let Some(life) = &mut self.slots[AUTHOR] else { return };
        let flushed = Flushed { at: self.now, life: life.number, number };
        self.flushed.push(flushed);
        let key = flushed.key();
        let announced = life.core.announce(CACHE, vec![Scope::Key(&key)]);
        assert!(announced.is_ok(), "a short key");
        self.carry_out(AUTHOR);
    }

    fn kill(&mut self, slot: usize) {
        let Some(life) = self.slots[slot].take() else { return };
        self.forget_dials(life.number, None);
        self.close(life.number, None);
    }

    /// Notes that somebody lacks what a dead node has told somebody else, and will not hear it from there.
    fn note_tail(&mut self) {
        let lives = || self.slots.iter().flatten();
        let is_dead = |number: u64| lives().all(|life| life.number != number);
        let tells = |sent: &Sent| {
            matches!(*sent, Sent::Bytes { way, .. }
            if is_dead(self.links[way.link].ends[1 - way.side].life))
        };
        let is_tail = |it: &Flushed| {
            let heard = |life: &Life| life.heard.has(&it.key());
            is_dead(it.life) && lives().any(heard) && !lives().all(heard)
        };
        self.has_tail |= self.flushed.iter().any(is_tail) && !self.sent.iter().any(tells);
    }

    /// Closes the ends of a life, or that of one of its connections.
    fn close(&mut self, life: u64, conn: Option<ConnId>) {
        for link in 0..self.links.len() {
            for side in 0..2 {
                let end = self.links[link].ends[side];
                if end.life == life && conn.is_none_or(|conn| end.conn == conn) {
                    self.close_side(link, side);
                }
            }
        }
    }

    fn close_side(&mut self, link: usize, side: usize) {
        self.links[link].open[side] = false;
        self.forget(Way { link, side });
        let way = Way { link, side: 1 - side };
        if self.links[link].open[way.side] {
            self.sent.push_back(Sent::Gone { way });
        }
    }

    /// Nothing more arrives on a way.
    fn forget(&mut self, way: Way) {
        self.sent.retain(|sent| sent.way() != Some(way));
        self.held.retain(|held| *held != way);
    }

    fn forget_dials(&mut self, life: u64, conn: Option<ConnId>) {
        let is_forgotten = |end: &End| end.life == life && conn.is_none_or(|it| it == end.conn);
        self.sent.retain(|sent| !matches!(sent, Sent::Dial { from, .. } if is_forgotten(from)));
    }

    fn arrive(&mut self, sent: Sent) {
        match sent {
            Sent::Dial { from, to } => self.dial(from, to),
            Sent::Bytes { way, bytes } => {
                let end = self.links[way.link].ends[way.side];
                self.feed(end.slot, Input::Received { conn: end.conn, bytes: &bytes });
            }
            Sent::Gone { way } => {
                self.links[way.link].open[way.side] = false;
                self.tell_gone(self.links[way.link].ends[way.side]);
            }
        }
    }

    fn dial(&mut self, from: End, to: usize) {
        let Some(dialled) = &mut self.slots[to] else {
            let failed = Input::DialFailed { conn: from.conn, why: Reason::Refused };
            return self.feed(from.slot, failed);
        };
        let end = End { slot: to, life: dialled.number, conn: dialled.core.next_conn() };
        self.links.push(Link { ends: [from, end], open: [true; 2] });
        self.feed(to, Input::Accepted { conn: end.conn, from: address_of(from.slot) });
        let local = Some(address_of(from.slot));
        self.feed(from.slot, Input::Connected { conn: from.conn, local });
    }

    fn tell_gone(&mut self, end: End) {
        if self.slots[end.slot].as_ref().is_some_and(|life| life.number == end.life) {
            self.feed(end.slot, Input::Closed { conn: end.conn, why: "reset".to_owned() });
        }
    }

    fn tick(&mut self) {
        self.left.ticks -= 1;
        let due = |life: &mut Life| life.core.next_deadline();
        let due: Vec<_> = self.slots.iter_mut().map(|slot| slot.as_mut().map(due)).collect();
        let Some(next) = due.iter().flatten().min() else { return };
        self.now = self.now.max(*next);
        for (slot, due) in due.iter().enumerate() {
            if due.is_some_and(|due| due <= self.now) {
                self.feed(slot, Input::Tick);
            }
        }
    }

    fn feed(&mut self, slot: usize, input: Input<'_>) {
        let Some(life) = &mut self.slots[slot] else { return };
        life.core.handle(self.now, input);
        life.apply(self.now);
        self.carry_out(slot);
    }

    fn carry_out(&mut self, slot: usize) {
        let Some(Life { number, .. }) = self.slots[slot] else { return };
        while let Some(output) = self.slots[slot].as_mut().and_then(|it| it.core.poll_output()) {
            match output {
                Output::Dial { conn, address } => {
                    let from = End { slot, life: number, conn };
                    self.sent.push_back(Sent::Dial { from, to: slot_of(address) });
                }
                Output::Close { conn } => {
                    self.forget_dials(number, Some(conn));
                    self.close(number, Some(conn));
                }
                _ => {}
            }
        }
        for link in 0..self.links.len() {
            for side in 0..2 {
                if self.links[link].ends[side].life == number && self.links[link].open[side] {
                    self.transmit(slot, link, side);
                }
            }
        }
    }

    /// Sends all that a node has to say over a link: its socket takes it at once.
    fn transmit(&mut self, slot: usize, link: usize, side: usize) {
        let Some(life) = &mut self.slots[slot] else { return };
        let Link { ends, open } = &self.links[link];
        let way = Way { link, side: 1 - side };
        loop {
            let mut bytes = Vec::new();
            let state = life.core.transmit(ends[side].conn, usize::MAX, &mut bytes);
            if !bytes.is_empty() && open[way.side] {
                self.sent.push_back(Sent::Bytes { way, bytes });
            }
            match state {
                Transmit::Data => {}
                Transmit::Idle => return,
                Transmit::Finished => return self.close_side(link, side),
            }
        }
    }
}
