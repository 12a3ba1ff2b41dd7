//! Owns how an address is dialled. It must never take what it finds there for a node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::ack::Reason;
use flushcast_core::node::{ConnId, Input};
use tokio::time::timeout;

use super::{ConnHandle, connection};
use crate::driver::Shared;

/// How long a dial may take, its handshake included.
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
        shared.door.go_out(address).await
    };
    let dialled = tokio::select! {
        () = handle.stop.cancelled() => return,
        dialled = timeout(DIAL_WITHIN, connect) => dialled,
    };
    let why = match dialled {
        Ok(Ok((stream, local))) => {
            shared.feed(Input::Connected { conn, local });
            return connection::run(shared, conn, stream, handle).await;
        }
        Ok(Err(why)) => why,
        Err(_elapsed) => Reason::Unreachable(format!("no answer within {DIAL_WITHIN:?}")),
    };
    shared.conns.lock().remove(&conn);
    shared.feed(Input::DialFailed { conn, why });
}
