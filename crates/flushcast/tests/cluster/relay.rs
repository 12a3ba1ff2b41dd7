//! A way between two nodes that can go silent without breaking, as a half-open link does, or end
//! and refuse, as a proxy does that is stopped.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::PATIENCE;

pub struct Relay {
    pub address: SocketAddr,
    silent: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Relay {
    /// Listens somewhere, and passes on to `target`.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = watch::Sender::new(false);
        let heard = silent.subscribe();
        let serving = tokio::spawn(async move {
            // Carried for as long as somebody listens here.
            let mut carried = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(target).await else { continue };
                let ((a, b), (c, d)) = (near.into_split(), far.into_split());
                carried.spawn(carry(a, d, heard.clone()));
                carried.spawn(carry(c, b, heard.clone()));
            }
        });
        Self { address, silent, serving }
    }

    /// From here on bytes wait, both ways, and connections stay open.
    pub fn silence(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    /// Ends all connections; from when this returns new ones are refused.
    pub async fn stop(&mut self) {
        self.serving.abort();
        let ended = tokio::time::timeout(PATIENCE, &mut self.serving).await;
        assert!(ended.is_ok(), "the relay does not stop");
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut silent: watch::Receiver<bool>) {
    let mut bytes = vec![0; 4096];
    while let Ok(count) = from.read(&mut bytes).await {
        if silent.wait_for(|silent| !silent).await.is_err() || count == 0 {
            return;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
