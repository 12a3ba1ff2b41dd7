//! Owns one instance on an engine: the real follower, appends and cache, and how an adapter drives them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::{Cache, CacheConfig, Caches, Guarantee, HashSeeds};
use flushcast_core::planted::{Fault, planted};
use flushcast_core::shared_log::{
    Answer, Answered, Appends, Confirmed, Epoch, Follower, Heard, Membership, Overlap, Question,
    REFRESH_EVERY, Reached, RegistryRead, Row, Rules,
};
use flushcast_core::wire::{Incarnation, Position, Scope, Seq};

use super::adapter::{Adapter, Kind};
use super::server::{Anchor, Logged, Registered, Snapshot};
use crate::member::Clock;
use crate::reads::Read;
use crate::what::Id;

const ASK_EVERY: Duration = Duration::from_millis(500);
const REGISTRY_EVERY: Duration = Duration::from_millis(200);
/// An append that has no answer by then has none.
const CALL_LASTS: Duration = Duration::from_secs(1);
/// How much longer than a lease a flush is awaited.
const WAITS: Duration = Duration::from_secs(4);

/// What an instance asks of the engine.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Append {
        numbers: RangeInclusive<Seq>,
        said: Vec<(Position, usize, u64)>,
    },
    Ask {
        question: Question,
        at: Option<(Snapshot, Option<Anchor>)>,
        applied: Option<(Epoch, Snapshot)>,
    },
    Refresh {
        sent: Time,
        epoch: Epoch,
        at: Snapshot,
    },
    Registry {
        sent: Time,
    },
    Follow {
        at: Snapshot,
        anchor: Option<Anchor>,
    },
}

/// What an engine says.
#[derive(Debug, Clone)]
pub(super) enum Response {
    Appended {
        epoch: Epoch,
        numbers: RangeInclusive<Seq>,
        places: Vec<u64>,
    },
    Told(Told),
    Refreshed {
        epoch: Epoch,
        sent: Time,
    },
    Registry {
        sent: Time,
        epoch: Epoch,
        rows: BTreeMap<Incarnation, Registered>,
    },
    /// It begins to push from where it was asked to; whether it still reached back that far.
    Begins {
        is_whole: bool,
    },
    Entry(Epoch, Logged),
    Broken,
}

/// An engine's answer, in its own words.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) asked: Time,
    pub(super) epoch: Epoch,
    pub(super) head: Snapshot,
    pub(super) holds: bool,
    pub(super) row: Row,
    pub(super) polled: Vec<Logged>,
}

impl Response {
    /// Whether it comes over the connection that it is about. What answers a call may come when that
    /// is gone.
    pub(super) fn is_of_its_connection(&self, kind: Kind) -> bool {
        match self {
            Response::Begins { .. } | Response::Entry(..) | Response::Broken => true,
            Response::Told(_) => kind == Kind::Echoed,
            _ => false,
        }
    }
}

/// Something that an instance wants from its world.
pub(super) enum Wish {
    Send(Request),
    /// The rest of what is under way is lost.
    Reconnect,
    Apply(Reached, Logged),
    Settled {
        flush: Flush,
        confirmed: Confirmed,
        overdue: bool,
    },
    Reset,
}

/// A flush that is awaited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flush {
    pub(super) seq: Seq,
    pub(super) key: usize,
    pub(super) version: u64,
    deadline: Time,
    /// It is awaited some time behind its announcement, perhaps when its time is over already.
    pub(super) is_late: bool,
}

pub(super) struct Instance {
    pub(super) life: Incarnation,
    pub(super) clock: Clock,
    pub(super) cache: Arc<Cache<Id, u64>>,
    caches: Arc<Caches>,
    pub(super) follower: Follower,
    appends: Appends,
    adapter: Adapter,
    rules: Rules,
    lease: Duration,
    /// What each of its flushes names.
    said: BTreeMap<Seq, (usize, u64)>,
    awaited: BTreeMap<u64, Flush>,
    last_asked: Option<Time>,
    last_refresh: Option<Time>,
    refresh_due: bool,
    last_registry: Option<Time>,
    appended_at: Option<Time>,
    /// Which connection it has.
    pub(super) conn: u64,
    pub(super) paused_until: Time,
    pub(super) reads: Vec<Read>,
}

/// How long any node may serve what it has in a cache of this guarantee.
pub(super) fn lease(guarantee: Guarantee) -> Duration {
    match guarantee {
        Guarantee::Eventual => Duration::MAX,
        Guarantee::Bounded(bound) => bound,
        Guarantee::Strict => Guarantee::STRICT_LEASE,
    }
}

impl Instance {
    pub(super) fn start(
        life: Incarnation,
        guarantee: Guarantee,
        rules: Rules,
        kind: Kind,
        clock: Clock,
    ) -> Self {
        let caches = Arc::new(Caches::default());
        let config = CacheConfig::new(10, guarantee, HashSeeds([1, 2, 3, 4]));
        let registered = Cache::register(&caches, "c", config);
        let Ok(cache) = registered else { unreachable!("its name is free") };
        Self {
            life,
            clock,
            follower: Follower::new(Arc::clone(&caches)),
            cache,
            caches,
            appends: Appends::default(),
            adapter: Adapter::new(kind),
            rules,
            lease: lease(guarantee),
            said: BTreeMap::new(),
            awaited: BTreeMap::new(),
            last_asked: None,
            last_refresh: None,
            refresh_due: false,
            last_registry: None,
            appended_at: None,
            conn: u64::from_be_bytes(std::array::from_fn(|at| life.0[at])),
            paused_until: Time::ZERO,
            reads: Vec::new(),
        }
    }

    /// The source was changed: drops it here, and announces that.
    pub(super) fn flush(&mut self, key: usize, version: u64) -> Flush {
        self.drop_here(key);
        let seq = self.appends.announce();
        self.said.insert(seq, (key, version));
        let overlap = match self.rules.overlap {
            Overlap::AtMost(length) => length * 2,
            _ => Duration::ZERO,
        };
        let deadline = self.clock.now() + self.lease + overlap + WAITS;
        Flush { seq, key, version, deadline, is_late: false }
    }

    /// The transaction that changed the source has appended that, too.
    pub(super) fn drop_here(&mut self, key: usize) {
        self.cache.flush_key(&Id(key));
    }

    pub(super) fn wait_for(&mut self, flush: Flush) {
        let id = self.appends.await_applied(flush.seq, flush.deadline, self.lease);
        self.awaited.insert(id, flush);
    }

    /// Its process is stopped, and goes on then.
    pub(super) fn pause(&mut self, until: Time) {
        self.paused_until = self.paused_until.max(until);
    }

    pub(super) fn tick(&mut self) -> Vec<Wish> {
        let now = self.clock.now();
        let mut wishes = Vec::new();
        if self.follower.give_up_at().is_some_and(|at| at <= now) {
            wishes.extend(self.reconnect());
        }
        let is_due = |last: Option<Time>, every: Duration| last.is_none_or(|at| at + every <= now);
        if is_due(self.appended_at, CALL_LASTS) {
            self.appends.give_up();
        }
        if let Some(append) = self.appends.to_append() {
            let numbers = append.numbers;
            let said = (numbers.start().0..=numbers.end().0).filter_map(|number| {
                let (key, version) = *self.said.get(&Seq(number))?;
                Some((Position { life: self.life, seq: Seq(number) }, key, version))
            });
            let said = said.collect();
            wishes.push(Wish::Send(Request::Append { numbers, said }));
            self.appended_at = Some(now);
        }
        let registers = self.rules.membership == Membership::Registered;
        let refreshes = registers && self.adapter.kind == Kind::Polled;
        let every = if self.refresh_due { REGISTRY_EVERY } else { REFRESH_EVERY };
        if refreshes
            && is_due(self.last_refresh, every)
            && let Some((epoch, at)) = self.adapter.applied(&self.follower)
        {
            self.last_refresh = Some(now);
            wishes.push(Wish::Send(Request::Refresh { sent: now, epoch, at }));
        }
        if is_due(self.last_asked, ASK_EVERY)
            && let Some(question) = self.follower.ask(now)
        {
            self.last_asked = Some(now);
            let at = self.adapter.place(&self.follower);
            let applied = self.adapter.applied(&self.follower);
            wishes.push(Wish::Send(Request::Ask { question, at, applied }));
        }
        if registers && self.appends.wants_registry() && is_due(self.last_registry, REGISTRY_EVERY)
        {
            self.last_registry = Some(now);
            wishes.push(Wish::Send(Request::Registry { sent: now }));
        }
        wishes.extend(self.settle());
        wishes
    }

    fn settle(&mut self) -> Vec<Wish> {
        let now = self.clock.now();
        let due = self.appends.due(now);
        let settled = due.into_iter().filter_map(|(id, confirmed)| {
            let flush = self.awaited.remove(&id)?;
            let overdue = self.is_overdue(&flush, now);
            Some(Wish::Settled { flush, confirmed, overdue })
        });
        settled.collect::<Vec<_>>()
    }

    fn is_overdue(&self, flush: &Flush, now: Time) -> bool {
        let since = flush.deadline.max(self.clock.reading(self.paused_until));
        since + Duration::from_secs(1) < now
    }

    /// Any flush that is waited for beyond its time.
    pub(super) fn overdue(&self) -> Option<Flush> {
        let now = self.clock.now();
        self.awaited.values().find(|it| self.is_overdue(it, now)).copied()
    }

    /// What was under way is lost with its connection; it follows from where it stands.
    fn reconnect(&mut self) -> Vec<Wish> {
        self.follower.give_up();
        self.appends.give_up();
        self.conn = self.conn.wrapping_add(1);
        let mut wishes = vec![Wish::Reconnect];
        wishes.extend(self.follow());
        wishes
    }

    fn follow(&self) -> Option<Wish> {
        let (at, anchor) = self.adapter.place(&self.follower)?;
        (self.adapter.kind != Kind::Polled).then(|| Wish::Send(Request::Follow { at, anchor }))
    }

    pub(super) fn on_response(&mut self, response: Response) -> Vec<Wish> {
        let now = self.clock.now();
        match response {
            Response::Broken => self.reconnect(),
            Response::Appended { epoch, numbers, places } => {
                self.adapter.appended(epoch, *numbers.start(), &places);
                self.appends.acknowledged(now, epoch, &numbers);
                Vec::new()
            }
            Response::Refreshed { epoch, sent } => {
                self.follower.refreshed(epoch, sent);
                self.refresh_due = false;
                Vec::new()
            }
            Response::Registry { sent, epoch, rows } => {
                let others = rows.iter().filter(|(life, _)| **life != self.life);
                let rows = others.map(|(&life, row)| self.adapter.row(epoch, life, row));
                let rows = rows.collect();
                self.appends.read(RegistryRead { sent, epoch, rows });
                self.settle()
            }
            Response::Begins { is_whole } => {
                self.adapter.begins(is_whole);
                Vec::new()
            }
            Response::Entry(epoch, logged) => self.on_entry(epoch, logged).into_iter().collect(),
            Response::Told(told) => self.on_answer(told),
        }
    }

    fn on_answer(&mut self, told: Told) -> Vec<Wish> {
        let Told { asked, epoch, head, holds, row, polled } = told;
        let number = self.adapter.head(&head, polled.len());
        let answer = Answer { epoch, head: number, holds, row };
        let answered = self.follower.answer(self.clock.now(), asked, &answer);
        if let Some(standing) = self.follower.standing() {
            self.appends.stand(standing);
        }
        let mut wishes = Vec::new();
        match answered {
            Answered::Ignored => return Vec::new(),
            Answered::Reset => {
                self.adapter.reset(head, number);
                wishes.push(Wish::Reset);
                wishes.extend(self.follow());
                self.refresh_due = true;
            }
            Answered::NotRegistered | Answered::Counts => {
                if self.adapter.kind == Kind::Polled {
                    wishes.extend(polled.into_iter().filter_map(|it| self.on_entry(epoch, it)));
                    self.adapter.polled(head);
                }
                self.refresh_due |= answered == Answered::NotRegistered;
            }
        }
        wishes.extend(self.settle());
        wishes
    }

    fn on_entry(&mut self, epoch: Epoch, logged: Logged) -> Option<Wish> {
        // What is of another epoch has no place among what it has read.
        let is_ours = self.follower.place().is_some_and(|place| place.epoch == epoch);
        if !is_ours && !planted(Fault::EpochIgnored) {
            return None;
        }
        let entry = self.adapter.number(&logged)?;
        match self.follower.hear(epoch, entry) {
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

    /// Whether it counts as in step now.
    pub(super) fn is_proven(&self) -> bool {
        self.follower.proven() + self.lease >= self.clock.now()
    }
}
