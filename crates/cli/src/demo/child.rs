//! One instance's process, as the demo sees it.
//!
//! The demo holds the other end of its stdin: letting go of that is how an instance is told to
//! end, by a demo that was killed too.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::{ExitStatus, Stdio};

use flushcast_site::store;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{self, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};

use crate::demo::data::DataFolder;
use crate::report::Report;
use crate::say;

/// The demo's side of one instance.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: String,
    pub(super) web: SocketAddrV4,
    pub(super) pid: u32,
    /// Where its node listens, once it has told.
    pub(super) mesh: Option<SocketAddr>,
    /// Whether it was linked with all others, both ways.
    pub(super) in_sync: bool,
    lifeline: Option<ChildStdin>,
    kill: Option<oneshot::Sender<()>>,
}

/// What happened at one instance.
#[derive(Debug)]
pub(super) enum Event {
    /// It told how far it has come.
    Reported(Report),
    /// Its process is gone; this is how. One that ended in order has left the cluster first.
    Ended { how: String, in_order: bool },
}

/// Where an instance's events go, with its place among the instances.
pub(super) type Events = mpsc::Sender<(usize, Event)>;

/// Which instance to start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// Its place among the instances, from 0.
    pub(super) index: usize,
    pub(super) web_port: u16,
    /// How many others there are.
    pub(super) others: u16,
    /// Where the settings are, if not in the data folder.
    pub(super) store: Option<&'a store::Place>,
}

impl Child {
    /// Starts this same program as an instance; what it tells goes to `events`.
    pub(super) fn start(place: Place<'_>, data: &DataFolder, events: Events) -> io::Result<Child> {
        let name = format!("instance-{}", place.index + 1);
        let mut process = Command::new(std::env::current_exe()?)
            .arg("instance")
            .args(["--name", &name])
            .args(["--web-port", &place.web_port.to_string()])
            .args(["--peers", &place.others.to_string()])
            .arg("--members")
            .arg(data.members())
            .arg("--data")
            .arg(data.path())
            .args(place.store.iter().flat_map(|store| ["--store".to_owned(), store.to_string()]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = process.id().unwrap_or_default();
        let lifeline = process.stdin.take();
        let (kill, killed) = oneshot::channel();
        tokio::spawn(watch(process, (place.index, name.clone()), events, killed));
        let web = SocketAddrV4::new(Ipv4Addr::LOCALHOST, place.web_port);
        Ok(Child { name, web, pid, mesh: None, in_sync: false, lifeline, kill: Some(kill) })
    }

    /// Asks it to end.
    pub(super) fn let_go(&mut self) {
        self.lifeline = None;
    }

    /// Ends it by force.
    pub(super) fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            let _ = kill.send(());
        }
    }
}

/// Follows a process until it is gone, and all it wrote is passed on.
async fn watch(
    mut process: process::Child,
    (index, name): (usize, String),
    events: Events,
    mut killed: oneshot::Receiver<()>,
) {
    let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
    let reports = async {
        if let Some(stdout) = stdout {
            pass_on_reports(stdout, (index, &name), &events).await;
        }
    };
    let logs = async {
        if let Some(stderr) = stderr {
            pass_on_logs(stderr, &name).await;
        }
    };
    let ended = async {
        tokio::select! {
            status = process.wait() => return status,
            Ok(()) = &mut killed => {}
        }
        process.kill().await?;
        process.wait().await
    };
    let (status, (), ()) = tokio::join!(ended, reports, logs);
    let in_order = status.as_ref().is_ok_and(ExitStatus::success);
    let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    let _ = events.send((index, Event::Ended { how, in_order })).await;
}

async fn pass_on_reports(stdout: ChildStdout, (index, name): (usize, &str), events: &Events) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(report) => {
                let _ = events.send((index, Event::Reported(report))).await;
            }
            Err(error) => tracing::warn!(name, line, %error, "a report is not understood"),
        }
    }
}

/// Byte for byte, whatever they are: a log that nobody reads would stop the one who writes it.
async fn pass_on_logs(stderr: ChildStderr, name: &str) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    while stderr.read_until(b'\n', &mut line).await.is_ok_and(|bytes| bytes > 0) {
        say::note(format_args!("{name}: {}", String::from_utf8_lossy(&line).trim_end()));
        line.clear();
    }
}
