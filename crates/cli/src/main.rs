//! The program `flushcast`: all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    flushcast_cli::main()
}
