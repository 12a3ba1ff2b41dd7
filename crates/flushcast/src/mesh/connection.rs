//! Owns one connection: bytes in, bytes out, until either ends.
//! It must never hold what is to be sent: it asks the core for it when the socket takes more.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::ack::Reason;
use flushcast_core::node::{ConnId, Input, Transmit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::ConnHandle;
use super::stream::{Stream, trouble};
use crate::driver::Shared;

/// Most bytes given to the core at once, which bounds how long it is locked.
const READ_BYTES: usize = 16 * 1024;
/// Behind a read of more bytes than this, other connections on the same thread are read first.
const MUCH_BYTES: usize = READ_BYTES / 2;
/// About this many bytes are written at once where so many wait.
const WRITE_BYTES: usize = 64 * 1024;
/// A buffer larger than this is given back when there is nothing to send.
const KEPT_BYTES: usize = 4 * 1024;
/// How long the other end may take to read the last words.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// Why a link is made anew.
const MADE_ANEW: &str = "a secret, authority or certificate was replaced: the link is made anew";

/// Runs a connection to its end and tells the core.
pub(super) async fn run(shared: Arc<Shared>, conn: ConnId, mut stream: Stream, handle: ConnHandle) {
    let unasked = Reason::Unreachable("its task ended".to_owned());
    let mut end = End { shared: &shared, conn, why: Some(unasked) };
    let shown = stream.shown();
    #[cfg(feature = "tls")]
    if let Some(shown) = &shown {
        let (life, expires) = (shared.door.life_of(shown), shown.expires);
        shared.feed(Input::Shown { conn, life, expires });
    }
    // A flush is small and urgent; without this it may wait for an earlier one's acknowledgement.
    end.why = match stream.socket().set_nodelay(true) {
        Err(error) => Some(Reason::Unreachable(error.to_string())),
        Ok(()) => tokio::select! {
            // The core has ended it, and needs not be told.
            () = handle.stop.cancelled() => None,
            () = shared.door.would_not_take(shown) => Some(Reason::Unreachable(MADE_ANEW.to_owned())),
            why = carry(&shared, conn, &mut stream, &handle.wake) => Some(why),
        },
    };
    drop(end);
    // Not even that it ends is heard at the other end of a cut.
    shared.cable.hold(stream).await;
}

/// Tells the core when a connection is over, however its task ends: an end that nobody tells of
/// would leave a link that looks open for ever.
struct End<'s> {
    shared: &'s Arc<Shared>,
    conn: ConnId,
    why: Option<Reason>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if let Some(why) = self.why.take() {
            self.shared.conns.lock().remove(&self.conn);
            self.shared.conns_changed.notify_waiters();
            let conn = self.conn;
            self.shared.feed(match why {
                Reason::Unreachable(why) => Input::Closed { conn, why },
                why => Input::DialFailed { conn, why },
            });
        }
        // What was heard over it counts, and may not have been applied.
        let shared = Arc::clone(self.shared);
        self.shared.spawn(async move { shared.apply_rest().await });
    }
}

/// Reads and writes side by side: neither may wait for the other, or two nodes that both write
/// would stop each other. Gives back why it ended.
async fn carry(shared: &Arc<Shared>, conn: ConnId, stream: &mut Stream, wake: &Notify) -> Reason {
    match stream {
        Stream::Plain(socket) => {
            let (read, write) = socket.split();
            carry_both(shared, conn, read, write, wake).await
        }
        #[cfg(feature = "tls")]
        Stream::Tls(stream) => {
            let (read, write) = tokio::io::split(&mut stream.0);
            carry_both(shared, conn, read, write, wake).await
        }
    }
}

async fn carry_both(
    shared: &Arc<Shared>,
    conn: ConnId,
    read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
    wake: &Notify,
) -> Reason {
    let reading = read_all(shared, conn, read);
    tokio::pin!(reading);
    tokio::select! {
        why = &mut reading => why,
        written = write_all(shared, conn, write, wake) => match written {
            Err(error) => trouble(&error),
            Ok(()) => {
                // Closing with bytes unread would reset the connection under the last words.
                let _ = tokio::time::timeout(LAST_WORDS_WITHIN, reading).await;
                Reason::Unreachable("ended".to_owned())
            }
        },
    }
}

async fn read_all(shared: &Arc<Shared>, conn: ConnId, mut read: impl AsyncRead + Unpin) -> Reason {
    let mut bytes = vec![0; READ_BYTES];
    loop {
        let read = read.read(&mut bytes).await;
        shared.cable.whole().await;
        match read {
            Ok(0) => return Reason::Unreachable("closed by the other end".to_owned()),
            Ok(count) => {
                shared.feed(Input::Received { conn, bytes: &bytes[..count] });
                shared.apply_heard(conn).await;
                if count > MUCH_BYTES {
                    // So that a peer that floods does not keep a thread for itself.
                    tokio::task::yield_now().await;
                }
            }
            Err(error) => return trouble(&error),
        }
    }
}

async fn write_all(
    shared: &Arc<Shared>,
    conn: ConnId,
    mut write: impl AsyncWrite + Unpin,
    wake: &Notify,
) -> io::Result<()> {
    let mut out = Vec::new();
    loop {
        out.clear();
        shared.cable.whole().await;
        match shared.transmit(conn, WRITE_BYTES, &mut out) {
            Transmit::Data => {
                write.write_all(&out).await?;
                // What is encrypted is not sent by that alone.
                write.flush().await?;
            }
            Transmit::Idle => {
                if out.capacity() > KEPT_BYTES {
                    out = Vec::new();
                }
                wake.notified().await;
            }
            Transmit::Finished => return write.shutdown().await,
        }
    }
}
