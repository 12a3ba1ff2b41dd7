//! Owns the stream of what happens to a node, for applications that want more than log lines.

use flushcast_core::node::Report;
use tokio::sync::broadcast::{self, error::RecvError};

/// How many events a reader may be behind.
pub(crate) const KEPT: usize = 256;

/// What has happened to a node since the stream was asked for. Made by
/// [`Node::events`](crate::Node::events).
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Report>,
    lost: u64,
}

impl Events {
    pub(crate) fn new(receiver: broadcast::Receiver<Report>) -> Self {
        Self { receiver, lost: 0 }
    }

    /// The next one; `None` when the node is gone. Cancel by dropping: nothing is lost by that.
    pub async fn next(&mut self) -> Option<Report> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(count)) => self.lost += count,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// How many events this reader has missed by being more than 256 behind. The state is never
    /// lost: ask [`Node::cut_off`](crate::Node::cut_off) and [`Node::peers`](crate::Node::peers).
    pub fn lost(&self) -> u64 {
        self.lost
    }
}
