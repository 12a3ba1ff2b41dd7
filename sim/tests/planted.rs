//! The checker is proven: each bug that can be planted in the core is found.
//!
//! `RUSTFLAGS="--cfg flushcast_planted" cargo test --release --target-dir target/planted \
//!  -p flushcast-sim --test planted -- --nocapture` says by which seed, and what it broke.
#![cfg(flushcast_planted)]
#![allow(clippy::print_stdout, reason = "by which seed a bug was found is for people to read")]

use std::panic::catch_unwind;
use std::thread;

use flushcast_core::planted::{Fault, plant};
use flushcast_sim::simple::play;
use flushcast_sim::{EngineFault, Kind, Run, Worlds, run_engine, run_in};

/// Each bug is found within so many seeds, from seed 0 on: several times as many as the rarest needs, or
/// any change of the core would hide one by chance.
const WITHIN: u64 = 8_000;
/// The same for shared logs, whose worlds have little else in them.
const SHARED_WITHIN: u64 = 2_000;

#[test]
fn every_planted_bug_is_found() {
    all_are_found(&Fault::COMMON, |fault| match fault {
        // What a stranger answers is as good as a refusal, and comes often.
        Fault::RefusalTrustedWithoutAsking => Worlds::Only(Kind::Strangers),
        // Plain worlds seldom have a node that reads on while nothing renews its proof.
        Fault::ExpiredBeyondProof => Worlds::Only(Kind::Stalls),
        _ => Worlds::Plain,
    });
}

#[test]
fn every_planted_bug_of_places_and_lives_is_found() {
    all_are_found(&Fault::PLACES, |fault| match fault {
        // Mixed worlds seldom have a node that is alone and that nothing drives.
        Fault::AloneForEver => Worlds::Only(Kind::Alone),
        // What it had told before has to be read late.
        Fault::ByeWithoutItsHead => Worlds::Only(Kind::Late),
        _ => Worlds::Mixed,
    });
}

#[test]
fn every_planted_bug_of_shared_logs_is_found() {
    hunt_all(&Fault::SHARED, SHARED_WITHIN, |fault, seed| {
        let engine = match fault {
            // Whatever else is lost shows in an epoch, in a place or in the entry there.
            Fault::GapOfAuthorIgnored => Some(EngineFault::LosesAcknowledged),
            _ => None,
        };
        run_engine(seed, engine, false)
    });
}

#[test]
fn the_simple_map_finds_every_planted_bug_of_a_cache() {
    for fault in Fault::CACHE {
        plant(Some(fault));
        let found = (0..WITHIN).find(|&seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let script: Vec<u8> = (0..600).map(|_| rng.u8(..)).collect();
            catch_unwind(|| play(&script)).is_err()
        });
        plant(None);
        println!("{fault:?}: script {found:?}");
        assert!(found.is_some(), "{fault:?} is not found within {WITHIN} scripts");
    }
}

fn all_are_found(faults: &[Fault], worlds: fn(Fault) -> Worlds) {
    hunt_all(faults, WITHIN, move |fault, seed| run_in(worlds(fault), seed, false));
}

fn hunt_all(
    faults: &[Fault],
    within: u64,
    play: impl Fn(Fault, u64) -> Run + Copy + Send + 'static,
) {
    let hunts = faults.iter().map(|&fault| {
        let hunt = move || first_found(fault, within, |seed| play(fault, seed));
        (fault, thread::spawn(hunt))
    });
    let mut missed = Vec::new();
    for (fault, hunt) in hunts.collect::<Vec<_>>() {
        match hunt.join() {
            Ok(Some((seed, what))) => println!("{fault:?}: seed {seed}: {what}"),
            Ok(None) => missed.push(fault),
            // A panic in the core finds it too, but says less.
            Err(_) => println!("{fault:?}: panicked"),
        }
    }
    assert!(missed.is_empty(), "not found within {within} seeds: {missed:?}");
}

/// The first seed that finds a bug, and how. On a thread of its own, where alone it is planted.
fn first_found(fault: Fault, within: u64, play: impl Fn(u64) -> Run) -> Option<(u64, String)> {
    (0..within).find_map(|seed| {
        plant(Some(fault));
        let violation = play(seed).violation?;
        // What a seed breaks without the bug shows nothing of it.
        plant(None);
        if play(seed).violation.is_some() {
            return None;
        }
        Some((seed, format!("{}: {}", violation.invariant, violation.what)))
    })
}
