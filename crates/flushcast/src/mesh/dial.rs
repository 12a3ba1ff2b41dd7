//! Owns how an address is dialled. It must never take what it finds there for a node.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::node::{ConnId, Input};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{ConnHandle, connection};
use crate::driver::Shared;

/// How long a dial may take.
const DIAL_WITHIN: Duration = Duration::from_secs(3);

/// Dials, tells the core what came of it, and runs the connection.
pub(crate) async fn dial(
    shared: Arc<Shared>,
    conn: ConnId,
    address: SocketAddr,
    handle: ConnHandle,
) {
    let connect = async {
        shared.cable.whole().await;
        TcpStream::connect(address).await
    };
    let dialled = tokio::select! {
        () = handle.stop.cancelled() => return,
        dialled = timeout(DIAL_WITHIN, connect) => dialled,
    };
    let (refused, why) = match dialled {
        Ok(Ok(stream)) => {
            let local = stream.local_addr().ok();
            shared.feed(Input::Connected { conn, local });
            return connection::run(shared, conn, stream, handle).await;
        }
        Ok(Err(error)) => (error.kind() == io::ErrorKind::ConnectionRefused, error.to_string()),
        Err(_elapsed) => (false, format!("no answer within {DIAL_WITHIN:?}")),
    };
    shared.conns.lock().remove(&conn);
    shared.feed(Input::DialFailed { conn, refused, why });
}
