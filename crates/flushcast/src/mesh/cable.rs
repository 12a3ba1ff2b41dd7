//! Owns the node's cable: a switch that keeps every byte from passing between it and its peers.
//! It must never tell anybody that it was pulled: a network that drops everything tells nobody.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// For how long a connection that is over is held, so that its other end does not learn of it: longer
/// than that end waits for a word.
const HELD_FOR: Duration = Duration::from_secs(15);

/// All that a node says and hears passes here.
#[derive(Debug)]
pub(crate) struct Cable {
    is_cut: watch::Sender<bool>,
}

impl Cable {
    pub(crate) fn new() -> Self {
        Self { is_cut: watch::Sender::new(false) }
    }

    #[cfg(feature = "faults")]
    pub(crate) fn set_cut(&self, cut: bool) {
        self.is_cut.send_replace(cut);
    }

    pub(crate) fn is_cut(&self) -> bool {
        *self.is_cut.borrow()
    }

    /// Waits while it is cut: whatever has arrived meanwhile stays where it is.
    pub(crate) async fn whole(&self) {
        if self.is_cut() {
            // The sender lives as long as this borrow, so that waiting does not fail.
            let _ = self.is_cut.subscribe().wait_for(|cut| !cut).await;
        }
    }

    /// Keeps what is over from being dropped while it is cut, as long as that makes a difference.
    pub(crate) async fn hold<T>(&self, over: T) {
        // However the wait ends.
        let _ = timeout(HELD_FOR, self.whole()).await;
        drop(over);
    }
}
