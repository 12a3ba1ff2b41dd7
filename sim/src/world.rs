//! Owns the state of a simulated world, and how what happens reaches the nodes.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::ack::Reason;
use flushcast_core::node::{Batch, Input, Output, Report, Work};

use crate::history::{History, Teller};
use crate::invariants;
use crate::kinds::{Kind, Odd};
use crate::liars::Liar;
use crate::member::{Cluster, Member, life_of, name_of};
use crate::network::{End, Network};
use crate::places::{Places, Stranger};
use crate::plan::Plan;
pub(crate) use crate::queue::Event;
use crate::queue::Queue;
use crate::run::{Counts, Violation};
use crate::tap::{Heard, Truth};
use crate::trace::Trace;

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) clock: Rc<Cell<Time>>,
    pub(crate) queue: Queue,
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
    pub(crate) odd: Odd,
    pub(crate) places: Places,
    /// When the faults end.
    pub(crate) faults_end: Time,
    /// Connections that lead to something that is not of the cluster.
    pub(crate) strange: BTreeMap<End, Stranger>,
    /// Lives that somebody may take for dead, though they live, by no fault of the core.
    pub(crate) doubted: BTreeSet<u64>,
    /// Lives that say to be at a place that is another's.
    pub(crate) elsewhere: BTreeSet<u64>,
    /// Lives at whose place somebody else says to be, and until when.
    pub(crate) usurped: BTreeMap<u64, Time>,
    /// Until when dials were refused in the name of living nodes, where refusals are trusted.
    pub(crate) lied_until: Time,
    pub(crate) liar: Option<Liar>,
    /// Slots whose nodes have left for good, each with the lives that heard it.
    pub(crate) retired: BTreeMap<usize, BTreeSet<u64>>,
    /// When a gentle rolling restart began, of which the survivors' proofs are watched.
    pub(crate) rolled_at: Time,
}

/// Notes a line in the trace of a world.
macro_rules! note {
    ($world:expr, $($what:tt)*) => {{
        let now = $world.now;
        $world.trace.note(now, &format_args!($($what)*));
    }};
}
pub(crate) use note;

impl World {
    /// A world in which nothing has happened yet.
    pub(crate) fn new(
        plan: &Plan,
        keep_trace: bool,
        rng: fastrand::Rng,
        odd: &mut fastrand::Rng,
    ) -> Self {
        let cluster = plan.cluster();
        let places = Places::draw(&plan.odd, plan.nodes, cluster.rests_on_refusals(), odd);
        let is_odd = plan.odd.is_any();
        Self {
            now: Time::ZERO,
            clock: Rc::default(),
            queue: Queue::default(),
            slots: (0..plan.nodes).map(|_| None).collect(),
            lives: 0,
            network: Network::default(),
            truth: Truth::default(),
            history: History::default(),
            cluster,
            window: plan.window,
            trace: Trace::new(keep_trace),
            counts: Counts { odd: u64::from(is_odd), ..Counts::default() },
            violation: None,
            vanished: BTreeSet::new(),
            lists_were_wrong: false,
            odd: plan.odd.clone(),
            places,
            faults_end: Time::ZERO + plan.faults_for,
            strange: BTreeMap::new(),
            doubted: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            usurped: BTreeMap::new(),
            lied_until: Time::ZERO,
            liar: Liar::draw(&plan.odd, plan.nodes, odd),
            retired: BTreeMap::new(),
            rolled_at: Time::NEVER,
            rng,
        }
    }

    pub(crate) fn after(&mut self, pause: Duration, event: Event) {
        self.at(self.now + pause, event);
    }

    pub(crate) fn at(&mut self, at: Time, event: Event) {
        self.queue.push(at, event);
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

    pub(crate) fn happen(&mut self, event: Event) {
        // What reaches a stopped process waits in its kernel.
        let is_of_a_call = event.is_of_a_call();
        let stopped = event
            .addressee(&self.network)
            .and_then(|(slot, life)| self.living(slot, life))
            .map_or(Time::ZERO, |member| member.stopped_until(is_of_a_call));
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
            Event::DialArrives { from, address } => self.on_dial_arrives(from, address),
            Event::Connected { from } => self.on_connected(from),
            Event::StrangerAnswers { from } => self.on_stranger_answers(from),
            Event::DialFails { from, refused } => {
                if self.living(from.slot, from.life).is_some() {
                    let why = match refused {
                        true => Reason::Refused,
                        false => Reason::Unreachable("no answer".to_owned()),
                    };
                    self.feed(from.slot, Input::DialFailed { conn: from.conn, why });
                }
            }
            Event::Accept { link } => self.on_accept(link),
            Event::Arrive { link, side } => self.on_arrive(link, side),
            Event::Breaks { link, side } => self.on_breaks(link, side),
            Event::Writable { end } => self.pump(end.slot, end.life, end.conn),
            Event::Apply { slot, life, batch, from, taken_at } => {
                if let Some(member) = self.living(slot, life) {
                    member.taken_at = taken_at;
                    self.apply(slot, &batch, from);
                }
            }
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
                Output::PeersChanged => self.has_news(slot),
                Output::Rearm => {}
            }
        }
        self.take_work(slot);
        self.arm(slot);
        if self.slots[slot].as_mut().is_some_and(|it| std::mem::take(&mut it.has_news)) {
            self.note_roster(slot);
        }
        self.step_reads(slot);
        invariants::memory_is_bounded(self, slot);
        invariants::every_proof_is_true(self, slot);
        invariants::every_distrust_has_a_cause(self, slot);
    }

    /// Takes out what is to be applied, and applies it at once, or sometime.
    fn take_work(&mut self, slot: usize) {
        while let Some(member) = &mut self.slots[slot]
            && let Some(of) = member.core.lives_with_work()
        {
            let (life, heard) = (member.life, member.hears);
            // Whose log it is says who told it.
            let teller = life_of(of);
            let from = heard.map(|(at, _)| (self.slot_of(teller).unwrap_or(at), teller));
            let Some(member) = &mut self.slots[slot] else { return };
            let Work::Apply(batch) = member.core.take_work_of(of) else { continue };
            if self.odd.has(Kind::Slow) && self.rng.bool() {
                let pause = self.delay() + self.delay();
                let taken_at = self.now;
                self.after(pause, Event::Apply { slot, life, batch, from, taken_at });
            } else {
                member.taken_at = self.now;
                self.apply(slot, &batch, from);
            }
        }
    }

    /// Applies flushes, and tells the core.
    fn apply(&mut self, slot: usize, batch: &Batch, from: Option<Teller>) {
        let Some(member) = &mut self.slots[slot] else { return };
        member.applied_from = from;
        let now = member.clock.now();
        for (cache, scope) in batch.flushes() {
            member.caches.begin(now, [(cache, scope)]).finish();
        }
        let (life, upto) = (batch.life, batch.upto);
        self.feed(slot, Input::Applied { life, upto, widened: Vec::new() });
    }

    fn has_news(&mut self, slot: usize) {
        if let Some(member) = &mut self.slots[slot] {
            member.has_news = true;
        }
    }

    /// Takes in what the caches of a node heard: what it may serve from here on.
    fn listen(&mut self, slot: usize) {
        let Some(member) = &mut self.slots[slot] else { return };
        let (life, now) = (member.life, self.now);
        let all_heard = member.tap.take();
        // Whether a goodbye is behind the last flush may be another matter now.
        member.has_news |= !all_heard.is_empty();
        for heard in all_heard {
            match heard {
                Heard::Applied(change) => {
                    note!(self, "{} applied {}", name_of(slot), change.text());
                    let from = self.slots[slot].as_ref().and_then(|member| member.applied_from);
                    self.history.applied(now, change, life, from);
                    invariants::applied_in_order(self, slot, change);
                }
                Heard::Distrusted => {
                    note!(self, "{} distrusts its copies", name_of(slot));
                    let (floors, lives) = (self.truth.floors(), self.lives);
                    if let Some(member) = &mut self.slots[slot] {
                        member.distrusts += 1;
                        member.floors = floors;
                        member.covered = lives;
                        member.covered_before = std::mem::replace(&mut member.covered_at, now);
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
                invariants::something_was_missed(self, slot);
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
