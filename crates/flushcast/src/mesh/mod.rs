//! Owns the sockets between nodes: accept, dial, read, write.
//! It must never look into what it carries; frames are the core's.

mod cable;
mod connection;
mod dial;
mod door;
mod gate;
mod listener;
mod stream;

use std::sync::Arc;

pub(crate) use cable::Cable;
pub(crate) use dial::dial;
pub(crate) use door::Door;
use flushcast_core::node::ConnId;
pub(crate) use gate::Gate;
pub(crate) use listener::accept;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::driver::Shared;

/// How the driver reaches the task of a connection.
#[derive(Debug, Clone)]
pub(crate) struct ConnHandle {
    /// There is something to send.
    pub(crate) wake: Arc<Notify>,
    /// End at once.
    pub(crate) stop: CancellationToken,
}

/// Makes a connection reachable for the driver, before the core may speak of it.
pub(crate) fn enter(shared: &Shared, conn: ConnId) -> ConnHandle {
    let handle = ConnHandle { wake: Arc::default(), stop: CancellationToken::new() };
    shared.conns.lock().insert(conn, handle.clone());
    handle
}
