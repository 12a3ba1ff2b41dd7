//! Starts the servers that tests need, each on a free port of the loopback, over a folder of its own.
//!
//! A server ends with its handle, and with the process of the test: it stands behind a shell that kills it
//! when its standard input ends.

mod child;
mod postgres;

use std::io;
use std::net::TcpListener;

pub use child::Child;
pub use postgres::Postgres;

/// Why a server is not there.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its program is not installed.
    #[error(
        "no program `{program}` in {looked_in}: install {package}, or run `./test`, which does"
    )]
    NotInstalled {
        /// What was looked for.
        program: &'static str,
        /// Where.
        looked_in: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// It, or a program that it needs, does not start.
    #[error("{what} does not start: {source}")]
    Start {
        /// What.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// It has ended, or does not answer.
    #[error("{what}: {said}")]
    Failed {
        /// What.
        what: String,
        /// The end of what it has printed.
        said: String,
    },
}

/// A port of the loopback that was free a moment ago.
///
/// # Errors
/// There is none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
