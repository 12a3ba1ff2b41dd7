//! Owns the measure of reads and writes beside each other: how long the slowest of them wait.

use std::thread;
use std::time::Instant;

use fastrand::Rng;
use flushcast::Node;
use flushcast_bench::figures::{Table, machine, median};
use flushcast_bench::zipf;

use crate::hit;
use crate::subjects::{self, Latencies, NAMES, Runs};

/// How long reads and writes take beside each other, with all keys held: medians, p99 and p99.9 of single
/// calls, and how many calls all threads make together
#[derive(Debug, Clone, clap::Args)]
pub struct MixedArgs {
    /// Keys of 24 bytes, asked for by Zipf's law; 1 for a single hot one
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Calls of a hundred that write
    #[arg(long, default_value_t = 10)]
    writes: u8,
    /// Calls of each thread in a round
    #[arg(long, default_value_t = 1 << 18)]
    calls: usize,
    /// Rounds; medians are taken over them
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Only these
    #[arg(long)]
    only: Vec<String>,
}

/// Of one round: nanoseconds at each percentile, of reads and of writes, and calls each microsecond.
#[derive(Default)]
struct Rounds {
    reads: [Vec<f64>; 3],
    writes: [Vec<f64>; 3],
    calls: Vec<f64>,
}

const PARTS: [f64; 3] = [0.5, 0.99, 0.999];

pub fn run(args: &MixedArgs, node: &Node) -> String {
    let MixedArgs { threads, calls, rounds, writes, .. } = *args;
    let start = machine();
    let keys = hit::keys(args.keys);
    let orders: Vec<Vec<(String, bool)>> = (0..threads)
        .map(|seed| {
            let mut rng = Rng::with_seed(seed as u64);
            let order = zipf::order(keys.len(), calls, seed as u64);
            order.iter().map(|&key| (keys[key as usize].clone(), rng.u8(..100) < writes)).collect()
        })
        .collect();
    let wanted = |name: &&str| args.only.is_empty() || args.only.iter().any(|it| it == name);
    let mut subjects: Vec<(&str, Box<dyn Runs<String>>, Rounds)> = Vec::new();
    for name in NAMES.into_iter().filter(wanted) {
        let Some(subject) = subjects::make(name, node, 2 * keys.len() as u64) else { continue };
        subject.scatter(&keys);
        subjects.push((name, subject, Rounds::default()));
    }
    for round in 0..rounds {
        for turn in 0..subjects.len() {
            let at = (round + turn) % subjects.len();
            let (_, subject, figures) = &mut subjects[at];
            time(&**subject, &orders, figures);
        }
    }
    let columns = ["calls/us", "read p50", "p99", "p99.9", "write p50", "p99", "p99.9"];
    let mut table = Table::new(std::iter::once("ns").chain(columns));
    for (name, _, figures) in subjects {
        let nanos = figures.reads.into_iter().chain(figures.writes);
        let mut row = vec![name.to_owned(), format!("{:.2}", median(figures.calls))];
        row.extend(nanos.map(|nanos| match nanos.is_empty() {
            true => "-".to_owned(),
            false => format!("{:.0}", median(nanos)),
        }));
        table.row(row);
    }
    format!(
        "{} keys of 24 bytes, zipf 1.0, {threads} threads, {writes} % writes, {rounds} rounds; {start}\n\
         medians over the rounds; a call takes one reading of the clock with it\n\n{table}",
        args.keys
    )
}

fn time(subject: &dyn Runs<String>, orders: &[Vec<(String, bool)>], figures: &mut Rounds) {
    let start = Instant::now();
    let mut all = Latencies::of(0);
    let each: Vec<Latencies> = thread::scope(|scope| {
        let threads: Vec<_> =
            orders.iter().map(|order| scope.spawn(|| subject.mixed(order))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let took = start.elapsed().as_secs_f64() * 1e6;
    for Latencies { reads, writes } in each {
        all.reads.extend(reads);
        all.writes.extend(writes);
    }
    figures.calls.push((all.reads.len() + all.writes.len()) as f64 / took);
    for (mut nanos, figures) in [(all.reads, &mut figures.reads), (all.writes, &mut figures.writes)]
    {
        nanos.sort_unstable();
        for (part, figures) in PARTS.iter().zip(figures) {
            let at = (nanos.len() as f64 * part) as usize;
            figures.extend(nanos.get(at).map(|&nanos| f64::from(nanos)));
        }
    }
}
