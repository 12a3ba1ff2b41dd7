//! Owns virtual time: the queue of what is to happen, and how it reaches the nodes.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::node::{Input, Output, Report};

use crate::actions::{Action, Plan};
use crate::history::History;
use crate::invariants;
use crate::member::{Cluster, Member, life_of, name_of};
use crate::network::{End, LinkId, Network};
use crate::tap::{Heard, Truth};
use crate::trace::Trace;

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
    /// Nodes that came to be cut off.
    pub cut_offs: u64,
    /// Strict flushes that came back `Ok`, and those of them that were not applied everywhere.
    pub confirmed: u64,
    /// See [`Counts::confirmed`].
    pub fenced: u64,
    /// Copies that were loaded again while they were served.
    pub refreshed: u64,
    /// Reads that got an expired copy because their load had failed.
    pub expired: u64,
    /// Writes whose value was stored where it was written.
    pub put: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.changes += other.changes;
        self.reads += other.reads;
        self.outcomes += other.outcomes;
        self.resets += other.resets;
        self.kills += other.kills;
        self.breaks += other.breaks;
        self.cut_offs += other.cut_offs;
        self.confirmed += other.confirmed;
        self.fenced += other.fenced;
        self.refreshed += other.refreshed;
        self.expired += other.expired;
        self.put += other.put;
    }
}

#[derive(Debug)]
pub(crate) enum Event {
    Act(Action),
    Timer {
        slot: usize,
        life: u64,
    },
    DialArrives {
        from: End,
        to: usize,
    },
    DialFails {
        from: End,
        refused: bool,
    },
    /// A stopped process comes to accept what its kernel has accepted long ago.
    Accept {
        link: LinkId,
    },
    Arrive {
        link: LinkId,
        side: usize,
    },
    Breaks {
        link: LinkId,
        side: usize,
    },
    Writable {
        end: End,
    },
    Sample {
        slot: usize,
        life: u64,
        read: u64,
    },
    EndLoad {
        slot: usize,
        life: u64,
        read: u64,
        fails: bool,
    },
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
    pub(crate) clock: Rc<Cell<Time>>,
    queue: BinaryHeap<Reverse<Due>>,
    drawn: u64,
    pub(crate) rng: fastrand::Rng,
    pub(crate) slots: Vec<Option<Member>>,
    pub(crate) lives: u64,
    pub(crate) network: Network,
    pub(crate) truth: Truth,
    pub(crate) history: History,
    pub(crate) cluster: Cluster,
    /// Bytes on their way in one direction before the writer has to wait: a slow follower's stall.
    pub(crate) window: usize,
    pub(crate) trace: Trace,
    pub(crate) counts: Counts,
    pub(crate) violation: Option<Violation>,
    /// Hosts that vanished: dials to them are not even refused.
    pub(crate) vanished: BTreeSet<usize>,
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
        history: History::default(),
        cluster: plan.cluster(),
        window: plan.window,
        trace: Trace::new(keep_trace),
        counts: Counts::default(),
        violation: None,
        vanished: BTreeSet::new(),
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
        world.clock.set(due.at);
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

    /// Whether a life takes part: one that has said goodbye serves nothing, and tells nothing more.
    pub(crate) fn lives(&self, life: u64) -> bool {
        self.history.end_of(life) == Time::NEVER
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
            Event::Accept { link } => self.on_accept(link),
            Event::Arrive { link, side } => self.on_arrive(link, side),
            Event::Breaks { link, side } => self.on_breaks(link, side),
            Event::Writable { end } => self.pump(end.slot, end.life, end.conn),
            Event::Sample { slot, life, read } => self.on_sample(slot, life, read),
            Event::EndLoad { slot, life, read, fails } => {
                self.on_load_ends(slot, life, read, fails);
            }
        }
    }

    /// Feeds one input, carries out all outputs, then looks at what the caches heard.
    pub(crate) fn feed(&mut self, slot: usize, input: Input<'_>) {
        let Some(member) = &mut self.slots[slot] else { return };
        let now = member.clock.now();
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
        self.note_roster(slot);
        self.step_reads(slot);
        invariants::memory_is_bounded(self, slot);
        invariants::every_proof_is_true(self, slot);
        invariants::every_distrust_has_a_cause(self, slot);
    }

    /// Takes in what the caches of a node heard: what it may serve from here on.
    fn listen(&mut self, slot: usize) {
        let Some(member) = &mut self.slots[slot] else { return };
        let (life, now) = (member.life, self.now);
        for heard in member.tap.take() {
            match heard {
                Heard::Applied(change) => {
                    note!(self, "{} applied {}", name_of(slot), change.text());
                    let from = self.slots[slot].as_ref().and_then(|member| member.hears);
                    self.history.applied(change, life, from);
                    invariants::applied_in_order(self, slot, change);
                }
                Heard::Distrusted => {
                    note!(self, "{} distrusts its copies", name_of(slot));
                    let (floors, lives) = (self.truth.floors(), self.lives);
                    if let Some(member) = &mut self.slots[slot] {
                        member.distrusts += 1;
                        member.floors = floors;
                        member.covered = lives;
                        member.covered_at = now;
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
                self.account_for_distrust(slot);
                invariants::replay_comes_first(self, slot, *head);
            }
            Report::Missed { node } => {
                self.account_for_distrust(slot);
                invariants::only_the_dead_are_missed(self, slot, node);
            }
            Report::Behind { .. } => {
                self.account_for_distrust(slot);
                invariants::only_the_new_are_behind(self, slot);
            }
            Report::CutOff { .. } => self.counts.cut_offs += 1,
            Report::Following { incarnation, .. } => {
                if let Some(member) = &mut self.slots[slot] {
                    member.followed.insert(life_of(*incarnation));
                }
            }
            _ => {}
        }
    }

    fn account_for_distrust(&mut self, slot: usize) {
        if let Some(member) = &mut self.slots[slot] {
            member.distrusts -= 1;
        }
    }

    fn arm(&mut self, slot: usize) {
        let Some(member) = &mut self.slots[slot] else { return };
        let deadline = member.clock.when(member.core.next_deadline());
        if deadline < member.timer && deadline < Time::NEVER {
            member.timer = deadline;
            let life = member.life;
            self.at(deadline.max(self.now), Event::Timer { slot, life });
        }
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
        Event::Accept { link } => {
            network.links.get(&link).map(|link| (link.ends[1].slot, link.ends[1].life))
        }
        Event::Arrive { link, side } | Event::Breaks { link, side } => {
            network.links.get(&link).map(|link| (link.ends[side].slot, link.ends[side].life))
        }
    }
}
