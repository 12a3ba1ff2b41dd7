//! Owns the process of a server. It must never outlive the handle, nor the process that has started it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::ServerError;

/// Starts what follows the folder, says its number, and waits for its end, so that it leaves no number behind.
/// Beside that it kills it once the input says so, or ends: then nobody is left to remove the folder.
const KEEPER: &str = r#"exec 3<&0; folder=$1; shift; "$@" <&- >&2 3<&- & child=$!; echo $child
( read last <&3; kill -9 $child; [ -n "$last" ] && exit
  while kill -0 $child; do sleep 0.05; done; rm -rf "$folder" ) >&- 2>&- &
exec >&- 3<&-; wait $child"#;

/// A server's process.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    keeper: std::process::Child,
    input: Option<ChildStdin>,
}

impl Child {
    /// Starts a program over a folder, where it prints to the file `log`. Should this process end first, the
    /// folder goes with it.
    ///
    /// # Errors
    /// The system has none for it.
    pub fn start(what: &str, command: &[String], folder: &Path) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Start { what: what.to_owned(), source };
        let log = File::create(folder.join("log")).map_err(failed)?;
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(folder)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let input = keeper.stdin.take();
        let mut said = String::new();
        if let Some(output) = keeper.stdout.take() {
            BufReader::new(output).read_line(&mut said).map_err(failed)?;
        }
        let pid = said.trim().parse().ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| ServerError::Failed { what: what.to_owned(), said })?;
        Ok(Self { pid, keeper, input })
    }

    /// Kills it, as it stands.
    ///
    /// # Errors
    /// It has ended.
    pub fn kill(&self) -> std::io::Result<()> {
        Ok(kill_process(self.pid, Signal::KILL)?)
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        test_kill_process(self.pid).is_err()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(mut input) = self.input.take() {
            // Where the keeper is gone, so is what it kept.
            let _ = input.write_all(b"done\n");
        }
        let _ = self.keeper.wait();
    }
}
