//! Owns the measure of what others cost a node: strangers before they have proven anything, and a
//! member that floods. Two honest nodes flush each other meanwhile.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use flushcast::{Cache, Node};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::attacker::Harm;
use crate::error::BenchError;
use crate::figures::{self, Round, Table};
use crate::memory;
use crate::process::{ANSWER_WITHIN, Follower, ProcessError};
use crate::sides::{Publisher, Side, this_program};
use crate::words::Role;

/// Between two flushes.
const PACE: Duration = Duration::from_millis(2);
/// For how long nothing else happens, and a flood goes on.
const LASTS: Duration = Duration::from_secs(5);
/// Keys that are read all the time, and loaded where there is no copy.
const KEYS: u64 = 1000;

/// Measures what strangers, and a member that floods, cost a node, all processes on this machine
#[derive(Debug, Clone, clap::Args)]
pub struct SiegeArgs {
    /// Connections of each kind of stranger
    #[arg(long, default_value_t = 10_000)]
    attempts: usize,
}

/// Runs the measure and gives back its report.
///
/// # Errors
/// [`BenchError`]; there are no figures then.
pub async fn run(args: SiegeArgs) -> Result<String, BenchError> {
    let machine = figures::machine();
    let side = Side::encrypted(1).await?;
    let Publisher::Node { node, cache } = &side.publisher else {
        return Err(BenchError::Load("it publishes over bare sockets".to_owned()));
    };
    let other = node.cache("other").build()?;
    let watch = Watch { node, flushed: cache, other: &other };
    let head = [
        "",
        "s",
        "flush p50 us",
        "p99",
        "hits, that cache",
        "another",
        "newcomer ms",
        "MiB more",
        "turned away",
    ];
    let mut table = Table::new(head);
    // Whatever is made once is made before.
    watch.during(async { sleep(LASTS).await }).await?;
    table.row(watch.row("nothing else", None, args.attempts).await?);
    for harm in Harm::ALL {
        let name = harm.to_possible_value();
        let name = name.as_ref().map_or("", clap::builder::PossibleValue::get_name);
        table.row(watch.row(name, Some(harm), args.attempts).await?);
        watch.during(async { sleep(LASTS).await }).await?;
    }
    table.row(watch.row("nothing else", None, args.attempts).await?);
    drop(side.followers);
    Ok(format!(
        "a node under siege, {} attempts of each kind; {machine}\n\
         one honest follower; a flush each {PACE:?}, awaited, and {KEYS} keys read all the time\n\
         \n{table}",
        args.attempts
    ))
}

/// The node that is harmed.
struct Watch<'a> {
    node: &'a Node,
    flushed: &'a Cache<String, u64>,
    other: &'a Cache<String, u64>,
}

/// What it was like.
struct Seen {
    taken: Duration,
    flushes: Round,
    hits: [f64; 2],
    most: usize,
}

impl Watch<'_> {
    async fn row(
        &self,
        name: &str,
        harm: Option<Harm>,
        count: usize,
    ) -> Result<Vec<String>, BenchError> {
        let (before, turned_away) =
            (memory::resident().map_err(BenchError::Memory)?, self.node.turned_away());
        let mut newcomer = None;
        let mut failed = Ok(());
        let seen = self
            .during(async {
                let attacked = async {
                    let Some(harm) = harm else {
                        sleep(LASTS).await;
                        return Ok(());
                    };
                    let attacker = self.attack(harm, count).await?;
                    newcomer = Some(self.newcomer().await?);
                    if harm == Harm::Flood {
                        sleep(LASTS).await;
                    }
                    drop(attacker);
                    Ok::<_, BenchError>(())
                };
                failed = attacked.await;
            })
            .await?;
        failed?;
        let Seen { taken, flushes, hits, most } = seen;
        Ok(vec![
            name.to_owned(),
            format!("{:.1}", taken.as_secs_f64()),
            format!("{:.0}", flushes.p50),
            format!("{:.0}", flushes.p99),
            format!("{:.1}%", 100.0 * hits[0]),
            format!("{:.1}%", 100.0 * hits[1]),
            newcomer.map_or_else(String::new, |it: Duration| format!("{}", it.as_millis())),
            format!("{:.1}", most.saturating_sub(before) as f64 / 1024.0 / 1024.0),
            (self.node.turned_away() - turned_away).to_string(),
        ])
    }

    /// Flushes and reads while something else happens.
    async fn during(&self, happens: impl Future<Output = ()>) -> Result<Seen, BenchError> {
        let start = Instant::now();
        let is_over = Arc::new(AtomicBool::new(false));
        let readers = [self.flushed, self.other].map(|cache| {
            let (cache, is_over) = (cache.clone(), Arc::clone(&is_over));
            std::thread::spawn(move || hits(&cache, &is_over))
        });
        let (mut nanos, mut most) = (Vec::new(), 0);
        let flush = async {
            for number in 0_u64.. {
                let begun = Instant::now();
                let outcome = self.other.flush(&format!("none {number}")).await?;
                nanos.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
                if !outcome.is_complete() {
                    let outcome = outcome.to_string();
                    return Err(BenchError::Unconfirmed { number: nanos.len(), outcome });
                }
                if number % 50 == 0 {
                    most = most.max(memory::resident().map_err(BenchError::Memory)?);
                }
                sleep(PACE).await;
            }
            Ok(())
        };
        let failed = tokio::select! {
            flushed = flush => flushed,
            () = happens => Ok(()),
        };
        is_over.store(true, Ordering::Relaxed);
        let hits = readers.map(|reader| reader.join().unwrap_or(f64::NAN));
        failed?;
        Ok(Seen { taken: start.elapsed(), flushes: Round::of(nanos), hits, most })
    }

    /// Starts an attacker, and waits until it is done.
    async fn attack(&self, harm: Harm, count: usize) -> Result<Child, BenchError> {
        let program = this_program()?;
        let cannot = |source| ProcessError::Start { program: program.clone(), source };
        let name = harm.to_possible_value();
        let mut attacker = Command::new(&program)
            .args(["attacker", "--count", &count.to_string(), "--harm"])
            .args(name.as_ref().map(clap::builder::PossibleValue::get_name))
            .arg(self.node.local_address().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        let Some(stdout) = attacker.stdout.take() else {
            return Err(cannot(std::io::Error::other("it has no pipe")).into());
        };
        let mut line = String::new();
        let done = timeout(ANSWER_WITHIN, BufReader::new(stdout).read_line(&mut line)).await;
        match done {
            Ok(Ok(1..)) => Ok(attacker),
            _ => Err(BenchError::Load(format!("{harm:?} is not done within {ANSWER_WITHIN:?}"))),
        }
    }

    /// How long a node takes that starts now until it is linked with this one.
    async fn newcomer(&self) -> Result<Duration, BenchError> {
        let origins = [self.node.local_address()];
        let begun = Instant::now();
        let mut late =
            Follower::start(&this_program()?, Role::Encrypted, "newcomer", &origins).await?;
        late.link(1).await?;
        Ok(begun.elapsed())
    }
}

/// The part of reads that found a copy. The others load one, which takes no time here.
fn hits(cache: &Cache<String, u64>, is_over: &AtomicBool) -> f64 {
    let (mut reads, mut hits) = (0_u64, 0_u64);
    let keys: Vec<_> = (0..KEYS).map(|number| format!("read {number}")).collect();
    while !is_over.load(Ordering::Relaxed) {
        for (key, number) in keys.iter().zip(0..) {
            reads += 1;
            match cache.get(key) {
                Some(_) => hits += 1,
                None => drop(cache.insert(key, number)),
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    hits as f64 / reads.max(1) as f64
}
