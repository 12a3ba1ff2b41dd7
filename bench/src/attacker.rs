//! Owns the other side of a siege: a process that does one kind of harm, says when it is done, and
//! lives as long as its stdin.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use flushcast::discovery::Fixed;
use flushcast::{Node, Peer, Secret};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::words::{CACHE, CLUSTER, SECRET};

/// So many try at once.
const AT_ONCE: usize = 64;
/// How long one of them waits to be turned away.
const WAITS: Duration = Duration::from_secs(10);
/// How many flushes a member makes before it lets its own tasks run.
const FLUSHES: usize = 1000;

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Harm {
    /// Connections that say nothing, and stay.
    Silent,
    /// Bytes that are no handshake.
    Junk,
    /// Handshakes of who knows no secret: the node has shown its certificate by then.
    Handshakes,
    /// A member that flushes everything, again and again.
    Flood,
}

impl Harm {
    /// All of them.
    pub const ALL: [Harm; 4] = [Harm::Silent, Harm::Junk, Harm::Handshakes, Harm::Flood];
}

/// An attacker, started by this program itself
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub struct AttackerArgs {
    /// What it does
    #[arg(long)]
    harm: Harm,
    /// How often; a flood goes on
    #[arg(long)]
    count: usize,
    /// To whom
    at: SocketAddr,
}

/// Does it, says `done` on stdout, and waits until stdin ends.
///
/// # Errors
/// What keeps it from doing any harm.
pub async fn run(args: AttackerArgs) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut kept = Vec::new();
    match args.harm {
        Harm::Silent => kept = silent(&args).await?,
        Harm::Junk => many(&args, junk).await,
        Harm::Handshakes => {
            let connector = connector()?;
            many(&args, move |at| handshake(at, connector.clone())).await;
        }
        Harm::Flood => {
            let node = Node::builder(CLUSTER).listen(([127, 0, 0, 1], 0).into());
            let node = node.secret(Secret::new(SECRET)?).discovery(Fixed::new([args.at]));
            let node = node.name("flood").start().await?;
            node.peers_until(|peers| peers.iter().any(Peer::is_linked)).await;
            let cache = node.cache::<String, u64>(CACHE).build()?;
            tokio::spawn(async move {
                loop {
                    (0..FLUSHES).for_each(|_| drop(cache.flush_all()));
                    tokio::task::yield_now().await;
                }
            });
        }
    }
    {
        let mut out = io::stdout().lock();
        out.write_all(b"done\n")?;
        out.flush()?;
    }
    tokio::task::spawn_blocking(|| io::stdin().lock().read_to_end(&mut Vec::new())).await??;
    drop(kept);
    Ok(())
}

async fn silent(args: &AttackerArgs) -> io::Result<Vec<TcpStream>> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let mut kept = Vec::new();
    for _ in 0..args.count {
        kept.push(TcpStream::connect(args.at).await?);
    }
    Ok(kept)
}

async fn many<F: Future<Output = io::Result<()>> + Send + 'static>(
    args: &AttackerArgs,
    attempt: impl Fn(SocketAddr) -> F,
) {
    let mut attempts = JoinSet::new();
    for _ in 0..args.count {
        if attempts.len() == AT_ONCE {
            attempts.join_next().await;
        }
        let attempt = attempt(args.at);
        // That it fails is what it is for.
        attempts.spawn(async move { drop(timeout(WAITS, attempt).await) });
    }
    attempts.join_all().await;
}

async fn junk(at: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: whoever\r\nUser-Agent: a scanner\r\n\r\n").await?;
    stream.read_to_end(&mut Vec::new()).await.map(drop)
}

async fn handshake(at: SocketAddr, connector: TlsConnector) -> io::Result<()> {
    let stream = TcpStream::connect(at).await?;
    let name = ServerName::try_from("node.flushcast").map_err(io::Error::other)?;
    connector.connect(name, stream).await.map(drop)
}

/// One that trusts nobody, and says so once it was shown a certificate.
fn connector() -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(client)))
}
