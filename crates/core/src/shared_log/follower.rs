//! Owns one node's way along a shared log: what it has heard and applied, what that proves, and when it
//! has to begin anew.
//! It must never count an answer for a moment after its question was sent, nor what it did not apply.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Epoch;
use crate::Time;
use crate::cache::Caches;
use crate::planted::{Fault, planted};
use crate::wire::{Incarnation, Position, Seq};

/// How long after its last acknowledged refresh was sent a registered node may count on being so: who
/// cleans up removes a row that was not refreshed for 15 s, by the cleaner's clock. Less a strict lease,
/// and a second for clocks.
pub const REFRESHED_WITHIN: Duration = Duration::from_secs(12);
/// A question that has no answer by then is given up, with the connection that it was sent over; so is one
/// whose answer names what is not read by then: an engine that stopped delivering does not say so.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(700);
/// Most answers whose heads are not applied yet; beyond it, later ones count for nothing.
const MAX_PENDING: usize = 32;
/// Most authors whose numbers are kept; beyond it, those heard longest ago are forgotten, and what the
/// engine loses of theirs is not seen by their numbers.
const MAX_AUTHORS: usize = 4096;

/// Whether nodes of a cluster register with the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// They do, and flushes may be confirmed as soon as all of them have applied them: who is not
    /// registered proves nothing.
    Registered,
    /// They need not: strict flushes are confirmed by time alone.
    Open,
}

/// What is read of the log: which entry it is, not what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the log, which the adapter has given: the next one.
    pub number: Seq,
    /// Whose it is, and its number there.
    pub by: Position,
}

/// What is to become of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is to be applied, and then to be told of by [`Follower::applied`].
    Apply(Reached),
    /// It is known, of another epoch, or behind a gap: it counts for nothing.
    Nothing,
}

/// How far the log is heard since the node began anew last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    beginning: u64,
    number: Seq,
}

/// What an engine is to be asked, in one call that it orders with the appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// When it was decided on, which is before it is sent. The answer names it.
    pub asked: Time,
    /// The epoch and number from which on this node follows, and the entry there.
    pub after: Option<(Epoch, Entry)>,
}

/// What an engine answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The engine's.
    pub epoch: Epoch,
    /// The last entry that was appended before the question.
    pub head: Seq,
    /// The log still holds all behind where the node follows, and the entry there is that one.
    pub holds: bool,
    /// The node is registered, in this epoch.
    pub is_registered: bool,
}

/// What an answer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It proves something, now or once its head is applied.
    Counts,
    /// It was given up, or is of a question that was never asked.
    Ignored,
    /// This node is not registered, or its last refresh is too long ago: it registers and asks again.
    NotRegistered,
    /// This node begins anew: no copy from before is trusted, and it follows from behind the head.
    Reset,
}

/// Where it stands in one epoch.
#[derive(Debug)]
struct Standing {
    epoch: Epoch,
    since: Time,
    heard: Entry,
    applied: Seq,
    /// The last number heard of each author, and that entry's in the log.
    authors: BTreeMap<Incarnation, (Seq, Seq)>,
    /// Something is missing: nothing more is heard nor proven until it begins anew.
    has_gap: bool,
}

/// Follows a shared log for the caches of one node.
#[derive(Debug)]
pub struct Follower {
    caches: Arc<Caches>,
    membership: Membership,
    own: Incarnation,
    standing: Option<Standing>,
    /// How often it has begun anew.
    beginning: u64,
    asked: Option<Question>,
    /// Answers whose heads are not applied yet: when they were asked for, and those heads.
    pending: VecDeque<(Time, Seq)>,
    /// When the last refresh of its row was sent that was acknowledged.
    refreshed: Option<Time>,
    proven: Time,
}

impl Follower {
    /// One that has not read anything yet. `own` is this node's life.
    pub fn new(caches: Arc<Caches>, own: Incarnation, membership: Membership) -> Self {
        Self {
            caches,
            membership,
            own,
            standing: None,
            beginning: 0,
            asked: None,
            pending: VecDeque::new(),
            refreshed: None,
            proven: Time::ZERO,
        }
    }

    /// The next question, if the last one is answered or given up.
    pub fn ask(&mut self, now: Time) -> Option<Question> {
        if self.asked.is_some() {
            return None;
        }
        let after = self.standing.as_ref().map(|it| (it.epoch, it.heard));
        self.asked = Some(Question { asked: now, after });
        self.asked
    }

    /// When what is under way is to be given up.
    pub fn give_up_at(&self) -> Option<Time> {
        let heard = self.heard().unwrap_or_default();
        let unread = self.pending.iter().find(|&&(_, head)| head > heard);
        let question = self.asked.map(|question| question.asked);
        question
            .into_iter()
            .chain(unread.map(|&(asked, _)| asked))
            .min()
            .map(|at| at + ANSWER_WITHIN)
    }

    /// The connection broke, or an answer took too long: what comes of it later counts for nothing.
    pub fn give_up(&mut self) {
        self.asked = None;
        self.pending.clear();
    }

    /// A refresh of this node's row that was sent at `sent` is acknowledged. An engine whose questions
    /// refresh it acknowledges by the answer.
    pub fn refreshed(&mut self, sent: Time) {
        self.refreshed = self.refreshed.max(Some(sent));
    }

    /// An entry has been read. To be told of each, in order.
    pub fn hear(&mut self, epoch: Epoch, entry: Entry) -> Heard {
        let is_ours = |it: &&mut Standing| it.epoch == epoch || planted(Fault::EpochIgnored);
        let Some(it) = self.standing.as_mut().filter(is_ours) else { return Heard::Nothing };
        if it.has_gap || entry.number <= it.heard.number {
            return Heard::Nothing;
        }
        let last = it.authors.get(&entry.by.life).map(|&(seq, _)| seq);
        // Who appends again what may be lost repeats numbers, and skips none.
        let skips = last.is_some_and(|last| entry.by.seq > last.next());
        let is_gap = entry.number != it.heard.number.next() || skips;
        if is_gap && !planted(Fault::GapInLogIgnored) {
            it.has_gap = true;
            return Heard::Nothing;
        }
        it.heard = entry;
        let seq = entry.by.seq.max(last.unwrap_or_default());
        it.authors.insert(entry.by.life, (seq, entry.number));
        if it.authors.len() > MAX_AUTHORS
            && let Some((&oldest, _)) = it.authors.iter().min_by_key(|(_, (_, number))| *number)
        {
            it.authors.remove(&oldest);
        }
        Heard::Apply(Reached { beginning: self.beginning, number: entry.number })
    }

    /// All up to there is applied to copies and flights.
    pub fn applied(&mut self, upto: Reached) {
        if upto.beginning != self.beginning {
            return;
        }
        if let Some(it) = &mut self.standing {
            it.applied = it.applied.max(upto.number);
        }
        self.count();
    }

    /// The engine answers the question that was asked at `asked`.
    pub fn answer(&mut self, now: Time, asked: Time, answer: &Answer) -> Answered {
        let Some(question) = self.asked.filter(|question| question.asked == asked) else {
            return Answered::Ignored;
        };
        self.asked = None;
        let is_reset = self.has_to_begin(&question, answer);
        if is_reset {
            self.begin(now, answer);
        }
        let is_fresh = || self.refreshed.is_some_and(|sent| asked <= sent + REFRESHED_WITHIN);
        let is_member = self.membership == Membership::Open
            || planted(Fault::RowNotNeeded)
            || answer.is_registered && is_fresh();
        if is_member && self.pending.len() < MAX_PENDING {
            let from = if planted(Fault::ProofFromReceiveTime) { now } else { asked };
            let head = if planted(Fault::HeadLeftOutOfGrant) { Seq::START } else { answer.head };
            self.pending.push_back((from, head));
        }
        self.count();
        match (is_reset, is_member) {
            (true, _) => Answered::Reset,
            (false, true) => Answered::Counts,
            (false, false) => Answered::NotRegistered,
        }
    }

    fn has_to_begin(&self, question: &Question, answer: &Answer) -> bool {
        let Some(it) = &self.standing else { return true };
        let is_other = it.epoch != answer.epoch && !planted(Fault::EpochIgnored);
        let was_ahead = question.after.is_none_or(|(_, after)| answer.head < after.number);
        let holds = (answer.holds && !was_ahead) || planted(Fault::ResetNotSeen);
        is_other || it.has_gap || !holds
    }

    /// Nothing from before is trusted, and it follows from behind the head.
    fn begin(&mut self, now: Time, answer: &Answer) {
        self.caches.distrust();
        self.beginning += 1;
        self.pending.clear();
        let before = self.standing.take().filter(|it| it.epoch == answer.epoch);
        let nobody = Position { life: self.own, seq: Seq::START };
        self.standing = Some(Standing {
            epoch: answer.epoch,
            since: before.map_or(now, |it| it.since),
            heard: Entry { number: answer.head, by: nobody },
            applied: answer.head,
            authors: BTreeMap::new(),
            has_gap: false,
        });
    }

    /// Publishes what is proven by what is applied.
    fn count(&mut self) {
        let Some(it) = self.standing.as_ref().filter(|it| !it.has_gap) else { return };
        while let Some(&(asked, head)) = self.pending.front()
            && head <= it.applied
        {
            self.pending.pop_front();
            self.proven = self.proven.max(asked);
        }
        self.caches.prove(self.proven, self.proven);
    }

    /// Everything that was appended before then is applied here, or no copy from before is trusted.
    pub fn proven(&self) -> Time {
        self.proven
    }

    /// The epoch in which this node follows, and since when.
    pub fn epoch(&self) -> Option<(Epoch, Time)> {
        self.standing.as_ref().map(|it| (it.epoch, it.since))
    }

    /// How far the log is heard: an adapter reads on behind it.
    pub fn heard(&self) -> Option<Seq> {
        self.standing.as_ref().map(|it| it.heard.number)
    }

    #[cfg(test)]
    pub(super) fn authors(&self) -> usize {
        self.standing.as_ref().map_or(0, |it| it.authors.len())
    }

    /// How far it is applied: what this node's row says, with the epoch.
    pub fn applied_upto(&self) -> Option<(Epoch, Seq)> {
        self.standing.as_ref().map(|it| (it.epoch, it.applied))
    }
}
