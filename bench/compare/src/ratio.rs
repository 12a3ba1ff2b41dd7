//! Owns the measure of the share of reads that are hits, when not all fits.

use fastrand::Rng;
use flushcast::Node;
use flushcast_bench::figures::Table;

use crate::subjects::{self, NAMES};

/// The share of hits when a hundredth or a tenth of the keys fit: a million keys, Zipf's law with
/// exponent 0.9, four million reads of each kind; every miss is stored
#[derive(Debug, Clone, clap::Args)]
pub struct RatioArgs {
    /// Keys
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Reads
    #[arg(long, default_value_t = 4_000_000)]
    reads: usize,
    /// Times, with another order each; means are shown
    #[arg(long, default_value_t = 1)]
    rounds: u64,
}

/// What is read, by rank: rank 0 most often.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Plain,
    /// After so many reads follow as many of keys that are never read again; those do not count.
    Scan,
    /// After so many reads all ranks move on.
    Shift,
}

const KINDS: [(&str, Kind); 3] =
    [("plain", Kind::Plain), ("scan", Kind::Scan), ("shift", Kind::Shift)];
const SCAN_EVERY: usize = 100_000;
const SHIFT_EVERY: usize = 500_000;
const SHIFT_BY: u64 = 37_000;
const EXPONENT: f64 = 0.9;

/// Ranks by Zipf's law.
struct Ranks {
    up_to: Vec<f64>,
    rng: Rng,
}

impl Ranks {
    fn new(keys: u64, seed: u64) -> Self {
        let weights = (1..=keys).map(|rank| (rank as f64).powf(-EXPONENT));
        let up_to = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Self { up_to: up_to.collect(), rng: Rng::with_seed(seed) }
    }

    fn draw(&mut self) -> u64 {
        let at = self.rng.f64() * self.up_to.last().copied().unwrap_or_default();
        self.up_to.partition_point(|&up_to| up_to <= at) as u64
    }
}

/// The keys to read, each with whether it counts.
fn order(kind: Kind, keys: u64, reads: usize, ranks: &mut Ranks) -> Vec<(u64, bool)> {
    let (mut order, mut once) = (Vec::with_capacity(2 * reads), keys);
    for read in 0..reads {
        let moved = match kind {
            Kind::Shift => (read / SHIFT_EVERY) as u64 * SHIFT_BY,
            Kind::Plain | Kind::Scan => 0,
        };
        order.push(((ranks.draw() + moved) % keys, true));
        if matches!(kind, Kind::Scan) && (read + 1) % SCAN_EVERY == 0 {
            order.extend((once..once + SCAN_EVERY as u64).map(|key| (key, false)));
            once += SCAN_EVERY as u64;
        }
    }
    order
}

pub fn run(args: &RatioArgs, node: &Node) -> String {
    let RatioArgs { keys, reads, rounds } = *args;
    let names: Vec<_> = NAMES.into_iter().filter(|name| !name.contains("tags")).collect();
    let mut head = vec!["hits, %".to_owned()];
    head.extend(names.iter().map(|&name| name.to_owned()));
    let mut table = Table::new(head);
    for (word, kind) in KINDS {
        for part in [100, 10] {
            let mut hits = vec![0; names.len()];
            for round in 0..rounds {
                let order = order(kind, keys, reads, &mut Ranks::new(keys, round));
                for (name, hits) in names.iter().zip(&mut hits) {
                    let Some(subject) = subjects::make::<u64>(name, node, keys / part) else {
                        continue;
                    };
                    *hits += subject.read_through(&mut order.iter().copied());
                }
            }
            let mut row = vec![format!("{word}, {} fit", keys / part)];
            let all = (reads as u64 * rounds) as f64;
            row.extend(hits.iter().map(|&hits| format!("{:.1}", hits as f64 * 100.0 / all)));
            table.row(row);
        }
    }
    let small = small(&names, node);
    format!("{keys} keys, {reads} reads, zipf {EXPONENT}, {rounds} rounds\n\n{table}\n{small}")
}

/// Keys that are read one after the other, so many times what fits.
const LOOPS: [f64; 3] = [1.1, 1.5, 2.0];
const LOOP_FITS: [u64; 2] = [10_000, 100_000];
/// So many fit as there are keys, which are read at random.
const FULL: [u64; 4] = [500, 1000, 2000, 20_000];
const PASSES: u64 = 20;

/// Loops over somewhat more than fits, and caches for just as many as there are keys. The first pass over the keys
/// does not count.
fn small(names: &[&'static str], node: &Node) -> Table {
    let mut head = vec!["hits, %".to_owned()];
    head.extend(names.iter().map(|&name| name.to_owned()));
    let mut table = Table::new(head);
    let mut row = |title: String, capacity: u64, keys: u64, order: &[(u64, bool)]| {
        let hits = names.iter().filter_map(|name| {
            let subject = subjects::make::<u64>(name, node, capacity)?;
            let _ = subject.read_through(&mut (0..keys).map(|key| (key, false)));
            let hits = subject.read_through(&mut order.iter().copied());
            Some(format!("{:.1}", hits as f64 * 100.0 / order.len() as f64))
        });
        table.row(std::iter::once(title).chain(hits));
    };
    for fits in LOOP_FITS {
        for times in LOOPS {
            let keys = (fits as f64 * times) as u64;
            let order: Vec<_> = (0..PASSES * keys).map(|read| (read % keys, true)).collect();
            row(format!("loop of {times} times the {fits} that fit"), fits, keys, &order);
        }
    }
    for keys in FULL {
        let mut rng = Rng::with_seed(keys);
        let order: Vec<_> = (0..PASSES * keys).map(|_| (rng.u64(..keys), true)).collect();
        row(format!("{keys} keys, and as many fit"), keys, keys, &order);
    }
    table
}
