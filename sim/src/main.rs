//! Plays seeds: many at once, or one with its trace.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

use std::ops::AddAssign;
use std::process::ExitCode;

use clap::Parser;
use flushcast_sim::{Counts, Run, run};

/// Plays a cluster of the real core in virtual time, with faults, and checks every invariant.
#[derive(Parser)]
struct Arguments {
    /// How many seeds to play.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Play this one seed only and print its trace.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        let run = run(seed, true);
        run.trace.iter().for_each(|line| println!("{line}"));
        return verdict(seed, &run);
    }
    let mut counts = Counts::default();
    for seed in arguments.from..arguments.from.saturating_add(arguments.seeds) {
        let run = run(seed, false);
        counts.add_assign(run.counts);
        if run.violation.is_some() {
            return verdict(seed, &run);
        }
    }
    println!("{} seeds from {}: no violation; {counts:?}", arguments.seeds, arguments.from);
    ExitCode::SUCCESS
}

fn verdict(seed: u64, run: &Run) -> ExitCode {
    match &run.violation {
        None => {
            println!("seed {seed}: no violation; {:?}; digest {:016x}", run.counts, run.digest);
            ExitCode::SUCCESS
        }
        Some(violation) => {
            eprintln!("seed {seed}: {} is broken: {}", violation.invariant, violation.what);
            eprintln!("replay it: cargo run --release -p flushcast-sim -- --seed {seed}");
            ExitCode::FAILURE
        }
    }
}
