//! Runs the real `flushcast demo`, and asks its instances over HTTP.

use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// No wait of these tests is longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what cannot be awaited.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// No test has more of them.
const MOST_INSTANCES: u16 = 6;

/// A running demo. Instance 0 is the port itself, which leads to one of the others.
pub(crate) struct Demo {
    process: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    port: u16,
    pids: Vec<u32>,
    client: reqwest::Client,
    /// Where its temporary folder is made.
    pub(crate) temporary: TempDir,
}

impl Demo {
    /// Starts it, and waits until it has printed its addresses.
    pub(crate) async fn start(arguments: &[&str]) -> Demo {
        Demo::start_with(arguments, &[]).await
    }

    pub(crate) async fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Demo {
        Demo::start_in(tempfile::tempdir().unwrap(), arguments, environment).await
    }

    /// Like [`start_with`](Self::start_with), with its temporary folder made in this one.
    pub(crate) async fn start_in(
        temporary: TempDir,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Demo {
        let port = free_ports(MOST_INSTANCES);
        let mut process = command(arguments)
            .args(["--port", &port.to_string()])
            .env("TMPDIR", temporary.path())
            .envs(environment.iter().copied())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut stdout = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut pids = Vec::new();
        let addresses = async {
            while let Some(line) = stdout.next_line().await.unwrap() {
                if let Some((_, pid)) = line.split_once(" process ") {
                    pids.push(pid.parse().unwrap());
                }
                if line.starts_with("Ctrl-C") {
                    return true;
                }
            }
            false
        };
        let printed = timeout(PATIENCE, addresses).await.expect("the addresses were not printed");
        flushcast_site::tls::choose();
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let mut demo = Demo { process, stderr, port, pids, client, temporary };
        if !printed {
            panic!("the demo ended before it had printed its addresses: {:?}", demo.ended().await);
        }
        demo
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id().expect("the demo has ended")
    }

    pub(crate) fn instance_pid(&self, instance: u16) -> u32 {
        self.pids[usize::from(instance) - 1]
    }

    pub(crate) fn name(&self, instance: u16) -> String {
        format!("instance-{instance}")
    }

    pub(crate) fn address(&self, instance: u16) -> String {
        format!("http://127.0.0.1:{}", self.port + instance)
    }

    pub(crate) async fn get(&self, instance: u16, path: &str) -> Value {
        let response = self.client.get(self.address(instance) + path).send().await.unwrap();
        let (status, answer) = (response.status(), response.json().await.unwrap());
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    /// Like [`get`](Self::get), where the demo may not answer.
    pub(crate) async fn try_get(&self, instance: u16, path: &str) -> Answer {
        answer(self.client.get(self.address(instance) + path)).await
    }

    /// Like [`save`](Self::save), where the demo may not answer.
    pub(crate) async fn try_save(&self, instance: u16, version: u64, settings: &Value) -> Answer {
        let body = json!({ "version": version, "settings": settings });
        answer(self.client.put(self.address(instance) + "/api/settings").json(&body)).await
    }

    /// The copy of each instance, asked at itself.
    pub(crate) async fn copies(&self) -> Vec<Value> {
        let mut copies = Vec::new();
        for (_, instance) in self.pids.iter().zip(1..) {
            copies.push(self.get(instance, "/api/copy").await);
        }
        copies
    }

    pub(crate) async fn save(
        &self,
        instance: u16,
        version: u64,
        settings: &Value,
    ) -> (StatusCode, Value) {
        let body = json!({ "version": version, "settings": settings });
        let request = self.client.put(self.address(instance) + "/api/settings").json(&body);
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// Orders something of the demo itself, with the token that it asks for.
    pub(crate) async fn order(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let token = self.get(0, "/api/control").await["token"].take();
        let request = self.client.post(self.address(0) + path).json(body);
        let request = request.header("x-flushcast-token", token.as_str().unwrap());
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// Has so many instances, and waits until each of them, and nobody else, is in the table.
    pub(crate) async fn scale(&self, instances: usize) {
        let (status, answer) = self.order("/api/scale", &json!({ "instances": instances })).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        eventually("the table has them all", async || {
            let Ok((StatusCode::OK, rows)) = self.try_get(0, "/api/instances").await else {
                return false;
            };
            let rows = rows.as_array().unwrap();
            rows.len() == instances && rows.iter().all(|row| row["error"].is_null())
        })
        .await;
    }

    /// The next line on stderr that starts so.
    pub(crate) async fn stderr_line(&mut self, start: &str) -> String {
        let line = async {
            loop {
                match self.stderr.next_line().await.unwrap() {
                    Some(line) if line.starts_with(start) => return line,
                    Some(_) => {}
                    None => panic!("the demo has closed its stderr"),
                }
            }
        };
        timeout(PATIENCE, line).await.expect("nothing was told")
    }

    /// Waits for its end; gives what it wrote to stderr since the last look.
    pub(crate) async fn ended(&mut self) -> (ExitStatus, String) {
        let mut text = String::new();
        let ended = async {
            self.stderr.get_mut().read_to_string(&mut text).await.unwrap();
            self.process.wait().await.unwrap()
        };
        let status = timeout(PATIENCE, ended).await.expect("the demo did not end");
        (status, text)
    }

    /// Has the temporary folders look as if they had been left there a minute ago.
    pub(crate) fn age_temporary_folders(&self) {
        for folder in std::fs::read_dir(self.temporary.path()).unwrap() {
            let path = folder.unwrap().path().join("demo.lock");
            let lock = std::fs::File::options().write(true).open(path).unwrap();
            lock.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        }
    }

    /// How many folders it has made where temporary ones go.
    pub(crate) fn temporary_folders(&self) -> usize {
        std::fs::read_dir(self.temporary.path()).unwrap().count()
    }
}

pub(crate) type Answer = Result<(StatusCode, Value), reqwest::Error>;

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await?;
    Ok((response.status(), response.json().await?))
}

/// Runs a demo that is to fail before it has started; gives its exit code and its stderr.
pub(crate) async fn fails(arguments: &[&str]) -> (i32, String) {
    let output = timeout(PATIENCE, command(arguments).output()).await;
    let output = output.expect("the demo did not end").unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing was started");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{stderr}");
    (output.status.code().unwrap(), stderr)
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flushcast"));
    command
        .arg("demo")
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A port that is free, with `more` free ones after it. Below those that the system hands out by
/// itself, and for this process's tests alone, as far as that can be had.
pub(crate) fn free_ports(more: u16) -> u16 {
    const FIRST: u16 = 10_000;
    const PORTS: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 200).unwrap() * 100;
    for _ in 0..1_000 {
        let next = NEXT.fetch_add(more + 1, Ordering::Relaxed);
        let port = FIRST + (own + next) % PORTS;
        // Asked by dialling: what a test binds, a process that another test starts meanwhile holds
        // for a moment longer.
        let is_free = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_err();
        if (port..=port + more).all(is_free) {
            return port;
        }
    }
    panic!("no ports are free");
}

/// Sends a signal, by the name that `kill` knows it by.
pub(crate) fn kill(signal: &str, pid: u32) {
    let command = format!("kill -{signal} {pid}");
    let status = std::process::Command::new("sh").args(["-c", &command]).status().unwrap();
    assert!(status.success(), "{command}");
}

/// Whether a process runs; one that has ended and that nobody has asked after does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let arguments = ["-o", "stat=", "-p", &pid.to_string()];
    let output = std::process::Command::new("ps").args(arguments).output().unwrap();
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

/// Waits until something is so that cannot be awaited.
pub(crate) async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let look = async {
        while !is_so().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}
