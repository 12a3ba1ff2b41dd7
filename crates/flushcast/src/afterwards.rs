//! Owns what is left to do of the core's outputs once its lock is let go: all that runs somebody else's
//! code, or may. It must never be done under a lock, and whoever has taken it does it: nobody waits for
//! another's.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use flushcast_core::node::ConnId;

use crate::driver::Shared;
use crate::mesh::{self, ConnHandle};
use crate::ticket::Ticket;

/// Of one step of the core's. In any order: what has one, events and lines of the log, was added under
/// the lock.
#[must_use]
#[derive(Default)]
pub(crate) struct Afterwards {
    /// Who is to look at what was put down.
    pub(crate) settled: Vec<Arc<Ticket>>,
    pub(crate) dials: Vec<(ConnId, SocketAddr, ConnHandle)>,
    pub(crate) conns_changed: bool,
    pub(crate) peers_changed: bool,
    /// Events were added, or they end.
    pub(crate) told: bool,
}

impl Afterwards {
    pub(crate) fn go_on(self, shared: &Arc<Shared>) {
        let Self { settled, dials, conns_changed, peers_changed, told } = self;
        for (conn, address, handle) in dials {
            shared.spawn(mesh::dial(Arc::clone(shared), conn, address, handle));
        }
        if told {
            shared.write_log();
            wake(|| shared.events.wake());
        }
        for ticket in settled {
            wake(|| ticket.wake());
        }
        if conns_changed {
            wake(|| shared.conns_changed.notify_waiters());
        }
        if peers_changed {
            wake(|| shared.peers_changed.send_replace(()));
        }
    }
}

/// A panic in an executor must not keep the others waiting, nor end a task of the node.
fn wake(wakers: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(wakers));
}
