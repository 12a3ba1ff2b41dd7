//! Model check of the proof of sync: all that may happen in small worlds of real cores is tried,
//! where the simulator tries what chance brings. It finds as well what is planted for it.
//!
//! `RUSTFLAGS="--cfg flushcast_planted" cargo test --release --target-dir target/planted \
//!  -p flushcast-sim --test model -- --nocapture` says how much was tried, and what was found.
#![cfg(flushcast_planted)]
#![allow(clippy::print_stdout, reason = "how much was tried is for people to read")]

use std::hash::{Hash, Hasher};
use std::thread::available_parallelism;
use std::time::Instant;

use flushcast_core::planted::{Fault, plant};
use flushcast_sim::small::{Bounds, Small, Step};
use stateright::{Checker, Model, Property};

const EVERY_PROOF_IS_TRUE: &str = "every proof is true";
const TAILS_ARE_HANDED_OVER: &str = "tails are handed over";

/// One flush, of which some arrives; its author dies. No way is slow.
const DEATH: Bounds = Bounds {
    nodes: 3,
    flushes: 1,
    deaths: 1,
    starts: 0,
    two_places: false,
    begins_with_break: false,
    delays: 0,
    ticks: 8,
};

/// Like [`DEATH`], while the second node is about to follow the author again.
const DEATH_WHILE_GREETED: Bounds = Bounds { begins_with_break: true, ticks: 14, ..DEATH };

/// The author dies, and comes back as another life.
const RESTART: Bounds = Bounds { starts: 1, ..DEATH };

/// The author dies, then the second node, which may be the only one that was told.
const TWO_DEATHS: Bounds = Bounds { deaths: 2, ..DEATH };

/// The author is known by two places, and dies.
const DEATH_OF_TWO_PLACES: Bounds = Bounds { two_places: true, ticks: 16, ..DEATH };

/// Somebody else begins to live at one of these places.
const RESTART_AT_TWO_PLACES: Bounds = Bounds { starts: 1, ..DEATH_OF_TWO_PLACES };

/// What happened, and what came of it.
#[derive(Debug, Clone)]
struct Reached {
    by: Vec<Step>,
    next: Vec<Step>,
    untrue_proof: Option<String>,
    tail_is_handed_over: bool,
    fingerprint: u64,
}

/// As the world is, however it came to be.
impl PartialEq for Reached {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Hash for Reached {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

/// A world, and the bug that is planted in it.
#[derive(Debug, Clone, Copy)]
struct World {
    bounds: Bounds,
    fault: Option<Fault>,
}

impl World {
    fn reach(&self, by: Vec<Step>) -> Reached {
        // On whichever thread of the checker this is.
        plant(self.fault);
        let mut small = Small::new(self.bounds);
        by.iter().for_each(|&step| small.take(step));
        Reached {
            next: small.steps(),
            untrue_proof: small.untrue_proof(),
            tail_is_handed_over: small.tail_is_handed_over(),
            fingerprint: small.fingerprint(),
            by,
        }
    }

    /// Tries everything; gives back what is wrong in it, if anything is.
    fn explore(self) -> Option<Wrong> {
        let threads = available_parallelism().map_or(1, usize::from);
        let started = Instant::now();
        let checker = self.checker().threads(threads).spawn_bfs().join();
        let untrue = checker.discovery(EVERY_PROOF_IS_TRUE).map(|path| path.last_state().clone());
        let wrong = match (untrue, checker.discovery(TAILS_ARE_HANDED_OVER)) {
            (Some(reached), _) => Some(Wrong::UntrueProof(reached)),
            (None, None) => Some(Wrong::NoTailHandedOver),
            (None, Some(_)) => None,
        };
        let (states, took) = (checker.unique_state_count(), started.elapsed());
        println!("{self:?}: {states} states in {took:.1?}: {wrong:?}");
        wrong
    }
}

/// What can be wrong in a world.
#[derive(Debug)]
#[expect(dead_code, reason = "how an untrue proof came about is for people to read")]
enum Wrong {
    UntrueProof(Reached),
    /// Whatever happens. It would show nothing either.
    NoTailHandedOver,
}

impl Model for World {
    type State = Reached;
    type Action = Step;

    fn init_states(&self) -> Vec<Reached> {
        vec![self.reach(Vec::new())]
    }

    fn actions(&self, state: &Reached, actions: &mut Vec<Step>) {
        actions.extend(&state.next);
    }

    fn next_state(&self, state: &Reached, step: Step) -> Option<Reached> {
        let mut by = state.by.clone();
        by.push(step);
        Some(self.reach(by))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(EVERY_PROOF_IS_TRUE, |_, it: &Reached| it.untrue_proof.is_none()),
            Property::sometimes(TAILS_ARE_HANDED_OVER, |_, it: &Reached| it.tail_is_handed_over),
        ]
    }
}

fn no_proof_is_untrue(worlds: &[Bounds]) {
    for &bounds in worlds {
        let wrong = World { bounds, fault: None }.explore();
        assert!(wrong.is_none(), "{wrong:?}");
    }
}

#[test]
fn whatever_happens_in_a_small_world_every_proof_is_true() {
    let ticks = 4;
    no_proof_is_untrue(&[
        DEATH,
        DEATH_WHILE_GREETED,
        Bounds { ticks, ..RESTART },
        TWO_DEATHS,
        DEATH_OF_TWO_PLACES,
    ]);
}

#[test]
#[ignore = "takes an hour: for changes of the protocol"]
fn whatever_happens_in_a_larger_world_every_proof_is_true() {
    let (delays, ticks) = (1, 5);
    no_proof_is_untrue(&[
        Bounds { delays, ticks, ..DEATH },
        Bounds { delays, ..DEATH_WHILE_GREETED },
        Bounds { delays, ticks, ..DEATH_OF_TWO_PLACES },
        RESTART,
        RESTART_AT_TWO_PLACES,
    ]);
}

/// Those of which a small world can show something: others take a node that never met the author, and
/// are found by seeds.
#[test]
fn bugs_that_are_planted_for_it_are_found() {
    let slow = |ticks, bounds| Bounds { delays: 1, ticks, ..bounds };
    for (fault, bounds) in [
        (Fault::InTouchIgnored, slow(3, DEATH)),
        (Fault::AnswerBeforeTail, DEATH),
        (Fault::TailNotHandedOver, DEATH),
        (Fault::TailNotHandedOver, DEATH_OF_TWO_PLACES),
    ] {
        let wrong = World { bounds, fault: Some(fault) }.explore();
        let is_found = match fault {
            Fault::TailNotHandedOver => matches!(wrong, Some(Wrong::NoTailHandedOver)),
            _ => matches!(wrong, Some(Wrong::UntrueProof(_))),
        };
        assert!(is_found, "{fault:?} is missed");
    }
}
