//! Owns what is to be settled, and how far each of it has come: first every place where nobody is
//! known is looked at, then everybody who is linked is asked.
//! It must never count a look, or an answer, from before a subject came up.
//!
//! One behind the other: who died in the meantime may have told others what it knew, and they are
//! asked once it was seen to be dead.

use super::Minimum;
use crate::Time;

/// Subjects that are not settled.
#[derive(Debug)]
pub(crate) struct Open<S> {
    /// All other places have to be looked at after this.
    looking: Minimum<S, Time>,
    /// Everybody has to be asked after this.
    asking: Minimum<S, Time>,
}

impl<S> Default for Open<S> {
    fn default() -> Self {
        Self { looking: Minimum::default(), asking: Minimum::default() }
    }
}

impl<S: Ord + Copy> Open<S> {
    /// A subject has come up, in place of what was open of it.
    pub(crate) fn look(&mut self, subject: S, since: Time) {
        self.asking.set(subject, None);
        self.looking.set(subject, Some(since));
    }

    /// The same, of one that is asked about while other places are looked at.
    pub(crate) fn ask(&mut self, subject: S, since: Time) {
        self.looking.set(subject, None);
        self.asking.set(subject, Some(since));
    }

    /// Nothing is open about a subject any more.
    pub(crate) fn close(&mut self, subject: S) {
        self.looking.set(subject, None);
        self.asking.set(subject, None);
    }

    /// All other places were looked at after `looked`; there is none of them, if it is none. What that
    /// is enough for is asked about from `now` on: no question from before has named it.
    pub(crate) fn looked(&mut self, looked: Option<Time>, now: Time) {
        let enough = self.looking.up_to(looked.unwrap_or(Time::NEVER));
        for (_, subject) in enough.collect::<Vec<_>>() {
            self.ask(subject, now);
        }
    }

    /// Behind which moment places have to be looked at for all that is open.
    pub(crate) fn looks_behind(&self) -> Option<Time> {
        self.looking.max()
    }

    /// What everybody was asked about who has answered a question from `answered`, the oldest first,
    /// with since when it was to be asked about.
    pub(crate) fn due(&self, answered: Time) -> impl Iterator<Item = (Time, S)> {
        self.asking.up_to(answered)
    }

    /// What everybody has to be asked about now.
    pub(crate) fn asking(&self) -> impl Iterator<Item = S> {
        self.asking.iter().map(|(subject, _)| subject)
    }

    /// What is open since after `asked`, and since before `now`.
    pub(crate) fn between(&self, asked: Time, now: Time) -> Vec<S> {
        let later = self.all().filter(|&(_, since)| since > asked && since < now);
        later.map(|(subject, _)| subject).collect()
    }

    pub(crate) fn contains(&self, subject: S) -> bool {
        self.looking.contains(subject) || self.asking.contains(subject)
    }

    pub(crate) fn len(&self) -> usize {
        self.looking.len() + self.asking.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn subjects(&self) -> impl Iterator<Item = S> {
        self.all().map(|(subject, _)| subject)
    }

    fn all(&self) -> impl Iterator<Item = (S, Time)> {
        self.looking.iter().chain(self.asking.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    #[test]
    fn a_subject_is_asked_about_once_all_was_looked_at_behind_it() {
        let mut open = Open::default();
        open.look('a', at(10));
        open.looked(Some(at(9)), at(11));
        assert_eq!((open.asking().count(), open.due(Time::NEVER).count()), (0, 0));
        open.looked(Some(at(10)), at(20));
        assert_eq!(open.due(at(19)).count(), 0, "it was seen at 20 that nobody else is there");
        assert_eq!(open.due(at(20)).collect::<Vec<_>>(), [(at(20), 'a')]);
        open.close('a');
        assert!(open.is_empty() && open.due(Time::NEVER).next().is_none());
    }

    #[test]
    fn where_nothing_is_to_be_looked_at_it_is_asked_about_at_once() {
        let mut open = Open::default();
        open.look('a', at(10));
        open.looked(None, at(10));
        assert_eq!(open.due(at(10)).collect::<Vec<_>>(), [(at(10), 'a')]);
        open.look('a', at(30));
        assert_eq!((open.due(at(40)).count(), open.len()), (0, 1), "anew");
        assert_eq!(open.between(at(29), at(31)), ['a']);
        assert!(open.between(at(30), at(31)).is_empty() && open.between(at(1), at(30)).is_empty());
    }
}
