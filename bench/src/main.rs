//! The `flushcast-bench` command: measures over real processes, printed and never judged.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use flushcast_bench::apply::{self, ApplyArgs};
use flushcast_bench::attacker::{self, AttackerArgs};
use flushcast_bench::core_scale::{self, CoreScaleArgs};
use flushcast_bench::error::BenchError;
use flushcast_bench::fanout::{self, FanoutArgs};
use flushcast_bench::follower::{self, FollowerArgs};
use flushcast_bench::hit::{self, HitArgs};
use flushcast_bench::idle::{self, IdleArgs};
use flushcast_bench::siege::{self, SiegeArgs};
use flushcast_bench::sustained::{self, SustainedArgs};
use tokio::runtime::Builder;

/// Threads of the publisher's runtime. A follower has one.
const PUBLISHER_THREADS: usize = 2;

/// Measures of Flushcast over real processes on this machine.
#[derive(Parser)]
#[command(name = "flushcast-bench", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Fanout(FanoutArgs),
    Sustained(SustainedArgs),
    Hit(HitArgs),
    Idle(IdleArgs),
    CoreScale(CoreScaleArgs),
    Apply(ApplyArgs),
    Siege(SiegeArgs),
    Attacker(AttackerArgs),
    Follower(FollowerArgs),
}

fn main() -> ExitCode {
    let report = match Cli::parse().command {
        Command::Fanout(args) => publish(fanout::run(args)),
        Command::Sustained(args) => publish(sustained::run(args)),
        Command::Hit(args) => publish(hit::run(args)),
        Command::Idle(args) => publish(idle::run(args)),
        Command::CoreScale(args) => core_scale::run(&args),
        Command::Apply(args) => publish(apply::run(args)),
        Command::Siege(args) => publish(siege::run(args)),
        Command::Attacker(args) => return attack(args),
        Command::Follower(args) => return follow(args),
    };
    match report {
        Ok(report) => {
            // A reader that has gone away is no failure.
            let _ = write!(io::stdout().lock(), "{report}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

/// Runs on a worker thread of the runtime, as the handler of a request would.
fn publish(
    measure: impl Future<Output = Result<String, BenchError>> + Send + 'static,
) -> Result<String, BenchError> {
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(PUBLISHER_THREADS).enable_all().build();
    let runtime = runtime.map_err(BenchError::Threads)?;
    runtime.block_on(runtime.spawn(measure))?
}

fn follow(args: FollowerArgs) -> ExitCode {
    let followed = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(follower::run(args)),
        Err(error) => Err(error.into()),
    };
    followed.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

fn attack(args: AttackerArgs) -> ExitCode {
    let attacked = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(attacker::run(args)),
        Err(error) => Err(error.into()),
    };
    attacked.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

fn failed(error: &dyn Display) -> ExitCode {
    let _ = writeln!(io::stderr().lock(), "error: {error}");
    ExitCode::FAILURE
}
