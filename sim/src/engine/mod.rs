//! Owns the worlds in which nodes have no links to each other: each follows the one log of an engine,
//! which restarts, fails over, is made anew, is trimmed and is silent.
//!
//! What is judged: no strict read that starts behind an `Ok` is older than what that confirmed; no
//! bounded one is older than its bound behind the append; each awaited flush comes to something in its
//! time; and once faults are over, every instance is in step.

mod faults;
mod instance;
mod server;

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::Guarantee;
use flushcast_core::shared_log::{Confirmed, Epoch, Membership, Reached, RegistryRead};
use flushcast_core::wire::Incarnation;

use crate::member::Clock;
use crate::reads::{Kind, Read, ReadFloors, Step};
use crate::run::{Counts, Run, Violation};
use crate::tap::Floor;
use instance::{Instance, Request, Response, Wish};
use server::{Logged, Server};

/// The last keys of the cluster's worlds share a text; here each has its own.
const KEYS: usize = 3;
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const BOUND: Duration = Duration::from_secs(2);
const FAULTS_LAST: Duration = Duration::from_secs(40);
const HEALING_LASTS: Duration = Duration::from_secs(25);
const MOST_EVENTS: u64 = 400_000;

/// What no engine may do, to show that it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineFault {
    /// It loses what it has acknowledged, and is the same log as before.
    LosesAcknowledged,
    /// A leader that was deposed goes on answering questions.
    DeposedLeaderAnswers,
}

enum Event {
    Tick(usize, Incarnation),
    Request(usize, u64, Request),
    Response(usize, u64, Response),
    Apply(usize, Incarnation, Reached, Logged),
    Sample(usize, Incarnation, u64),
    End(usize, Incarnation, u64, bool),
    Change,
    Read,
    Fault,
    Trim,
    Clean,
}

struct World {
    now: Rc<Cell<Time>>,
    rng: fastrand::Rng,
    queue: BinaryHeap<Reverse<(Time, u64)>>,
    events: BTreeMap<u64, Event>,
    drawn: u64,
    server: Server,
    deposed: Option<(Server, Time)>,
    instances: Vec<Instance>,
    /// Until when each connection has delivered.
    delivered: Vec<Time>,
    follows: Vec<Option<u64>>,
    /// Until when each one's refreshes are lost: its row is removed while its questions are answered.
    unheard: Vec<Time>,
    guarantee: Guarantee,
    membership: Membership,
    polls: bool,
    fault: Option<EngineFault>,
    source: [u64; KEYS],
    confirmed: [u64; KEYS],
    appended: Vec<(Time, usize, u64)>,
    bounds: BTreeMap<u64, u64>,
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
        world.all_are_in_step(played);
    }
    let World { violation, trace, counts, .. } = world;
    Run { violation, digest: played, trace: trace.unwrap_or_default(), counts }
}

impl World {
    fn new(seed: u64, fault: Option<EngineFault>, trace: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let strict = rng.bool() || fault.is_some();
        let guarantee = if strict { Guarantee::Strict } else { Guarantee::Bounded(BOUND) };
        let is_open = strict && rng.u8(..) < 64;
        let membership = if is_open { Membership::Open } else { Membership::Registered };
        let count = rng.usize(2..=4);
        let mut world = Self {
            now: Rc::new(Cell::new(Time::ZERO)),
            polls: rng.bool(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            drawn: 0,
            server: Server::new(Epoch(rng.u128(..))),
            deposed: None,
            instances: Vec::new(),
            delivered: vec![Time::ZERO; count],
            follows: vec![None; count],
            unheard: vec![Time::ZERO; count],
            guarantee,
            membership,
            fault,
            source: [0; KEYS],
            confirmed: [0; KEYS],
            appended: Vec::new(),
            bounds: BTreeMap::new(),
            counts: Counts::default(),
            trace: trace.then(Vec::new),
            violation: None,
            rng,
        };
        for slot in 0..count {
            let instance = world.born();
            world.instances.push(instance);
            let life = world.instances[slot].life;
            world.after(MS, Event::Tick(slot, life));
        }
        for event in [Event::Change, Event::Read, Event::Fault, Event::Clean] {
            world.after(SECOND, event);
        }
        world
    }

    fn born(&mut self) -> Instance {
        let life = Incarnation(self.rng.u128(..).to_be_bytes());
        let clock = Clock::start(&self.now, &mut self.rng);
        Instance::start(life, self.guarantee, self.membership, clock)
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
            0..6 if self.is_faulty() => MS * self.rng.u32(100..900),
            _ => MS * self.rng.u32(1..15),
        }
    }

    fn is_faulty(&self) -> bool {
        self.now.get() < Time::ZERO + FAULTS_LAST
    }

    fn play(&mut self, id: u64, event: Event) {
        // A process that is stopped gets everything when it goes on.
        let slot = match &event {
            Event::Tick(slot, _)
            | Event::Response(slot, ..)
            | Event::Apply(slot, ..)
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
                if self.instances[slot].life == life {
                    self.after(MS * 100, Event::Tick(slot, life));
                    let wishes = self.instances[slot].tick();
                    self.grant(slot, wishes);
                }
            }
            Event::Request(slot, conn, request) => self.serve(slot, conn, request),
            Event::Response(slot, conn, response) => {
                if self.instances[slot].conn == conn {
                    let wishes = self.instances[slot].on_response(response);
                    self.grant(slot, wishes);
                }
            }
            Event::Apply(slot, life, reached, logged) => {
                if self.instances[slot].life == life {
                    self.note(|| format!("n{slot} applies {logged:?}"));
                    self.instances[slot].apply(reached, logged);
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
            Event::Clean => {
                self.server.clean(self.now.get());
                self.after(SECOND, Event::Clean);
            }
        }
    }

    fn grant(&mut self, slot: usize, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Send(request) => {
                    let (conn, delay) = (self.instances[slot].conn, self.delay());
                    self.after(delay, Event::Request(slot, conn, request));
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
                Wish::Settled { key, version, confirmed, overdue } => {
                    self.counts.outcomes += 1;
                    self.note(|| format!("n{slot}: key {key} version {version}: {confirmed:?}"));
                    if overdue && !self.is_faulty() {
                        self.violate(
                            "in time on a log",
                            format!("n{slot} was told {confirmed:?} late"),
                        );
                    }
                    if !matches!(confirmed, Confirmed::Not(_)) {
                        self.counts.confirmed += 1;
                        self.counts.fenced += u64::from(confirmed == Confirmed::ByTime);
                        self.confirmed[key] = self.confirmed[key].max(version);
                    }
                }
            }
        }
        self.poll_reads(slot);
    }

    /// What arrives at the engine.
    fn serve(&mut self, slot: usize, conn: u64, request: Request) {
        let now = self.now.get();
        if self.server.down_until > now {
            return;
        }
        let life = self.instances[slot].life;
        let is_deposed = slot == 0 && self.deposed.as_ref().is_some_and(|(_, until)| *until > now);
        let response = match request {
            Request::Append(said) => {
                let Some(&(last, ..)) = said.last() else { return };
                let mut number = Default::default();
                for (by, key, version) in said {
                    let logged = self.server.append(by, key, version);
                    number = logged.entry.number;
                    self.appended.push((now, key, version));
                    self.note(|| format!("the engine has {logged:?}"));
                    self.push(logged);
                }
                Response::Appended { epoch: self.server.epoch, upto: last.seq, number }
            }
            Request::Ask(question) => {
                let server = match &self.deposed {
                    Some((server, _)) if is_deposed => server,
                    _ => &self.server,
                };
                let answer = server.answer(life, &question);
                let from = question.after.map(|(_, after)| after.number);
                let polled = from.filter(|_| self.polls && answer.holds);
                let polled = polled.map(|from| server.behind(from).collect()).unwrap_or_default();
                Response::Answer { asked: question.asked, answer, polled }
            }
            Request::Refresh { .. } if self.unheard[slot] > now && self.is_faulty() => return,
            Request::Refresh { sent, at } => match self.server.refresh(now, life, at) {
                true => Response::Refreshed { sent },
                false => return,
            },
            Request::Registry { sent, of, number } => {
                let behind = self.server.who_is_behind(life, number);
                Response::Registry(RegistryRead { sent, epoch: self.server.epoch, of, behind })
            }
            Request::Follow { from } => {
                if !self.polls {
                    self.follows[slot] = Some(conn);
                    let (epoch, rest) = (self.server.epoch, self.server.behind(from));
                    for logged in rest.collect::<Vec<_>>() {
                        self.deliver(slot, conn, Response::Entry(epoch, logged));
                    }
                }
                return;
            }
        };
        // Some answers are lost, and their connection with them.
        if self.is_faulty() && self.rng.u8(..) < 3 {
            let delay = self.delay();
            self.after(delay, Event::Response(slot, conn, Response::Broken));
            return;
        }
        let delay = self.delay();
        self.after(delay, Event::Response(slot, conn, response));
    }

    fn push(&mut self, logged: Logged) {
        let now = self.now.get();
        let is_deposed = self.deposed.as_ref().is_some_and(|(_, until)| *until > now);
        for slot in 0..self.instances.len() {
            if let Some(conn) = self.follows[slot]
                && !(slot == 0 && is_deposed)
            {
                self.deliver(slot, conn, Response::Entry(self.server.epoch, logged));
            }
        }
    }

    /// In order, over one connection.
    fn deliver(&mut self, slot: usize, conn: u64, response: Response) {
        let at = (self.now.get() + self.delay()).max(self.delivered[slot]);
        self.delivered[slot] = at;
        self.at(at, Event::Response(slot, conn, response));
    }

    fn change(&mut self) {
        let (slot, key) = (self.rng.usize(..self.instances.len()), self.rng.usize(..KEYS));
        if self.instances[slot].paused_until <= self.now.get() {
            self.source[key] += 1;
            let version = self.source[key];
            self.counts.changes += 1;
            self.note(|| format!("n{slot} changes key {key} to {version}"));
            self.instances[slot].flush(key, version);
        }
        let next = MS * self.rng.u32(20..700);
        self.after(next, Event::Change);
    }

    fn read(&mut self) {
        let (slot, key) = (self.rng.usize(..self.instances.len()), self.rng.usize(..KEYS));
        let next = MS * self.rng.u32(5..100);
        self.after(next, Event::Read);
        if self.instances[slot].paused_until > self.now.get() {
            return;
        }
        self.drawn += 1;
        let (id, now) = (self.drawn, self.now.get());
        let old = self.appended.iter().filter(|(at, of, _)| *of == key && *at + BOUND <= now);
        let bound = old.map(|&(.., version)| version).max().unwrap_or_default();
        self.bounds.insert(id, bound);
        let confirmed = Floor { fresh: self.confirmed[key], expired: 0 };
        let applied = Floor { fresh: 0, expired: 0 };
        let floors = ReadFloors { started: now, applied, confirmed };
        let instance = &mut self.instances[slot];
        let clock = instance.clock.clone();
        let read = Read::start((id, Kind::Read, key), floors, &instance.cache, clock, 1.0);
        instance.reads.push(read);
        self.poll_reads(slot);
    }

    fn reading(&mut self, slot: usize, life: Incarnation, id: u64) -> Option<&mut Read> {
        let instance = self.instances.get_mut(slot).filter(|it| it.life == life)?;
        instance.reads.iter_mut().find(|read| read.id == id)
    }

    fn poll_reads(&mut self, slot: usize) {
        let life = self.instances[slot].life;
        let mut at = 0;
        while at < self.instances[slot].reads.len() {
            let read = &mut self.instances[slot].reads[at];
            let id = read.id;
            match read.step() {
                Step::Waits => at += 1,
                Step::Loads => {
                    let sample = MS * self.rng.u32(0..40);
                    let end = sample + MS * self.rng.u32(0..300);
                    self.after(sample, Event::Sample(slot, life, id));
                    self.after(end, Event::End(slot, life, id, false));
                    at += 1;
                }
                Step::Done(got) => {
                    let read = self.instances[slot].reads.swap_remove(at);
                    if let Ok(value) = got {
                        self.judge(slot, &read, value);
                    }
                    at = 0;
                }
            }
        }
    }

    fn judge(&mut self, slot: usize, read: &Read, value: u64) {
        self.counts.reads += 1;
        let bound = self.bounds.remove(&read.id).unwrap_or_default();
        let (promise, floor) = match self.guarantee {
            Guarantee::Strict => ("strict on a log", read.floors.confirmed.fresh),
            _ => ("bounded on a log", bound),
        };
        if value < floor {
            let what = format!("n{slot} reads version {value} of key {}, behind {floor}", read.key);
            self.violate(promise, what);
        }
    }

    fn all_are_in_step(&mut self, played: u64) {
        if played >= MOST_EVENTS {
            return self.violate("comes to rest on a log", "it never ends".to_owned());
        }
        for slot in 0..self.instances.len() {
            let instance = &self.instances[slot];
            let proven = instance.follower.proven();
            if proven + BOUND < instance.clock.now() {
                let what = format!(
                    "n{slot} is not in step when all is well: {proven:?}, {:?}",
                    instance.position()
                );
                return self.violate("heals on a log", what);
            }
        }
    }

    fn violate(&mut self, invariant: &'static str, what: String) {
        self.note(|| format!("{invariant}: {what}"));
        self.violation.get_or_insert(Violation { invariant, what });
    }
}
