//! Owns a run: it plays one seed to its end, and says what came of it.

use flushcast_core::Time;

use crate::engine::run_engine;
use crate::invariants;
use crate::kinds::Worlds;
use crate::plan::Plan;
use crate::world::{World, note};

/// Events after which a run is taken for one that never ends; the longest have some 500,000.
const MOST_EVENTS: u64 = 4_000_000;
/// Told apart from what plain worlds draw, so that those stay as they are.
const ODD: u64 = 0x0dd5_eed0_0dd5_eed0;

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
    /// Writes that went on when their callers had gone away.
    pub abandoned: u64,
    /// Worlds with some oddity.
    pub odd: u64,
    /// Dials that ended at something that is not of the cluster.
    pub strangers: u64,
    /// Dials that nobody answered, or that were refused, though a node lives there.
    pub walled: u64,
    /// Addresses that passed on to another machine.
    pub passed_on: u64,
    /// Lives that claimed another's place.
    pub twins: u64,
    /// Frames in which a member said something false.
    pub lies: u64,
    /// The oldest proof of a survivor of a gentle rolling restart, in milliseconds; the largest of
    /// all runs.
    pub oldest_proof_ms: u64,
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
        self.abandoned += other.abandoned;
        self.odd += other.odd;
        self.strangers += other.strangers;
        self.walled += other.walled;
        self.passed_on += other.passed_on;
        self.twins += other.twins;
        self.lies += other.lies;
        self.oldest_proof_ms = self.oldest_proof_ms.max(other.oldest_proof_ms);
    }
}

/// Plays one seed of all worlds: faults, then healing, with every invariant checked all the while.
pub fn run(seed: u64, keep_trace: bool) -> Run {
    run_in(Worlds::Mixed, seed, keep_trace)
}

/// Plays one seed of the worlds in which each node has one clean address, and all are friends.
pub fn run_plain(seed: u64, keep_trace: bool) -> Run {
    run_in(Worlds::Plain, seed, keep_trace)
}

/// Plays one seed of some worlds.
pub fn run_in(worlds: Worlds, seed: u64, keep_trace: bool) -> Run {
    if worlds == Worlds::Engine {
        return run_engine(seed, None, keep_trace);
    }
    let (mut rng, mut odd) = (fastrand::Rng::with_seed(seed), fastrand::Rng::with_seed(seed ^ ODD));
    let plan = Plan::draw(&mut rng, &mut odd, worlds);
    let mut world = World::new(&plan, keep_trace, rng, &mut odd);
    note!(world, "plan {plan:?}");
    note!(world, "{:?}", world.places);
    plan.schedule(&mut world);
    let end = Time::ZERO + plan.faults_for + plan.heals_within;
    while world.violation.is_none()
        && let Some(due) = world.queue.pop()
        && due.at <= end
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
