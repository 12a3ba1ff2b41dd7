//! Owns the measure of a cluster that has nothing to do: what it costs to know that nothing was
//! missed.

use std::time::{Duration, Instant};

use flushcast::discovery::Fixed;
use flushcast::{Cache, Node};
use rustix::time::{ClockId, clock_gettime};

use crate::cluster::{self, LOOK_AGAIN};
use crate::error::BenchError;
use crate::figures;

/// Most nodes of a run.
const MAX_NODES: usize = 200;

/// Measures what nodes cost that have nothing to do, all of them in this process
#[derive(Debug, Clone, clap::Args)]
pub struct IdleArgs {
    /// Nodes
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(2..=200))]
    nodes: u16,
    /// Seconds to measure
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
}

/// Runs the measure and gives back its report.
///
/// # Errors
/// [`BenchError`]; there are no figures then.
pub async fn run(args: IdleArgs) -> Result<String, BenchError> {
    let machine = figures::machine();
    let addresses = cluster::free_addresses::<MAX_NODES>()?;
    let addresses = &addresses[..usize::from(args.nodes)];
    let (start, busy) = (Instant::now(), cpu_time());
    let mut nodes: Vec<(Node, Cache<String, u64>)> = Vec::new();
    for (number, &address) in addresses.iter().enumerate() {
        let node = cluster::node(&format!("n{number}"), address, Fixed::new(addresses)).await?;
        let cache = node.cache("c").build()?;
        nodes.push((node, cache));
    }
    let all = nodes.len() - 1;
    let linked = |node: &Node| node.peers().iter().filter(|peer| peer.is_linked()).count() == all;
    while !nodes.iter().all(|(node, _)| linked(node) && node.in_sync()) {
        tokio::time::sleep(LOOK_AGAIN * 10).await;
    }
    let (to_start, at_start) = (start.elapsed(), cpu_time().saturating_sub(busy));

    let (start, busy) = (Instant::now(), cpu_time());
    tokio::time::sleep(Duration::from_secs(args.seconds.into())).await;
    let (taken, busy) = (start.elapsed(), cpu_time().saturating_sub(busy));
    if let Some((node, _)) = nodes.iter().find(|(node, _)| !node.in_sync()) {
        return Err(BenchError::NotLinked { seen: format!("{:?}", node.cut_off()) });
    }
    let percent = 100.0 * busy.as_secs_f64() / taken.as_secs_f64();
    let count = f64::from(args.nodes);
    Ok(format!(
        "{count} nodes in one process, idle for {taken:.0?}; {machine}\n\
         all in step with each other after {to_start:.2?}, which took {at_start:.2?} of CPU time\n\
         then {percent:.2}% of one core for all, {:.3}% for each node\n",
        percent / count
    ))
}

/// What this process has taken of all cores so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // Neither part is ever negative.
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
