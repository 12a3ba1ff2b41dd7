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
use crate::kept::{AT_ONCE, Kept, KeptFlushes};
use crate::poll::MAX_ROWS;
use crate::{Polled, Row, Snapshot};

/// How often the log is asked where nobody says that there is something.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// The least time between two polls, however often the node is woken: other calls need their turn.
const REST: Duration = Duration::from_millis(2);
/// How often the registry is read while somebody waits for what it may say.
const REGISTRY_EVERY: Duration = Duration::from_millis(50);
/// How often it is read all the same, and rows of the dead are removed.
const CLEAN_EVERY: Duration = Duration::from_secs(60);
/// Most own appends whose transactions are known. Older ones are confirmed by time only.
const MOST_PLACES: usize = 65_536;
/// Most positions that wait to be applied or to be written to the node's row. Beyond that, the latest one
/// takes the place of the one before it.
const MOST_REACHED: usize = 4096;
/// After a call that was not answered in time, the next one of its kind asks for, or sends, so much less. Without
/// this, a call that is too large for the link or the server would be repeated for ever. A poll may come down to
/// no rows at all: then the node begins anew.
const LESS: usize = 4;

/// What a node is to do next.
#[derive(Debug)]
pub(crate) enum ToDo {
    /// From there on, with so many rows at most.
    Poll(Question, Option<Snapshot>, usize),
    Append(Epoch, RangeInclusive<Seq>, Vec<Kept>),
    Refresh(Epoch, Snapshot),
    Registry,
    /// At the latest.
    WaitUntil(Time),
}

/// Who has a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Poll,
    Refresh,
    Registry,
    Append,
}

impl Turn {
    const ALL: [Self; 4] = [Self::Poll, Self::Refresh, Self::Registry, Self::Append];

    /// All of them, this one last.
    fn others_first(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().cycle().skip(self as usize + 1).take(Self::ALL.len())
    }
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
    /// Who had the last turn.
    turn: Turn,
    most_rows: usize,
    most_scopes: usize,
    registry_every: Duration,
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
            turn: Turn::Append,
            most_rows: MAX_ROWS,
            most_scopes: AT_ONCE,
            registry_every: REGISTRY_EVERY,
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

    /// Nobody waits for that any more.
    pub(crate) fn forget(&mut self, id: u64) {
        self.appends.forget(id);
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

    /// One call at a time, and each kind has its turn: those that are always due hold up no other.
    pub(crate) fn next(&mut self, now: Time) -> ToDo {
        for turn in self.turn.others_first() {
            if let Some(to_do) = self.take(turn, now) {
                self.turn = turn;
                return to_do;
            }
        }
        let reads_registry_at = self.reads_registry_at();
        let settles = self.appends.next_deadline().unwrap_or(Time::NEVER);
        let next = [self.polls_at, self.refreshes_at, reads_registry_at, settles];
        let next = next.into_iter().filter(|&at| at > now).min();
        ToDo::WaitUntil(next.unwrap_or(now + POLL_EVERY))
    }

    fn take(&mut self, turn: Turn, now: Time) -> Option<ToDo> {
        match turn {
            Turn::Poll if self.polls_at <= now => {
                let question = self.follower.ask(now)?;
                (self.polled_at, self.polls_at) = (now, now + POLL_EVERY);
                Some(ToDo::Poll(question, self.position.clone(), self.most_rows))
            }
            Turn::Append => {
                let Append { epoch, numbers } = self.appends.to_append()?;
                let (upto, flushes) = self.kept.first_of(&numbers, self.most_scopes);
                Some(ToDo::Append(epoch, *numbers.start()..=upto, flushes))
            }
            Turn::Refresh if self.refreshes_at <= now => {
                let (epoch, at) = self.applied()?;
                self.refreshes_at = now + REFRESH_EVERY;
                Some(ToDo::Refresh(epoch, at))
            }
            Turn::Registry if self.reads_registry_at() <= now && self.position.is_some() => {
                self.read_registry = now;
                Some(ToDo::Registry)
            }
            Turn::Poll | Turn::Refresh | Turn::Registry => None,
        }
    }

    fn reads_registry_at(&self) -> Time {
        let every = if self.appends.wants_registry() { self.registry_every } else { CLEAN_EVERY };
        self.read_registry + every
    }

    /// There may be something to read.
    pub(crate) fn wake(&mut self, now: Time) {
        self.polls_at = self.polls_at.min(now.max(self.polled_at + REST));
    }

    /// The connection is gone, and what was under way with it; perhaps as that was not answered in time.
    pub(crate) fn give_up(&mut self, was_silent: bool) {
        match self.turn {
            Turn::Poll if was_silent => self.most_rows /= LESS,
            Turn::Append if was_silent => self.most_scopes = (self.most_scopes / LESS).max(1),
            // Without it flushes are confirmed by time.
            Turn::Registry if was_silent => {
                self.registry_every = (self.registry_every * 4).min(CLEAN_EVERY);
            }
            _ => {}
        }
        self.follower.give_up();
        self.appends.give_up();
    }

    pub(crate) fn polled(&mut self, now: Time, question: &Question, polled: Polled) -> ToApply {
        let Polled { rows, position, epoch, is_whole, is_member } = polled;
        let number = Seq(self.number.0 + rows.len() as u64);
        self.most_rows = MAX_ROWS;
        let row = if is_member { OwnRow::Present } else { OwnRow::Missing };
        let answer = Answer { epoch, head: number, holds: is_whole, row };
        let answered = self.follower.answer(now, question.asked, &answer);
        if let Some(standing) = self.follower.standing() {
            // Those of another epoch say nothing of this one.
            self.places.retain(|_, (of, _)| *of == standing.epoch);
            self.appends.stand(standing);
        }
        let mut apply = ToApply { rows, reached: None, is_reset: false };
        match answered {
            Answered::Ignored => apply.rows.clear(),
            Answered::Reset => {
                apply.rows.clear();
                // What has followed nothing yet has nothing to lose.
                apply.is_reset = self.position.is_some();
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
                // All of it is applied by what reaches the last of them.
                if self.reached.len() == MOST_REACHED {
                    self.reached.pop_back();
                }
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
        self.most_scopes = AT_ONCE;
        self.places.insert(*numbers.end(), (epoch, xid));
        while self.places.len() > MOST_PLACES {
            self.places.pop_first();
        }
        self.appends.acknowledged(now, epoch, numbers);
        // That may be the first part of what was to be appended: nothing of the rest is under way.
        self.appends.give_up();
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
        self.registry_every = REGISTRY_EVERY;
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
            let applied = self.applied_of_own(&member);
            // Of another one its rules do not matter: it is not this one.
            let epoch = Epoch { id: member.epoch, rules: standing.epoch.rules };
            rows.push(RegistryRow { name: member.name, life: member.life, epoch, applied });
        }
        self.seen = seen;
        self.appends.read(RegistryRead { sent, epoch: standing.epoch, rows });
        stale
    }

    /// Up to there a member has applied this node's flushes.
    fn applied_of_own(&self, member: &Member) -> Seq {
        let applied = self.places.iter().take_while(|(_, (_, xid))| member.applied.sees(*xid));
        applied.last().map_or(Seq::START, |(&upto, _)| upto)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;
    use flushcast_core::shared_log::{Membership, Overlap, Rules};

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn epoch(id: u128) -> Epoch {
        Epoch { id, rules: Rules { membership: Membership::Registered, overlap: Overlap::Never } }
    }

    fn polls(follow: &mut Follow, now: Time, id: u128) {
        follow.wake(now);
        for _ in 0..4 {
            if let ToDo::Poll(question, ..) = follow.next(now) {
                let position = "10:10:".parse().unwrap();
                let (epoch, rows) = (epoch(id), Vec::new());
                let polled = Polled { rows, position, epoch, is_whole: true, is_member: true };
                follow.polled(now, &question, polled);
                return;
            }
        }
        panic!("it does not poll");
    }

    /// What was appended in the epoch before is so in a transaction of its own there, which says nothing.
    #[test]
    fn places_of_another_epoch_tell_of_nothing_that_was_applied() {
        let mut follow = Follow::new(Incarnation([1; 16]), Arc::new(Caches::default()));
        polls(&mut follow, at(0), 1);
        for _ in 0..12 {
            follow.announce("titles", &[Scope::Key("1")]);
        }
        follow.appended(at(10), epoch(1), &(Seq(1)..=Seq(5)), 11);
        follow.appended(at(20), epoch(1), &(Seq(6)..=Seq(9)), 12);
        polls(&mut follow, at(1000), 2);
        follow.appended(at(1010), epoch(2), &(Seq(1)..=Seq(7)), 21);
        follow.appended(at(1020), epoch(2), &(Seq(8)..=Seq(12)), 22);
        let member = |applied: &str| Member {
            life: Incarnation([2; 16]),
            name: "b".to_owned(),
            epoch: 2,
            applied: applied.parse().unwrap(),
            version: 0,
        };
        let applied = ["21:21:", "22:22:", "23:23:"].map(|it| follow.applied_of_own(&member(it)));
        assert_eq!(applied, [Seq(0), Seq(7), Seq(12)]);
    }

    #[test]
    fn what_is_always_due_holds_up_nothing_else() {
        let mut follow = Follow::new(Incarnation([1; 16]), Arc::new(Caches::default()));
        polls(&mut follow, at(0), 1);
        follow.announce("titles", &[Scope::Key("1")]);
        let mut kinds = [false; 2];
        for millis in (100..140).step_by(10) {
            follow.wake(at(millis));
            match follow.next(at(millis)) {
                ToDo::Append(..) => kinds[0] = true,
                ToDo::Refresh(..) => kinds[1] = true,
                _ => {}
            }
            follow.follower.give_up();
        }
        assert_eq!(kinds, [true; 2]);
    }

    /// What is more than one append takes goes with the next.
    #[test]
    fn what_is_left_of_an_append_follows_it() {
        let mut follow = Follow::new(Incarnation([1; 16]), Arc::new(Caches::default()));
        polls(&mut follow, at(0), 1);
        for _ in 0..2 * AT_ONCE {
            follow.announce("titles", &[Scope::Key("1")]);
        }
        let mut appended = Vec::new();
        for _ in 0..12 {
            if let ToDo::Append(epoch, numbers, flushes) = follow.next(at(10)) {
                follow.appended(at(10), epoch, &numbers, 11);
                appended.push(flushes.len());
            }
        }
        assert_eq!(appended, [AT_ONCE; 2]);
    }

    /// One that is too large to be read in time breaks the connection each time.
    #[test]
    fn a_registry_that_is_not_read_in_time_is_read_less_often() {
        let mut follow = Follow::new(Incarnation([1; 16]), Arc::new(Caches::default()));
        polls(&mut follow, at(0), 1);
        let seq = follow.announce("titles", &[Scope::Key("1")]);
        follow.await_applied(seq, Time::NEVER, Duration::from_secs(60));
        follow.appended(at(0), epoch(1), &(Seq(1)..=seq), 11);
        let mut reads = 0;
        for millis in (100_000..110_000).step_by(10) {
            let is_read = matches!(follow.next(at(millis)), ToDo::Registry);
            follow.give_up(is_read);
            reads += u32::from(is_read);
        }
        assert_eq!(reads, 4, "at once, and 200 ms, 1 s and 4.2 s later");
    }

    #[test]
    fn positions_that_are_not_put_down_do_not_grow_without_end() {
        let mut follow = Follow::new(Incarnation([1; 16]), Arc::new(Caches::default()));
        for millis in 0..10_000 {
            follow.follower.give_up();
            let question = follow.follower.ask(at(millis)).unwrap();
            let position = format!("{0}:{0}:", millis + 10).parse().unwrap();
            let (epoch, rows) = (epoch(1), Vec::new());
            let polled = Polled { rows, position, epoch, is_whole: true, is_member: true };
            follow.polled(at(millis), &question, polled);
        }
        assert_eq!(follow.reached.len(), MOST_REACHED);
        assert_eq!(follow.applied().unwrap().1, "10009:10009:".parse().unwrap());
    }
}
