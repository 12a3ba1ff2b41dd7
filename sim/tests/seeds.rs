//! The promises hold over many seeds, and a seed tells the same story each time.

use flushcast_sim::{Counts, run};

#[test]
fn three_hundred_seeds_keep_every_promise() {
    let mut counts = Counts::default();
    for seed in 0..300 {
        let run = run(seed, false);
        assert_eq!(run.violation, None, "cargo run --release -p flushcast-sim -- --seed {seed}");
        counts += run.counts;
    }
    // The runs did what they are for.
    assert!(counts.changes > 10_000 && counts.reads > 10_000, "{counts:?}");
    assert!(counts.resets > 100 && counts.kills > 100 && counts.breaks > 100, "{counts:?}");
    assert!(counts.outcomes > 1_000 && counts.cut_offs > 100, "{counts:?}");
    assert!(counts.confirmed > 1_000 && counts.fenced > 100, "{counts:?}");
    assert!(counts.put > 1_000 && counts.refreshed > 100 && counts.expired > 10, "{counts:?}");
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
