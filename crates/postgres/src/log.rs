//! Owns the task that keeps one node at the log, and the handle on it. It must never decide what counts:
//! `follow.rs` and the core do.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::Caches;
use flushcast_core::shared_log::{ANSWER_WITHIN, Confirmed};
use flushcast_core::wire::{Incarnation, Scope, Seq};
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

/// Who follows.
#[derive(Debug, Clone)]
pub struct Member {
    /// This run of the node.
    pub life: Incarnation,
    /// Its name, as outcomes tell it.
    pub name: String,
}

/// A node's place at the log: its copies are dropped as the log says, and what it announces is appended.
/// Dropped, it ends at once; its row among the members goes after 15 s, and until then nobody's flush is
/// confirmed by all.
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
    waiting: Mutex<HashMap<u64, oneshot::Sender<Confirmed>>>,
    /// Something is to be read or appended, or is waited for.
    changed: Notify,
}

/// What ends a connection.
#[derive(Debug, thiserror::Error)]
enum Broken {
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
            waiting: Mutex::default(),
            changed: Notify::new(),
        });
        let task = tokio::spawn(Arc::clone(&shared).run());
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
    pub async fn await_applied(
        &self,
        seq: Seq,
        deadline: Time,
        lease: Duration,
    ) -> Option<Confirmed> {
        let (settled, is_settled) = oneshot::channel();
        {
            let mut follow = self.shared.follow.lock();
            let id = follow.await_applied(seq, deadline, lease);
            self.shared.waiting.lock().insert(id, settled);
        }
        self.shared.changed.notify_one();
        // The task has ended otherwise, with its runtime.
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
    async fn run(self: Arc<Self>) {
        let [shortest, longest] = PAUSES;
        let (mut pause, mut last) = (shortest, String::new());
        loop {
            let proven = self.follow.lock().proven();
            let Err(broken) = self.keep().await;
            if self.follow.lock().proven() > proven {
                (pause, last) = (shortest, String::new());
            }
            let error = chain(&broken);
            if error != last {
                tracing::warn!(error, "the flush log in PostgreSQL is out of reach");
                last = error;
            }
            self.follow.lock().give_up();
            self.settle_until((self.clock)() + pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// What waits comes to its end while there is no connection, too.
    async fn settle_until(&self, end: Time) {
        loop {
            let now = (self.clock)();
            self.settle(now);
            if now >= end {
                return;
            }
            let next = self.follow.lock().next_deadline().filter(|&at| at > now).unwrap_or(end);
            tokio::select! {
                () = tokio::time::sleep(next.min(end).since(now)) => {}
                () = self.changed.notified() => {}
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
        let engine = self.within(CONNECT_WITHIN, async { Ok(connecting.await?) }).await?;
        let life = self.member.life;
        loop {
            let now = (self.clock)();
            let to_do = self.follow.lock().next(now);
            match to_do {
                ToDo::Append(epoch, numbers, flushes) => {
                    let appending = async { Ok(engine.append(life, epoch, &flushes).await?) };
                    let appended = self.within(ANSWER_WITHIN, appending).await?;
                    let now = (self.clock)();
                    match appended {
                        Some(xid) => {
                            self.follow.lock().appended(now, epoch, &numbers, xid);
                            let waking = async { Ok(engine.wake().await?) };
                            self.within(ANSWER_WITHIN, waking).await?;
                        }
                        None => self.follow.lock().refused(now),
                    }
                }
                ToDo::Refresh(epoch, at) => {
                    let name = &self.member.name;
                    let refreshing = async { Ok(engine.refresh(life, name, epoch, &at).await?) };
                    if self.within(ANSWER_WITHIN, refreshing).await? {
                        self.follow.lock().refreshed(epoch, now);
                    }
                }
                ToDo::Poll(question, position) => {
                    let polling = async { Ok(engine.poll(position.as_ref(), life).await?) };
                    let polled = self.within(ANSWER_WITHIN, polling).await?;
                    let now = (self.clock)();
                    let to_apply = self.follow.lock().polled(now, &question, polled);
                    self.apply(to_apply).await;
                }
                ToDo::Registry => {
                    let reading = async { Ok(engine.registry().await?) };
                    let (id, members) = self.within(ANSWER_WITHIN, reading).await?;
                    let stale = self.follow.lock().registry((self.clock)(), now, id, members);
                    for (life, version) in stale {
                        let removing = async { Ok(engine.remove(life, version).await?) };
                        self.within(ANSWER_WITHIN, removing).await?;
                    }
                }
                ToDo::WaitUntil(at) => {
                    tokio::select! {
                        () = tokio::time::sleep(at.since(now)) => {}
                        () = self.changed.notified() => {}
                    }
                }
            }
            self.settle((self.clock)());
        }
    }

    /// Waits for an answer for so long; meanwhile, those whose time is over are told.
    async fn within<T>(
        &self,
        length: Duration,
        call: impl Future<Output = Result<T, Broken>>,
    ) -> Result<T, Broken> {
        tokio::time::timeout(length, call).await.unwrap_or(Err(Broken::Silent(length)))
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
            let settled = self.waiting.lock().remove(&id);
            // Who has gone does not want to know.
            settled.map(|settled| settled.send(confirmed));
        }
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
        out.debug_struct("Shared").field("member", &self.member).finish_non_exhaustive()
    }
}
