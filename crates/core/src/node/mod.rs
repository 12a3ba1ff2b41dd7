//! Owns one node's part in the cluster: what happens when something arrives, breaks or is due.
//! It must never wait, nor touch copies other than through [`Caches`].
//!
//! Feed one [`Input`], drain all [`Output`]s, pull what connections have to send with
//! [`Node::transmit`], arm a timer for [`Node::next_deadline`]. Rules, by the id that code and
//! tests cite (`docs/reference/protocol.md` says why):
//! - N1: a flush is acknowledged only after it was applied to copies and flights;
//! - N2: flushes of one life are applied exactly in order, without a gap, or a reset says so;
//! - N3: a new life never continues the log of an earlier one;
//! - N4: a follower that is behind costs a number, never a queue;
//! - N7: a proof of being in step counts from when it was asked for, and never claims a flush that
//!   is not applied;
//! - N9: a death counts only once all other listed nodes have said what they were told.

mod conn;
mod dial;
mod inbound;
mod inquire;
mod io;
mod meet;
mod outbound;
mod prove;
mod renew;
mod settle;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use conn::Conn;
pub use conn::ConnId;
pub use io::{Input, ListsDiffer, Output, Report, Transmit};

use crate::Time;
use crate::ack::Tickets;
use crate::cache::Caches;
use crate::flush::{FlushLog, LogLimits};
use crate::peers::{Entry, Followers, Peer, Roster, Source, canonical};
use crate::repair::{Inquest, Lives};
use crate::wire::{FrameError, Incarnation, Scope, Seq};

/// What a node is told at its start.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The cluster it belongs to; nodes of other clusters are kept apart.
    pub cluster: String,
    /// Its name in outcomes and pages.
    pub name: String,
    /// Its life: random, never used before.
    pub incarnation: Incarnation,
    /// Where it listens. An unspecified IP lets peers use the one they see.
    pub address: SocketAddr,
    /// Small texts that its peers can read.
    pub labels: BTreeMap<String, String>,
    /// How much its flush log keeps.
    pub log: LogLimits,
    /// How many discovery sources it has.
    pub sources: usize,
    /// The list of all nodes, itself included, if that is all its sources know: what a strict
    /// cache needs.
    pub fixed: Option<Vec<SocketAddr>>,
    /// Whether a refused dial proves that nobody is there. Not where a firewall refuses in the
    /// name of living nodes.
    pub trust_refusals: bool,
    /// Seed of the chance in pauses between dials.
    pub seed: u64,
}

/// A flush was applied here but not announced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// The node has left or is leaving the cluster.
    #[error("this node has left the cluster: announce before shutting down")]
    Left,
    /// The key does not fit in a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Whether a node takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// It says goodbye.
    Leaving,
    /// It is silent for good, without a goodbye.
    Halted,
}

/// The state of one node. See the module's head for how to drive it.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    caches: Arc<Caches>,
    log: FlushLog,
    roster: Roster,
    followers: Followers,
    /// What each origin told, and what is settled about those that are over.
    lives: Lives,
    inquest: Inquest,
    /// The sources that have told their whole list.
    whole_lists: BTreeSet<Source>,
    sync: prove::Sync,
    conns: BTreeMap<ConnId, Conn>,
    conns_drawn: u64,
    /// Connections to followers that have sent everything, to be woken by the next flush.
    idle: BTreeSet<ConnId>,
    tickets: Tickets,
    /// Those of strict caches, for which a lease that has run out is as good as an answer.
    strict_tickets: Tickets,
    /// When the next of those leases runs out.
    next_lease_end: Time,
    outputs: VecDeque<Output>,
    /// When all origins are asked again how far their logs are.
    next_renewal: Time,
    /// The timer that the shell has armed.
    armed: Time,
    phase: Phase,
    rng: fastrand::Rng,
}

impl Node {
    /// A node that knows nobody yet and applies flushes to `caches`. Its clock starts here, at
    /// [`Time::ZERO`], when it can be dialled already.
    pub fn new(config: NodeConfig, caches: Arc<Caches>) -> Self {
        let mut roster = Roster::default();
        if !config.address.ip().is_unspecified() {
            roster.own(canonical(config.address));
        }
        Self {
            log: FlushLog::new(config.log),
            rng: fastrand::Rng::with_seed(config.seed),
            config,
            caches,
            roster,
            followers: Followers::default(),
            lives: Lives::default(),
            inquest: Inquest::default(),
            whole_lists: BTreeSet::new(),
            sync: prove::Sync::default(),
            conns: BTreeMap::new(),
            conns_drawn: 0,
            idle: BTreeSet::new(),
            tickets: Tickets::default(),
            strict_tickets: Tickets::default(),
            next_lease_end: Time::NEVER,
            outputs: VecDeque::new(),
            next_renewal: Time::ZERO,
            armed: Time::NEVER,
            phase: Phase::Running,
        }
    }

    /// Takes in one thing that happened. Costs at most the frames it brings, plus the roster.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        self.notice_lapse(now);
        match input {
            Input::Members { source, listed, complete } => {
                self.on_members(now, &source, &listed, complete);
            }
            Input::Accepted { conn, from } => self.on_accepted(now, conn, from),
            Input::Connected { conn } => self.on_connected(now, conn),
            Input::DialFailed { conn, refused, why } => {
                self.on_dial_failed(now, conn, refused, why);
            }
            Input::Received { conn, bytes } => self.on_received(now, conn, bytes),
            Input::Closed { conn, why } => self.on_closed(now, conn, why),
            Input::Tick => self.on_tick(now),
            Input::Leave => self.on_leave(),
            Input::Halt => self.on_halt(),
        }
        self.prove(now);
        self.rearm();
    }

    /// The next thing to do, or `None` when all is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to feed [`Input::Tick`] at the latest. Asking for it means to arm for it.
    pub fn next_deadline(&mut self) -> Time {
        self.armed = self.earliest();
        self.armed
    }

    /// An id for a connection that the shell has accepted.
    pub fn next_conn(&mut self) -> ConnId {
        self.conns_drawn += 1;
        ConnId(self.conns_drawn)
    }

    /// Announces, under one number, that `scopes` of `cache` are out of date, after they were
    /// applied here. Costs one encoding; never waits. The outputs wake connections that had
    /// nothing to send.
    ///
    /// # Errors
    /// [`AnnounceError`]; nothing was announced then.
    pub fn announce(&mut self, cache: &str, scopes: Vec<Scope<'_>>) -> Result<Seq, AnnounceError> {
        if self.phase != Phase::Running {
            return Err(AnnounceError::Left);
        }
        let seq = self.log.append(cache, scopes)?;
        self.wake_idle();
        Ok(seq)
    }

    /// The number of the newest flush of this node.
    pub fn head(&self) -> Seq {
        self.log.head()
    }

    /// What this node was told at its start.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// A snapshot of the roster, by address.
    pub fn peers(&self, now: Time) -> Vec<Peer> {
        let view = |(address, entry)| Peer::new(now, address, entry, &self.followers, &self.lives);
        self.roster.iter().map(view).collect()
    }

    /// A node whose fixed list is another than this node's, if any: strict caches serve nothing
    /// then.
    pub fn lists_differ(&self) -> Option<ListsDiffer> {
        let ours = self.config.fixed.as_ref()?;
        let differs = |(address, entry): (SocketAddr, &Entry)| {
            let theirs = entry.other_list.clone().filter(|_| !entry.left)?;
            Some(ListsDiffer { node: entry.name_or(address), ours: ours.clone(), theirs })
        };
        self.roster.iter().find_map(differs)
    }

    /// Bytes that the flush log holds.
    pub fn log_bytes(&self) -> usize {
        self.log.bytes()
    }

    fn report(&mut self, report: Report) {
        self.outputs.push_back(Output::Report(report));
    }

    /// Says so when the timer that the shell has armed is too late.
    fn rearm(&mut self) {
        let earliest = self.earliest();
        if earliest < self.armed {
            self.armed = earliest;
            self.outputs.push_back(Output::Rearm);
        }
    }
}

#[cfg(all(test, not(flushcast_shuttle)))]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests;
