//! A port that is served with given limits, and clients that write to it byte for byte.

use std::time::Duration;

use axum::Router;
use flushcast_site::server::{self, Limits};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// No wait of these tests is longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// A time-out that a test waits for.
pub(crate) const SOON: Duration = Duration::from_millis(200);
/// Between two bytes of a client that sends slowly: well under `SOON`, as each byte must not be
/// enough to go on waiting.
const PACE: Duration = Duration::from_millis(20);

/// Limits that no test runs into by accident.
pub(crate) fn ample() -> Limits {
    Limits {
        head_within: PATIENCE * 2,
        body_within: PATIENCE * 2,
        reads_within: PATIENCE * 2,
        ..Limits::default()
    }
}

/// Where a port is served.
pub(crate) struct Port {
    pub(crate) address: std::net::SocketAddr,
}

pub(crate) async fn patient<T>(what: &str, wait: impl Future<Output = T>) -> T {
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

impl Port {
    pub(crate) async fn serve(router: Router, limits: Limits) -> Port {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(server::serve(listener, router, limits, std::future::pending()));
        Port { address }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap(), read: Vec::new() }
    }

    /// What one request on a connection of its own is answered.
    pub(crate) async fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut client = self.connect().await;
        client.send(request).await;
        client.answer().await
    }
}

/// A connection to it.
pub(crate) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Client {
    /// What the server does not take any more is not sent.
    pub(crate) async fn send(&mut self, request: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(request.as_ref()).await;
    }

    /// Sends a byte now and then for as long as the server takes them; gives back its answer.
    pub(crate) async fn send_slowly(&mut self, bytes: &[u8]) -> Answer {
        let (mut reading, mut writing) = self.stream.split();
        let write = async {
            for byte in bytes.iter().cycle() {
                tokio::time::sleep(PACE).await;
                if writing.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await
        };
        let read = async {
            let mut answer = Vec::new();
            // An answer, and then perhaps a reset for what was sent meanwhile.
            let _ = reading.read_to_end(&mut answer).await;
            answer
        };
        let answer = patient("an answer", async {
            tokio::select! { answer = read => answer, () = write => unreachable!() }
        });
        let answer = answer.await;
        Answer::of(&answer).unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(&answer)))
    }

    /// The next answer: its head, and as much of its body as its length says.
    pub(crate) async fn answer(&mut self) -> Answer {
        patient("an answer", async {
            loop {
                if let Some(answer) = Answer::of(&self.read) {
                    let length = answer.head.len() + answer.body.len();
                    self.read.drain(..length);
                    return answer;
                }
                let read = self.stream.read_buf(&mut self.read).await.unwrap();
                let so_far = String::from_utf8_lossy(&self.read);
                assert!(read > 0, "closed without an answer, but {so_far:?}");
            }
        })
        .await
    }

    /// Waits until the server has closed the connection; gives back what it sent before.
    pub(crate) async fn closed(&mut self) -> String {
        let rest = async {
            let mut rest = std::mem::take(&mut self.read);
            let _ = self.stream.read_to_end(&mut rest).await;
            rest
        };
        String::from_utf8(patient("the end of the connection", rest).await).unwrap()
    }
}

impl Answer {
    fn of(bytes: &[u8]) -> Option<Answer> {
        let text = std::str::from_utf8(bytes).unwrap();
        let end = text.find("\r\n\r\n")? + 4;
        let head = text[..end].to_owned();
        let length = head.to_ascii_lowercase();
        let length = length
            .split("content-length: ")
            .nth(1)
            .map_or(0, |length| length.lines().next().unwrap().parse().unwrap());
        let body = text.get(end..end + length)?.to_owned();
        Some(Answer { status: head[9..12].parse().unwrap(), head, body })
    }

    /// Whether it is an error as the API tells them: JSON by its type, with the reason. Gives back
    /// the reason.
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/json\r\n"), "{self:?}");
        assert!(self.head.contains("x-content-type-options: nosniff\r\n"), "{self:?}");
        let body: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        let error = body["error"].as_str().unwrap_or_default().to_owned();
        assert!(!error.is_empty(), "{self:?}");
        error
    }
}
