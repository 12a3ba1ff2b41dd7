//! What may be at a listed address besides a node: other programs, and nothing at all.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How long a connection on one machine may take before it counts as one that never comes through.
const COMES_THROUGH_WITHIN: Duration = Duration::from_millis(300);
/// Most connections that fill the shortest backlog.
const BACKLOG: usize = 16;

/// An HTTP server for which whatever it reads is a bad request.
pub async fn http_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
                if stream.read(&mut request).await.is_ok_and(|count| count > 0) {
                    // Whoever asked may have gone away.
                    let _ = stream.write_all(answer).await;
                }
            });
        }
    });
    address
}

/// A program that closes each connection as soon as it is there.
pub async fn closes_at_once() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    address
}

/// An address that answers nothing, as if its machine were off, until this is dropped.
pub struct BlackHole {
    pub address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl BlackHole {
    /// Takes an address that nobody listens at.
    pub async fn at(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        // Nobody accepts: once the backlog is full, the system drops what comes.
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        for _ in 0..BACKLOG {
            let connected = TcpStream::connect(address);
            match tokio::time::timeout(COMES_THROUGH_WITHIN, connected).await {
                Ok(stream) => waiting.push(stream.unwrap()),
                Err(_elapsed) => return Self { address, _listener: listener, _waiting: waiting },
            }
        }
        panic!("connections to a full backlog come through on this system");
    }
}
