//! Owns one instance on an engine: the real follower, appends and cache, and what an adapter does for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::{Cache, CacheConfig, Caches, Guarantee, HashSeeds};
use flushcast_core::shared_log::{
    Answered, Appends, Confirmed, Entry, Epoch, Follower, Heard, Membership, Question, Reached,
    RegistryRead,
};
use flushcast_core::wire::{Incarnation, Position, Scope, Seq};

use super::server::Logged;
use crate::member::Clock;
use crate::reads::Read;
use crate::what::Id;

const ASK_EVERY: Duration = Duration::from_millis(500);
const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// An append or a reading of the registry that has no answer by then has none.
const CALL_LASTS: Duration = Duration::from_secs(1);
pub(super) const WAITS: Duration = Duration::from_secs(6);

/// What an instance asks of the engine.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Append(Vec<(Position, usize, u64)>),
    Ask(Question),
    Refresh { sent: Time, at: (Epoch, Seq) },
    Registry { sent: Time, of: Seq, number: Seq },
    Follow { from: Seq },
}

/// What an engine says.
#[derive(Debug, Clone)]
pub(super) enum Response {
    Appended { epoch: Epoch, upto: Seq, number: Seq },
    Answer { asked: Time, answer: flushcast_core::shared_log::Answer, polled: Vec<Logged> },
    Refreshed { sent: Time },
    Registry(RegistryRead),
    Entry(Epoch, Logged),
    Broken,
}

/// Something that an instance wants from its world.
pub(super) enum Wish {
    Send(Request),
    /// The rest of what is under way is lost.
    Reconnect,
    Apply(Reached, Logged),
    Settled {
        key: usize,
        version: u64,
        confirmed: Confirmed,
        overdue: bool,
    },
    Reset,
}

pub(super) struct Instance {
    pub(super) life: Incarnation,
    pub(super) clock: Clock,
    pub(super) cache: Arc<Cache<Id, u64>>,
    pub(super) caches: Arc<Caches>,
    pub(super) follower: Follower,
    appends: Appends,
    strict: bool,
    /// What each of its flushes names.
    said: BTreeMap<Seq, (usize, u64)>,
    /// The number in the log of those that were acknowledged, and up to where they are.
    numbered: (Seq, Seq),
    awaited: BTreeMap<u64, (usize, u64, Time)>,
    last_asked: Option<Time>,
    last_refresh: Option<Time>,
    refresh_due: bool,
    last_registry: Option<Time>,
    appended_at: Option<Time>,
    registers: bool,
    /// Which connection it has.
    pub(super) conn: u64,
    pub(super) paused_until: Time,
    pub(super) reads: Vec<Read>,
}

impl Instance {
    pub(super) fn start(
        life: Incarnation,
        guarantee: Guarantee,
        membership: Membership,
        clock: Clock,
    ) -> Self {
        let caches = Arc::new(Caches::default());
        let config = CacheConfig::new(10, guarantee, HashSeeds([1, 2, 3, 4]));
        let registered = Cache::register(&caches, "c", config);
        let Ok(cache) = registered else { unreachable!("its name is free") };
        Self {
            life,
            clock,
            follower: Follower::new(Arc::clone(&caches), life, membership),
            cache,
            caches,
            appends: Appends::default(),
            strict: guarantee == Guarantee::Strict,
            said: BTreeMap::new(),
            numbered: (Seq::START, Seq::START),
            awaited: BTreeMap::new(),
            last_asked: None,
            last_refresh: None,
            refresh_due: false,
            last_registry: None,
            appended_at: None,
            registers: membership == Membership::Registered,
            // What was asked over a connection of the life before is not answered to this one.
            conn: u64::from_be_bytes(std::array::from_fn(|at| life.0[at])),
            paused_until: Time::ZERO,
            reads: Vec::new(),
        }
    }

    /// The source was changed: drops it here, and announces that.
    pub(super) fn flush(&mut self, key: usize, version: u64) {
        let now = self.clock.now();
        self.cache.flush_key(&Id(key));
        let seq = self.appends.announce(now);
        self.said.insert(seq, (key, version));
        let deadline = now + WAITS;
        let id = self.appends.await_applied(seq, deadline, self.strict);
        self.awaited.insert(id, (key, version, deadline));
    }

    /// Its process is stopped, and goes on then.
    pub(super) fn pause(&mut self, until: Time) {
        self.paused_until = self.paused_until.max(until);
    }

    pub(super) fn tick(&mut self) -> Vec<Wish> {
        let now = self.clock.now();
        let mut wishes = Vec::new();
        if self.follower.give_up_at().is_some_and(|at| at <= now) {
            wishes.push(Wish::Reconnect);
            wishes.extend(self.reconnect());
        }
        let is_due = |last: Option<Time>, every: Duration| last.is_none_or(|at| at + every <= now);
        if is_due(self.appended_at, CALL_LASTS) {
            self.appends.give_up();
        }
        if let Some(numbers) = self.appends.to_append() {
            let said = (numbers.start().0..=numbers.end().0).filter_map(|number| {
                let (key, version) = *self.said.get(&Seq(number))?;
                Some((Position { life: self.life, seq: Seq(number) }, key, version))
            });
            wishes.push(Wish::Send(Request::Append(said.collect())));
            self.appended_at = Some(now);
        }
        if self.registers
            && (self.refresh_due || is_due(self.last_refresh, REFRESH_EVERY))
            && let Some(at) = self.follower.applied_upto()
        {
            self.refresh_due = false;
            self.last_refresh = Some(now);
            wishes.push(Wish::Send(Request::Refresh { sent: now, at }));
        }
        if is_due(self.last_asked, ASK_EVERY)
            && let Some(question) = self.follower.ask(now)
        {
            self.last_asked = Some(now);
            wishes.push(Wish::Send(Request::Ask(question)));
        }
        if self.registers
            && let Some(of) = self.appends.to_ask()
            && of <= self.numbered.0
            && is_due(self.last_registry, Duration::from_millis(200))
        {
            self.last_registry = Some(now);
            let number = self.numbered.1;
            wishes.push(Wish::Send(Request::Registry { sent: now, of, number }));
        }
        wishes.extend(self.settle());
        wishes
    }

    fn settle(&mut self) -> Vec<Wish> {
        let now = self.clock.now();
        let due = self.appends.due(now, self.follower.epoch());
        let settled = due.into_iter().filter_map(|(id, confirmed)| {
            let (key, version, deadline) = self.awaited.remove(&id)?;
            let since = deadline.max(self.clock.reading(self.paused_until));
            let overdue = since + Duration::from_secs(1) < now;
            Some(Wish::Settled { key, version, confirmed, overdue })
        });
        settled.collect()
    }

    /// What was under way is lost with its connection; it follows from where it stands.
    fn reconnect(&mut self) -> Option<Wish> {
        self.follower.give_up();
        self.appends.give_up();
        self.conn = self.conn.wrapping_add(1);
        let from = self.follower.heard()?;
        Some(Wish::Send(Request::Follow { from }))
    }

    pub(super) fn on_response(&mut self, response: Response) -> Vec<Wish> {
        let now = self.clock.now();
        match response {
            Response::Broken => {
                let mut wishes = vec![Wish::Reconnect];
                wishes.extend(self.reconnect());
                wishes
            }
            Response::Appended { epoch, upto, number } => {
                self.numbered = (upto, number);
                self.appends.acknowledged(now, epoch, upto);
                Vec::new()
            }
            Response::Refreshed { sent } => {
                self.follower.refreshed(sent);
                Vec::new()
            }
            Response::Registry(read) => {
                self.appends.read(&read);
                self.settle()
            }
            Response::Entry(epoch, logged) => self.on_entry(epoch, logged).into_iter().collect(),
            Response::Answer { asked, answer, polled } => {
                let before = self.follower.epoch();
                let entries = polled.into_iter().filter_map(|it| self.on_entry(answer.epoch, it));
                let mut wishes: Vec<_> = entries.collect();
                match self.follower.answer(now, asked, &answer) {
                    Answered::Reset => {
                        if before.is_some_and(|(epoch, _)| epoch != answer.epoch) {
                            self.appends.begin_epoch(now);
                        }
                        self.refresh_due = true;
                        wishes.push(Wish::Reset);
                        wishes.push(Wish::Send(Request::Follow { from: answer.head }));
                    }
                    Answered::NotRegistered => self.refresh_due = true,
                    Answered::Counts | Answered::Ignored => {}
                }
                wishes
            }
        }
    }

    fn on_entry(&mut self, epoch: Epoch, logged: Logged) -> Option<Wish> {
        match self.follower.hear(epoch, logged.entry) {
            Heard::Apply(reached) => Some(Wish::Apply(reached, logged)),
            Heard::Nothing => None,
        }
    }

    pub(super) fn apply(&mut self, reached: Reached, logged: Logged) {
        let text = logged.key.to_string();
        let now = self.clock.now();
        self.caches.begin(now, [("c", Scope::Key(&text))]).finish();
        self.follower.applied(reached);
        self.refresh_due = true;
    }

    /// Where it follows from at its start, before any answer: nowhere.
    pub(super) fn position(&self) -> Option<Entry> {
        self.follower.heard().map(|number| {
            let by = Position { life: self.life, seq: Seq::START };
            Entry { number, by }
        })
    }
}
