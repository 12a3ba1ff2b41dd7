//! Owns a node's process, as seen by who started it: commands in, answers out, each bounded.
//! It must never outlive the handle: dropping it kills the process, a stopped one too.

mod error;

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

pub use error::ProcessError;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command as Program};
use tokio::time::timeout;

use crate::history::History;
use crate::words::{Answer, Change, Command, Happened, Loads, Standing, Versions};

/// How long a node may take for an answer. Nothing is judged by it: it ends a run that hangs.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at whether a process stands still.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What to start.
#[derive(Debug)]
pub struct Start<'a> {
    /// The node's name.
    pub name: &'a str,
    /// This crate's `node`.
    pub program: &'a Path,
    /// What it is told at its start, besides its name.
    pub arguments: Vec<String>,
    /// The network namespace to start it in, if not this process's.
    pub namespace: Option<String>,
    /// Where its log goes.
    pub folder: &'a Path,
}

/// A node that runs.
#[derive(Debug)]
pub struct Process {
    name: String,
    address: SocketAddr,
    process: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Process {
    /// Starts a node, and waits until it listens.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn start(start: Start<'_>) -> Result<Process, ProcessError> {
        let Start { name, program, arguments, namespace, folder } = start;
        let cannot = |source| ProcessError::Start { name: name.to_owned(), source };
        let log = folder.join(format!("{name}.log"));
        let stderr = File::create(&log).map_err(cannot)?;
        let mut command = match namespace {
            None => Program::new(program),
            Some(namespace) => {
                // It turns into the program: the process is the node's.
                let mut command = Program::new("ip");
                command.args(["netns", "exec", &namespace]).arg(program);
                command
            }
        };
        command.args(["--name", name]).args(arguments).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut process = command.spawn().map_err(cannot)?;
        let pipes = (process.stdin.take(), process.stdout.take());
        let (Some(stdin), Some(stdout)) = pipes else {
            return Err(cannot(io::Error::other("it has no pipes")));
        };
        let stdout = BufReader::new(stdout).lines();
        let (name, address) = (name.to_owned(), SocketAddr::from(([0, 0, 0, 0], 0)));
        let mut process = Process { name, address, process, stdin, stdout, log };
        match process.answer("its start").await? {
            Answer::Started { address } => process.address = address,
            other => return Err(process.off_topic("its start", &other)),
        }
        Ok(process)
    }

    /// Its name, which is its node's too.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its node listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged so far.
    ///
    /// # Errors
    /// The system's.
    pub fn log(&self) -> io::Result<String> {
        fs::read_to_string(&self.log)
    }

    /// Tells it something whose answer is [`Answer::Done`], and waits for that.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn order(&mut self, command: Command) -> Result<(), ProcessError> {
        match self.ask(&command).await? {
            Answer::Done => Ok(()),
            other => Err(self.off_topic(&format!("{command:?}"), &other)),
        }
    }

    /// Tells it something and does not wait: no other answer can be had before that one.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn tell(&mut self, command: &Command) -> Result<(), ProcessError> {
        let told = async {
            let line = serde_json::to_string(command)? + "\n";
            self.stdin.write_all(line.as_bytes()).await?;
            self.stdin.flush().await
        };
        match timeout(ANSWER_WITHIN, told).await {
            Ok(told) => told.map_err(|source| self.gone(source)),
            Err(_elapsed) => Err(self.silent(&format!("{command:?}"))),
        }
    }

    /// Waits for [`Answer::Done`] to what it was told before.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn done(&mut self) -> Result<(), ProcessError> {
        match self.answer("an earlier command").await? {
            Answer::Done => Ok(()),
            other => Err(self.off_topic("an earlier command", &other)),
        }
    }

    /// Reads each key once in all caches.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn read(&mut self, keys: Range<u64>) -> Result<Versions, ProcessError> {
        match self.ask(&Command::Read { keys }).await? {
            Answer::Versions(versions) => Ok(versions),
            other => Err(self.off_topic("read", &other)),
        }
    }

    /// What its readers have seen.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn history(&mut self) -> Result<History, ProcessError> {
        match self.ask(&Command::History).await? {
            Answer::History(history) => Ok(history),
            other => Err(self.off_topic("history", &other)),
        }
    }

    /// What it has loaded.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn loads(&mut self) -> Result<Loads, ProcessError> {
        match self.ask(&Command::Loads).await? {
            Answer::Loads(loads) => Ok(loads),
            other => Err(self.off_topic("loads", &other)),
        }
    }

    /// Changes a key, flushes it in all caches and awaits what comes of it.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn change(&mut self, key: u64) -> Result<Change, ProcessError> {
        match self.ask(&Command::Change { key }).await? {
            Answer::Changed(change) => Ok(change),
            other => Err(self.off_topic("change", &other)),
        }
    }

    /// How it stands with the others.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn standing(&mut self) -> Result<Standing, ProcessError> {
        match self.ask(&Command::Standing).await? {
            Answer::Standing(standing) => Ok(standing),
            other => Err(self.off_topic("standing", &other)),
        }
    }

    /// What has happened to it since its start.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn happened(&mut self) -> Result<Happened, ProcessError> {
        match self.ask(&Command::Happened).await? {
            Answer::Happened(happened) => Ok(happened),
            other => Err(self.off_topic("happened", &other)),
        }
    }

    /// Stops its process (`SIGSTOP`), and waits until it stands still.
    ///
    /// # Errors
    /// [`ProcessError::Gone`].
    pub async fn stop(&self) -> Result<(), ProcessError> {
        let pid = self.signal(Signal::STOP)?;
        let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
        loop {
            let stat = fs::read_to_string(&path).map_err(|source| self.gone(source))?;
            // The state stands behind the program's name, which is in brackets.
            if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Lets its process run again (`SIGCONT`).
    ///
    /// # Errors
    /// [`ProcessError::Gone`].
    pub fn resume(&self) -> Result<(), ProcessError> {
        self.signal(Signal::CONT).map(drop)
    }

    /// Kills its process (`SIGKILL`), and waits until it is gone.
    ///
    /// # Errors
    /// [`ProcessError::Gone`].
    pub async fn kill(&mut self) -> Result<(), ProcessError> {
        let killed = self.process.kill().await;
        killed.map_err(|source| self.gone(source))
    }

    fn signal(&self, signal: Signal) -> Result<Pid, ProcessError> {
        let pid = self.process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let pid = pid.ok_or_else(|| self.gone(io::ErrorKind::NotFound.into()))?;
        kill_process(pid, signal).map_err(|source| self.gone(source.into()))?;
        Ok(pid)
    }

    async fn ask(&mut self, command: &Command) -> Result<Answer, ProcessError> {
        self.tell(command).await?;
        self.answer(&format!("{command:?}")).await
    }

    async fn answer(&mut self, asked: &str) -> Result<Answer, ProcessError> {
        let line = match timeout(ANSWER_WITHIN, self.stdout.next_line()).await {
            Ok(line) => line.map_err(|source| self.gone(source))?,
            Err(_elapsed) => return Err(self.silent(asked)),
        };
        let ended = || self.gone(io::ErrorKind::UnexpectedEof.into());
        let line = line.ok_or_else(ended)?;
        serde_json::from_str(&line).map_err(|_| self.off_topic(asked, &line))
    }

    fn gone(&self, source: io::Error) -> ProcessError {
        ProcessError::Gone { name: self.name.clone(), source }
    }

    fn silent(&self, asked: &str) -> ProcessError {
        ProcessError::Silent { name: self.name.clone(), asked: asked.to_owned() }
    }

    fn off_topic(&self, asked: &str, answer: &dyn std::fmt::Debug) -> ProcessError {
        let answer = format!("{answer:?}").chars().take(400).collect();
        ProcessError::OffTopic { name: self.name.clone(), asked: asked.to_owned(), answer }
    }
}

impl Drop for Process {
    /// A test that fails shows what the node had to say.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log().unwrap_or_default();
            let _ = writeln!(io::stderr(), "--- log of {}\n{log}", self.name);
        }
    }
}
