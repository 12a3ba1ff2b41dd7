//! Owns how connections come in. It must never decide whether one is kept.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use flushcast_core::node::Input;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::gate::{HANDSHAKE_WITHIN, Waiting};
use super::stream::Stream;
use super::{connection, enter};
use crate::driver::Shared;
use crate::log::Line;

/// Pause after the system could not accept, for example for want of file descriptors.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Accepts connections until the node stops.
pub(crate) async fn accept(shared: Arc<Shared>) {
    loop {
        let next = poll_fn(|context| match &*shared.listener.lock() {
            Some(listener) => listener.poll_accept(context),
            // The node has stopped, and this task is told so.
            None => Poll::Pending,
        });
        match next.await {
            Ok((stream, _)) if shared.cable.is_cut() => {
                let hold = Arc::clone(&shared);
                shared.spawn(async move { hold.cable.hold(stream).await });
            }
            Ok((socket, from)) if shared.door.is_open() => {
                welcome(&shared, Stream::Plain(socket), from);
            }
            Ok((socket, from)) => {
                let waiting = shared.gate.wait(from.ip()).await;
                shared.spawn(admit(Arc::clone(&shared), socket, from, waiting));
            }
            Err(error) => {
                shared.tell(Line::CannotAccept(error));
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

/// Lets a connection in that proves to be a member's, and turns away every other one.
async fn admit(shared: Arc<Shared>, socket: TcpStream, from: SocketAddr, waiting: Waiting) {
    let handshake = async {
        // Who says nothing takes nobody's turn.
        match socket.peek(&mut [0]).await {
            Ok(1..) => {}
            Ok(0) => return Err("it ended without a word".to_owned()),
            Err(error) => return Err(format!("it ended: {}", error.kind())),
        }
        shared.gate.turn().await;
        shared.door.come_in(socket).await.map_err(|why| why.to_string())
    };
    let came_in = tokio::select! {
        () = waiting.leave.cancelled() => Err("it did not prove to be a member, and others came".to_owned()),
        came_in = timeout(HANDSHAKE_WITHIN, handshake) => came_in
            .unwrap_or_else(|_| Err(format!("it did not prove to be a member within {HANDSHAKE_WITHIN:?}"))),
    };
    drop(waiting);
    match came_in {
        Ok(stream) => welcome(&shared, stream, from),
        Err(why) => {
            if shared.gate.turn_away(from.ip(), &why) {
                shared.tell(Line::TurnedAway { from, why });
            }
        }
    }
}

fn welcome(shared: &Arc<Shared>, stream: Stream, from: SocketAddr) {
    let conn = shared.next_conn();
    let handle = enter(shared, conn);
    shared.feed(Input::Accepted { conn, from });
    shared.spawn(connection::run(Arc::clone(shared), conn, stream, handle));
}
