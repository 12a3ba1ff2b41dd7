//! Owns the worlds in which nodes have no links to each other: each follows the one log of an engine,
//! which restarts, fails over, is made anew, restored, trimmed, silent and slow.
//!
//! `judge.rs` says what is judged, `faults.rs` what goes wrong, `serve.rs` what the engine does.

mod adapter;
mod faults;
mod instance;
mod judge;
mod serve;
mod server;

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::Guarantee;
use flushcast_core::shared_log::{Epoch, Membership, Overlap, Reached, Rules};
use flushcast_core::wire::{Incarnation, Seq};

use crate::member::Clock;
use crate::run::{Counts, Run, Violation};
use adapter::Kind;
use instance::{Flush, Instance, Request, Response, Wish};
use judge::Judge;
use server::{Logged, Server};

/// The last keys of the cluster's worlds share a text; here each has its own.
const KEYS: usize = 3;
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// How long two leaders may answer in worlds where they may.
const OVERLAP: Duration = Duration::from_millis(1500);
const FAULTS_LAST: Duration = Duration::from_secs(40);
const HEALING_LASTS: Duration = Duration::from_secs(35);
const MOST_EVENTS: u64 = 400_000;

/// What no engine may do, to show that it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineFault {
    /// It loses what it has acknowledged, and is the same log as before.
    LosesAcknowledged,
    /// A leader that was deposed goes on answering, though the log's rules say that it cannot.
    DeposedLeaderAnswers,
}

enum Event {
    Tick(usize, Incarnation),
    Request(usize, Incarnation, u64, Request),
    /// What was not visible is committed, or what was not acknowledged is lost.
    Commit(usize, Incarnation, u64, Commit),
    Response(usize, Incarnation, u64, Response),
    Apply(usize, Incarnation, Reached, Logged),
    Await(usize, Incarnation, Flush),
    Sample(usize, Incarnation, u64),
    End(usize, Incarnation, u64, bool),
    Change,
    Read,
    Fault,
    Trim,
    Cut(usize, Duration),
    Backup,
    Clean,
    Reinstate,
}

/// An append that has begun.
struct Commit {
    epoch: Epoch,
    numbers: RangeInclusive<Seq>,
    places: Vec<u64>,
}

/// A leader that others have been told is none any more.
struct Deposed {
    server: Server,
    /// Who still talks to it.
    heard_by: Vec<bool>,
}

struct World {
    now: Rc<Cell<Time>>,
    rng: fastrand::Rng,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    events: BTreeMap<u64, Event>,
    drawn: u64,
    kind: Kind,
    server: Server,
    /// What it can be restored to.
    backup: Server,
    deposed: Option<Deposed>,
    instances: Vec<Instance>,
    /// Until when each connection has delivered.
    delivered: Vec<Time>,
    follows: Vec<Option<u64>>,
    /// Until when each one's refreshes are lost: its row is removed while its questions are answered.
    unheard: Vec<Time>,
    /// Until when each one's connections carry nothing.
    cut: Vec<Time>,
    guarantee: Guarantee,
    rules: Rules,
    /// Entries are delivered that are lost before they are acknowledged.
    is_dirty: bool,
    fault: Option<EngineFault>,
    source: [u64; KEYS],
    judge: Judge,
    counts: Counts,
    trace: Option<Vec<String>>,
    violation: Option<Violation>,
}

/// Plays one seed; with what no engine may do, if that is asked for.
pub fn run_engine(seed: u64, fault: Option<EngineFault>, trace: bool) -> Run {
    let mut world = World::new(seed, fault, trace);
    let end = Time::ZERO + FAULTS_LAST + HEALING_LASTS;
    let mut played = 0;
    while let Some(Reverse((at, id))) = world.queue.pop() {
        if at > end || world.violation.is_some() || played >= MOST_EVENTS {
            break;
        }
        played += 1;
        world.now.set(at);
        if let Some(event) = world.events.remove(&id) {
            world.play(id, event);
        }
    }
    if world.violation.is_none() {
        world.all_is_well(played);
    }
    let World { violation, trace, counts, .. } = world;
    Run { violation, digest: played, trace: trace.unwrap_or_default(), counts }
}

impl World {
    fn new(seed: u64, fault: Option<EngineFault>, trace: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let kind = match rng.u8(0..4) {
            0 => Kind::Scripted,
            1 => Kind::Echoed,
            _ => Kind::Polled,
        };
        let guarantee = match rng.u8(0..6) {
            _ if fault.is_some() => Guarantee::Strict,
            0 => Guarantee::Bounded(SECOND * 2),
            1 => Guarantee::Bounded(SECOND * 5),
            2 => Guarantee::Bounded(SECOND * 9),
            _ => Guarantee::Strict,
        };
        let membership = match rng.u8(0..5) {
            0 => Membership::Open,
            _ => Membership::Registered,
        };
        let overlap = match rng.u8(0..5) {
            0 if fault.is_none() => Overlap::AtMost(OVERLAP),
            _ => Overlap::Never,
        };
        let rules = Rules { membership, overlap };
        let count = rng.usize(2..=4);
        let server = Server::new(Epoch { id: rng.u128(..), rules });
        let mut world = Self {
            now: Rc::new(Cell::new(Time::ZERO)),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            drawn: 0,
            kind,
            backup: server.clone(),
            server,
            deposed: None,
            instances: Vec::new(),
            delivered: vec![Time::ZERO; count],
            follows: vec![None; count],
            unheard: vec![Time::ZERO; count],
            cut: vec![Time::ZERO; count],
            guarantee,
            rules,
            is_dirty: kind != Kind::Polled && rng.u8(0..3) == 0,
            fault,
            source: [0; KEYS],
            judge: Judge::default(),
            counts: Counts::default(),
            trace: trace.then(Vec::new),
            violation: None,
            rng,
        };
        world.note(|| format!("{count} on {kind:?}, {guarantee:?}, {rules:?}"));
        for slot in 0..count {
            let instance = world.born();
            world.instances.push(instance);
            let life = world.instances[slot].life;
            world.after(MS, Event::Tick(slot, life));
        }
        for event in [Event::Change, Event::Read, Event::Fault, Event::Clean, Event::Backup] {
            world.after(SECOND, event);
        }
        world
    }

    fn born(&mut self) -> Instance {
        let life = Incarnation(self.rng.u128(..).to_be_bytes());
        let clock = Clock::start(&self.now, &mut self.rng);
        Instance::start(life, self.guarantee, self.rules, self.kind, clock)
    }

    fn at(&mut self, at: Time, event: Event) {
        self.drawn += 1;
        self.queue.push(Reverse((at, self.drawn)));
        self.events.insert(self.drawn, event);
    }

    fn after(&mut self, length: Duration, event: Event) {
        self.at(self.now.get() + length, event);
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now.get();
        if let Some(trace) = &mut self.trace {
            let seconds = now.since(Time::ZERO).as_secs_f64();
            trace.push(format!("{seconds:10.4} {}", line()));
        }
    }

    /// Mostly a moment, at times long.
    fn delay(&mut self) -> Duration {
        match self.rng.u8(..) {
            0..6 if self.is_faulty() => MS * self.rng.u32(100..1200),
            _ => MS * self.rng.u32(1..15),
        }
    }

    fn is_faulty(&self) -> bool {
        self.now.get() < Time::ZERO + FAULTS_LAST
    }

    fn is_alive(&self, slot: usize, life: Incarnation) -> bool {
        self.instances[slot].life == life
    }

    fn play(&mut self, id: u64, event: Event) {
        // A process that is stopped gets everything when it goes on.
        let slot = match &event {
            Event::Tick(slot, _)
            | Event::Response(slot, ..)
            | Event::Apply(slot, ..)
            | Event::Await(slot, ..)
            | Event::End(slot, ..) => Some(*slot),
            _ => None,
        };
        if let Some(until) = slot.map(|slot| self.instances[slot].paused_until)
            && until > self.now.get()
        {
            self.events.insert(id, event);
            self.queue.push(Reverse((until, id)));
            return;
        }
        match event {
            Event::Tick(slot, life) => {
                if self.is_alive(slot, life) {
                    self.after(MS * 100, Event::Tick(slot, life));
                    let wishes = self.instances[slot].tick();
                    self.grant(slot, wishes);
                }
            }
            Event::Request(slot, life, conn, request) => {
                if self.cut[slot] <= self.now.get() {
                    self.serve(slot, life, conn, request);
                }
            }
            Event::Commit(slot, life, conn, commit) => self.commit(slot, life, conn, commit),
            Event::Response(slot, life, conn, response) => {
                self.respond(slot, life, conn, response);
            }
            Event::Apply(slot, life, reached, logged) => {
                if self.is_alive(slot, life) {
                    self.note(|| format!("n{slot} applies {logged:?}"));
                    self.instances[slot].apply(reached, logged);
                }
            }
            Event::Await(slot, life, flush) => {
                if self.is_alive(slot, life) {
                    self.instances[slot].wait_for(flush);
                }
            }
            Event::Change => self.change(),
            Event::Read => self.read(),
            Event::Sample(slot, life, id) => {
                let source = self.source;
                if let Some(read) = self.reading(slot, life, id) {
                    read.load.sampled.set(Some(source[read.key]));
                }
            }
            Event::End(slot, life, id, fails) => {
                if let Some(read) = self.reading(slot, life, id) {
                    read.load.end(fails);
                }
                self.poll_reads(slot);
            }
            Event::Fault => self.fault(),
            Event::Trim => self.server.trim(2),
            Event::Cut(slot, length) => self.cut_off(slot, length),
            Event::Backup => {
                self.backup = self.server.clone();
                self.after(SECOND * 6, Event::Backup);
            }
            Event::Clean => {
                self.server.clean(self.now.get());
                self.after(MS * 100, Event::Clean);
            }
            Event::Reinstate => self.reinstate(),
        }
    }

    fn grant(&mut self, slot: usize, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Send(request) => {
                    let (conn, delay) = (self.instances[slot].conn, self.delay());
                    let life = self.instances[slot].life;
                    self.after(delay, Event::Request(slot, life, conn, request));
                }
                Wish::Reconnect => {
                    self.counts.breaks += 1;
                    self.follows[slot] = None;
                    self.delivered[slot] = Time::ZERO;
                }
                Wish::Apply(reached, logged) => {
                    let life = self.instances[slot].life;
                    let at = self.now.get() + MS * self.rng.u32(0..20);
                    let at = at.max(self.delivered[slot]);
                    self.delivered[slot] = at;
                    self.at(at, Event::Apply(slot, life, reached, logged));
                }
                Wish::Reset => self.counts.resets += 1,
                Wish::Settled { flush, confirmed, overdue } => {
                    self.settled(slot, &flush, &confirmed, overdue);
                }
            }
        }
        self.poll_reads(slot);
    }

    /// The source changes, and somebody tells.
    fn change(&mut self) {
        let (slot, key) = (self.rng.usize(..self.instances.len()), self.rng.usize(..KEYS));
        let next = MS * self.rng.u32(20..700);
        self.after(next, Event::Change);
        if self.instances[slot].paused_until > self.now.get() {
            return;
        }
        let is_reachable = self.cut[slot] <= self.now.get() && self.deposed.is_none();
        if self.kind == Kind::Polled && self.rng.u8(0..8) == 0 {
            // The transaction that changes the source appends that, if there is anything to write to.
            if is_reachable && self.server.down_until <= self.now.get() {
                let version = self.draw_version(key);
                self.note(|| format!("n{slot} changes key {key} to {version}, in one transaction"));
                self.instances[slot].drop_here(key);
                self.server.append(None, key, version);
                self.judge.appended.push((self.now.get(), key, version));
            }
            return;
        }
        let version = self.draw_version(key);
        self.note(|| format!("n{slot} changes key {key} to {version}"));
        let flush = self.instances[slot].flush(key, version);
        match self.rng.u8(0..4) {
            0 => {
                let life = self.instances[slot].life;
                let later = MS * self.rng.u32(0..3000);
                self.after(later, Event::Await(slot, life, Flush { is_late: true, ..flush }));
            }
            _ => self.instances[slot].wait_for(flush),
        }
    }

    fn draw_version(&mut self, key: usize) -> u64 {
        self.source[key] += 1;
        self.counts.changes += 1;
        self.source[key]
    }
}
