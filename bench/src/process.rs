//! Owns a follower process, as seen by who started it: commands in, answers out, each bounded.
//! It must never outlive the handle: dropping it kills the process, a stopped one too.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::ValueEnum;
use rustix::process::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command as Program};
use tokio::time::timeout;

use crate::words::{Answer, Command, Keys, Role};

/// How long a follower may take for an answer. Nothing is judged by it: it ends a run that hangs.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Why a follower did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It did not start.
    #[error("{program} does not start: {source}")]
    Start {
        /// What should have run.
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Its pipes broke, or it has ended.
    #[error("{name} has ended or cannot be talked to: {source}")]
    Gone {
        /// Who.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// It said nothing.
    #[error("{name} did not answer within {ANSWER_WITHIN:?} to {asked}")]
    Silent {
        /// Who.
        name: String,
        /// What it was told.
        asked: String,
    },
    /// It said something else.
    #[error("{name} answered {answer:?} to {asked}")]
    OffTopic {
        /// Who.
        name: String,
        /// What it was told.
        asked: String,
        /// What it said.
        answer: String,
    },
}

/// A follower that runs.
#[derive(Debug)]
pub struct Follower {
    name: String,
    address: Option<SocketAddr>,
    process: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    /// Starts `program`, which is this crate's binary, as a follower of what listens at `origins`.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn start(
        program: &Path,
        role: Role,
        name: &str,
        origins: &[SocketAddr],
    ) -> Result<Follower, ProcessError> {
        let cannot = |source| ProcessError::Start { program: program.to_owned(), source };
        let role = role.to_possible_value();
        let mut process = Program::new(program)
            .args(["follower", "--name", name, "--role"])
            .args(role.as_ref().map(clap::builder::PossibleValue::get_name))
            .args(origins.iter().map(SocketAddr::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        let pipes = (process.stdin.take(), process.stdout.take());
        let (Some(stdin), Some(stdout)) = pipes else {
            return Err(cannot(io::Error::other("it has no pipes")));
        };
        let stdout = BufReader::new(stdout).lines();
        let mut follower =
            Follower { name: name.to_owned(), address: None, process, stdin, stdout };
        match follower.answer("start").await? {
            Answer::Started { address } => follower.address = address,
            other => return Err(follower.off_topic("start", &other)),
        }
        Ok(follower)
    }

    /// Its name, which is its node's too.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its node listens; none for a raw one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Its process, to be sent signals; none if it has ended and was asked after.
    pub fn pid(&self) -> Option<Pid> {
        self.process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
    }

    /// Waits until its node is linked with so many others.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn link(&mut self, others: usize) -> Result<(), ProcessError> {
        match self.ask(&Command::Link { others }).await? {
            Answer::Linked => Ok(()),
            other => Err(self.off_topic("link", &other)),
        }
    }

    /// Has it load a copy of each key; gives back of how many it serves one then.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn load(&mut self, keys: &Keys) -> Result<usize, ProcessError> {
        self.served(&Command::Load(keys.clone())).await
    }

    /// Of how many of the keys it serves a copy.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn count(&mut self, keys: &Keys) -> Result<usize, ProcessError> {
        self.served(&Command::Count(keys.clone())).await
    }

    /// When it applied the flushes of the keys that were loaded last; 0 where it did not.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn stamps(&mut self) -> Result<Vec<u64>, ProcessError> {
        match self.ask(&Command::Stamps).await? {
            Answer::Stamps { nanos } => Ok(nanos),
            other => Err(self.off_topic("stamps", &other)),
        }
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn rss(&mut self) -> Result<usize, ProcessError> {
        match self.ask(&Command::Rss).await? {
            Answer::Rss { bytes } => Ok(bytes),
            other => Err(self.off_topic("rss", &other)),
        }
    }

    async fn served(&mut self, command: &Command) -> Result<usize, ProcessError> {
        match self.ask(command).await? {
            Answer::Served { copies } => Ok(copies),
            other => Err(self.off_topic(&format!("{command:?}"), &other)),
        }
    }

    async fn ask(&mut self, command: &Command) -> Result<Answer, ProcessError> {
        let asked = format!("{command:?}");
        let told = async {
            let line = serde_json::to_string(command)? + "\n";
            self.stdin.write_all(line.as_bytes()).await?;
            self.stdin.flush().await
        };
        let Ok(told) = timeout(ANSWER_WITHIN, told).await else {
            return Err(ProcessError::Silent { name: self.name.clone(), asked });
        };
        told.map_err(|source| self.gone(source))?;
        self.answer(&asked).await
    }

    async fn answer(&mut self, asked: &str) -> Result<Answer, ProcessError> {
        let line = match timeout(ANSWER_WITHIN, self.stdout.next_line()).await {
            Ok(line) => line.map_err(|source| self.gone(source))?,
            Err(_elapsed) => {
                let (name, asked) = (self.name.clone(), asked.to_owned());
                return Err(ProcessError::Silent { name, asked });
            }
        };
        let ended = || self.gone(io::ErrorKind::UnexpectedEof.into());
        let line = line.ok_or_else(ended)?;
        serde_json::from_str(&line).map_err(|_| self.off_topic(asked, &line))
    }

    fn gone(&self, source: io::Error) -> ProcessError {
        ProcessError::Gone { name: self.name.clone(), source }
    }

    fn off_topic(&self, asked: &str, answer: &dyn std::fmt::Debug) -> ProcessError {
        let answer = format!("{answer:?}").chars().take(200).collect();
        ProcessError::OffTopic { name: self.name.clone(), asked: asked.to_owned(), answer }
    }
}
