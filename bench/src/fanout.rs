//! Owns the measure of one flush's way: from the call to the last follower that applied it, and
//! to the publisher knowing that all have.
//!
//! Both sides take turns in the same run, and change places from round to round, so that what
//! else the machine does falls on both. A follower stamps the moment of application itself:
//! Flushcast's when the cache drops the copy, the raw one when it has decoded the frame.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use crate::error::BenchError;
use crate::figures::{self, Ratio, Round, Table, median};
use crate::process::Follower;
use crate::sides::{Publisher, Side};
use crate::stamps;
use crate::words::Keys;

/// What every key starts with: with a number behind it, a frame has about 40 bytes.
const PREFIX: &str = "customers/eu/k";

/// Measures how long a flush takes to be applied by the last follower, and to be acknowledged by
/// all, next to bare sockets, or with encrypted links next to plain ones
#[derive(Debug, Clone, clap::Args)]
pub struct FanoutArgs {
    /// Follower processes of each side
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=256))]
    followers: u16,
    /// Flushes of each kind in a round
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// Rounds; medians are taken over them
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Milliseconds between two flushes that are paced
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pace_ms: u16,
    /// Nodes with encrypted links, next to nodes without
    #[arg(long)]
    encrypted: bool,
}

/// When a pass of flushes was called and acknowledged, by number.
struct Pass {
    called: Vec<u64>,
    acknowledged: Vec<u64>,
}

/// What all rounds of one side and one pace came to.
#[derive(Default)]
struct Rounds {
    applied: Vec<Round>,
    acknowledged: Vec<Round>,
}

/// Runs the measure and gives back its report.
///
/// # Errors
/// [`BenchError`]; there are no figures then.
pub async fn run(args: FanoutArgs) -> Result<String, BenchError> {
    let machine = figures::machine();
    let followers = usize::from(args.followers);
    let mut sides = match args.encrypted {
        true => [Side::encrypted(followers).await?, Side::node(followers).await?],
        false => [Side::node(followers).await?, Side::raw(followers).await?],
    };
    let paces = [Some(Duration::from_millis(args.pace_ms.into())), None];
    let keys = |count| Keys::new(PREFIX, count);
    for side in &mut sides {
        // Not counted: connections, allocations and branch predictors get warm.
        measure(side, &keys(args.count as usize / 10), None).await?;
    }
    let mut rounds: [[Rounds; 2]; 2] = Default::default();
    for number in 0..usize::from(args.rounds) {
        for (pace, at_pace) in paces.iter().zip(&mut rounds) {
            for turn in 0..2 {
                let side = (number + turn) % 2;
                let keys = keys(args.count as usize);
                let (applied, acknowledged) = measure(&mut sides[side], &keys, *pace).await?;
                at_pace[side].applied.push(applied);
                at_pace[side].acknowledged.push(acknowledged);
            }
        }
    }
    Ok(report(&args, &machine, &rounds))
}

/// One pass of one side.
async fn measure(
    side: &mut Side,
    keys: &Keys,
    pace: Option<Duration>,
) -> Result<(Round, Round), BenchError> {
    side.load(keys).await?;
    let texts: Vec<_> = keys.iter().collect();
    let pass = publish(&mut side.publisher, side.followers.len(), &texts, pace).await?;
    let mut last = vec![0; keys.count];
    for follower in &mut side.followers {
        let stamps = follower.stamps().await?;
        check_stamps(follower, &pass, &stamps)?;
        for (last, stamp) in last.iter_mut().zip(stamps) {
            *last = stamp.max(*last);
        }
    }
    let since_call = |ends: &[u64]| {
        let spans = ends.iter().zip(&pass.called);
        Round::of(spans.map(|(end, call)| end.saturating_sub(*call)).collect())
    };
    Ok((since_call(&last), since_call(&pass.acknowledged)))
}

async fn publish(
    publisher: &mut Publisher,
    followers: usize,
    keys: &[String],
    pace: Option<Duration>,
) -> Result<Pass, BenchError> {
    let mut ticks = pace.map(ticks);
    let (mut called, mut acknowledged) = (Vec::new(), Vec::new());
    for (number, key) in keys.iter().enumerate() {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        called.push(stamps::now());
        publisher.announce(followers, number, key).await?;
        acknowledged.push(stamps::now());
    }
    Ok(Pass { called, acknowledged })
}

fn ticks(pace: Duration) -> Interval {
    let mut ticks = tokio::time::interval(pace);
    // After a slow one, the next does not hurry: it would not be paced.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Every flush was applied, after it was called and before it was acknowledged; else the figures
/// would be of something else.
fn check_stamps(follower: &Follower, pass: &Pass, stamps: &[u64]) -> Result<(), BenchError> {
    for (number, (call, acknowledged)) in pass.called.iter().zip(&pass.acknowledged).enumerate() {
        let stamp = stamps.get(number).copied().unwrap_or_default();
        if stamp < *call || stamp > *acknowledged {
            let follower = follower.name().to_owned();
            return Err(BenchError::AcknowledgedEarly { follower, number });
        }
    }
    Ok(())
}

fn report(args: &FanoutArgs, machine: &str, rounds: &[[Rounds; 2]; 2]) -> String {
    let FanoutArgs { followers, count, rounds: times, pace_ms, encrypted } = args;
    let (ours, theirs) = if *encrypted { ("encrypted", "plain") } else { ("flushcast", "raw") };
    let mut table = Table::new([
        "microseconds",
        &format!("{ours} p50"),
        "p99",
        &format!("{theirs} p50"),
        "p99",
        &format!("p50 to {theirs}"),
        &format!("p99 to {theirs}"),
    ]);
    let paced = format!("each {pace_ms} ms");
    for (pace, [ours, theirs]) in [paced.as_str(), "closed loop"].iter().zip(rounds) {
        for (what, ours, theirs) in [
            ("applied at the last", &ours.applied, &theirs.applied),
            ("acknowledged by all", &ours.acknowledged, &theirs.acknowledged),
        ] {
            table.row(row(&format!("{pace}, {what}"), ours, theirs));
        }
    }
    format!(
        "fan-out to {followers} followers, {times} rounds of {count} flushes; {machine}\n\
         medians over the rounds; ratios within a round, with the lowest and the highest\n\n{table}"
    )
}

fn row(name: &str, ours: &[Round], theirs: &[Round]) -> [String; 7] {
    let all = |rounds: &[Round], pick: fn(&Round) -> f64| rounds.iter().map(pick).collect();
    let p50 = |rounds: &[Round]| -> Vec<f64> { all(rounds, |round| round.p50) };
    let p99 = |rounds: &[Round]| -> Vec<f64> { all(rounds, |round| round.p99) };
    let mid = |values: Vec<f64>| format!("{:.1}", median(values));
    [
        name.to_owned(),
        mid(p50(ours)),
        mid(p99(ours)),
        mid(p50(theirs)),
        mid(p99(theirs)),
        Ratio::of(&p50(ours), &p50(theirs)).to_string(),
        Ratio::of(&p99(ours), &p99(theirs)).to_string(),
    ]
}
