//! Owns how connections come in. It must never decide whether one is kept.

use std::sync::Arc;
use std::time::Duration;

use flushcast_core::node::Input;
use tokio::net::TcpListener;

use super::{connection, enter};
use crate::driver::Shared;
use crate::log::Line;

/// Pause after the system could not accept, for example for want of file descriptors.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Accepts connections until the node stops.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if shared.cable.is_cut() => {
                let hold = Arc::clone(&shared);
                shared.spawn(async move { hold.cable.hold(stream).await });
            }
            Ok((stream, from)) => {
                let conn = shared.next_conn();
                let handle = enter(&shared, conn);
                shared.feed(Input::Accepted { conn, from });
                shared.spawn(connection::run(Arc::clone(&shared), conn, stream, handle));
            }
            Err(error) => {
                shared.tell(Line::CannotAccept(error));
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}
