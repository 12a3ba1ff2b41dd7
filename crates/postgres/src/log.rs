//! Owns the task that keeps one node at the log, and the handle on it. It must never decide what counts:
//! `follow.rs` and the core do.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::Caches;
use flushcast_core::shared_log::{ANSWER_WITHIN, Confirmed};
use flushcast_core::wire::{Incarnation, MAX_NAME_BYTES, Scope, Seq};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_postgres::Config;

use crate::PollError;
use crate::engine::Engine;
use crate::follow::{Follow, ToApply, ToDo};

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Between two attempts, doubled each time.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// A connection that held for so long counts as a success: the pause starts over, and what ends it is logged even
/// if it is the reason that was logged last.
const WAS_WELL: Duration = Duration::from_secs(2);
/// Awaited flushes are looked at so often at least.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Who follows.
#[derive(Debug, Clone)]
pub struct Member {
    life: Incarnation,
    name: String,
}

/// A node cannot be registered by this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no name of a node: 1 to {MAX_NAME_BYTES} bytes are, without a zero byte")]
pub struct BadMember {
    name: String,
}

impl Member {
    /// This run of a node, with its name as outcomes tell it.
    ///
    /// # Errors
    /// [`BadMember`]: the name is empty or too long, or has a zero byte.
    pub fn new(life: Incarnation, name: impl Into<String>) -> Result<Self, BadMember> {
        let name = name.into();
        match name.len() {
            1..=MAX_NAME_BYTES if !name.contains('\0') => Ok(Self { life, name }),
            _ => Err(BadMember { name }),
        }
    }
}

/// One node at the log: its copies are dropped as the log says, and what it announces is appended.
///
/// When this is dropped, it ends at once. Its row among the members stays until another node has seen it
/// unchanged for 15 s. Until then no flush is confirmed by all.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

type Clock = dyn Fn() -> Time + Send + Sync;

struct Shared {
    config: Config,
    member: Member,
    caches: Arc<Caches>,
    clock: Box<Clock>,
    listens: bool,
    follow: Mutex<Follow>,
    /// Who waits for which flush. None once the task has ended, for whatever reason.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Confirmed>>>>,
    /// Something is to be read or appended.
    changed: Notify,
    /// Somebody waits for something, which may be due before anything else.
    awaits: Notify,
}

/// Held by the task: whoever waits is let go when it ends, for whatever reason.
struct Ends(Arc<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.waiting.lock().take();
    }
}

/// Forgets an awaited flush when its caller stops waiting.
struct Waits<'a>(&'a Shared, u64);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.follow.lock().forget(self.1);
        if let Some(waiting) = &mut *self.0.waiting.lock() {
            waiting.remove(&self.1);
        }
    }
}

/// What ends a connection.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("no connection within {0:?}")]
    Connect(Duration),
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error(transparent)]
    Told(#[from] PollError),
}

impl From<tokio_postgres::Error> for Broken {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Told(error.into())
    }
}

impl Log {
    /// Follows the log for these caches, by their node's own clock, on a task of its own in this runtime. From
    /// here on they serve only what it has proven, so that nothing is held before the first answer. `listens`
    /// asks to be woken by notifications, which a pooler between them loses; without them flushes are read at
    /// the next poll, twice a second.
    ///
    /// Where the database cannot be reached, it tries again for as long as it lives; the log says why, once for
    /// each reason.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn start(
        config: Config,
        member: Member,
        caches: Arc<Caches>,
        clock: impl Fn() -> Time + Send + Sync + 'static,
        listens: bool,
    ) -> Self {
        let follow = Mutex::new(Follow::new(member.life, Arc::clone(&caches)));
        let shared = Arc::new(Shared {
            config,
            member,
            caches,
            clock: Box::new(clock),
            listens,
            follow,
            waiting: Mutex::new(Some(HashMap::new())),
            changed: Notify::new(),
            awaits: Notify::new(),
        });
        let ends = Ends(Arc::clone(&shared));
        let task = tokio::spawn(async move { ends.0.run().await });
        Self { shared, task }
    }

    /// Has what was dropped here told to all others. Does not wait.
    pub fn announce(&self, cache: &str, scopes: &[Scope<'_>]) -> Seq {
        let seq = self.shared.follow.lock().announce(cache, scopes);
        self.shared.changed.notify_one();
        seq
    }

    /// What becomes of a flush, at `deadline` at the latest. `lease` is how long a cache that it names serves
    /// what it has without a new proof, on any node. Cancel by dropping.
    ///
    /// Nothing if the task has ended: with its runtime, or as the clock has panicked.
    pub async fn await_applied(
        &self,
        seq: Seq,
        deadline: Time,
        lease: Duration,
    ) -> Option<Confirmed> {
        let (settled, is_settled) = oneshot::channel();
        let shared = &*self.shared;
        let _waits = {
            let mut follow = shared.follow.lock();
            let id = follow.await_applied(seq, deadline, lease);
            if let Some(waiting) = &mut *shared.waiting.lock() {
                waiting.insert(id, settled);
            }
            Waits(shared, id)
        };
        shared.awaits.notify_one();
        shared.changed.notify_one();
        is_settled.await.ok()
    }

    /// All that was appended before then is applied here.
    pub fn proven(&self) -> Time {
        self.shared.follow.lock().proven()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn run(self: &Arc<Self>) {
        tokio::select! {
            () = self.settle_in_time() => {}
            () = self.keep_trying() => {}
        }
    }

    async fn keep_trying(self: &Arc<Self>) {
        let [shortest, longest] = PAUSES;
        let (mut pause, mut last) = (shortest, String::new());
        loop {
            let began = (self.clock)();
            let Err(broken) = self.keep().await;
            // One that breaks again and again, though it works in between, is told of once.
            if (self.clock)().since(began) >= WAS_WELL {
                (pause, last) = (shortest, String::new());
            }
            let error = chain(&broken);
            if error != last {
                tracing::warn!(error, "the flush log in PostgreSQL is out of reach");
                last = error;
            }
            self.follow.lock().give_up(matches!(broken, Broken::Silent(_)));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Who waits is told in time, whatever the connection waits for.
    async fn settle_in_time(&self) {
        loop {
            let now = (self.clock)();
            self.settle(now);
            let next = self.follow.lock().next_deadline().map_or(LOOK_AGAIN, |at| at.since(now));
            tokio::select! {
                () = tokio::time::sleep(next.min(LOOK_AGAIN)) => {}
                () = self.awaits.notified() => {}
            }
        }
    }

    /// Keeps to the log over one connection.
    async fn keep(self: &Arc<Self>) -> Result<Infallible, Broken> {
        // The connection ends with the engine, before the node does.
        let node = Arc::downgrade(self);
        let wake = move || {
            if let Some(node) = node.upgrade() {
                node.follow.lock().wake((node.clock)());
                node.changed.notify_one();
            }
        };
        let connecting = Engine::connect(&self.config, self.listens, wake);
        let engine = tokio::time::timeout(CONNECT_WITHIN, connecting).await;
        let engine = engine.map_err(|_| Broken::Connect(CONNECT_WITHIN))??;
        let broken = loop {
            if let Err(broken) = self.step(&engine).await {
                break broken;
            }
            self.settle((self.clock)());
        };
        if matches!(broken, Broken::Silent(_)) {
            engine.cancel();
        }
        Err(broken)
    }

    async fn step(&self, engine: &Engine) -> Result<(), Broken> {
        let life = self.member.life;
        let now = (self.clock)();
        let to_do = self.follow.lock().next(now);
        match to_do {
            ToDo::Append(epoch, numbers, flushes) => {
                let appended = within(engine.append(life, epoch, &flushes)).await?;
                let now = (self.clock)();
                match appended {
                    Some(xid) => {
                        self.follow.lock().appended(now, epoch, &numbers, xid);
                        within(engine.wake()).await?;
                    }
                    None => self.follow.lock().refused(now),
                }
            }
            ToDo::Refresh(epoch, at) => {
                if within(engine.refresh(life, &self.member.name, epoch, &at)).await? {
                    self.follow.lock().refreshed(epoch, now);
                }
            }
            ToDo::Poll(question, position, rows) => {
                let polled = within(engine.poll(position.as_ref(), life, rows)).await?;
                let now = (self.clock)();
                let to_apply = self.follow.lock().polled(now, &question, polled);
                self.apply(to_apply).await;
            }
            ToDo::Registry => {
                let (id, members) = within(engine.registry()).await?;
                let stale = self.follow.lock().registry((self.clock)(), now, id, members);
                if !stale.is_empty() {
                    within(engine.remove(&stale)).await?;
                }
            }
            ToDo::WaitUntil(at) => {
                tokio::select! {
                    () = tokio::time::sleep(at.since(now)) => {}
                    () = self.changed.notified() => {}
                }
            }
        }
        Ok(())
    }

    async fn apply(&self, to_apply: ToApply) {
        let ToApply { rows, reached, is_reset } = to_apply;
        if is_reset {
            tracing::warn!(
                "the flush log does not reach back: every copy from before is loaded again"
            );
        }
        let flushes = rows.iter().map(|row| (row.cache.as_str(), row.scope()));
        let mut applying = self.caches.begin((self.clock)(), flushes);
        while !applying.step() {
            tokio::task::yield_now().await;
        }
        if let Some(reached) = reached {
            self.follow.lock().applied_upto((self.clock)(), reached);
        }
    }

    fn settle(&self, now: Time) {
        let due = self.follow.lock().due(now);
        for (id, confirmed) in due {
            let settled = self.waiting.lock().as_mut().and_then(|it| it.remove(&id));
            // Who has gone does not want to know.
            settled.map(|settled| settled.send(confirmed));
        }
    }
}

/// Waits for an answer for as long as one counts.
async fn within<T, E>(call: impl Future<Output = Result<T, E>>) -> Result<T, Broken>
where
    Broken: From<E>,
{
    match tokio::time::timeout(ANSWER_WITHIN, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Broken::Silent(ANSWER_WITHIN)),
    }
}

/// An error of PostgreSQL's is told by its source only.
fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        told.push_str(": ");
        told.push_str(&cause.to_string());
        source = cause.source();
    }
    told
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.waiting.lock().as_ref().map_or(0, HashMap::len);
        let mut out = out.debug_struct("Shared");
        out.field("member", &self.member).field("waiting", &waiting).finish_non_exhaustive()
    }
}
