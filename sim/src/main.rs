//! Plays seeds: many at once, or one with its trace.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::process::ExitCode;

use clap::Parser;
use flushcast_sim::{Counts, Run, Worlds, run_in};

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
    /// Which worlds: plain, mixed, those with one oddity, such as aliases, or engine.
    #[arg(long, default_value = "mixed")]
    worlds: Worlds,
    /// Go on after a violation, print each, and say at the end how many there were of what.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        let run = run_in(arguments.worlds, seed, true);
        run.trace.iter().for_each(|line| println!("{line}"));
        return verdict(arguments.worlds, seed, &run);
    }
    let mut counts = Counts::default();
    let mut broken = BTreeMap::new();
    for seed in arguments.from..arguments.from.saturating_add(arguments.seeds) {
        let run = run_in(arguments.worlds, seed, false);
        counts.add_assign(run.counts);
        if !arguments.keep_going && run.violation.is_some() {
            return verdict(arguments.worlds, seed, &run);
        }
        if let Some(violation) = run.violation {
            println!("seed {seed}: {} is broken: {}", violation.invariant, violation.what);
            let seen = broken.entry(violation.invariant).or_insert((0, seed, violation.what));
            seen.0 += 1;
        }
    }
    for (invariant, (times, seed, what)) in &broken {
        println!("{invariant} is broken by {times} seeds, by {seed} first: {what}");
    }
    if !broken.is_empty() {
        return ExitCode::FAILURE;
    }
    println!("{} seeds from {}: no violation; {counts:?}", arguments.seeds, arguments.from);
    ExitCode::SUCCESS
}

fn verdict(worlds: Worlds, seed: u64, run: &Run) -> ExitCode {
    match &run.violation {
        None => {
            println!("seed {seed}: no violation; {:?}; digest {:016x}", run.counts, run.digest);
            ExitCode::SUCCESS
        }
        Some(violation) => {
            eprintln!("seed {seed}: {} is broken: {}", violation.invariant, violation.what);
            let command = "cargo run --release -p flushcast-sim --";
            eprintln!("replay it: {command} --worlds {worlds} --seed {seed}");
            ExitCode::FAILURE
        }
    }
}
