//! Owns how one node stands with the log: it numbers what polls bring, and knows which of its own flushes
//! others have applied. It must never wait, nor say anything to the database: `log.rs` does.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::cache::Caches;
use flushcast_core::shared_log::{
    Answer, Answered, Append, Appends, Confirmed, Entry, Epoch, Follower, Heard, Question,
    REFRESH_EVERY, ROW_LASTS, Reached, RegistryRead, RegistryRow, Row as OwnRow,
};
use flushcast_core::wire::{Incarnation, Scope, Seq};

use crate::engine::Member;
use crate::kept::{Kept, KeptFlushes};
use crate::{Polled, Row, Snapshot};

/// How often the log is asked where nobody says that there is something.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// Between two polls, however often somebody says that there is something: others want their turn.
const REST: Duration = Duration::from_millis(2);
/// How often the registry is read while somebody waits for what it may say.
const REGISTRY_EVERY: Duration = Duration::from_millis(50);
/// How often it is read all the same, and rows of the dead are removed.
const CLEAN_EVERY: Duration = Duration::from_secs(60);
/// Most own flushes whose transactions are known: of older ones only time tells.
const MOST_PLACES: usize = 65_536;

/// What a node is to do next.
#[derive(Debug)]
pub(crate) enum ToDo {
    Poll(Question, Option<Snapshot>),
    Append(Epoch, RangeInclusive<Seq>, Vec<Kept>),
    Refresh(Epoch, Snapshot),
    Registry,
    /// At the latest.
    WaitUntil(Time),
}

/// What a poll has come to.
#[derive(Debug)]
pub(crate) struct ToApply {
    pub(crate) rows: Vec<Row>,
    /// With the last of them.
    pub(crate) reached: Option<Reached>,
    pub(crate) is_reset: bool,
}

pub(crate) struct Follow {
    life: Incarnation,
    follower: Follower,
    appends: Appends,
    kept: KeptFlushes,
    position: Option<Snapshot>,
    /// Of what was read last.
    number: Seq,
    /// Where it stands once all up to a number is applied.
    reached: VecDeque<(Seq, Snapshot)>,
    /// Which transactions hold own flushes, by the last number in each, in the epoch in which they are.
    places: BTreeMap<Seq, (Epoch, u64)>,
    polled_at: Time,
    polls_at: Time,
    refreshes_at: Time,
    read_registry: Time,
    /// What is seen of others' rows: their versions, and since when they stand.
    seen: BTreeMap<Incarnation, (i64, Time)>,
}

impl Follow {
    pub(crate) fn new(life: Incarnation, caches: Arc<Caches>) -> Self {
        Self {
            life,
            follower: Follower::new(caches),
            appends: Appends::default(),
            kept: KeptFlushes::default(),
            position: None,
            number: Seq::START,
            reached: VecDeque::new(),
            places: BTreeMap::new(),
            polled_at: Time::ZERO,
            polls_at: Time::ZERO,
            refreshes_at: Time::ZERO,
            read_registry: Time::ZERO,
            seen: BTreeMap::new(),
        }
    }

    pub(crate) fn announce(&mut self, cache: &str, scopes: &[Scope<'_>]) -> Seq {
        let seq = self.appends.announce();
        self.kept.add(seq, cache, scopes);
        seq
    }

    pub(crate) fn await_applied(&mut self, seq: Seq, deadline: Time, lease: Duration) -> u64 {
        self.appends.await_applied(seq, deadline, lease)
    }

    pub(crate) fn due(&mut self, now: Time) -> Vec<(u64, Confirmed)> {
        self.appends.due(now)
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.appends.next_deadline()
    }

    pub(crate) fn proven(&self) -> Time {
        self.follower.proven()
    }

    /// One call at a time. What reads goes first: behind it, what is appended is to the log that there is.
    pub(crate) fn next(&mut self, now: Time) -> ToDo {
        if self.polls_at <= now
            && let Some(question) = self.follower.ask(now)
        {
            (self.polled_at, self.polls_at) = (now, now + POLL_EVERY);
            return ToDo::Poll(question, self.position.clone());
        }
        if let Some(Append { epoch, numbers }) = self.appends.to_append() {
            let (upto, flushes) = self.kept.first_of(&numbers);
            return ToDo::Append(epoch, *numbers.start()..=upto, flushes);
        }
        if self.refreshes_at <= now
            && let Some((epoch, at)) = self.applied()
        {
            self.refreshes_at = now + REFRESH_EVERY;
            return ToDo::Refresh(epoch, at);
        }
        let every = if self.appends.wants_registry() { REGISTRY_EVERY } else { CLEAN_EVERY };
        let reads_registry_at = self.read_registry + every;
        if reads_registry_at <= now && self.position.is_some() {
            self.read_registry = now;
            return ToDo::Registry;
        }
        let settles = self.appends.next_deadline().unwrap_or(Time::NEVER);
        let next = [self.polls_at, self.refreshes_at, reads_registry_at, settles];
        let next = next.into_iter().filter(|&at| at > now).min();
        ToDo::WaitUntil(next.unwrap_or(now + POLL_EVERY))
    }

    /// There may be something to read.
    pub(crate) fn wake(&mut self, now: Time) {
        self.polls_at = self.polls_at.min(now.max(self.polled_at + REST));
    }

    /// The connection is gone, and what was under way with it.
    pub(crate) fn give_up(&mut self) {
        self.follower.give_up();
        self.appends.give_up();
    }

    pub(crate) fn polled(&mut self, now: Time, question: &Question, polled: Polled) -> ToApply {
        let Polled { rows, position, epoch, is_whole, is_member } = polled;
        let number = Seq(self.number.0 + rows.len() as u64);
        let row = if is_member { OwnRow::Present } else { OwnRow::Missing };
        let answer = Answer { epoch, head: number, holds: is_whole, row };
        let answered = self.follower.answer(now, question.asked, &answer);
        if let Some(standing) = self.follower.standing() {
            self.appends.stand(standing);
        }
        let mut apply = ToApply { rows, reached: None, is_reset: false };
        match answered {
            Answered::Ignored => apply.rows.clear(),
            Answered::Reset => {
                apply.rows.clear();
                apply.is_reset = true;
                self.number = number;
                self.reached = VecDeque::from([(number, position.clone())]);
                self.position = Some(position);
                self.refreshes_at = now;
            }
            Answered::Counts | Answered::NotRegistered => {
                apply.rows.retain(|row| {
                    self.number = self.number.next();
                    let entry = Entry { number: self.number, by: row.by };
                    match self.follower.hear(epoch, entry) {
                        Heard::Apply(reached) => apply.reached = Some(reached),
                        // Something is missing before it: it begins anew with the next answer.
                        Heard::Nothing => return false,
                    }
                    // Its own were applied here before they were announced.
                    row.by.is_none_or(|by| by.life != self.life)
                });
                self.reached.push_back((self.number, position.clone()));
                self.position = Some(position);
                if answered == Answered::NotRegistered {
                    self.refreshes_at = now;
                }
            }
        }
        apply
    }

    /// Those rows are applied to copies and flights.
    pub(crate) fn applied_upto(&mut self, now: Time, reached: Reached) {
        self.follower.applied(reached);
        // Somebody may wait for this node's word.
        self.refreshes_at = self.refreshes_at.min(now);
    }

    /// Where it stands by what is applied.
    fn applied(&mut self) -> Option<(Epoch, Snapshot)> {
        let (epoch, applied) = self.follower.applied_upto()?;
        while self.reached.get(1).is_some_and(|(number, _)| *number <= applied) {
            self.reached.pop_front();
        }
        let (number, at) = self.reached.front()?;
        (*number <= applied).then(|| (epoch, at.clone()))
    }

    /// The database holds those numbers, in this transaction.
    pub(crate) fn appended(
        &mut self,
        now: Time,
        epoch: Epoch,
        numbers: &RangeInclusive<Seq>,
        xid: u64,
    ) {
        self.places.insert(*numbers.end(), (epoch, xid));
        while self.places.len() > MOST_PLACES {
            self.places.pop_first();
        }
        self.appends.acknowledged(now, epoch, numbers);
    }

    /// The log is another one by now: nothing was appended.
    pub(crate) fn refused(&mut self, now: Time) {
        self.appends.give_up();
        self.wake(now);
    }

    pub(crate) fn refreshed(&mut self, epoch: Epoch, sent: Time) {
        self.follower.refreshed(epoch, sent);
    }

    /// What the registry says; gives the rows that nobody refreshes any more, which are to be removed if they
    /// still stand as they were read.
    pub(crate) fn registry(
        &mut self,
        now: Time,
        sent: Time,
        id: u128,
        members: Vec<Member>,
    ) -> Vec<(Incarnation, i64)> {
        let Some(standing) = self.follower.standing().filter(|it| it.epoch.id == id) else {
            return Vec::new();
        };
        let others = members.into_iter().filter(|it| it.life != self.life);
        let (mut rows, mut stale, mut seen) = (Vec::new(), Vec::new(), BTreeMap::new());
        for member in others {
            let before =
                self.seen.get(&member.life).filter(|(version, _)| *version == member.version);
            let since = before.map_or(now, |&(_, since)| since);
            if since + ROW_LASTS <= now {
                stale.push((member.life, member.version));
            }
            seen.insert(member.life, (member.version, since));
            let applied = self.applied_of_own(standing.epoch, &member);
            // Of another one its rules do not matter: it is not this one.
            let epoch = Epoch { id: member.epoch, rules: standing.epoch.rules };
            rows.push(RegistryRow { name: member.name, life: member.life, epoch, applied });
        }
        self.seen = seen;
        self.appends.read(RegistryRead { sent, epoch: standing.epoch, rows });
        stale
    }

    /// Up to there a member has applied this node's flushes.
    fn applied_of_own(&self, epoch: Epoch, member: &Member) -> Seq {
        let mut applied = Seq::START;
        for (&upto, &(of, xid)) in &self.places {
            if of == epoch && !member.applied.sees(xid) {
                return applied;
            }
            applied = upto;
        }
        applied
    }
}
