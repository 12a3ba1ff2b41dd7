//! Owns a PostgreSQL server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Child, ServerError, free_port};

/// How long it may take to start: nothing is judged by it, it ends a run that hangs.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at whether it is there.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// It refuses to run as root; Debian's package makes this user.
const USER: &str = "postgres";

/// A server over a folder of its own, which it keeps when it is killed and started again. Its user is
/// `postgres`, without a password.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    home: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Postgres {
    /// Makes a new one and starts it, with two-phase commits allowed.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start() -> Result<Self, ServerError> {
        let programs = programs()?;
        let home = tempfile::Builder::new().prefix("flushcast-postgres-").tempdir();
        let failed = |source| ServerError::Start { what: "PostgreSQL".to_owned(), source };
        let home = home.map_err(failed)?;
        if is_root() {
            run("chown", &[USER.to_owned(), path(home.path())])?;
        }
        let port = free_port().map_err(failed)?;
        let mut server = Self { programs, home, port, child: None };
        let words = ["--auth=trust", "--no-sync", "--encoding=UTF8", "--no-locale", "--username"];
        let words = words.map(str::to_owned).into_iter().chain([USER.to_owned()]);
        let place = ["--pgdata".to_owned(), path(&server.data())];
        let command = server.command("initdb", words.chain(place));
        run(&command[0], &command[1..])?;
        server.start_again()?;
        Ok(server)
    }

    /// Where it listens, as an address for clients, in this database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Kills it, as a power failure would, but for what the system still has in memory.
    pub fn kill(&mut self) {
        if let Some(child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
        }
    }

    /// Starts it over the same folder, at the same port. Returns once it answers.
    ///
    /// # Errors
    /// It does not answer.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        self.kill();
        let began = Instant::now();
        loop {
            let log = self.home.path().join("log");
            let words =
                ["-D".to_owned(), path(&self.data()), "-p".to_owned(), self.port.to_string()];
            let socket = format!("unix_socket_directories={}", path(self.home.path()));
            let set = ["listen_addresses=127.0.0.1", "max_prepared_transactions=8", &socket];
            let set = set.into_iter().flat_map(|it| ["-c".to_owned(), it.to_owned()]);
            let command = self.command("postgres", words.into_iter().chain(set));
            let child = Child::start("PostgreSQL", &command, self.home.path())?;
            while !child.has_ended() {
                if self.answers() {
                    self.child = Some(child);
                    return Ok(());
                }
                if began.elapsed() > STARTS_WITHIN {
                    return Err(self.failed(&log));
                }
                std::thread::sleep(LOOK_AGAIN);
            }
            // One that was killed leaves memory that its last children still hold.
            if began.elapsed() > STARTS_WITHIN || !self.was_held_up(&log) {
                return Err(self.failed(&log));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Kills it, and starts it as a standby that has no primary, until it is promoted.
    ///
    /// # Errors
    /// It does not answer.
    pub fn stand_by(&mut self) -> Result<(), ServerError> {
        self.kill();
        let signal = fs::File::create(self.data().join("standby.signal"));
        signal.map_err(|source| ServerError::Start { what: "a standby".to_owned(), source })?;
        if is_root() {
            run("chown", &[USER.to_owned(), path(&self.data().join("standby.signal"))])?;
        }
        self.start_again()
    }

    fn answers(&self) -> bool {
        let words = ["-q", "-h", "127.0.0.1", "-p"].map(str::to_owned);
        let command = self.command("pg_isready", words.into_iter().chain([self.port.to_string()]));
        run(&command[0], &command[1..]).is_ok()
    }

    fn was_held_up(&self, log: &Path) -> bool {
        let said = fs::read_to_string(log).unwrap_or_default();
        ["shared memory block", "lock file"].iter().any(|reason| said.contains(reason))
    }

    fn failed(&self, log: &Path) -> ServerError {
        let said = fs::read_to_string(log).unwrap_or_default();
        ServerError::Failed { what: "PostgreSQL does not answer".to_owned(), said }
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn command(&self, program: &str, words: impl IntoIterator<Item = String>) -> Vec<String> {
        let as_user = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups"];
        let as_user = if is_root() { &as_user[..] } else { &[] };
        let program = path(&self.programs.join(program));
        as_user.iter().map(|&it| it.to_owned()).chain([program]).chain(words).collect()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The newest version of Debian's package, which is not on the path.
fn programs() -> Result<PathBuf, ServerError> {
    const VERSIONS: &str = "/usr/lib/postgresql";
    let found = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let version = |folder: &PathBuf| {
        folder.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()).unwrap_or(0)
    };
    let newest = found.map(|it| it.path()).max_by_key(version).map(|folder| folder.join("bin"));
    newest.filter(|folder| folder.join("postgres").exists()).ok_or_else(|| {
        let looked_in = format!("{VERSIONS}/*/bin");
        ServerError::NotInstalled { program: "postgres", looked_in, package: "postgresql" }
    })
}

fn run(program: &str, words: &[String]) -> Result<(), ServerError> {
    let what = || format!("{program} {}", words.join(" "));
    let output = Command::new(program).args(words).output();
    let output = output.map_err(|source| ServerError::Start { what: what(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(ServerError::Failed { what: what(), said })
}
