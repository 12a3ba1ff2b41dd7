//! Owns one node's part in the cluster: what happens when something arrives, breaks or is due.
//! It must never wait, nor touch copies: flushes that arrive are given out as [`Work`], applied
//! outside, and only then acknowledged and proven.
//!
//! Feed one [`Input`], drain all [`Output`]s, pull what connections have to send with
//! [`Node::transmit`], take what is to be applied with [`Node::take_work`], arm a timer for
//! [`Node::next_deadline`]. Rules, by the id that code and tests cite
//! (`docs/reference/protocol.md` says why):
//! - N1: a flush is acknowledged only after it was applied to copies and flights;
//! - N2: flushes of one life are heard exactly in order, without a gap, or a reset says so;
//! - N3: a new life never continues the log of an earlier one;
//! - N4: a follower that is behind costs a number, never a queue;
//! - N7: a proof of being in step counts from when it was asked for, and claims nothing that is not
//!   applied here, of the one that is asked or of those it has heard and lost;
//! - N9: who is at a place counts only once all who may have heard somebody else there were asked.

mod confirm;
mod conn;
mod dial;
mod forget;
mod handshake;
#[cfg(any(test, fuzzing))]
mod held;
mod holder;
mod io;
mod members;
mod receive;
mod recover;
mod renew;
mod silence;
mod sync_status;
mod transmit;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use conn::Conn;
pub use conn::ConnId;
#[cfg(any(test, fuzzing))]
pub use held::Held;
pub use io::{Batch, Input, ListsDiffer, Output, Report, Transmit, Work};

use crate::Time;
use crate::ack::{Suspects, TicketId, Tickets};
use crate::cache::Caches;
use crate::flush::{FlushLog, LogLimits};
use crate::peers::{Listed, Lives, Minimum, Open, PlaceId, Roster, Source, Subject, canonical};
use crate::repair::Recovery;
use crate::wire::{FrameError, Incarnation, MAX_PEERS, Scope, Seq};

/// What a node is told at its start.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The cluster it belongs to; nodes of other clusters are kept apart.
    pub cluster: String,
    /// Its name in outcomes and pages.
    pub name: String,
    /// Its life: random, never used before.
    pub incarnation: Incarnation,
    /// Where it says to be. An unspecified IP stands for each address of this machine that a
    /// connection to a peer uses.
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
    /// Whether a refused dial proves that nobody is there, which is not so where something refuses
    /// in the name of living nodes. Unless it is said, it does for bounded caches, and does not
    /// for strict ones.
    pub trust_refusals: Option<bool>,
    /// How much it keeps of others.
    pub limits: Limits,
    /// Seed of the chance in pauses between dials.
    pub seed: u64,
}

/// How much a node keeps of others, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most places, and most linked lives.
    pub peers: usize,
    /// What is kept of what each life told, to hand it over when that life is over.
    pub tail: LogLimits,
    /// Most lives that are not linked and not forgotten: beyond it, those lost first are given up,
    /// and all copies are distrusted if one of them was not settled.
    pub lives_over: usize,
    /// How long a life that is settled or has left is remembered with its tail.
    pub forget_after: Duration,
    /// How long a life that no discovery lists is waited for: a lost one before it is asked around, a
    /// linked one that answers nothing before its links are ended.
    pub patience: Duration,
    /// How long it is asked around; then its last flushes are taken for missed.
    pub ask_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peers: MAX_PEERS,
            tail: LogLimits { entries: 512, bytes: 16 * 1024 },
            lives_over: 512,
            forget_after: Duration::from_secs(5),
            patience: Duration::from_secs(60),
            ask_within: Duration::from_secs(60),
        }
    }
}

/// A flush was applied here but not announced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// The node has left or is leaving the cluster.
    #[error("this node has left the cluster: announce before shutting down")]
    Left,
    /// There are more scopes than a flush may have, or words that are longer than they may be.
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

/// The smallest of what is asked for again and again, kept in order.
#[derive(Debug, Default)]
struct Minima {
    /// Up to when each subject is proven, for bounded caches.
    bounded: Minimum<Subject, Time>,
    /// Up to when each listed place is proven, for strict ones.
    strict: Minimum<PlaceId, Time>,
    /// Up to when each linked life is proven.
    linked: Minimum<Incarnation, Time>,
    /// When each place where nobody is known was last found empty.
    empty: Minimum<PlaceId, Time>,
    /// Up to when each of them is proven for strict caches.
    empty_strict: Minimum<PlaceId, Time>,
    /// How far each that may still do so has applied this node's log.
    awaited: Minimum<Subject, Seq>,
    /// When each place is to be dialled.
    dials: Minimum<PlaceId, Time>,
    /// When something is due about a life: that it is given up, forgotten, or looked at.
    ends: Minimum<Incarnation, Time>,
}

/// The state of one node. See the module's head for how to drive it.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    caches: Arc<Caches>,
    log: FlushLog,
    roster: Roster,
    lives: Lives,
    minima: Minima,
    /// What is to be settled.
    open: Open<Subject>,
    /// The same for strict caches, which care for places alone.
    strict_open: Open<PlaceId>,
    recovery: Recovery,
    /// Linked lives whose answers wait for what third ones have told.
    lacking: BTreeSet<Incarnation>,
    /// Lives of which something may wait to be applied.
    work_left: BTreeSet<Incarnation>,
    /// Lives at listed places, linked or lost, that were given another fixed list than this node.
    other_lists: BTreeSet<Incarnation>,
    /// The listed places that each source has told and that there was no room for.
    left_out: BTreeMap<Source, Vec<Listed>>,
    /// The sources that have told their whole list.
    whole_lists: BTreeSet<Source>,
    sync: sync_status::SyncStatus,
    /// No copy that is trusted was loaded before.
    copies_from: Time,
    conns: BTreeMap<ConnId, Conn>,
    conns_drawn: u64,
    /// Connections that have sent everything, to be woken by the next flush.
    idle: BTreeSet<ConnId>,
    tickets: Tickets,
    /// Those of strict caches, for which a lease that has run out is as good as an answer.
    strict_tickets: Tickets,
    /// Who was waited for in vain, and is not any more.
    suspects: Suspects,
    /// Whom the first strict one waits for.
    waits_on: Option<(TicketId, Subject)>,
    /// Some ticket may be settled by what has changed.
    is_unsettled: bool,
    /// When that one's lease runs out.
    next_lease_end: Time,
    /// The last grant to a listed life that was lost without a goodbye.
    lost_grant: Time,
    outputs: VecDeque<Output>,
    /// When all were asked last how far their logs are.
    last_renewal: Option<Time>,
    /// The latest moment for which a question was put together.
    last_question: Time,
    /// The timer that the shell has armed.
    armed: Time,
    /// Nothing was heard before, as nothing drove this node.
    paused_until: Time,
    phase: Phase,
    rng: fastrand::Rng,
}

impl Node {
    /// A node that knows nobody yet, for `caches`. Its clock starts here, at [`Time::ZERO`], when it
    /// can be dialled already.
    pub fn new(config: NodeConfig, caches: Arc<Caches>) -> Self {
        let mut node = Self {
            log: FlushLog::new(config.log),
            rng: fastrand::Rng::with_seed(config.seed),
            lives: Lives::new(config.limits.tail),
            config,
            caches,
            roster: Roster::default(),
            minima: Minima::default(),
            open: Open::default(),
            strict_open: Open::default(),
            recovery: Recovery::default(),
            lacking: BTreeSet::new(),
            work_left: BTreeSet::new(),
            other_lists: BTreeSet::new(),
            left_out: BTreeMap::new(),
            whole_lists: BTreeSet::new(),
            sync: sync_status::SyncStatus::default(),
            copies_from: Time::ZERO,
            conns: BTreeMap::new(),
            conns_drawn: 0,
            idle: BTreeSet::new(),
            tickets: Tickets::default(),
            strict_tickets: Tickets::default(),
            suspects: Suspects::default(),
            waits_on: None,
            is_unsettled: false,
            next_lease_end: Time::NEVER,
            lost_grant: Time::ZERO,
            outputs: VecDeque::new(),
            last_renewal: None,
            last_question: Time::ZERO,
            armed: Time::NEVER,
            paused_until: Time::ZERO,
            phase: Phase::Running,
        };
        node.config.address = canonical(node.config.address);
        node
    }

    /// Takes in one thing that happened. Costs the frames it brings, and for each the logarithm of
    /// how many are known.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        if self.phase == Phase::Halted {
            return;
        }
        self.notice_lapse(now);
        match input {
            Input::Members { source, listed, complete } => {
                self.on_members(now, &source, &listed, complete);
            }
            Input::Accepted { conn, from } => self.on_accepted(now, conn, from),
            Input::Shown { conn, life, expires } => {
                if let Some(conn) = self.conns.get_mut(&conn) {
                    (conn.proven, conn.expires) = (life, expires);
                }
            }
            Input::Connected { conn, local } => self.on_connected(now, conn, local),
            Input::DialFailed { conn, why } => self.on_dial_failed(now, conn, why),
            Input::Received { conn, bytes } => self.on_received(now, conn, bytes),
            Input::Applied { life, upto, widened } => self.on_applied(now, life, upto, widened),
            Input::Closed { conn, why } => self.on_closed(now, conn, why),
            Input::Tick => self.on_tick(now),
            Input::Leave => self.on_leave(),
            Input::Halt => self.on_halt(),
        }
        self.keep_to_limit(now);
        self.settle_due(now);
        self.prove(now);
        self.settle_changed(now);
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
        if !receive::is_within_limits(cache, &scopes) {
            // Its peers would end their connections.
            let bytes = scopes.iter().map(|scope| scope.text().len()).sum();
            return Err(AnnounceError::Frame(FrameError::TooLong { bytes }));
        }
        let seq = self.log.append(cache, scopes)?;
        self.wake_idle();
        Ok(seq)
    }

    /// The number of the newest entry of this node's log.
    pub fn head(&self) -> Seq {
        self.log.head()
    }

    /// What this node was told at its start.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Bytes that the flush log holds.
    pub fn log_bytes(&self) -> usize {
        self.log.bytes()
    }

    /// How many lives it knows, those that are over and not forgotten included.
    pub fn lives_known(&self) -> usize {
        self.lives.len()
    }

    fn report(&mut self, report: Report) {
        self.outputs.push_back(Output::Report(report));
    }

    /// The name of a life, or a part of its id while it never said one.
    fn name_of(&self, life: Incarnation) -> String {
        if life == self.config.incarnation {
            return self.config.name.clone();
        }
        self.lives.get(life).map_or_else(|| format!("life {life}"), |it| it.name_or(life))
    }

    fn on_tick(&mut self, now: Time) {
        self.excuse_pause(now);
        self.end_lost(now);
        self.renew_due(now);
        self.dial_due(now);
        self.settle_overdue(now);
    }

    fn earliest(&self) -> Time {
        let running = self.phase == Phase::Running;
        let others = [
            self.minima.dials.min().filter(|_| running),
            self.minima.ends.min().filter(|_| running),
            self.next_settlement(),
            self.next_cut_off(),
            Some(self.next_renewal()),
        ];
        others.into_iter().flatten().min().unwrap_or(Time::NEVER)
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
