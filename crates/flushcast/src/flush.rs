//! Owns what a flush gives back: already applied here and on its way, to be awaited or not.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::ack::Outcome;
use flushcast_core::key::KeyError;
use flushcast_core::node::{Input, ListsDiffer};
use flushcast_core::wire::{MAX_KEY_BYTES, MAX_TAG_BYTES, Seq};

use crate::alarm::Alarm;
use crate::driver::Shared;
use crate::ticket::Ticket;

/// Why the other nodes were not told, or it is not known what they did. The flush was applied on
/// this node in every case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// The key's text is over the limit. No node can hold a copy under it, as loads refuse it too.
    #[error("key of {bytes} bytes is over the limit of {MAX_KEY_BYTES}: use a shorter one")]
    KeyTooLong {
        /// The length of its text in bytes.
        bytes: usize,
    },
    /// The tag is over the limit. No copy has it, on any node, as loads that give it fail.
    #[error("tag of {bytes} bytes is over the limit of {MAX_TAG_BYTES}: use a shorter one")]
    TagTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// No key of this cache begins so: it names nothing, and nobody was told.
    #[error(transparent)]
    BadPrefix(#[from] KeyError),
    /// The node has left the cluster; nobody was told.
    #[error("the node has left the cluster: flush before shutting it down")]
    NodeLeft,
    /// The node was stopped while this flush was awaited; others may have applied it or not.
    #[error("the node was stopped before others confirmed the flush")]
    NodeStopped,
    /// Of a [`Strict`](crate::Guarantee::Strict) cache: some node neither applied it nor is known
    /// to serve nothing older, within `confirm_within`. It is told all the same once it can be
    /// reached; await another flush of the same key to learn when.
    #[error("not confirmed by {}: await another flush of the key", names(.0))]
    Unconfirmed(Outcome),
    /// Of a [`Strict`](crate::Guarantee::Strict) cache: two nodes know different nodes, so that
    /// nothing can be said of all of them.
    #[error("not confirmed by all nodes: {0}")]
    ListsDiffer(ListsDiffer),
}

fn names(outcome: &Outcome) -> String {
    let names: Vec<_> = outcome.unconfirmed.iter().map(|it| it.to_string()).collect();
    names.join(", ")
}

/// A flush that was applied here and is on its way to all others.
///
/// Await it to learn who has applied it, on any executor; the wait is bounded by the node's
/// [`confirm_within`](crate::NodeBuilder::confirm_within), even where the runtime is blocked that the node
/// was started in: then nobody's confirmation is read. Only the node's lock has to be had, which nothing
/// holds that waits or runs the application's code. Not awaiting it changes nothing for the
/// others. A flush that could not even be announced is logged as an error, awaited or not.
pub struct Flush {
    shared: Arc<Shared>,
    announced: Result<Seq, FlushError>,
    /// When it had been, at the latest.
    at: Time,
    deadline: Time,
    /// Whether it is of a strict cache.
    strict: bool,
}

impl Flush {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        confirm_within: Duration,
        announced: Result<Seq, FlushError>,
        strict: bool,
    ) -> Self {
        if let Err(error) = &announced {
            tracing::error!(%error, "a flush has told no other node");
        }
        let at = shared.clocks.exact.now();
        let deadline = at + confirm_within;
        Self { shared: Arc::clone(shared), announced, at, deadline, strict }
    }
}

impl IntoFuture for Flush {
    type Output = Result<Outcome, FlushError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { shared, announced, at, deadline, strict } = self;
            let outcome = Settled::by(&shared, announced?, at, deadline, strict).await?;
            if strict {
                if let Some(differ) = shared.ask(|core, _| core.lists_differ()) {
                    return Err(FlushError::ListsDiffer(differ));
                }
                if !outcome.is_complete() {
                    return Err(FlushError::Unconfirmed(outcome));
                }
            }
            Ok(outcome)
        })
    }
}

/// Longest time that the alarm is set for; one without cause costs nothing.
const LONGEST: Duration = Duration::from_secs(3600);
/// For a clock that reads a moment before the deadline once more.
const AGAIN: Duration = Duration::from_millis(1);

/// What a flush comes to, by its deadline: the node's own timer may be on a runtime that is blocked, so who
/// waits has an alarm, and then gives the core its tick.
pub(crate) struct Settled<'s> {
    shared: &'s Arc<Shared>,
    ticket: Arc<Ticket>,
    deadline: Time,
    alarm: Alarm,
}

impl<'s> Settled<'s> {
    /// `at` is when the flush had been announced, and `strict` whether it is of a strict cache.
    pub(crate) fn by(
        shared: &'s Arc<Shared>,
        seq: Seq,
        at: Time,
        deadline: Time,
        strict: bool,
    ) -> Self {
        let ticket = shared.await_applied(seq, at, deadline, strict);
        Self { shared, ticket, deadline, alarm: Alarm::default() }
    }
}

impl Future for Settled<'_> {
    type Output = Result<Outcome, FlushError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { shared, ticket, deadline, alarm } = self.get_mut();
        if let Poll::Ready(outcome) = ticket.poll(context) {
            return Poll::Ready(outcome);
        }
        let mut left = deadline.since(shared.clocks.exact.now());
        if left == Duration::ZERO {
            // Whoever has the core settle it puts that down before it lets the core go.
            shared.feed(Input::Tick);
            if let Poll::Ready(outcome) = ticket.poll(context) {
                return Poll::Ready(outcome);
            }
            left = AGAIN;
        }
        alarm.set(left.min(LONGEST), context.waker());
        Poll::Pending
    }
}

impl Drop for Settled<'_> {
    fn drop(&mut self) {
        self.ticket.forget();
    }
}

impl std::fmt::Debug for Flush {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Flush").field("announced", &self.announced).finish_non_exhaustive()
    }
}
