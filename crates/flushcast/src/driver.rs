//! Owns the way between the core and the world: feed one input, carry out all outputs, arm the
//! timer. It must never decide anything that the core could decide.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::ack::TicketId;
use flushcast_core::cache::{Applying, Caches};
use flushcast_core::node::{AnnounceError, Batch, ConnId, Input, Node, Output, Transmit, Work};
use flushcast_core::wire::{Incarnation, Scope, Seq};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::afterwards::Afterwards;
use crate::clock::Clocks;
use crate::discovery::SourceStatus;
use crate::events::Streams;
use crate::flush::FlushError;
use crate::log::{Line, Log};
use crate::mesh::{self, Cable, ConnHandle, Door, Gate};
use crate::ticket::Ticket;

/// Longest time that the timer is armed for; a tick without cause costs nothing.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// So many pieces of work are done where flushes are read; more of it goes to a task of its own. It is
/// enough for all keys that one read can bring: a burst of them needs no task for each read.
const PIECES_IN_PLACE: usize = 32;

/// What the tasks of a node share. Held by each task; the application holds
/// [`Inner`](crate::node::Inner), whose end stops the tasks.
pub(crate) struct Shared {
    core: Mutex<Node>,
    pub(crate) caches: Arc<Caches>,
    pub(crate) clocks: Clocks,
    pub(crate) conns: Mutex<HashMap<ConnId, ConnHandle>>,
    pub(crate) conns_changed: Notify,
    pub(crate) cable: Cable,
    pub(crate) door: Door,
    pub(crate) gate: Arc<Gate>,
    /// Until the node stops. Here, so that its port is free at once, whether its tasks run again or not.
    pub(crate) listener: Mutex<Option<TcpListener>>,
    /// Somebody has applied what was heard of a life.
    applied: Notify,
    /// Who waits to hear of a flush.
    tickets: Mutex<HashMap<TicketId, Arc<Ticket>>>,
    rearm: Notify,
    pub(crate) peers_changed: watch::Sender<()>,
    pub(crate) events: Streams,
    log: Arc<Log>,
    /// How each discovery source stands.
    pub(crate) discovery: Mutex<BTreeMap<Arc<str>, SourceStatus>>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    runtime: Handle,
}

impl Shared {
    pub(crate) fn new(
        core: Node,
        caches: Arc<Caches>,
        clocks: Clocks,
        door: Door,
        runtime: Handle,
    ) -> Arc<Self> {
        let log = Log::new(core.config().name.clone());
        Arc::new(Self {
            core: Mutex::new(core),
            caches,
            clocks,
            conns: Mutex::default(),
            conns_changed: Notify::new(),
            cable: Cable::new(),
            door,
            gate: Gate::new(),
            listener: Mutex::default(),
            applied: Notify::new(),
            tickets: Mutex::default(),
            rearm: Notify::new(),
            peers_changed: watch::Sender::new(()),
            events: Streams::default(),
            log,
            discovery: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runtime,
        })
    }

    /// The one that the node was started in.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Runs `task` until the node stops.
    pub(crate) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let until_stopped = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        };
        self.tasks.spawn_on(until_stopped, &self.runtime);
    }

    /// Has the core do something, and does what it says. The core is let go before anybody else's code
    /// runs: an executor's, by a waker, or the log's.
    fn with_core<T>(self: &Arc<Self>, act: impl FnOnce(&mut Node) -> T) -> T {
        let mut afterwards = Afterwards::default();
        let result = {
            let mut core = self.core.lock();
            let result = act(&mut core);
            self.take_outputs(&mut core, &mut afterwards);
            result
        };
        afterwards.go_on(self);
        result
    }

    /// Tells the core what happened and does what it says.
    pub(crate) fn feed(self: &Arc<Self>, input: Input<'_>) {
        self.with_core(|core| {
            let (now, slept) = self.clocks.now_and_slept();
            self.caches.note_sleep(slept);
            core.handle(now, input);
        });
    }

    /// Announces a flush that was applied here. Callable from any thread, with or without tokio.
    pub(crate) fn announce(
        self: &Arc<Self>,
        cache: &str,
        scopes: Vec<Scope<'_>>,
    ) -> Result<Seq, AnnounceError> {
        self.with_core(|core| core.announce(cache, scopes))
    }

    /// What a flush comes to, by `deadline` at the latest. Fails if the node is stopped meanwhile.
    /// `announced` is when it had been, and `strict` whether it is of a strict cache.
    pub(crate) fn await_applied(
        self: &Arc<Self>,
        seq: Seq,
        announced: Time,
        deadline: Time,
        strict: bool,
    ) -> Arc<Ticket> {
        let ticket = Arc::<Ticket>::default();
        self.with_core(|core| {
            if self.stop.is_cancelled() {
                return ticket.put(Err(FlushError::NodeStopped));
            }
            let now = self.clocks.exact.now();
            let id = core.await_applied(now, seq, announced, deadline, strict);
            self.tickets.lock().insert(id, Arc::clone(&ticket));
        });
        ticket
    }

    /// Has applied what was heard over a connection, before more of it is read: so what waits is
    /// bounded by what is read at once.
    pub(crate) async fn apply_heard(self: &Arc<Self>, conn: ConnId) {
        loop {
            let applied = self.applied.notified();
            tokio::pin!(applied);
            applied.as_mut().enable();
            let work = self.core.lock().take_work(conn);
            match work {
                Work::None => return,
                Work::Busy => applied.await,
                Work::Apply(batch) => self.apply(batch).await,
            }
        }
    }

    /// Applies flushes outside of any lock, a piece at a time. Much of it goes on in a task of its own,
    /// which goes on when whoever waits for it here is gone.
    async fn apply(self: &Arc<Self>, batch: Batch) {
        let mut applying = self.begin(&batch);
        let (life, upto) = (batch.life, batch.upto);
        if (0..PIECES_IN_PLACE).any(|_| applying.step()) {
            return self.told_applied(life, upto, &applying);
        }
        let shared = Arc::clone(self);
        let (done, is_done) = oneshot::channel::<()>();
        self.spawn(async move {
            let mut next = Some((applying, upto));
            // Nobody else applies flushes of that life meanwhile: what has come since is done as well.
            while let Some((mut applying, upto)) = next {
                while !applying.step() {
                    tokio::task::yield_now().await;
                }
                shared.told_applied(life, upto, &applying);
                next = shared.next_of(life);
            }
            drop(done);
        });
        // It is dropped when all is applied, or when the node stops.
        let _ = is_done.await;
    }

    fn begin(&self, batch: &Batch) -> Applying {
        self.caches.begin(self.clocks.exact.now(), batch.flushes())
    }

    fn next_of(&self, life: Incarnation) -> Option<(Applying, Seq)> {
        let Work::Apply(batch) = self.core.lock().take_work_of(life) else { return None };
        Some((self.begin(&batch), batch.upto))
    }

    fn told_applied(self: &Arc<Self>, life: Incarnation, upto: Seq, applying: &Applying) {
        let widened = applying.widened().iter().map(|it| it.cache.clone()).collect();
        self.feed(Input::Applied { life, upto, widened });
        self.applied.notify_waiters();
    }

    /// Has applied what was heard of lives whose connections are over.
    pub(crate) async fn apply_rest(self: &Arc<Self>) {
        loop {
            let work = {
                let mut core = self.core.lock();
                let Some(life) = core.lives_with_work() else { return };
                core.take_work_of(life)
            };
            // Whoever is at it goes on with the rest.
            if let Work::Apply(batch) = work {
                self.apply(batch).await;
            }
        }
    }

    pub(crate) fn transmit(&self, conn: ConnId, enough: usize, out: &mut Vec<u8>) -> Transmit {
        self.core.lock().transmit(conn, enough, out)
    }

    pub(crate) fn next_conn(&self) -> ConnId {
        self.core.lock().next_conn()
    }

    /// Asks the core something, at the time of now.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&Node, Time) -> T) -> T {
        let core = self.core.lock();
        question(&core, self.clocks.exact.now())
    }

    /// Has written what was added to the log. Under no lock.
    pub(crate) fn write_log(&self) {
        self.log.write(self.tasks.token());
    }

    /// Has a line logged that is none of the core's.
    pub(crate) fn tell(&self, line: Line) {
        self.log.add(line);
        self.write_log();
    }

    pub(crate) fn head(&self) -> Seq {
        self.core.lock().head()
    }

    pub(crate) fn log_bytes(&self) -> usize {
        self.core.lock().log_bytes()
    }

    /// Tells of changes of [`Self::peers`].
    pub(crate) fn watch_peers(&self) -> watch::Receiver<()> {
        self.peers_changed.subscribe()
    }

    /// Feeds ticks when they are due, until the node stops.
    pub(crate) fn run_timer(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        // If the runtime ends under the node, polled or not, nobody else will tell those who wait.
        let guard = StopOnDrop(self);
        async move {
            let StopOnDrop(shared) = &guard;
            loop {
                let deadline = shared.core.lock().next_deadline();
                let pause = deadline.since(shared.clocks.exact.now()).min(LONGEST_SLEEP);
                tokio::select! {
                    () = tokio::time::sleep(pause) => shared.feed(Input::Tick),
                    () = shared.rearm.notified() => {}
                }
            }
        }
    }

    /// Ends what still waits; whoever awaits a flush is told that the node has stopped. Nothing is
    /// announced from here on, nothing served, and nothing told.
    pub(crate) fn stop(self: &Arc<Self>) {
        let mut afterwards = Afterwards::default();
        drop(self.listener.lock().take());
        {
            let mut core = self.core.lock();
            core.handle(self.clocks.exact.now(), Input::Halt);
            self.stop.cancel();
            self.take_outputs(&mut core, &mut afterwards);
            for (_, ticket) in self.tickets.lock().drain() {
                ticket.put(Err(FlushError::NodeStopped));
                afterwards.settled.push(ticket);
            }
            self.events.end();
            afterwards.told = true;
        }
        afterwards.go_on(self);
    }

    /// Under the core's lock, so that outputs count in the order they were made in. Nothing here waits
    /// or runs the application's code: only tasks of the node are woken, what others are told is put
    /// down, and whoever is to read it is woken afterwards.
    fn take_outputs(&self, core: &mut Node, afterwards: &mut Afterwards) {
        while let Some(output) = core.poll_output() {
            match output {
                Output::Wake { conn } => {
                    if let Some(handle) = self.conns.lock().get(&conn) {
                        handle.wake.notify_one();
                    }
                }
                Output::Settled { ticket, outcome } => {
                    if let Some(ticket) = self.tickets.lock().remove(&ticket) {
                        ticket.put(Ok(outcome));
                        afterwards.settled.push(ticket);
                    }
                }
                Output::Dial { conn, address } => {
                    // It can be closed from here on, by whoever has the core next.
                    let handle = mesh::enter(self, conn);
                    afterwards.dials.push((conn, address, handle));
                }
                Output::Close { conn } => {
                    if let Some(handle) = self.conns.lock().remove(&conn) {
                        handle.stop.cancel();
                        afterwards.conns_changed = true;
                    }
                }
                Output::Rearm => self.rearm.notify_one(),
                Output::PeersChanged => afterwards.peers_changed = true,
                Output::Report(report) => {
                    let report = Arc::new(report);
                    self.events.add(&report);
                    self.log.add(Line::Report(report));
                    afterwards.told = true;
                }
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Shared").finish_non_exhaustive()
    }
}

struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
