//! Owns the measure of a hit.

use std::thread;
use std::time::Instant;

use flushcast::Node;
use flushcast_bench::figures::{Ratio, Table, machine, median};
use flushcast_bench::zipf;

use crate::subjects::{self, NAMES, Runs};

/// What a hit costs, of 24-byte keys, with all of them held
#[derive(Debug, Clone, clap::Args)]
pub struct HitArgs {
    /// Keys
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    /// Threads that read at the same time
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Reads of each thread in a round, in an order that is drawn once, by Zipf's law
    #[arg(long, default_value_t = 1 << 18)]
    reads: usize,
    /// Rounds
    #[arg(long, default_value_t = 41)]
    rounds: usize,
    /// Only these
    #[arg(long)]
    only: Vec<String>,
}

pub fn keys(count: usize) -> Vec<String> {
    (0..count).map(|key| format!("customer/{key:015}")).collect()
}

pub fn run(args: &HitArgs, node: &Node) -> String {
    let HitArgs { rounds, threads, reads, .. } = *args;
    let start = machine();
    let keys = keys(args.keys);
    // Of each thread. One behind the other in memory: a key that is asked for has just come with a
    // request, and to fetch it from anywhere else is not the cache's work.
    let asked: Vec<Vec<String>> = (0..threads)
        .map(|seed| zipf::order(keys.len(), reads, seed as u64))
        .map(|order| order.iter().map(|&key| keys[key as usize].clone()).collect())
        .collect();
    let wanted = |name: &&str| args.only.is_empty() || args.only.iter().any(|it| it == name);
    let mut subjects: Vec<(&str, Box<dyn Runs<String>>, Vec<_>)> = Vec::new();
    for name in NAMES.into_iter().filter(wanted) {
        let Some(subject) = subjects::make(name, node, 2 * keys.len() as u64) else { continue };
        subject.scatter(&keys);
        subjects.push((name, subject, Vec::new()));
    }
    for round in 0..rounds {
        for turn in 0..subjects.len() {
            let at = (round + turn) % subjects.len();
            let (name, subject, nanos) = &mut subjects[at];
            nanos.push(time(name, &**subject, &asked));
        }
    }
    let mut table =
        Table::new(["hit, ns", "median", "to the first", "lowest tenth", "to the first"]);
    let first = subjects.first().map(|it| it.2.clone()).unwrap_or_default();
    for (name, _, nanos) in &subjects {
        let (low, first_low) = (undisturbed(nanos), undisturbed(&first));
        table.row([
            (*name).to_owned(),
            format!("{:.1}", median(nanos.clone())),
            Ratio::of(nanos, &first).to_string(),
            format!("{low:.1}"),
            format!("{:.2}", low / first_low),
        ]);
    }
    format!(
        "hits of {} keys of 24 bytes, zipf 1.0, {threads} threads, {rounds} rounds; {start}\n\
         flushcast: bounded, with a time to live; the others without\n\n{table}",
        args.keys
    )
}

/// The median of the fastest tenth of the rounds: those in which other work on the machine was least.
fn undisturbed(nanos: &[f64]) -> f64 {
    let mut nanos = nanos.to_vec();
    nanos.sort_unstable_by(f64::total_cmp);
    nanos.truncate(nanos.len().div_ceil(10));
    median(nanos)
}

fn time(name: &str, subject: &dyn Runs<String>, asked: &[Vec<String>]) -> f64 {
    let passed = |keys: &Vec<String>| {
        // What the others have pushed out of the processor's caches comes back first.
        subject.read(&keys[..keys.len() / 4]);
        let start = Instant::now();
        let hits = subject.read(keys);
        assert_eq!(hits, keys.len(), "{name} does not hold all keys");
        start.elapsed().as_secs_f64() * 1e9 / keys.len() as f64
    };
    let nanos: Vec<f64> = thread::scope(|scope| {
        let readers: Vec<_> = asked.iter().map(|keys| scope.spawn(|| passed(keys))).collect();
        readers.into_iter().filter_map(|reader| reader.join().ok()).collect()
    });
    nanos.iter().sum::<f64>() / nanos.len() as f64
}
