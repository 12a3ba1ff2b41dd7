//! Model check of the proof of sync: all that may happen in small worlds of real cores is tried,
//! where the simulator tries what chance brings. It finds as well what is planted for it.
//!
//! `RUSTFLAGS="--cfg flushcast_planted" cargo test --release --target-dir target/planted \
//!  -p flushcast-sim --test model -- --nocapture` says how much was tried, and what was found.
#![cfg(flushcast_planted)]
#![allow(clippy::print_stdout, reason = "how much was tried is for people to read")]

use std::hash::{Hash, Hasher};
use std::thread::available_parallelism;

use flushcast_core::planted::{Fault, plant};
use flushcast_sim::small::{Bounds, Small, Step};
use stateright::{Checker, Model, Property};

const EVERY_PROOF_IS_TRUE: &str = "every proof is true";
const TAILS_ARE_HANDED_OVER: &str = "tails are handed over";

/// One flush, of which some arrives; its author dies.
const DEATH: Bounds = Bounds {
    nodes: 3,
    flushes: 1,
    deaths: 1,
    starts: 0,
    begins_with_break: false,
    delays: 1,
    ticks: 8,
};

/// Like [`DEATH`], while the second node is about to follow the author again.
const DEATH_WHILE_GREETED: Bounds = Bounds { begins_with_break: true, ..DEATH };

/// The author dies, and comes back as another life; nothing is slow.
const RESTART: Bounds = Bounds { starts: 1, delays: 0, ..DEATH };

/// The author dies, then the second node, which may be the only one that was told.
const TWO_DEATHS: Bounds = Bounds { deaths: 2, delays: 0, ..DEATH };

/// What happened, and what came of it.
#[derive(Debug, Clone)]
struct Reached {
    by: Vec<Step>,
    next: Vec<Step>,
    untrue_proof: Option<String>,
    dead_are_heard: bool,
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
            dead_are_heard: small.all_have_heard_the_dead(),
            fingerprint: small.fingerprint(),
            by,
        }
    }

    /// Tries everything; gives back how an untrue proof came about, if one did.
    fn explore(self) -> Option<Reached> {
        let threads = available_parallelism().map_or(1, usize::from);
        let checker = self.checker().threads(threads).spawn_bfs().join();
        let found = checker.discovery(EVERY_PROOF_IS_TRUE).map(|path| path.last_state().clone());
        println!("{self:?}: {} states, {:?}", checker.unique_state_count(), found);
        // A world in which nothing has to be handed over shows nothing.
        assert!(found.is_some() || checker.discovery(TAILS_ARE_HANDED_OVER).is_some());
        found
    }
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
            Property::sometimes(TAILS_ARE_HANDED_OVER, |_, it: &Reached| it.dead_are_heard),
        ]
    }
}

fn no_proof_is_untrue(worlds: &[Bounds]) {
    for &bounds in worlds {
        let found = World { bounds, fault: None }.explore();
        assert!(found.is_none(), "{found:?}");
    }
}

#[test]
fn whatever_happens_in_a_small_world_every_proof_is_true() {
    no_proof_is_untrue(&[DEATH_WHILE_GREETED, RESTART, TWO_DEATHS]);
}

#[test]
#[ignore = "takes 20 minutes: for changes of the protocol"]
fn whatever_happens_in_a_larger_world_every_proof_is_true() {
    let delays = 1;
    no_proof_is_untrue(&[DEATH, Bounds { delays, ..RESTART }, Bounds { delays, ..TWO_DEATHS }]);
}

#[test]
fn bugs_that_are_planted_for_it_are_found() {
    for (fault, bounds) in [
        (Fault::RefusalTrustedWithoutInquest, DEATH),
        (Fault::TailNotHandedOver, DEATH),
        (Fault::GreetingOutOfTouch, DEATH_WHILE_GREETED),
    ] {
        assert!(World { bounds, fault: Some(fault) }.explore().is_some(), "{fault:?} is missed");
    }
}
