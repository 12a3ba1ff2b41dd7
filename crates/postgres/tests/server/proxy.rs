//! A link to the server that can be slow, or silent and then late.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    is_silent: watch::Sender<bool>,
    ended: Arc<AtomicUsize>,
}

/// What is passed on at a time: of a slow link, every 10 ms.
const PIECE: usize = 2048;

impl Proxy {
    pub(crate) async fn to(port: u16, is_slow: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (is_silent, silence) = watch::channel(false);
        let ended = Arc::new(AtomicUsize::new(0));
        let proxy =
            Self { port: listener.local_addr().unwrap().port(), is_silent, ended: ended.clone() };
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                let ended = ended.clone();
                let there = pass(near_read, far_write, silence.clone(), false);
                tokio::spawn(async move {
                    there.await;
                    ended.fetch_add(1, Ordering::SeqCst);
                });
                tokio::spawn(pass(far_read, near_write, silence.clone(), is_slow));
            }
        });
        proxy
    }

    /// What is sent meanwhile arrives once it is over.
    pub(crate) fn silent(&self, is_silent: bool) {
        self.is_silent.send_replace(is_silent);
    }

    /// How many connections the node has given up, as far as they are not held silent.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut silence: watch::Receiver<bool>,
    is_slow: bool,
) {
    let mut piece = [0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if is_slow {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if silence.wait_for(|&is_silent| !is_silent).await.is_err()
            || to.write_all(&piece[..length]).await.is_err()
        {
            return;
        }
    }
}
