//! Owns the measure of a hit: what each guarantee costs on the way of a read, next to a
//! cache of one process without any of it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use flushcast::discovery::Fixed;
use flushcast::{Cache, Guarantee, Loaded, Node};
use quick_cache::UnitWeighter;
use quick_cache::sync::DefaultLifecycle;
use rustix::time::{ClockId, clock_gettime};

use crate::cluster::{self, LOOK_AGAIN};
use crate::error::BenchError;
use crate::figures::{self, Ratio, Table, median};
use crate::zipf;

/// All keys fit.
const CAPACITY: u64 = 2 * MAX_KEYS as u64;
const MAX_KEYS: u32 = 1_000_000;
/// Reads of a pass, in an order that is drawn once.
const READS: usize = 1 << 17;
/// Far longer than a run.
const TIME_TO_LIVE: Duration = Duration::from_secs(3600);
/// Readings of each clock in a round.
const READINGS: u32 = 1_000_000;

/// Measures what a hit costs under each guarantee, next to quick_cache
#[derive(Debug, Clone, clap::Args)]
pub struct HitArgs {
    /// Keys of 24 bytes that are read
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=MAX_KEYS as i64))]
    keys: u32,
    /// Threads that read at the same time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Times that each thread reads all there is to read in a round
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    passes: u16,
    /// Rounds; medians are taken over them
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
}

const BOUND: Guarantee = Guarantee::Bounded(Duration::from_secs(5));
/// What each cache promises, and whether its copies have a time to live, and a tag.
const OURS: [(&str, Guarantee, bool, bool); 6] = [
    ("eventual", Guarantee::Eventual, false, false),
    ("eventual, time to live", Guarantee::Eventual, true, false),
    ("bounded", BOUND, false, false),
    ("bounded, time to live", BOUND, true, false),
    ("bounded, time to live, tags", BOUND, true, true),
    ("strict", Guarantee::Strict, false, false),
];
/// Copies that share a tag.
const WITH_A_TAG: usize = 100;

type Copied = Arc<[u8; 64]>;

/// Something that has a copy of every key.
enum Subject {
    Bare(Box<quick_cache::sync::Cache<String, Copied, UnitWeighter, Hasher>>),
    Flushcast(Cache<String, Copied>),
}

/// The one that Flushcast uses as well.
type Hasher = ahash::RandomState;

impl Subject {
    fn bare(keys: &[String]) -> Self {
        let capacity = CAPACITY as usize;
        let (hasher, lifecycle) = (Hasher::with_seeds(1, 2, 3, 4), DefaultLifecycle::default());
        let cache =
            quick_cache::sync::Cache::with(capacity, CAPACITY, UnitWeighter, hasher, lifecycle);
        keys.iter().for_each(|key| cache.insert(key.clone(), Arc::new([0; 64])));
        Subject::Bare(Box::new(cache))
    }

    async fn flushcast(
        node: &Node,
        name: &str,
        keys: &[String],
        guarantee: Guarantee,
        expires: bool,
        tagged: bool,
    ) -> Result<Self, BenchError> {
        let builder = node.cache(name).capacity(CAPACITY).guarantee(guarantee);
        let builder = if expires { builder.time_to_live(TIME_TO_LIVE) } else { builder };
        let cache = builder.build()?;
        for (number, key) in keys.iter().enumerate() {
            let copied = Loaded::new(Arc::new([0; 64]));
            let loaded = match tagged {
                true => copied.tag(format!("tag {}", number / WITH_A_TAG)),
                false => copied,
            };
            let load = cache.get_or_load_with(key, async || Ok::<_, String>(loaded)).await;
            load.map_err(|error| BenchError::Load(error.to_string()))?;
        }
        Ok(Subject::Flushcast(cache))
    }

    /// Reads all of `order` so many times; gives back how many were hits.
    fn read(&self, keys: &[String], order: &[u32], passes: u16) -> usize {
        let order = || order.iter().map(|&key| &keys[key as usize]);
        let hits = |_| match self {
            Subject::Bare(cache) => order().filter(|&key| cache.get(key).is_some()).count(),
            Subject::Flushcast(cache) => order().filter(|&key| cache.get(key).is_some()).count(),
        };
        (0..passes).map(hits).sum()
    }
}

/// Runs the measure and gives back its report.
///
/// # Errors
/// [`BenchError`]; there are no figures then.
pub async fn run(args: HitArgs) -> Result<String, BenchError> {
    let machine = figures::machine();
    let keys: Arc<Vec<_>> =
        Arc::new((0..args.keys).map(|key| format!("customer/{key:015}")).collect());
    // A strict cache needs somebody to be in step with, or no proof is ever asked for.
    let [here, there] = cluster::free_addresses()?;
    let list = || Fixed::new([here, there]);
    let node = cluster::node("here", here, list()).await?;
    let other = cluster::node("there", there, list()).await?;
    // With strict caches, being in sync means that strict copies are kept.
    let asks = |node: &Node| node.cache::<u64, u64>("asks").guarantee(Guarantee::Strict).build();
    let ask = [asks(&node)?, asks(&other)?];
    while !(node.in_sync() && other.in_sync()) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let mut subjects = vec![("quick_cache", Subject::bare(&keys))];
    for (name, guarantee, expires, tagged) in OURS {
        let subject = Subject::flushcast(&node, name, &keys, guarantee, expires, tagged).await?;
        subjects.push((name, subject));
    }
    let rounds = args.clone();
    let measured = move || measure(&rounds, &subjects, &keys);
    let (reads, clocks) = tokio::task::spawn_blocking(measured).await??;
    drop(ask);
    node.shutdown().await?;
    other.shutdown().await?;
    Ok(report(&args, &machine, &reads, &clocks))
}

/// Nanoseconds of a read, or of a reading of a clock, in each round.
type Rounds = Vec<(&'static str, Vec<f64>)>;

fn measure(
    args: &HitArgs,
    subjects: &[(&'static str, Subject)],
    keys: &[String],
) -> Result<(Rounds, Rounds), BenchError> {
    let orders: Vec<_> =
        (0..args.threads).map(|seed| zipf::order(keys.len(), READS, seed.into())).collect();
    let mut reads: Rounds = subjects.iter().map(|&(name, _)| (name, Vec::new())).collect();
    let mut clocks: Rounds = CLOCKS.iter().map(|&(name, _)| (name, Vec::new())).collect();
    for (_, subject) in subjects {
        subject.read(keys, &orders[0], 1);
    }
    for round in 0..usize::from(args.rounds) {
        for turn in 0..subjects.len() {
            let at = (round + turn) % subjects.len();
            let (name, subject) = &subjects[at];
            reads[at].1.push(time(name, subject, keys, &orders, args.passes)?);
        }
        for (nanos, (_, clock)) in clocks.iter_mut().zip(CLOCKS) {
            let start = Instant::now();
            for _ in 0..READINGS {
                std::hint::black_box(clock_gettime(clock));
            }
            nanos.1.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(READINGS));
        }
    }
    Ok((reads, clocks))
}

const CLOCKS: [(&str, ClockId); 3] = [
    ("CLOCK_MONOTONIC_COARSE", ClockId::MonotonicCoarse),
    ("CLOCK_MONOTONIC", ClockId::Monotonic),
    ("CLOCK_BOOTTIME", ClockId::Boottime),
];

/// Nanoseconds of one read, as a thread sees it.
fn time(
    name: &str,
    subject: &Subject,
    keys: &[String],
    orders: &[Vec<u32>],
    passes: u16,
) -> Result<f64, BenchError> {
    let (wanted, start) = (READS * usize::from(passes), Instant::now());
    let hits: Vec<_> = thread::scope(|scope| {
        let readers = orders.iter().map(|order| scope.spawn(|| subject.read(keys, order, passes)));
        let readers: Vec<_> = readers.collect();
        readers.into_iter().map(|reader| reader.join().unwrap_or_default()).collect()
    });
    let nanos = start.elapsed().as_secs_f64() * 1e9 / wanted as f64;
    match hits.iter().min() {
        Some(&hits) if hits == wanted => Ok(nanos),
        hits => Err(BenchError::Misses { subject: name.to_owned(), hits: hits.copied(), wanted }),
    }
}

fn report(args: &HitArgs, machine: &str, reads: &Rounds, clocks: &Rounds) -> String {
    let HitArgs { keys, threads, rounds, .. } = args;
    let mut table = Table::new(["hit, ns", "median", "to quick_cache", "to eventual"]);
    for (name, nanos) in reads {
        let to = |other: usize| Ratio::of(nanos, &reads[other].1).to_string();
        table.row([(*name).to_owned(), format!("{:.1}", median(nanos.clone())), to(0), to(1)]);
    }
    let mut readings = Table::new(["reading of a clock, ns", "median"]);
    for (name, nanos) in clocks {
        readings.row([(*name).to_owned(), format!("{:.1}", median(nanos.clone()))]);
    }
    format!(
        "hits of {keys} keys of 24 bytes, zipf 1.0, {threads} threads, {rounds} rounds; {machine}\n\
         medians over the rounds; ratios within a round, with the lowest and the highest\n\n\
         {table}\n{readings}"
    )
}
