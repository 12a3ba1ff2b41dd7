//! Owns a way to a node that takes long: a TCP proxy that passes on every byte some time later.
//! It must never lose, reorder or look into what it carries.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Most bytes taken at once.
const READ_BYTES: usize = 16 * 1024;
/// Most of such pieces under way in one direction; whoever sends more waits.
const UNDER_WAY: usize = 4096;

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub struct DelayProxy {
    address: SocketAddr,
    delay: Arc<AtomicU64>,
    task: AbortHandle,
}

impl DelayProxy {
    /// A proxy that listens at `listen` and leads to `to`, at first without delay.
    ///
    /// # Errors
    /// The system's, if it cannot listen.
    pub async fn start(listen: SocketAddr, to: SocketAddr) -> io::Result<DelayProxy> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let delay = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(serve(listener, to, Arc::clone(&delay))).abort_handle();
        Ok(DelayProxy { address, delay, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How long what comes in from now on takes, in each direction. What came before is not
    /// overtaken.
    pub fn delay_by(&self, delay: Duration) {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.delay.store(nanos, Ordering::Relaxed);
    }
}

impl Drop for DelayProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, to: SocketAddr, delay: Arc<AtomicU64>) {
    // They end with this task.
    let mut connections = JoinSet::new();
    while let Ok((from, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(connect(from, to, Arc::clone(&delay)));
    }
}

/// Errors end a connection, which both ends see.
async fn connect(from: TcpStream, to: SocketAddr, delay: Arc<AtomicU64>) -> io::Result<()> {
    let to = TcpStream::connect(to).await?;
    from.set_nodelay(true)?;
    to.set_nodelay(true)?;
    let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
    tokio::try_join!(carry(from_read, to_write, &delay), carry(to_read, from_write, &delay))?;
    Ok(())
}

/// One direction. That it has ended travels as long as the bytes before it.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: &AtomicU64,
) -> io::Result<()> {
    let (pass_on, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let take = async move {
        loop {
            let mut bytes = vec![0; READ_BYTES];
            let count = from.read(&mut bytes).await?;
            bytes.truncate(count);
            let due = Instant::now() + Duration::from_nanos(delay.load(Ordering::Relaxed));
            if pass_on.send((due, bytes)).await.is_err() || count == 0 {
                return Ok(());
            }
        }
    };
    let give = async move {
        while let Some((due, bytes)) = under_way.recv().await {
            sleep_until(due).await;
            if bytes.is_empty() {
                break;
            }
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(take, give)?;
    Ok(())
}
