//! The worlds of shared logs: no seed breaks a promise, and what no engine may do is seen to break one.

use flushcast_sim::{EngineFault, run_engine};

#[test]
fn every_seed_keeps_the_promises_on_a_log() {
    let mut counts = flushcast_sim::Counts::default();
    for seed in 0..400 {
        let run = run_engine(seed, None, false);
        assert_eq!(run.violation, None, "seed {seed}");
        counts += run.counts;
    }
    let early = counts.confirmed - counts.fenced;
    assert!(early > 1000 && counts.fenced > 1000 && counts.resets > 1000, "{counts:?}");
}

/// So that these worlds can see what the promises rest on.
#[test]
fn an_engine_that_loses_what_it_has_acknowledged_or_lets_a_deposed_leader_answer_is_seen() {
    for fault in [EngineFault::LosesAcknowledged, EngineFault::DeposedLeaderAnswers] {
        let broken = (0..2000).find(|&seed| {
            let seen = run_engine(seed, Some(fault), false).violation;
            seen.is_some_and(|seen| seen.invariant == "strict on a log")
        });
        assert!(broken.is_some(), "{fault:?} is not seen");
    }
}
