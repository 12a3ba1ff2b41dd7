//! One instance's process, as the demo sees it.
//!
//! The demo holds the other end of its stdin. What it is told goes there; letting go of that is how an
//! instance is told to end, by a demo that was killed too. One that is paused sees neither; the system ends it with the
//! demo, where it can (see `instance.rs`).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::{ExitStatus, Stdio};

use flushcast_site::store;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{self, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};

use crate::demo::data::DataFolder;
use crate::instance::SECRET;
use crate::report::{Command, Report};
use crate::{say, signals};

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
    pub(super) state: State,
    /// Whether nothing passes between its node and the others, as it last told.
    pub(super) cut: bool,
    lifeline: Option<mpsc::Sender<Command>>,
    kill: Option<oneshot::Sender<()>>,
}

/// Whether its process runs, as far as the demo knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Running,
    /// It is there, and does nothing.
    Paused,
    /// It was asked to end.
    Leaving,
    /// Its process is gone, and nobody has asked for that.
    Ended,
}

/// Commands that wait to be written, a count.
const TOLD: usize = 16;

/// What happened at one instance.
#[derive(Debug)]
pub(super) enum Event {
    /// It told how far it has come.
    Reported(Report),
    /// Its process is gone; this is how. One that ended in order has left the cluster first.
    Ended { how: String, in_order: bool },
}

/// Where an instance's events go, with its number.
pub(super) type Events = mpsc::Sender<(u16, Event)>;

/// Which instance to start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// Its number among the instances, from 1.
    pub(super) number: u16,
    pub(super) web_port: u16,
    /// How many others there are.
    pub(super) others: u16,
    /// Where the settings are, if not in the data folder.
    pub(super) store: Option<&'a store::Place>,
}

impl Child {
    /// Starts this same program as an instance; what it tells goes to `events`.
    pub(super) fn start(place: Place<'_>, data: &DataFolder, events: Events) -> io::Result<Child> {
        let name = format!("instance-{}", place.number);
        let mut process = process::Command::new(std::env::current_exe()?)
            .arg("instance")
            .args(["--name", &name])
            .args(["--web-port", &place.web_port.to_string()])
            .args(["--peers", &place.others.to_string()])
            .arg("--members")
            .arg(data.members())
            .arg("--data")
            .arg(data.path())
            .args(place.store.iter().flat_map(|store| ["--store".to_owned(), store.to_string()]))
            // Not an argument, which everybody on the machine can read.
            .env(SECRET, data.secret())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = process.id().unwrap_or_default();
        let (lifeline, told) = mpsc::channel(TOLD);
        if let Some(stdin) = process.stdin.take() {
            tokio::spawn(tell(stdin, told));
        }
        let (kill, killed) = oneshot::channel();
        tokio::spawn(watch(process, (place.number, name.clone()), events, killed));
        let web = SocketAddrV4::new(Ipv4Addr::LOCALHOST, place.web_port);
        Ok(Child {
            name,
            web,
            pid,
            mesh: None,
            in_sync: false,
            state: State::Running,
            cut: false,
            lifeline: Some(lifeline),
            kill: Some(kill),
        })
    }

    /// Asks it to end.
    pub(super) fn let_go(&mut self) {
        if self.state == State::Paused {
            // A paused one hears nothing. If it cannot be resumed, it will be killed.
            let _ = self.resume();
        }
        self.lifeline = None;
        self.state = State::Leaving;
    }

    /// Stops its process where it is, as a machine that is out of breath would.
    pub(super) fn pause(&mut self) -> io::Result<()> {
        signals::pause(self.pid)?;
        self.state = State::Paused;
        Ok(())
    }

    /// Lets it go on.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        signals::resume(self.pid)?;
        self.state = State::Running;
        Ok(())
    }

    /// Has nothing pass between its node and the others, or lets it again. It tells when it is so.
    pub(super) fn cut(&mut self, cut: bool) -> io::Result<()> {
        let lifeline = self.lifeline.as_ref();
        let told = lifeline.is_some_and(|it| it.try_send(Command::Cut { cut }).is_ok());
        if told { Ok(()) } else { Err(io::Error::other("it does not listen")) }
    }

    /// Ends it by force.
    pub(super) fn kill(&mut self) {
        if let Some(kill) = self.kill.take() {
            let _ = kill.send(());
        }
    }
}

/// Writes what an instance is told to its stdin, and lets go of that when there will be no more.
async fn tell(mut stdin: ChildStdin, mut told: mpsc::Receiver<Command>) {
    while let Some(command) = told.recv().await {
        let Ok(mut line) = serde_json::to_vec(&command) else { continue };
        line.push(b'\n');
        if stdin.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// Follows a process until it is gone, and all it wrote is passed on.
async fn watch(
    mut process: process::Child,
    (number, name): (u16, String),
    events: Events,
    mut killed: oneshot::Receiver<()>,
) {
    let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
    let reports = async {
        if let Some(stdout) = stdout {
            pass_on_reports(stdout, (number, &name), &events).await;
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
    let _ = events.send((number, Event::Ended { how, in_order })).await;
}

async fn pass_on_reports(stdout: ChildStdout, (number, name): (u16, &str), events: &Events) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(report) => {
                let _ = events.send((number, Event::Reported(report))).await;
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
