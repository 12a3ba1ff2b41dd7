//! Owns the measure of a flush from elsewhere that takes long to apply: how long it keeps other
//! calls on that node waiting, and how much memory it takes meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flushcast::discovery::Fixed;
use flushcast::{Cache, Flush, Guarantee, Loaded, Node};

use crate::cluster::{self, LOOK_AGAIN};
use crate::error::BenchError;
use crate::figures::{self, Table};
use crate::memory;

/// What all copies have, and their keys begin with.
const TAG: &str = "shop 7";
const PREFIX: &str = "orders/eu/";

/// Measures what a flush from elsewhere of many copies keeps waiting on a node, two in this process
#[derive(Debug, Clone, clap::Args)]
pub struct ApplyArgs {
    /// Copies that are held
    #[arg(long, default_value_t = 1_000_000)]
    copies: u64,
    /// Rounds, of which the longest times are given
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
}

/// What is flushed.
#[derive(Debug, Clone, Copy)]
enum Scope {
    PrefixOfNone,
    PrefixOfAll,
    TagOfAll,
}

impl Scope {
    const ALL: [(Scope, &str); 3] = [
        (Scope::PrefixOfNone, "a prefix that names none"),
        (Scope::PrefixOfAll, "a prefix that names all"),
        (Scope::TagOfAll, "a tag that all have"),
    ];

    fn flush(self, cache: &Cache<String, u64>) -> Flush {
        match self {
            Scope::PrefixOfNone => cache.flush_prefix("none/"),
            Scope::PrefixOfAll => cache.flush_prefix(PREFIX),
            Scope::TagOfAll => cache.flush_tag(TAG),
        }
    }
}

/// Runs the measure and gives back its report.
///
/// # Errors
/// [`BenchError`]; there are no figures then.
pub async fn run(args: ApplyArgs) -> Result<String, BenchError> {
    let machine = figures::machine();
    let pair = Pair::new(args.copies).await?;
    let head = ["ms, the longest", "applied by all", "in_sync", "peers", "flush", "MiB more"];
    let mut table = Table::new(head);
    for (scope, name) in Scope::ALL {
        let (mut longest, mut more) = (Longest::default(), 0);
        for _ in 0..args.rounds {
            pair.fill(args.copies)?;
            longest.merge(&pair.time(scope).await?);
            // For itself: looking at memory keeps the process waiting.
            pair.fill(args.copies)?;
            more = more.max(pair.memory(scope).await?);
        }
        let millis = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1000.0);
        let times = [longest.whole, longest.in_sync, longest.peers, longest.flush].map(millis);
        let mut row = vec![name.to_owned()];
        row.extend(times);
        row.push(format!("{:.1}", more as f64 / 1024.0 / 1024.0));
        table.row(row);
    }
    Ok(format!(
        "a flush from another node over {} copies, {} rounds; {machine}\n\
         in_sync, peers, and flush of a key of another cache: on the node that applies it, meanwhile\n\
         \n{table}",
        args.copies, args.rounds
    ))
}

/// The longest time that each has taken.
#[derive(Debug, Default, Clone)]
struct Longest {
    whole: Duration,
    in_sync: Duration,
    peers: Duration,
    flush: Duration,
}

impl Longest {
    fn merge(&mut self, other: &Longest) {
        self.whole = self.whole.max(other.whole);
        self.in_sync = self.in_sync.max(other.in_sync);
        self.peers = self.peers.max(other.peers);
        self.flush = self.flush.max(other.flush);
    }
}

/// A node that flushes, and one that holds the copies.
struct Pair {
    _writer: Node,
    holder: Node,
    written: Cache<String, u64>,
    copies: Cache<String, u64>,
    other: Cache<String, u64>,
}

impl Pair {
    async fn new(copies: u64) -> Result<Self, BenchError> {
        let addresses = cluster::free_addresses::<2>()?;
        let writer = cluster::node("writer", addresses[0], Fixed::new(addresses)).await?;
        let holder = cluster::node("holder", addresses[1], Fixed::new(addresses)).await?;
        // Room for parts of the cache that get more than their share.
        let capacity = copies + copies / 2;
        let many = |node: &Node| {
            let cache = node.cache("many").guarantee(Guarantee::Eventual);
            cache.capacity(capacity).build()
        };
        let (written, copies) = (many(&writer)?, many(&holder)?);
        let other = holder.cache("other").build()?;
        let linked = |node: &Node| node.peers().iter().any(flushcast::Peer::is_linked);
        while !(linked(&writer) && linked(&holder) && holder.in_sync()) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(Self { _writer: writer, holder, written, copies, other })
    }

    fn fill(&self, copies: u64) -> Result<(), BenchError> {
        for number in 0..copies {
            let key = format!("{PREFIX}{number}");
            let inserted = self.copies.insert(&key, Loaded::new(number).tag(TAG));
            inserted.map_err(|error| BenchError::Load(error.to_string()))?;
        }
        match self.copies.len() as u64 {
            held if held == copies => Ok(()),
            held => Err(BenchError::Load(format!("{held} of {copies} are held"))),
        }
    }

    /// Flushes, and waits until it is applied at the other node.
    async fn flush(&self, scope: Scope) -> Result<Duration, BenchError> {
        let start = Instant::now();
        loop {
            // Awaiting one is bounded; it may take longer than that.
            let outcome = scope.flush(&self.written).await?;
            if outcome.is_complete() {
                return Ok(start.elapsed());
            }
        }
    }

    async fn time(&self, scope: Scope) -> Result<Longest, BenchError> {
        let (node, other) = (self.holder.clone(), self.other.clone());
        let calling = Beside::new(move |longest: &mut Longest| {
            timed(&mut longest.in_sync, || node.in_sync());
            timed(&mut longest.peers, || node.peers());
            timed(&mut longest.flush, || other.flush("k"));
        });
        let whole = self.flush(scope).await?;
        Ok(Longest { whole, ..calling.end() })
    }

    /// How many bytes more the process has at most.
    async fn memory(&self, scope: Scope) -> Result<usize, BenchError> {
        let before = memory::resident().map_err(BenchError::Memory)?;
        let looking = Beside::new(move |most: &mut usize| {
            *most = memory::resident().map_or(*most, |bytes| bytes.max(*most));
        });
        self.flush(scope).await?;
        Ok(looking.end().saturating_sub(before))
    }
}

fn timed<T>(most: &mut Duration, call: impl FnOnce() -> T) {
    let start = Instant::now();
    drop(call());
    *most = start.elapsed().max(*most);
}

/// A thread that does something again and again, beside what is measured.
struct Beside<T> {
    over: Arc<AtomicBool>,
    thread: JoinHandle<T>,
}

impl<T: Default + Send + 'static> Beside<T> {
    fn new(again: impl Fn(&mut T) + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut seen = T::default();
            while !ends.load(Ordering::Relaxed) {
                again(&mut seen);
                thread::sleep(LOOK_AGAIN / 4);
            }
            seen
        });
        Self { over, thread }
    }

    /// What it has seen; nothing if it panicked.
    fn end(self) -> T {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}
