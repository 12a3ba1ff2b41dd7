//! Owns how far a shard's table was looked through for copies that are over.
//! It must never miss one for longer than a round.

use super::Stamp;
use super::judge::Judge;
use crate::Time;

/// The round that goes on, and what the last one has shown. All that is not yet over is, as long as nothing
/// is distrusted, over at a time that only reads put off: so there is none to be found before the earliest of
/// these times that a round has seen.
pub(super) struct Rounds {
    /// The next place to be looked at.
    place: usize,
    /// The earliest end seen in this round.
    seen: Time,
    /// Nothing is over before that.
    none_before: Time,
    /// As far as nothing is distrusted from behind this mark.
    mark: Stamp,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { place: 0, seen: Time::NEVER, none_before: Time::NEVER, mark: Stamp::FIRST }
    }
}

impl Rounds {
    /// A copy was put in that will be over then.
    pub(super) fn note(&mut self, over: Time) {
        self.seen = self.seen.min(over);
        self.none_before = self.none_before.min(over);
    }

    /// Copies are at other places now.
    pub(super) fn begin_anew(&mut self) {
        (self.place, self.seen) = (0, Time::NEVER);
    }

    /// Whether there may be any that is over.
    pub(super) fn may_find(&self, judge: &Judge<'_>) -> bool {
        self.none_before <= judge.now || self.mark != judge.mark()
    }

    /// The next of so many places to look at; nothing if there is none to be found.
    pub(super) fn next(&mut self, judge: &Judge<'_>, places: usize) -> Option<usize> {
        if self.mark != judge.mark() {
            (self.mark, self.none_before) = (judge.mark(), Time::ZERO);
            self.begin_anew();
        }
        if self.place >= places {
            self.none_before = self.seen;
            self.begin_anew();
        }
        if self.none_before > judge.now {
            return None;
        }
        self.place += 1;
        Some(self.place - 1)
    }

    /// The copy at the last place is not over until then.
    pub(super) fn saw(&mut self, over: Time) {
        self.seen = self.seen.min(over);
    }
}
