//! The `flushcast` command.
//!
//! Every failure is one line that says what is wrong, and one that says what to do next. It is a
//! library so that a fuzzer can parse command lines without starting anything.

mod demo;
mod failure;
mod instance;
mod report;
mod say;
mod signals;
mod store;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// How long work on other threads may take to end once the command is done.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Flushcast: every instance keeps its own copies, and a change anywhere is flushed everywhere.
#[derive(Parser)]
#[command(name = "flushcast", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Instance(instance::InstanceArgs),
}

/// Does what the arguments of this process say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say::failure(&failure);
            failure.exit_code()
        }
    }
}

/// Whether arguments, the program's name first, are a command that could be started; nothing is.
///
/// # Errors
/// What the user would be told.
#[doc(hidden)]
pub fn check(arguments: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    let cli = Cli::try_parse_from(arguments).map_err(|error| error.render().to_string())?;
    match cli.command {
        Command::Demo(args) => args.check().map_err(|failure| failure.to_string()),
        Command::Instance(_) => Ok(()),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
            Failure::new(
                format!("the system gives no threads: {error}"),
                "end other programs, or raise the limit of processes",
            )
        })?;
    let ended = match command {
        Command::Demo(args) => runtime.block_on(demo::run(args)),
        Command::Instance(args) => runtime.block_on(instance::run(args)),
    };
    runtime.shutdown_timeout(LAST_WORK);
    ended
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // Its own complaint about a closed stderr goes to stderr, and panics there.
        .log_internal_errors(false)
        .init();
}
