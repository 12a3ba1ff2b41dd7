//! Owns the measures of what a flush costs where it is applied.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use flushcast::{Guarantee, Loaded, Node};
use flushcast_bench::figures::{Ratio, Table, machine, median, percentile};
use flushcast_core::Time;
use flushcast_core::cache::{Cache, CacheConfig, Caches, HashSeeds};

use crate::hit;
use crate::subjects::{self, Held, NAMES};

/// What dropping copies costs: of one key, and of a tag that many have while others read
#[derive(Debug, Clone, clap::Args)]
pub struct FlushArgs {
    /// Keys of 24 bytes
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    /// Copies that have the tag
    #[arg(long, default_value_t = 10_000)]
    tagged: usize,
    /// Rounds
    #[arg(long, default_value_t = 21)]
    rounds: usize,
}

/// Copies that a flush of a tag takes out under one hold of a lock.
const AT_ONCE: f64 = 8.0;

pub fn run(args: &FlushArgs, node: &Node) -> String {
    let start = machine();
    let keys = hit::keys(args.keys);
    let (one, tag) = (one_key(args, node, &keys), one_tag(args, &keys));
    format!("{} keys of 24 bytes, {} rounds; {start}\n\n{one}\n{tag}", args.keys, args.rounds)
}

/// Drops every key, in an order that is drawn anew.
fn one_key(args: &FlushArgs, node: &Node, keys: &[String]) -> String {
    let capacity = 2 * keys.len() as u64;
    let mut times: Vec<(&str, Vec<f64>)> = NAMES.map(|name| (name, Vec::new())).to_vec();
    times.insert(1, ("flushcast, flush", Vec::new()));
    for round in 0..args.rounds {
        let mut order: Vec<u32> = (0..).take(keys.len()).collect();
        Rng::with_seed(round as u64).shuffle(&mut order);
        let count = times.len();
        for turn in 0..count {
            let (name, times) = &mut times[(round + turn) % count];
            let took = if *name == "flushcast, flush" {
                // What a follower does with a frame, besides reading the key's text.
                let cache = core_cache(capacity);
                for key in keys {
                    let _ = cache.insert(key, Held::new([0; 64]), Time::ZERO);
                }
                let start = Instant::now();
                order.iter().for_each(|&key| cache.flush_key(&keys[key as usize]));
                start.elapsed()
            } else {
                let Some(subject) = subjects::make(name, node, capacity) else { continue };
                subject.fill(keys);
                let start = Instant::now();
                subject.drop_keys(keys, &order);
                start.elapsed()
            };
            times.push(took.as_secs_f64() * 1e9 / keys.len() as f64);
        }
    }
    let mut table = Table::new(["drop of a key, ns", "median", "to the first"]);
    for (name, nanos) in &times {
        let ratio = Ratio::of(nanos, &times[0].1).to_string();
        table.row([(*name).to_owned(), format!("{:.1}", median(nanos.clone())), ratio]);
    }
    format!(
        "{table}flushcast alone: an eviction by hand; flushcast, flush: that, and the load fenced\n"
    )
}

fn core_cache(capacity: u64) -> std::sync::Arc<Cache<String, Held>> {
    let bound = Guarantee::Bounded(Duration::from_secs(5));
    let config = CacheConfig::new(capacity, bound, HashSeeds([1, 2, 3, 4]));
    let cache = Cache::register(&Caches::default(), "flushed", config);
    cache.unwrap_or_else(|taken| unreachable!("a new registry: {taken}"))
}

/// Flushes a tag of many copies, while another thread reads those without and notes how long each
/// read took.
fn one_tag(args: &FlushArgs, keys: &[String]) -> String {
    let (tagged, others) = keys.split_at(args.tagged.min(keys.len() / 2));
    let (mut took, mut beside, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        let cache = core_cache(2 * keys.len() as u64);
        for key in tagged {
            let _ = cache.insert(key, Loaded::new(Held::new([0; 64])).tag("t"), Time::ZERO);
        }
        for key in others {
            let _ = cache.insert(key, Held::new([0; 64]), Time::ZERO);
        }
        let (is_ready, is_done) = (AtomicBool::new(false), AtomicBool::new(false));
        let read_on = || {
            let mut nanos = Vec::new();
            for key in others.iter().cycle() {
                let start = Instant::now();
                let _ = std::hint::black_box(cache.get(key, Time::ZERO));
                nanos.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
                is_ready.store(true, Ordering::SeqCst);
                if is_done.load(Ordering::SeqCst) {
                    break;
                }
            }
            nanos
        };
        let ready = || {
            while !is_ready.swap(false, Ordering::SeqCst) {
                std::hint::spin_loop();
            }
        };
        thread::scope(|scope| {
            let reader = scope.spawn(read_on);
            ready();
            let start = Instant::now();
            cache.flush_tag("t");
            took.push(start.elapsed().as_secs_f64() * 1e6);
            let length = start.elapsed();
            is_done.store(true, Ordering::SeqCst);
            beside.extend(reader.join().unwrap_or_default());
            is_done.store(false, Ordering::SeqCst);
            // As long, with nothing beside.
            let reader = scope.spawn(read_on);
            ready();
            thread::sleep(length);
            is_done.store(true, Ordering::SeqCst);
            alone.extend(reader.join().unwrap_or_default());
        });
    }
    let mut table =
        Table::new(["reads, us", "reads", "p50", "p99", "p99.9", "longest", "over 100"]);
    for (name, mut nanos) in [("beside the flush", beside), ("alone", alone)] {
        nanos.sort_unstable();
        let micros = |nanos: u64| format!("{:.1}", nanos as f64 / 1000.0);
        let thousandth = nanos.get(nanos.len() - nanos.len().div_ceil(1000)).copied();
        table.row([
            name.to_owned(),
            nanos.len().to_string(),
            micros(percentile(&nanos, 50)),
            micros(percentile(&nanos, 99)),
            micros(thousandth.unwrap_or_default()),
            micros(nanos.last().copied().unwrap_or_default()),
            nanos.iter().filter(|&&nanos| nanos > 100_000).count().to_string(),
        ]);
    }
    let (took, copies) = (median(took), tagged.len());
    let hold = took / copies as f64 * AT_ONCE;
    format!(
        "flush of a tag that {copies} copies have: {took:.0} us, which leaves {hold:.0} us for each\n\
         hold of a lock, under which {AT_ONCE} are taken out\n{table}"
    )
}
