//! Owns how far the log of one life was heard here and how far it is applied, with its last
//! flushes, to hand them over once that life is over.
//! It must never take for applied what only waits to be.

use std::collections::VecDeque;

use crate::Time;
use crate::flush::{FlushLog, LogLimits};
use crate::wire::{Flush, Incarnation, Seq};

/// The log of one life, as it is known here.
#[derive(Debug)]
pub(crate) struct Books {
    /// What was heard, as far back as its limits reach. Its head is the last number that was heard,
    /// or that a distrust of all copies covers.
    tail: FlushLog,
    /// The last number that was really heard, not covered: what others may count on.
    told: Seq,
    /// When that was.
    told_at: Time,
    /// The last number that the life itself told, by a flush or a reset: all that is beyond it is the
    /// word of others.
    own_word: Seq,
    /// Up to here it was applied or covered by the word of others, before the life spoke for itself
    /// again.
    hearsay: Seq,
    /// What was heard and waits to be applied, in order.
    waiting: VecDeque<Span>,
    /// What of it stands in this node's own log: what comes behind the former, up to the latter.
    handed_over: Option<(Seq, Seq)>,
    /// The number in this node's own log up to which it stands there.
    stands_at: Seq,
}

/// Flushes that came in one piece over the log of one life: its own, or that of who hands it over.
#[derive(Debug, Clone, Copy)]
struct Span {
    via: Incarnation,
    /// The number of the first in the log that it came over.
    via_first: Seq,
    first: Seq,
    last: Seq,
}

impl Books {
    pub(crate) fn new(limits: LogLimits) -> Self {
        Self {
            tail: FlushLog::new(limits),
            told: Seq::START,
            told_at: Time::ZERO,
            own_word: Seq::START,
            hearsay: Seq::START,
            waiting: VecDeque::new(),
            handed_over: None,
            stands_at: Seq::START,
        }
    }

    /// It stands in this node's own log up to this number.
    pub(crate) fn note_handed_over(&mut self, at: Seq) {
        self.stands_at = at;
    }

    /// Somebody who has applied this node's log up to `acked` asks for it: what is there and was of no
    /// use is put there again.
    pub(crate) fn is_asked_again(&mut self, acked: Seq) {
        if self.handed_over.is_some() && acked >= self.stands_at {
            self.handed_over = None;
        }
    }

    /// Whether what comes behind `after` stands in this node's own log, but for what came since.
    pub(crate) fn stands(&self, after: Seq) -> bool {
        self.handed_over.is_some_and(|(from, to)| (from..=to).contains(&after))
    }

    /// The life itself has told all up to `upto`.
    pub(crate) fn note_own_word(&mut self, upto: Seq) {
        self.own_word = self.own_word.max(upto);
    }

    pub(crate) fn own_word(&self) -> Seq {
        self.own_word
    }

    /// The life speaks for itself again: what others said of it counts no more, be it true or not. It
    /// tells all of that anew.
    pub(crate) fn go_back_to_own_word(&mut self) {
        let upto = self.own_word;
        if self.heard() <= upto {
            return;
        }
        self.hearsay = self.hearsay.max(self.applied());
        self.tail.skip_to(upto);
        self.told = self.told.min(upto);
        self.handed_over = None;
        self.waiting.retain_mut(|span| {
            span.last = span.last.min(upto);
            span.first <= span.last
        });
    }

    /// The life is lost: the word of others counts again, and what it brought once is not missing.
    pub(crate) fn return_to_hearsay(&mut self) {
        self.cover(self.hearsay);
    }

    /// Up to here it was heard, or is covered by a distrust.
    pub(crate) fn heard(&self) -> Seq {
        self.tail.head()
    }

    /// Up to here it is applied, or covered by a distrust.
    pub(crate) fn applied(&self) -> Seq {
        self.waiting.front().map_or(self.heard(), |span| Seq(span.first.0 - 1))
    }

    /// The last number that was really heard.
    pub(crate) fn told(&self) -> Seq {
        self.told
    }

    /// When anything was heard last.
    pub(crate) fn told_at(&self) -> Time {
        self.told_at
    }

    /// The first of its flushes that can still be handed over.
    pub(crate) fn held_from(&self) -> Seq {
        self.tail.first()
    }

    /// Bytes of its last flushes that are kept.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail.bytes()
    }

    /// Takes in its next flush, which is number `via_seq` of the log of `via`.
    pub(crate) fn hear(&mut self, now: Time, via: Incarnation, via_seq: Seq, flush: &Flush<'_>) {
        self.tail.copy(flush);
        self.note_heard(now, via, via_seq);
    }

    /// Takes in its next flush from its own log, as the frame came.
    pub(crate) fn hear_body(&mut self, now: Time, life: Incarnation, body: &[u8]) {
        self.tail.copy_body(body);
        self.note_heard(now, life, self.tail.head());
    }

    fn note_heard(&mut self, now: Time, via: Incarnation, via_seq: Seq) {
        self.told = self.tail.head();
        self.told_at = now;
        let last = self.told;
        if let Some(span) = self.waiting.back_mut()
            && span.via == via
            && span.last.next() == last
            && span.via_first.0 + (span.last.0 - span.first.0) + 1 == via_seq.0
        {
            span.last = last;
            return;
        }
        self.waiting.push_back(Span { via, via_first: via_seq, first: last, last });
    }

    /// The log of `via` is applied up to `upto`.
    pub(crate) fn note_applied(&mut self, via: Incarnation, upto: Seq) {
        self.waiting.retain_mut(|span| {
            if span.via != via || upto < span.via_first {
                return true;
            }
            let done = upto.0 - span.via_first.0 + 1;
            span.first = Seq(span.first.0.saturating_add(done));
            span.via_first = upto.next();
            span.first <= span.last
        });
    }

    /// Whether something that came over the log of `via` is not applied.
    pub(crate) fn waits_for(&self, via: Incarnation) -> bool {
        self.waiting.iter().any(|span| span.via == via)
    }

    /// Everything up to `upto` is covered by a distrust of all copies.
    pub(crate) fn cover(&mut self, upto: Seq) {
        if upto > self.heard() {
            self.tail.skip_to(upto);
            self.handed_over = None;
        }
        self.waiting.retain_mut(|span| {
            if span.first <= upto && upto < span.last {
                let done = upto.0 - span.first.0 + 1;
                span.via_first = Seq(span.via_first.0 + done);
                span.first = upto.next();
            }
            span.last > upto
        });
    }

    /// The frames behind `after`, to be put in this node's own log: those that are not there yet,
    /// because everybody reads all of it. `None` if they are not held that far back.
    pub(crate) fn hand_over(&mut self, after: Seq) -> Option<Vec<u8>> {
        let stands = self.stands(after);
        let (from, to) = self.handed_over.filter(|_| stands).unwrap_or((after, after));
        let mut frames = Vec::new();
        self.tail.read(to, usize::MAX / 2, &mut frames).ok()?;
        self.handed_over = Some((from, self.heard()));
        Some(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{FrameReader, Scope};

    const TAIL: LogLimits = LogLimits { entries: 512, bytes: 16 * 1024 };

    fn life(byte: u8) -> Incarnation {
        Incarnation([byte; 16])
    }

    fn flush() -> Flush<'static> {
        Flush { seq: Seq(0), cache: "c", scopes: vec![Scope::Key("k")], inherited: None }
    }

    fn told(books: &mut Books, count: u64) {
        for _ in 0..count {
            let seq = books.heard().next();
            books.hear(Time::ZERO, life(1), seq, &flush());
        }
    }

    /// How many frames are put in the own log for somebody who has come to `seq`.
    fn handed_over(books: &mut Books, seq: u64) -> Option<usize> {
        let mut reader = FrameReader::default();
        reader.push(&books.hand_over(Seq(seq))?);
        Some(std::iter::from_fn(|| reader.next_body().unwrap().map(<[u8]>::len)).count())
    }

    #[test]
    fn what_waits_is_heard_and_not_applied() {
        let mut books = Books::new(TAIL);
        told(&mut books, 3);
        assert_eq!((books.heard(), books.applied()), (Seq(3), Seq(0)));
        books.note_applied(life(1), Seq(2));
        assert_eq!(books.applied(), Seq(2));
        books.note_applied(life(1), Seq(3));
        assert_eq!(books.applied(), Seq(3));
    }

    #[test]
    fn what_came_over_another_log_is_applied_with_that_one_and_never_before_what_it_follows() {
        let mut books = Books::new(TAIL);
        told(&mut books, 2);
        // Numbers 3 and 4 are handed over by life 2, as 10 and 12 of its log.
        books.hear(Time::ZERO, life(2), Seq(10), &flush());
        books.hear(Time::ZERO, life(2), Seq(12), &flush());
        books.note_applied(life(2), Seq(11));
        assert_eq!(books.applied(), Seq(0), "1 and 2 wait");
        books.note_applied(life(1), Seq(2));
        assert_eq!(books.applied(), Seq(3));
        books.note_applied(life(2), Seq(12));
        assert_eq!(books.applied(), Seq(4));
    }

    #[test]
    fn a_distrust_covers_what_waits() {
        let mut books = Books::new(TAIL);
        told(&mut books, 5);
        books.cover(Seq(3));
        assert_eq!((books.heard(), books.applied(), books.told()), (Seq(5), Seq(3), Seq(5)));
        books.cover(Seq(9));
        assert_eq!((books.heard(), books.applied(), books.told()), (Seq(9), Seq(9), Seq(5)));
        books.note_applied(life(1), Seq(5));
        assert_eq!(books.applied(), Seq(9));
    }

    #[test]
    fn what_others_told_counts_for_nothing_while_the_life_speaks_and_again_once_it_is_lost() {
        let mut books = Books::new(TAIL);
        books.cover(Seq(7));
        books.go_back_to_own_word();
        assert_eq!((books.heard(), books.applied()), (Seq(0), Seq(0)));
        told(&mut books, 2);
        books.note_applied(life(1), Seq(2));
        books.return_to_hearsay();
        assert_eq!((books.heard(), books.applied(), books.told()), (Seq(7), Seq(7), Seq(2)));
    }

    #[test]
    fn a_tail_is_what_came_behind_a_place_and_only_if_it_is_held_that_far_back() {
        let mut books = Books::new(TAIL);
        told(&mut books, 3);
        assert_eq!(handed_over(&mut books, 1), Some(2));
        books.cover(Seq(9));
        told(&mut books, 1);
        assert_eq!(handed_over(&mut books, 9), Some(1));
        assert_eq!(handed_over(&mut books, 8), None);
    }

    #[test]
    fn what_stands_in_the_own_log_is_not_put_there_again() {
        let mut books = Books::new(TAIL);
        told(&mut books, 6);
        assert_eq!(handed_over(&mut books, 4), Some(2));
        assert_eq!(handed_over(&mut books, 4), Some(0));
        assert_eq!(handed_over(&mut books, 5), Some(0));
        told(&mut books, 1);
        assert_eq!(handed_over(&mut books, 5), Some(1), "what came since");
        assert_eq!(handed_over(&mut books, 2), Some(5), "in order for who lacks more");
        assert_eq!(handed_over(&mut books, 3), Some(0));
        assert_eq!(handed_over(&mut books, 7), Some(0));
    }
}
