//! One instance of the settings site, as `demo` starts it: `flushcast instance …`.
//!
//! It lives as long as its stdin: the demo holds the other end, so however the demo ends, its
//! instances end too. It is told what to do there, and tells how far it is on stdout (see
//! `report.rs`).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use flushcast::discovery::File;
use flushcast::{Node, Peer, Secret, SecretError, StartError};
use flushcast_site::server::{self, Limits};
use flushcast_site::store::Place;
use flushcast_site::{Site, SiteError, WEB_LABEL};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::failure::Failure;
use crate::report::{Command, Report};
use crate::say;
use crate::signals::{self, Signals};
use crate::store::{self, StoreError};

/// The variable with the secret of the cluster.
pub(crate) const SECRET: &str = "FLUSHCAST_DEMO_SECRET";

const CLUSTER: &str = "settings-site";
/// How long a save waits for the other instances to confirm its flush.
const CONFIRM_WITHIN: Duration = Duration::from_secs(2);
/// How long requests under way may take once the instance is told to end. With the node's own
/// leave it stays under what the demo waits before it kills.
const LAST_REQUESTS: Duration = Duration::from_millis(500);

/// One instance of the demo, started by `demo` itself
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct InstanceArgs {
    /// Name of the instance, unique in the demo
    #[arg(long)]
    pub(crate) name: String,
    /// Port of its page, on loopback
    #[arg(long)]
    pub(crate) web_port: u16,
    /// JSON file with the addresses of all nodes, watched
    #[arg(long, value_name = "FILE")]
    pub(crate) members: PathBuf,
    /// Folder of the settings database
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Blob of the settings, in place of the database
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<Place>,
    /// How many other instances it has to be linked with to be in sync
    #[arg(long, value_name = "COUNT")]
    pub(crate) peers: usize,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum InstanceError {
    #[error("signals cannot be received: {0}")]
    Signals(io::Error),
    #[error("web port {port} cannot be listened on: {source}")]
    WebPort { port: u16, source: io::Error },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the node cannot be started: {0}")]
    Node(#[from] StartError),
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error("the web server ended: {0}")]
    Web(io::Error),
}

impl From<InstanceError> for Failure {
    fn from(error: InstanceError) -> Failure {
        let hint = match error {
            InstanceError::Store(error) => return error.into(),
            InstanceError::WebPort { .. } => "stop what is listening there, or pass another --port",
            InstanceError::Node(_) => "look at what it names, then start the demo again",
            InstanceError::Secret(_) => "start it by flushcast demo, which makes a secret",
            InstanceError::Signals(_) | InstanceError::Site(_) | InstanceError::Web(_) => {
                "start the demo again"
            }
        };
        Failure::new(&error, hint)
    }
}

/// Serves until the demo, or a signal, ends it.
pub(crate) async fn run(args: InstanceArgs) -> Result<(), Failure> {
    Ok(serve(args).await?)
}

async fn serve(args: InstanceArgs) -> Result<(), InstanceError> {
    let mut signals = Signals::of_instance().map_err(InstanceError::Signals)?;
    signals::end_with_parent().map_err(InstanceError::Signals)?;
    let lifeline = lifeline();

    let web = TcpListener::bind((Ipv4Addr::LOCALHOST, args.web_port))
        .await
        .map_err(|source| InstanceError::WebPort { port: args.web_port, source })?;
    let address = format!("http://127.0.0.1:{}", args.web_port);
    let store = store::open(args.store.as_ref(), &args.data).await?;
    let node = Node::builder(CLUSTER)
        .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .name(&args.name)
        .secret(Secret::from_env(SECRET)?)
        .label(WEB_LABEL, &address)
        .discovery(File::new(&args.members))
        .confirm_within(CONFIRM_WITHIN)
        .start()
        .await?;
    let router = Site::new(node.clone(), address, store)?.router();

    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let mut server = tokio::spawn(server::serve(web, router, Limits::default(), stopped));
    report(&Report::Listening { mesh: node.local_address() });

    let ended = tokio::select! {
        () = obey(&node, lifeline) => Ok(()),
        () = signals.end() => Ok(()),
        ended = &mut server => Err(web_ended(ended)),
        never = report_in_sync(&node, args.peers) => match never {},
    };
    if ended.is_ok() {
        drop(stop);
        let _ = tokio::time::timeout(LAST_REQUESTS, server).await;
    }
    if let Err(error) = node.shutdown().await {
        tracing::warn!(%error, "the node did not take its leave");
    }
    ended
}

async fn report_in_sync(node: &Node, others: usize) -> std::convert::Infallible {
    node.peers_until(|peers| peers.len() == others && peers.iter().all(Peer::is_linked)).await;
    report(&Report::InSync);
    std::future::pending().await
}

fn report(report: &Report) {
    match serde_json::to_string(report) {
        Ok(line) => say::line(line),
        Err(error) => tracing::error!(%error, "a report has no text"),
    }
}

/// Does what the demo says, until it lets go.
async fn obey(node: &Node, mut lifeline: mpsc::Receiver<Command>) {
    while let Some(Command::Cut { cut }) = lifeline.recv().await {
        if cut {
            node.cut()
        } else {
            node.heal()
        }
        report(&Report::Cut { cut });
    }
    // Its goodbye is to be heard.
    node.heal();
}

/// What the demo says; ends when stdin does. On a thread of its own: one that waits in a read cannot
/// be stopped, and must not keep the runtime from ending.
fn lifeline() -> mpsc::Receiver<Command> {
    let (tell, lifeline) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(command) if tell.blocking_send(command).is_err() => return,
                Ok(_) => {}
                Err(error) => tracing::warn!(line, %error, "a command is not understood"),
            }
        }
    });
    lifeline
}

fn web_ended(ended: Result<(), tokio::task::JoinError>) -> InstanceError {
    InstanceError::Web(match ended {
        Ok(()) => io::Error::other("it was not asked to"),
        Err(error) => error.into(),
    })
}
