//! Owns one node's way along a shared log: what it has heard and applied, what that proves, and when it
//! has to begin anew.
//! It must never count an answer for a moment after its question was sent, nor what it did not apply.

use std::collections::VecDeque;
use std::sync::Arc;

use super::authors::Authors;
use super::{ANSWER_WITHIN, Epoch, Membership, Overlap, REFRESHED_WITHIN, Standing};
use crate::Time;
use crate::cache::{Caches, Prover};
use crate::planted::{Fault, planted};
use crate::wire::{Position, Seq};

/// Most answers whose heads are not applied yet: while there are so many, nothing is asked.
const MOST_UNAPPLIED: usize = 32;

/// What is read of the log: which entry it is, not what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the log, which the adapter has given: the next one.
    ///
    /// What an adapter numbers has no holes, unless the adapter sees to it: an engine goes on behind a hole
    /// and does not say so. So the first entry that is read after the reading began, or began again, has a
    /// number left out before it, unless the adapter has looked, *behind* having that entry, and the log
    /// still reached back to where it had stopped, with the same entry there.
    pub number: Seq,
    /// Whose it is, and its number there; nobody's, where something else writes to the log: an application's
    /// transaction, or a trigger.
    pub by: Option<Position>,
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

/// From where on a node follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In this epoch.
    pub epoch: Epoch,
    /// From behind this entry.
    pub number: Seq,
    /// Which entry that is, if it was read and is somebody's: the engine is to have the same there.
    pub anchor: Option<Position>,
}

/// What an engine is to be asked, in one call that it orders with the appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// When it was decided on, which is before it is sent. The answer names it.
    pub asked: Time,
    /// From where on this node follows, if it does already.
    pub after: Option<Place>,
}

/// What an engine answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The engine's.
    pub epoch: Epoch,
    /// The last entry that was appended before the question, by the adapter's numbers.
    pub head: Seq,
    /// The log still holds all behind where the node follows, and the entry there is that one.
    pub holds: bool,
    /// The node's own row, when the question was answered.
    pub row: Row,
}

/// A node's row in the registry, of the epoch of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// There is none, or it is of another epoch.
    Missing,
    /// It is there. [`Follower::refreshed`] tells when it was refreshed.
    Present,
    /// The question itself has put or refreshed it, in the same step of the engine.
    Refreshed,
}

/// What an answer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It proves something, now or once its head is applied.
    Counts,
    /// It was given up, or is of a question that was never asked: what came with it counts for nothing.
    Ignored,
    /// This node was not registered, or its last refresh too long ago, when it asked: it registers, and asks
    /// again behind that.
    NotRegistered,
    /// This node begins anew: no copy from before is trusted, and it follows from behind the head.
    Reset,
}

/// A question that is under way.
#[derive(Debug, Clone, Copy)]
struct Asked {
    question: Question,
    /// Whether the row was refreshed lately when it was decided on: what is acknowledged since may stand
    /// for a new row.
    is_fresh: bool,
}

/// Where it stands in one epoch.
#[derive(Debug)]
struct Followed {
    standing: Standing,
    /// The last entry heard; nothing but its number is known behind a reset.
    heard: Entry,
    applied: Seq,
    authors: Authors,
    /// Something is missing: nothing more is heard nor proven until it begins anew.
    has_gap: bool,
}

/// Follows a shared log for the caches of one node.
#[derive(Debug)]
pub struct Follower {
    caches: Arc<Caches>,
    followed: Option<Followed>,
    /// How often it has begun anew.
    beginning: u64,
    asked: Option<Asked>,
    /// Answers whose heads are not applied yet: when they were asked for, and those heads.
    pending: VecDeque<(Time, Seq)>,
    /// When the last refresh of its row was sent that was acknowledged in this epoch.
    refreshed: Option<Time>,
    proven: Time,
}

impl Follower {
    /// One that has not read anything yet. From here on the caches serve nothing that this has not proven.
    pub fn new(caches: Arc<Caches>) -> Self {
        caches.prove(Prover::Log, Time::ZERO, Time::ZERO);
        Self {
            caches,
            followed: None,
            beginning: 0,
            asked: None,
            pending: VecDeque::new(),
            refreshed: None,
            proven: Time::ZERO,
        }
    }

    /// From where on this node follows, if it does.
    pub fn place(&self) -> Option<Place> {
        self.followed.as_ref().map(|it| Place {
            epoch: it.standing.epoch,
            number: it.heard.number,
            anchor: it.heard.by.filter(|_| !planted(Fault::AnchorLeftOut)),
        })
    }

    /// The next question, if the last one is answered or given up, and most of what was answered is applied.
    pub fn ask(&mut self, now: Time) -> Option<Question> {
        if self.asked.is_some() || self.pending.len() >= MOST_UNAPPLIED {
            return None;
        }
        let question = Question { asked: now, after: self.place() };
        self.asked = Some(Asked { question, is_fresh: self.is_fresh(now) });
        Some(question)
    }

    fn is_fresh(&self, asked: Time) -> bool {
        self.refreshed.is_some_and(|sent| asked <= sent + REFRESHED_WITHIN)
    }

    /// When what is under way is to be given up.
    pub fn give_up_at(&self) -> Option<Time> {
        let heard = self.followed.as_ref().map_or(Seq::START, |it| it.heard.number);
        let unread = self.pending.iter().find(|&&(_, head)| head > heard);
        let question = self.asked.map(|asked| asked.question.asked);
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

    /// A refresh of this node's row that was sent at `sent` is acknowledged, in `epoch`. Not for an engine
    /// whose questions refresh it: their answers say so.
    pub fn refreshed(&mut self, epoch: Epoch, sent: Time) {
        if self.followed.as_ref().is_some_and(|it| it.standing.epoch == epoch) {
            self.refreshed = self.refreshed.max(Some(sent));
        }
    }

    /// An entry has been read. To be told of each, in order. What came with an answer is told of behind it.
    pub fn hear(&mut self, epoch: Epoch, entry: Entry) -> Heard {
        let is_ours =
            |it: &&mut Followed| it.standing.epoch == epoch || planted(Fault::EpochIgnored);
        let Some(it) = self.followed.as_mut().filter(is_ours) else { return Heard::Nothing };
        if it.has_gap || entry.number <= it.heard.number {
            return Heard::Nothing;
        }
        let is_next = entry.number == it.heard.number.next() || planted(Fault::GapInLogIgnored);
        let skips = entry.by.is_some_and(|by| !it.authors.hear(by));
        if !is_next || (skips && !planted(Fault::GapOfAuthorIgnored)) {
            it.has_gap = true;
            return Heard::Nothing;
        }
        it.heard = entry;
        Heard::Apply(Reached { beginning: self.beginning, number: entry.number })
    }

    /// All up to there is applied to copies and flights.
    pub fn applied(&mut self, upto: Reached) {
        if upto.beginning != self.beginning {
            return;
        }
        if let Some(it) = &mut self.followed {
            it.applied = it.applied.max(upto.number);
        }
        self.count();
    }

    /// The engine answers the question that was asked at `asked`.
    pub fn answer(&mut self, now: Time, asked: Time, answer: &Answer) -> Answered {
        let is_it = |it: &mut Asked| it.question.asked == asked || planted(Fault::LateAnswersCount);
        let Some(Asked { question, is_fresh }) = self.asked.take_if(is_it) else {
            return Answered::Ignored;
        };
        let asked = question.asked;
        let is_reset = self.has_to_begin(&question, answer);
        if is_reset {
            self.begin(now, answer);
        }
        if let Some(it) = &mut self.followed {
            it.standing.answered = it.standing.answered.max(asked);
        }
        let is_fresh = is_fresh || (planted(Fault::FreshAtAnswer) && self.is_fresh(asked));
        let is_member = match (answer.epoch.rules.membership, answer.row) {
            (Membership::Open, _) | (_, Row::Refreshed) => true,
            (Membership::Registered, Row::Present) => is_fresh,
            (Membership::Registered, Row::Missing) => false,
        };
        let counts = is_member || planted(Fault::RowNotNeeded);
        if counts {
            let from = if planted(Fault::ProofFromReceiveTime) { now } else { asked };
            let head = if planted(Fault::HeadLeftOutOfGrant) { Seq::START } else { answer.head };
            self.pending.push_back((from, head));
        }
        self.count();
        match (is_reset, counts) {
            (true, _) => Answered::Reset,
            (false, true) => Answered::Counts,
            (false, false) => Answered::NotRegistered,
        }
    }

    fn has_to_begin(&self, question: &Question, answer: &Answer) -> bool {
        let Some(it) = &self.followed else { return true };
        let is_other = it.standing.epoch != answer.epoch && !planted(Fault::EpochIgnored);
        let was_ahead = question.after.is_none_or(|after| answer.head < after.number);
        let holds = (answer.holds && !was_ahead) || planted(Fault::ResetNotSeen);
        is_other || it.has_gap || !holds
    }

    /// Nothing from before is trusted, and it follows from behind the head.
    fn begin(&mut self, now: Time, answer: &Answer) {
        self.caches.distrust();
        self.beginning += 1;
        self.pending.clear();
        let epoch = answer.epoch;
        let before = self.followed.take().map(|it| it.standing).filter(|it| it.epoch == epoch);
        if before.is_none() {
            self.refreshed = None;
        }
        self.followed = Some(Followed {
            standing: before.unwrap_or(Standing { epoch, since: now, answered: Time::ZERO }),
            heard: Entry { number: answer.head, by: None },
            applied: answer.head,
            authors: Authors::default(),
            has_gap: false,
        });
    }

    /// Publishes what is proven by what is applied.
    fn count(&mut self) {
        let Some(it) = self.followed.as_ref().filter(|it| !it.has_gap) else { return };
        while let Some(&(asked, head)) = self.pending.front()
            && head <= it.applied
        {
            self.pending.pop_front();
            self.proven = self.proven.max(asked);
        }
        let proven = match it.standing.epoch.rules.overlap {
            // Nothing that such an engine answers is a proof.
            Overlap::Unknown => Time::ZERO,
            Overlap::Never | Overlap::AtMost(_) => self.proven,
        };
        self.caches.prove(Prover::Log, proven, proven);
    }

    /// Everything that was appended before then is applied here, or no copy from before is trusted.
    pub fn proven(&self) -> Time {
        self.proven
    }

    /// Where this node stands: what [`Appends::stand`](super::Appends::stand) is to be told behind each answer.
    pub fn standing(&self) -> Option<Standing> {
        self.followed.as_ref().map(|it| it.standing)
    }

    /// How far it is applied: what this node's row says, with the epoch.
    pub fn applied_upto(&self) -> Option<(Epoch, Seq)> {
        self.followed.as_ref().map(|it| (it.standing.epoch, it.applied))
    }
}
