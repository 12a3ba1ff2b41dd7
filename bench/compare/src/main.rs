//! Measures of a Flushcast cache next to caches of one process, printed and never judged.

mod flush;
mod hit;
mod memory;
mod mixed;
mod ratio;
mod subjects;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures of a Flushcast cache next to caches of one process.
#[derive(Parser)]
#[command(name = "flushcast-compare", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Hit(hit::HitArgs),
    Mixed(mixed::MixedArgs),
    Ratio(ratio::RatioArgs),
    Flush(flush::FlushArgs),
    Memory(memory::MemoryArgs),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let measured = tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| {
        let node = runtime.block_on(subjects::node())?;
        let report = match &command {
            Command::Hit(args) => hit::run(args, &node),
            Command::Mixed(args) => mixed::run(args, &node),
            Command::Ratio(args) => ratio::run(args, &node),
            Command::Flush(args) => flush::run(args, &node),
            Command::Memory(args) => memory::run(args, &node)?,
        };
        Ok::<_, Box<dyn std::error::Error>>(report)
    });
    match measured {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
