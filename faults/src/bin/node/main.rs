//! A node to be cut off, stopped and killed: it lives as long as its stdin, does what it is told
//! there and answers on stdout. It must never say anything else on stdout; its log is on stderr.

mod caches;
mod commands;
mod loader;
mod readers;
mod tally;

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use caches::Caches;
use clap::Parser;
use commands::Commands;
use flushcast::discovery::{File, Fixed};
use flushcast::{CacheError, Node, Secret, SecretError, StartError};
use flushcast_faults::truth::Truth;
use flushcast_faults::words::{Answer, Command};
use loader::Loader;
use tokio::sync::mpsc;

/// The cluster of all nodes here.
const CLUSTER: &str = "faults";
/// What keeps strangers out here is the network; that links are encrypted is part of what is tested.
const SECRET: &str = "the-nodes-of-the-tests-of-faults-know-this";
/// Longer than a lease, so that a strict flush waits for the leases of silent nodes.
const CONFIRM_WITHIN: Duration = Duration::from_secs(8);

/// One node of a cluster that is treated badly; started by tests
#[derive(Debug, Parser)]
#[command(name = "node")]
struct Args {
    /// Without encryption: many nodes on few cores have no time for thousands of handshakes
    #[arg(long, env = "FLUSHCAST_FAULTS_PLAINTEXT")]
    plaintext: bool,
    /// Its name, unique in the cluster
    #[arg(long)]
    name: String,
    /// Where it listens
    #[arg(long)]
    listen: SocketAddr,
    /// Where others reach it, if not there
    #[arg(long)]
    advertise: Option<SocketAddr>,
    /// All nodes, itself included; the same list for all
    #[arg(long, value_delimiter = ',', required_unless_present = "members")]
    peers: Vec<SocketAddr>,
    /// JSON file with the addresses of all nodes, watched; there is no strict cache then
    #[arg(long, conflicts_with = "peers")]
    members: Option<PathBuf>,
    /// Folder with the version of each key
    #[arg(long)]
    truth: PathBuf,
    /// Take a refused connection for no proof that nobody is there
    #[arg(long)]
    distrust_refusals: bool,
}

/// Why a node ended before its stdin did.
#[derive(Debug, thiserror::Error)]
enum NodeError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("command not understood: {0}")]
    Garbled(#[from] serde_json::Error),
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), NodeError> {
    end_with_parent()?;
    let mut lines = lines();
    let has_strict = args.members.is_none();
    let node = start(&args).await?;
    let caches = Caches::new(&node, has_strict)?;
    let mut commands = Commands::new(node, caches, Loader::new(Truth::at(&args.truth)));
    say(&Answer::Started { address: args.listen })?;
    while let Some(line) = lines.recv().await {
        let command: Command = serde_json::from_str(&line)?;
        let ends = command == Command::Stop;
        say(&commands.obey(command).await)?;
        if ends {
            break;
        }
    }
    Ok(())
}

async fn start(args: &Args) -> Result<Node, NodeError> {
    let builder = Node::builder(CLUSTER)
        .name(&args.name)
        .listen(args.listen)
        .advertise(args.advertise.unwrap_or(args.listen))
        .confirm_within(CONFIRM_WITHIN)
        .trust_refusals(!args.distrust_refusals);
    let builder = match args.plaintext {
        true => builder.insecure_plaintext(),
        false => builder.secret(Secret::new(SECRET)?),
    };
    let builder = match &args.members {
        Some(file) => builder.discovery(File::new(file)),
        None => builder.discovery(Fixed::new(&args.peers)),
    };
    Ok(builder.start().await?)
}

/// A node that is stopped does not see its stdin end.
fn end_with_parent() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

fn say(answer: &Answer) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, answer)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// The lines of stdin. On a thread of its own, so that waiting for the next keeps nothing up.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (pass_on, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if pass_on.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
