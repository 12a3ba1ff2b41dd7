//! Owns the measure of how many flushes a second get through: from the first call to the
//! acknowledgement of the last by the last follower.
//!
//! Flushcast is given one flush for each call, in a loop that never waits, as an app would after
//! an import; it may put them together as it likes. The rival is handed
//! [`FRAMES_PER_WRITE`](crate::raw::FRAMES_PER_WRITE) frames for each write.

use std::sync::Arc;

use crate::error::BenchError;
use crate::figures::{self, Ratio, Table, median};
use crate::sides::Side;
use crate::stamps;
use crate::words::Keys;

/// Most flushes of a burst: with more, the flush log may not reach back to a follower that is
/// behind, and a reset would be measured.
const MOST: i64 = 250_000;

/// Measures how many flushes a second all followers apply, next to bare sockets
#[derive(Debug, Clone, clap::Args)]
pub struct SustainedArgs {
    /// Follower processes of each side
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=256))]
    followers: u16,
    /// Flushes in a burst
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=MOST))]
    count: u32,
    /// Rounds; medians are taken over them
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
}

/// What is announced.
#[derive(Clone, Copy)]
enum What {
    /// Keys of which every follower holds a copy, which is stamped when it goes.
    Held,
    /// Keys of which nobody holds a copy.
    NotHeld,
    /// Frames that a raw follower decodes and stamps.
    Raw,
}

/// In the order of the report.
const ALL: [What; 3] = [What::Held, What::NotHeld, What::Raw];

/// Runs the measure and gives back its report.
///
/// # Errors
/// [`BenchError`]; there are no figures then.
pub async fn run(args: SustainedArgs) -> Result<String, BenchError> {
    let machine = figures::machine();
    let followers = usize::from(args.followers);
    let (mut node, mut raw) = (Side::node(followers).await?, Side::raw(followers).await?);
    let mut rates: [Vec<f64>; 3] = Default::default();
    for number in 0..=usize::from(args.rounds) {
        for turn in 0..ALL.len() {
            let at = (number + turn) % ALL.len();
            let side = match ALL[at] {
                What::Held | What::NotHeld => &mut node,
                What::Raw => &mut raw,
            };
            let rate = burst(side, ALL[at], args.count as usize).await?;
            // The first round is not counted: buffers and allocators get warm.
            if number > 0 {
                rates[at].push(rate);
            }
        }
    }
    Ok(report(&args, &machine, &rates))
}

/// Flushes a second of one burst.
async fn burst(side: &mut Side, what: What, count: usize) -> Result<f64, BenchError> {
    let keys = match what {
        What::Held | What::Raw => Keys::new("customers/eu/k", count),
        What::NotHeld => Keys::new("customers/us/k", count),
    };
    if !matches!(what, What::NotHeld) {
        side.load(&keys).await?;
    }
    let texts: Arc<[String]> = keys.iter().collect();
    let start = stamps::now();
    side.publisher.announce_all(side.followers.len(), &texts).await?;
    let nanos = stamps::now() - start;
    if matches!(what, What::Held) {
        side.none_served(&keys).await?;
    }
    Ok(count as f64 * 1e9 / nanos as f64)
}

fn report(args: &SustainedArgs, machine: &str, rates: &[Vec<f64>; 3]) -> String {
    let SustainedArgs { followers, count, rounds } = args;
    let mut table = Table::new(["flushes a second", "median", "lowest", "highest", "to raw"]);
    let names = [
        "flushcast, a copy at each follower",
        "flushcast, no copies",
        "raw, 256 frames each write",
    ];
    for (name, ours) in names.iter().zip(rates) {
        let lowest = ours.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = ours.iter().copied().fold(0.0, f64::max);
        let figures = [median(ours.clone()), lowest, highest].map(|rate| format!("{rate:.0}"));
        let ratio = Ratio::of(ours, &rates[2]).to_string();
        table.row([(*name).to_owned()].into_iter().chain(figures).chain([ratio]));
    }
    format!(
        "bursts of {count} flushes to {followers} followers, {rounds} rounds; {machine}\n\
         ratios within a round, with the lowest and the highest\n\n{table}"
    )
}
