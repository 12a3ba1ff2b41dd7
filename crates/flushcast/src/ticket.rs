//! Owns what somebody waits to hear of a flush. What it came to is put down first, and whoever waits is
//! woken then: the former may be done under a lock, the latter runs an executor's code and may not.

use std::sync::OnceLock;
use std::task::{Context, Poll};

use flushcast_core::ack::Outcome;
use futures_util::task::AtomicWaker;

use crate::flush::FlushError;

/// Of one who waits.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    told: OnceLock<Result<Outcome, FlushError>>,
    waker: AtomicWaker,
}

impl Ticket {
    /// Puts down what it came to; the first word counts.
    pub(crate) fn put(&self, outcome: Result<Outcome, FlushError>) {
        // A node that stops has no say in what was settled before.
        let _ = self.told.set(outcome);
    }

    /// Under no lock.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<Result<Outcome, FlushError>> {
        // Before it looks: what is put down behind that look wakes it.
        self.waker.register(context.waker());
        self.told.get().cloned().map_or(Poll::Pending, Poll::Ready)
    }

    /// Nobody waits any more. Under no lock: the waker may be all that is left of a task.
    pub(crate) fn forget(&self) {
        drop(self.waker.take());
    }
}
