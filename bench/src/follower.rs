//! Owns the follower's side: a process that lives as long as its stdin, does what it is told there
//! and answers on stdout. It must never say anything else on stdout.

use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use flushcast::discovery::Fixed;
use flushcast::{
    Cache, CacheError, Guarantee, LoadError, Node, Peer, Secret, SecretError, StartError,
};
use tokio::sync::mpsc;

use crate::stamps::{Stamped, Stamps};
use crate::words::{Answer, CACHE, CLUSTER, Command, Keys, Role, SECRET};
use crate::{memory, raw};

/// Most copies that a follower holds: more than any measure loads, so that none is evicted.
const CAPACITY: u64 = 500_000;

/// One follower, started by this program itself
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub struct FollowerArgs {
    /// Its name, unique in the run
    #[arg(long)]
    name: String,
    /// What it follows
    #[arg(long)]
    role: Role,
    /// Whom it follows at first
    #[arg(required = true)]
    origins: Vec<SocketAddr>,
}

/// Why a follower ended before its stdin did.
#[derive(Debug, thiserror::Error)]
pub enum FollowerError {
    /// Its node did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It has no secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Its node has no cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Sockets, pipes and files.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It was told something that it does not understand.
    #[error("command not understood: {0}")]
    Garbled(#[from] serde_json::Error),
    /// A copy could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError<std::convert::Infallible>),
    /// It was told something that only the other role does.
    #[error("this is not for a raw follower: {0}")]
    NotForRaw(String),
}

/// Serves until stdin ends.
///
/// # Errors
/// [`FollowerError`].
pub async fn run(args: FollowerArgs) -> Result<(), FollowerError> {
    end_with_parent()?;
    let commands = commands();
    match args.role {
        Role::Node | Role::Encrypted => run_node(args, commands).await,
        Role::Raw => run_raw(&args, commands).await,
    }
}

/// A follower that is stopped does not see its stdin end.
fn end_with_parent() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

async fn run_node(
    args: FollowerArgs,
    mut commands: mpsc::UnboundedReceiver<String>,
) -> Result<(), FollowerError> {
    let node = Node::builder(CLUSTER)
        .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .name(args.name)
        .discovery(Fixed::new(args.origins));
    let node = match args.role {
        Role::Encrypted => node.secret(Secret::new(SECRET)?),
        _ => node,
    };
    let node = node.start().await?;
    // What it holds is counted while others are stopped, however long a test takes meanwhile: with a
    // bound it would serve nothing once that has passed.
    let cache = node.cache(CACHE).capacity(CAPACITY).guarantee(Guarantee::Eventual).build()?;
    say(&Answer::Started { address: Some(node.local_address()) })?;
    let mut stamps = Stamps::new(0);
    while let Some(line) = commands.recv().await {
        let answer = match serde_json::from_str(&line)? {
            Command::Link { others } => {
                let linked = |peers: &[Peer]| peers.iter().filter(|peer| peer.is_linked()).count();
                node.peers_until(|peers| linked(peers) == others).await;
                Answer::Linked
            }
            Command::Load(keys) => {
                stamps = Stamps::new(keys.count);
                load(&cache, &keys, &stamps).await?;
                Answer::Served { copies: served(&cache, &keys) }
            }
            Command::Count(keys) => Answer::Served { copies: served(&cache, &keys) },
            Command::Stamps => Answer::Stamps { nanos: stamps.nanos() },
            Command::Rss => Answer::Rss { bytes: memory::resident()? },
        };
        say(&answer)?;
    }
    Ok(())
}

async fn run_raw(
    args: &FollowerArgs,
    mut commands: mpsc::UnboundedReceiver<String>,
) -> Result<(), FollowerError> {
    let (listen, follow) = raw::follow(&args.origins).await?;
    tokio::pin!(follow);
    say(&Answer::Started { address: None })?;
    loop {
        let line = tokio::select! {
            line = commands.recv() => line,
            ended = &mut follow => return Ok(ended?),
        };
        let Some(line) = line else {
            return Ok(());
        };
        let answer = match serde_json::from_str(&line)? {
            Command::Load(keys) => {
                listen.expect(keys.count);
                Answer::Served { copies: keys.count }
            }
            Command::Stamps => Answer::Stamps { nanos: listen.stamps().nanos() },
            Command::Rss => Answer::Rss { bytes: memory::resident()? },
            other => return Err(FollowerError::NotForRaw(format!("{other:?}"))),
        };
        say(&answer)?;
    }
}

async fn load(
    cache: &Cache<String, Arc<Stamped>>,
    keys: &Keys,
    stamps: &Arc<Stamps>,
) -> Result<(), FollowerError> {
    for (slot, key) in keys.iter().enumerate() {
        // What an earlier load left would be served instead of a copy with a slot of this one.
        cache.evict(key.as_str());
        cache.get_or_load(key.as_str(), || async { Ok(Stamped::new(stamps, slot)) }).await?;
    }
    Ok(())
}

fn served(cache: &Cache<String, Arc<Stamped>>, keys: &Keys) -> usize {
    keys.iter().filter(|key| cache.get(key.as_str()).is_some()).count()
}

fn say(answer: &Answer) -> Result<(), FollowerError> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, answer)?;
    stdout.write_all(b"\n")?;
    Ok(stdout.flush()?)
}

/// The lines of stdin. On a thread of its own, so that waiting for the next keeps nothing up.
fn commands() -> mpsc::UnboundedReceiver<String> {
    let (pass_on, commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if pass_on.send(line).is_err() {
                return;
            }
        }
    });
    commands
}
