//! Owns virtual time: the queue of what is to happen, and how it reaches the nodes.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::flush::LogLimits;
use flushcast_core::node::{ConnId, Input, Output, Report, Transmit};

use crate::actions::{Action, Plan};
use crate::invariants;
use crate::member::{Member, life_of, name_of, slot_of};
use crate::network::{End, LinkId, Network, delay};
use crate::reads::Step;
use crate::tap::{ByLife, Heard, Truth};
use crate::trace::Trace;

/// Longest time a dial waits for an answer.
const DIAL_WITHIN: Duration = Duration::from_secs(3);
/// When a run is over: the faults, and then the time to heal.
const END: Time = Time::from_nanos(60_000_000_000);
/// Events after which a run is taken for one that never ends; the longest have some 20,000.
const MOST_EVENTS: u64 = 1_000_000;

/// A promise that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's id, as in `docs/reference/guarantees.md`.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// What one seed came to.
#[derive(Debug)]
pub struct Run {
    /// The first broken promise, if any.
    pub violation: Option<Violation>,
    /// A digest of the whole trace: the same seed gives the same.
    pub digest: u64,
    /// The trace, if it was asked for.
    pub trace: Vec<String>,
    /// How much happened, to show that something did.
    pub counts: Counts,
}

/// How often what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Changes of the truth, each followed by a flush.
    pub changes: u64,
    /// Reads that gave a value.
    pub reads: u64,
    /// Awaited flushes that came to an outcome.
    pub outcomes: u64,
    /// Logs that no longer reached back.
    pub resets: u64,
    /// Processes killed.
    pub kills: u64,
    /// Connections broken.
    pub breaks: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.changes += other.changes;
        self.reads += other.reads;
        self.outcomes += other.outcomes;
        self.resets += other.resets;
        self.kills += other.kills;
        self.breaks += other.breaks;
    }
}

#[derive(Debug)]
pub(crate) enum Event {
    Act(Action),
    Timer { slot: usize, life: u64 },
    DialArrives { from: End, to: usize },
    DialFails { from: End, refused: bool },
    Arrive { link: LinkId, side: usize },
    Breaks { link: LinkId, side: usize },
    Writable { end: End },
    Sample { slot: usize, life: u64, read: u64 },
    EndLoad { slot: usize, life: u64, read: u64, fails: bool },
}

#[derive(Debug)]
struct Due {
    at: Time,
    order: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) clock: Rc<RefCell<Time>>,
    queue: BinaryHeap<Reverse<Due>>,
    drawn: u64,
    pub(crate) rng: fastrand::Rng,
    pub(crate) slots: Vec<Option<Member>>,
    pub(crate) lives: u64,
    pub(crate) network: Network,
    pub(crate) truth: Truth,
    /// When each life announced which of its changes.
    pub(crate) announced: ByLife<Vec<(Time, u64)>>,
    pub(crate) log: LogLimits,
    /// Bytes on their way in one direction before the writer has to wait: a slow follower's stall.
    window: usize,
    pub(crate) trace: Trace,
    pub(crate) counts: Counts,
    pub(crate) violation: Option<Violation>,
    /// Some node was told a list that is not the whole truth.
    pub(crate) lists_were_wrong: bool,
}

/// Notes a line in the trace of a world.
macro_rules! note {
    ($world:expr, $($what:tt)*) => {{
        let now = $world.now;
        $world.trace.note(now, &format_args!($($what)*));
    }};
}
pub(crate) use note;

/// Plays one seed: faults, then healing, with every invariant checked all the while.
pub fn run(seed: u64, keep_trace: bool) -> Run {
    let mut rng = fastrand::Rng::with_seed(seed);
    let plan = Plan::draw(&mut rng);
    let mut world = World {
        now: Time::ZERO,
        clock: Rc::default(),
        queue: BinaryHeap::new(),
        drawn: 0,
        slots: (0..plan.nodes).map(|_| None).collect(),
        lives: 0,
        network: Network::default(),
        truth: Truth::default(),
        announced: ByLife::new(),
        log: plan.log,
        window: plan.window,
        trace: Trace::new(keep_trace),
        counts: Counts::default(),
        violation: None,
        lists_were_wrong: false,
        rng,
    };
    note!(world, "plan {plan:?}");
    plan.schedule(&mut world);
    while world.violation.is_none()
        && let Some(Reverse(due)) = world.queue.pop()
        && due.at <= END
    {
        if due.order > MOST_EVENTS {
            world.violate("I7 comes-to-rest", format!("{MOST_EVENTS} events and no end"));
        }
        world.now = due.at;
        *world.clock.borrow_mut() = due.at;
        world.happen(due.event);
    }
    if world.violation.is_none() {
        invariants::at_the_end(&mut world);
    }
    if let Some(violation) = world.violation.clone() {
        note!(world, "VIOLATION of {}: {}", violation.invariant, violation.what);
    }
    let World { violation, counts, trace, .. } = world;
    Run { violation, digest: trace.digest(), trace: trace.into_lines(), counts }
}

impl World {
    pub(crate) fn after(&mut self, pause: Duration, event: Event) {
        self.at(self.now + pause, event);
    }

    pub(crate) fn at(&mut self, at: Time, event: Event) {
        self.drawn += 1;
        self.queue.push(Reverse(Due { at, order: self.drawn, event }));
    }

    pub(crate) fn violate(&mut self, invariant: &'static str, what: String) {
        self.violation.get_or_insert(Violation { invariant, what });
    }

    /// The member in `slot` if that life still runs.
    pub(crate) fn living(&mut self, slot: usize, life: u64) -> Option<&mut Member> {
        self.slots[slot].as_mut().filter(|member| member.life == life)
    }

    fn happen(&mut self, event: Event) {
        // What reaches a stopped process waits in its kernel.
        let stopped = addressee(&event, &self.network)
            .and_then(|(slot, life)| self.living(slot, life))
            .map_or(Time::ZERO, |member| member.paused_until);
        if stopped > self.now {
            return self.at(stopped, event);
        }
        match event {
            Event::Act(action) => self.act(action),
            Event::Timer { slot, life } => {
                if let Some(member) = self.living(slot, life) {
                    member.timer = Time::NEVER;
                    self.feed(slot, Input::Tick);
                }
            }
            Event::DialArrives { from, to } => self.on_dial_arrives(from, to),
            Event::DialFails { from, refused } => {
                if self.living(from.slot, from.life).is_some() {
                    let why = "no answer".to_owned();
                    self.feed(from.slot, Input::DialFailed { conn: from.conn, refused, why });
                }
            }
            Event::Arrive { link, side } => self.on_arrive(link, side),
            Event::Breaks { link, side } => self.on_breaks(link, side),
            Event::Writable { end } => self.pump(end.slot, end.life, end.conn),
            Event::Sample { slot, life, read } => self.on_sample(slot, life, read),
            Event::EndLoad { slot, life, read, fails } => {
                if let Some(member) = self.living(slot, life)
                    && let Some(read) = member.reads.iter().find(|held| held.id == read)
                {
                    read.load.end(fails);
                    self.step_reads(slot);
                }
            }
        }
    }

    /// Feeds one input, carries out all outputs, then looks at what the caches heard.
    pub(crate) fn feed(&mut self, slot: usize, input: Input<'_>) {
        let now = self.now;
        let Some(member) = &mut self.slots[slot] else { return };
        member.core.handle(now, input);
        self.carry_out(slot);
    }

    pub(crate) fn carry_out(&mut self, slot: usize) {
        self.listen(slot);
        while let Some(member) = &mut self.slots[slot]
            && let Some(output) = member.core.poll_output()
        {
            let life = member.life;
            match output {
                Output::Dial { conn, address } => self.dial(End { slot, life, conn }, address),
                Output::Wake { conn } => self.pump(slot, life, conn),
                Output::Close { conn } => self.close(slot, life, conn),
                Output::Settled { ticket, outcome } => {
                    self.counts.outcomes += 1;
                    invariants::ack_after_apply(self, slot, ticket, &outcome);
                }
                Output::Report(report) => {
                    note!(self, "{} reports: {report}", name_of(slot));
                    self.on_report(slot, &report);
                }
                Output::Rearm | Output::PeersChanged => {}
            }
        }
        self.arm(slot);
        self.step_reads(slot);
        invariants::memory_is_bounded(self, slot);
        invariants::every_proof_is_true(self, slot);
    }

    /// Takes in what the caches of a node heard: what it may serve from here on.
    fn listen(&mut self, slot: usize) {
        let Some(member) = &mut self.slots[slot] else { return };
        for heard in member.tap.take() {
            match heard {
                Heard::Applied(change) => {
                    note!(self, "{} applied {}", name_of(slot), change.text());
                    invariants::applied_in_order(self, slot, change);
                }
                Heard::Distrusted => {
                    note!(self, "{} distrusts its copies", name_of(slot));
                    let (floors, lives) = (self.truth.floors(), self.lives);
                    if let Some(member) = &mut self.slots[slot] {
                        member.floors = floors;
                        member.covered = lives;
                        member.last_of.values_mut().for_each(|last| *last = None);
                    }
                }
            }
        }
    }

    fn on_report(&mut self, slot: usize, report: &Report) {
        match report {
            Report::Reset { head, .. } => {
                self.counts.resets += 1;
                invariants::replay_comes_first(self, slot, *head);
            }
            Report::Following { incarnation, .. } => {
                if let Some(member) = &mut self.slots[slot] {
                    member.followed.insert(life_of(*incarnation));
                }
            }
            _ => {}
        }
    }

    fn arm(&mut self, slot: usize) {
        let Some(member) = &mut self.slots[slot] else { return };
        let deadline = member.core.next_deadline();
        if deadline < member.timer && deadline < Time::NEVER {
            member.timer = deadline;
            let life = member.life;
            self.at(deadline.max(self.now), Event::Timer { slot, life });
        }
    }

    /// Polls the reads of a node until nothing moves.
    pub(crate) fn step_reads(&mut self, slot: usize) {
        let mut at = 0;
        while let Some(member) = &mut self.slots[slot]
            && let Some(read) = member.reads.get_mut(at)
        {
            let (life, id) = (member.life, read.id);
            match read.step() {
                Step::Waits => at += 1,
                Step::Loads => {
                    let sample = delay(&mut self.rng);
                    self.after(sample, Event::Sample { slot, life, read: id });
                    at += 1;
                }
                Step::Done(loaded) => {
                    let read = member.reads.swap_remove(at);
                    self.counts.reads += u64::from(loaded.is_ok());
                    invariants::no_read_is_older_than_what_was_applied(self, slot, &read, &loaded);
                    at = 0;
                }
            }
        }
    }

    fn on_sample(&mut self, slot: usize, life: u64, read: u64) {
        let versions = self.truth.floors();
        let (more, fails) = (delay(&mut self.rng), self.rng.u8(..) < 20);
        if let Some(member) = self.living(slot, life)
            && let Some(read) = member.reads.iter().find(|held| held.id == read)
        {
            read.load.sampled.set(Some(versions.of(read.key)));
            let read = read.id;
            self.after(more, Event::EndLoad { slot, life, read, fails });
        }
    }

    fn dial(&mut self, from: End, address: std::net::SocketAddr) {
        let to = slot_of(address);
        let through = self.network.passable_at(from.slot, to, self.now);
        let back = self.network.passable_at(to, from.slot, self.now);
        if through.max(back).since(self.now) > DIAL_WITHIN {
            return self.after(DIAL_WITHIN, Event::DialFails { from, refused: false });
        }
        let arrives = through.max(back) + delay(&mut self.rng);
        self.at(arrives, Event::DialArrives { from, to });
    }

    fn on_dial_arrives(&mut self, from: End, to: usize) {
        let Some(member) = &mut self.slots[to] else {
            let back = delay(&mut self.rng);
            return self.after(back, Event::DialFails { from, refused: true });
        };
        let (conn, life) = (member.core.next_conn(), member.life);
        if self.living(from.slot, from.life).is_none() {
            return;
        }
        let dialled = End { slot: to, life, conn };
        self.network.connect(from, dialled);
        let address = crate::member::address_of(from.slot);
        self.feed(to, Input::Accepted { conn, from: address });
        self.pump(to, life, conn);
        self.feed(from.slot, Input::Connected { conn: from.conn });
        self.pump(from.slot, from.life, from.conn);
    }

    /// Takes what a connection has to send, as far as the window to the other end has room.
    fn pump(&mut self, slot: usize, life: u64, conn: ConnId) {
        let Some((id, side)) = self.network.find(slot, life, conn) else { return };
        loop {
            let Some(link) = self.network.links.get(&id) else { return };
            if !link.open[side] || link.flying_bytes(1 - side) >= self.window {
                return;
            }
            let (now, write) = (self.now, self.window / 4);
            let Some(member) = self.living(slot, life) else { return };
            if member.paused_until > now {
                let (resumed, end) = (member.paused_until, End { slot, life, conn });
                return self.at(resumed, Event::Writable { end });
            }
            let mut bytes = Vec::new();
            match member.core.transmit(conn, write, &mut bytes) {
                Transmit::Data => self.send(id, 1 - side, bytes),
                Transmit::Idle => return,
                Transmit::Finished => {
                    self.close(slot, life, conn);
                    self.feed(slot, Input::Closed { conn, why: "ended".to_owned() });
                    return;
                }
            }
        }
    }

    fn send(&mut self, id: LinkId, side: usize, bytes: Vec<u8>) {
        let pause = delay(&mut self.rng);
        let Some(link) = self.network.links.get_mut(&id) else { return };
        let (from, to) = (link.ends[1 - side].slot, link.ends[side].slot);
        link.flying[side].push_back(bytes);
        let earliest = link.last_arrival[side];
        let arrival = (self.network.passable_at(from, to, self.now) + pause).max(earliest);
        if let Some(link) = self.network.links.get_mut(&id) {
            link.last_arrival[side] = arrival;
        }
        self.at(arrival, Event::Arrive { link: id, side });
    }

    fn on_arrive(&mut self, id: LinkId, side: usize) {
        let Some(link) = self.network.links.get_mut(&id) else { return };
        let Some(bytes) = link.flying[side].pop_front() else { return };
        let (end, other) = (link.ends[side], link.ends[1 - side]);
        let (open, broken) = (link.open[side], link.broken);
        if open && !broken && self.living(end.slot, end.life).is_some() {
            // However the network cuts it, and with a pause at the cut.
            let cut = self.rng.usize(1..=bytes.len().max(1)).min(bytes.len());
            let (first, rest) = bytes.split_at(cut);
            if let (false, Some(link)) = (rest.is_empty(), self.network.links.get_mut(&id)) {
                link.flying[side].push_front(rest.to_vec());
                let pause = delay(&mut self.rng);
                self.after(pause, Event::Arrive { link: id, side });
            }
            self.feed(end.slot, Input::Received { conn: end.conn, bytes: first });
        }
        self.pump(other.slot, other.life, other.conn);
    }

    /// One end learns that the connection is over.
    fn on_breaks(&mut self, id: LinkId, side: usize) {
        let Some(link) = self.network.links.get_mut(&id) else { return };
        let (end, was_open) = (link.ends[side], link.open[side]);
        link.open[side] = false;
        link.flying[side].clear();
        self.network.sweep(id);
        if was_open && self.living(end.slot, end.life).is_some() {
            let why = "reset".to_owned();
            self.feed(end.slot, Input::Closed { conn: end.conn, why });
        }
    }

    /// This end closes; the other learns it behind what is still on its way.
    fn close(&mut self, slot: usize, life: u64, conn: ConnId) {
        let Some((id, side)) = self.network.find(slot, life, conn) else { return };
        let pause = delay(&mut self.rng);
        if let Some(link) = self.network.links.get_mut(&id) {
            link.open[side] = false;
            link.flying[side].clear();
            let from = link.ends[side].slot;
            let (to, last) = (link.ends[1 - side].slot, link.last_arrival[1 - side]);
            let told = (self.network.passable_at(from, to, self.now) + pause).max(last);
            self.at(told, Event::Breaks { link: id, side: 1 - side });
        }
        self.network.sweep(id);
    }
}

/// Which process an event has to be handled by.
fn addressee(event: &Event, network: &Network) -> Option<(usize, u64)> {
    match *event {
        Event::Act(_) | Event::DialArrives { .. } => None,
        Event::Timer { slot, life }
        | Event::Sample { slot, life, .. }
        | Event::EndLoad { slot, life, .. } => Some((slot, life)),
        Event::DialFails { from: end, .. } | Event::Writable { end } => Some((end.slot, end.life)),
        Event::Arrive { link, side } | Event::Breaks { link, side } => {
            network.links.get(&link).map(|link| (link.ends[side].slot, link.ends[side].life))
        }
    }
}
