//! The promises hold over many seeds, and a seed tells the same story each time.

use flushcast_sim::{Counts, Kind, Worlds, run, run_in, run_plain};

#[test]
fn three_hundred_seeds_keep_every_promise() {
    let mut counts = Counts::default();
    for seed in 0..300 {
        let run = run_plain(seed, false);
        let replay = "cargo run --release -p flushcast-sim -- --worlds plain --seed";
        assert_eq!(run.violation, None, "{replay} {seed}");
        counts += run.counts;
    }
    // The runs did what they are for.
    assert!(counts.changes > 10_000 && counts.reads > 10_000, "{counts:?}");
    assert!(counts.resets > 100 && counts.kills > 100 && counts.breaks > 100, "{counts:?}");
    assert!(counts.outcomes > 1_000 && counts.cut_offs > 100, "{counts:?}");
    assert!(counts.confirmed > 1_000 && counts.fenced > 100, "{counts:?}");
    assert!(counts.put > 1_000 && counts.abandoned > 100, "{counts:?}");
    assert!(counts.refreshed > 100 && counts.expired > 10, "{counts:?}");
}

#[test]
fn seeds_of_odd_worlds_keep_every_promise() {
    for (worlds, seeds) in [(Worlds::Mixed, 300), (Worlds::Only(Kind::Flaps), 100)] {
        for seed in 0..seeds {
            let run = run_in(worlds, seed, false);
            let replay =
                format!("cargo run --release -p flushcast-sim -- --worlds {worlds} --seed");
            assert_eq!(run.violation, None, "{replay} {seed}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    for seed in 0..20 {
        let (first, second) = (run(seed, true), run(seed, true));
        assert_eq!(first.trace, second.trace);
        assert_eq!(first.digest, second.digest);
        assert!(first.trace.len() > 20);
        assert_ne!(first.digest, run(seed + 1000, false).digest);
    }
}

#[test]
fn every_oddity_of_the_world_comes_about() {
    let mut counts = Counts::default();
    for kind in Kind::ALL {
        for seed in 0..3 {
            counts += run_in(Worlds::Only(kind), seed, false).counts;
        }
    }
    // A strict world has no room for some.
    assert!(counts.odd >= 2 * Kind::ALL.len() as u64, "{counts:?}");
    assert!(counts.strangers > 0 && counts.walled > 0 && counts.passed_on > 0, "{counts:?}");
    assert!(counts.twins > 0 && counts.lies > 0 && counts.oldest_proof_ms > 0, "{counts:?}");
}
