//! Owns how far the log of each life is applied here, and its last flushes, to hand them over.
//! It must never forget a life that others may ask for without saying so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::flush::FlushLog;
use crate::wire::{Flush, Incarnation, MAX_LIVES_OVER, MAX_PEERS, Position, Seq, TAIL};

#[derive(Debug, Default)]
pub(crate) struct Lives {
    by_id: BTreeMap<Incarnation, Life>,
    met: u64,
    /// How many are forgotten.
    forgotten: u64,
    /// How many each witness is known to have forgotten: what it no longer knows of them is
    /// covered by a distrust.
    forgiven: BTreeMap<Incarnation, u64>,
}

#[derive(Debug)]
struct Life {
    /// What was applied, as far back as [`TAIL`] reaches.
    log: FlushLog,
    addresses: BTreeSet<SocketAddr>,
    /// What of it stands in this node's own log: what comes behind the former, up to the latter.
    handed_over: Option<(Seq, Seq)>,
    /// Its place in the order of meeting.
    met: u64,
}

impl Lives {
    /// Up to here its flushes are applied, or covered by a distrust.
    pub(crate) fn applied(&self, life: Incarnation) -> Seq {
        self.by_id.get(&life).map_or(Seq::START, |life| life.log.head())
    }

    /// Notes that a life is, or was, at `address`.
    pub(crate) fn note(&mut self, life: Incarnation, address: SocketAddr) {
        self.entry(life).addresses.insert(address);
    }

    /// Keeps a flush that was applied, if it is the next one of that life.
    pub(crate) fn apply(&mut self, at: Position, flush: &Flush<'_>) {
        let life = self.entry(at.incarnation);
        if at.seq == life.log.head().next() {
            life.log.copy(flush);
        }
    }

    /// Everything up to `head` is covered by a distrust.
    pub(crate) fn cover(&mut self, life: Incarnation, head: Seq) {
        let life = self.entry(life);
        if head > life.log.head() {
            life.log.skip_to(head);
        }
    }

    /// What is known of all lives that were at `address` and of those in `named`, but for `alive`.
    pub(crate) fn at(
        &self,
        address: SocketAddr,
        named: &[Position],
        alive: Option<Incarnation>,
    ) -> Vec<Position> {
        let asked = |(id, life): &(&Incarnation, &Life)| {
            // Most lives have told nothing, and need no search.
            life.log.head() > Seq::START
                && Some(**id) != alive
                && (life.addresses.contains(&address)
                    || named.iter().any(|named| named.incarnation == **id))
        };
        let position = |(&incarnation, life): (&Incarnation, &Life)| Position {
            incarnation,
            seq: life.log.head(),
        };
        self.by_id.iter().filter(asked).map(position).collect()
    }

    /// Where this life was met.
    pub(crate) fn addresses(&self, life: Incarnation) -> impl Iterator<Item = SocketAddr> {
        self.by_id.get(&life).into_iter().flat_map(|life| life.addresses.iter().copied())
    }

    /// How many lives that had told something are forgotten.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Whether `witness` has forgotten more than it had when it was asked before.
    pub(crate) fn has_forgotten(&mut self, witness: Incarnation, forgotten: u64) -> bool {
        if forgotten == 0 {
            return false;
        }
        if self.forgiven.len() >= MAX_PEERS {
            self.forgiven.clear();
        }
        let before = self.forgiven.insert(witness, forgotten);
        before.is_none_or(|before| before < forgotten)
    }

    /// The frames behind `after`, to be put in this node's own log: those that are not there yet,
    /// because everybody reads all of it. `None` if they are not held that far back.
    pub(crate) fn hand_over(&mut self, after: Position) -> Option<Vec<u8>> {
        let life = self.by_id.get_mut(&after.incarnation)?;
        let stands = |&(from, to): &(Seq, Seq)| (from..=to).contains(&after.seq);
        let (from, to) = life.handed_over.filter(stands).unwrap_or((after.seq, after.seq));
        let mut frames = Vec::new();
        life.log.read(to, usize::MAX / 2, &mut frames).ok()?;
        life.handed_over = Some((from, life.log.head()));
        Some(frames)
    }

    /// Forgets lives that are over when there are too many: first those that told nothing, then
    /// the ones met first.
    pub(crate) fn sweep(&mut self, current: impl Fn(Incarnation) -> bool) {
        self.by_id.retain(|&id, life| life.log.head() > Seq::START || current(id));
        let over = self.by_id.iter().filter(|&(&id, _)| !current(id));
        let mut over: Vec<_> = over.map(|(&id, life)| (life.met, id)).collect();
        over.sort_unstable();
        for (_, id) in over.iter().rev().skip(MAX_LIVES_OVER) {
            self.by_id.remove(id);
            self.forgotten += 1;
        }
    }

    fn entry(&mut self, life: Incarnation) -> &mut Life {
        self.by_id.entry(life).or_insert_with(|| {
            self.met += 1;
            Life {
                log: FlushLog::new(TAIL),
                addresses: BTreeSet::new(),
                handed_over: None,
                met: self.met,
            }
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wire::{FrameReader, Scope};

    pub(in crate::repair) fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 7400))
    }

    pub(in crate::repair) fn life(byte: u8) -> Incarnation {
        Incarnation([byte; 16])
    }

    fn at(byte: u8, seq: u64) -> Position {
        Position { incarnation: life(byte), seq: Seq(seq) }
    }

    fn told(lives: &mut Lives, byte: u8, seq: u64) {
        let scopes = vec![Scope::Key("k")];
        let flush = Flush { seq: Seq(seq), cache: "c", scopes, inherited: None };
        lives.apply(at(byte, seq), &flush);
    }

    /// How many frames are put in the own log for somebody who has come to `seq`.
    fn handed_over(lives: &mut Lives, seq: u64) -> Option<usize> {
        let mut reader = FrameReader::default();
        reader.push(&lives.hand_over(at(1, seq))?);
        Some(std::iter::from_fn(|| reader.next_body().unwrap().map(<[u8]>::len)).count())
    }

    #[test]
    fn a_tail_is_what_came_behind_a_place_and_only_if_it_is_held_that_far_back() {
        let mut lives = Lives::default();
        (1..=3).for_each(|seq| told(&mut lives, 1, seq));
        told(&mut lives, 1, 5);
        assert_eq!(lives.applied(life(1)), Seq(3), "a gap is not applied");
        assert_eq!(handed_over(&mut lives, 1), Some(2));
        lives.cover(life(1), Seq(9));
        told(&mut lives, 1, 10);
        assert_eq!(handed_over(&mut lives, 9), Some(1));
        assert_eq!(handed_over(&mut lives, 8), None);
    }

    #[test]
    fn what_stands_in_the_own_log_is_not_put_there_again() {
        let mut lives = Lives::default();
        (1..=6).for_each(|seq| told(&mut lives, 1, seq));
        assert_eq!(handed_over(&mut lives, 4), Some(2));
        assert_eq!(handed_over(&mut lives, 4), Some(0));
        assert_eq!(handed_over(&mut lives, 5), Some(0));
        told(&mut lives, 1, 7);
        assert_eq!(handed_over(&mut lives, 5), Some(1), "what came since");
        assert_eq!(handed_over(&mut lives, 2), Some(5), "in order for who lacks more");
        assert_eq!(handed_over(&mut lives, 3), Some(0));
        assert_eq!(handed_over(&mut lives, 7), Some(0));
    }

    #[test]
    fn lives_are_found_by_address_and_by_name_and_the_living_is_left_out() {
        let mut lives = Lives::default();
        for byte in 1..=4 {
            lives.note(life(byte), address(if byte == 3 { 9 } else { 1 }));
            told(&mut lives, byte, 1);
        }
        lives.note(life(5), address(1));
        let found = lives.at(address(1), &[at(3, 0)], Some(life(2)));
        assert_eq!(found, [at(1, 1), at(3, 1), at(4, 1)], "5 told nothing, 2 lives");
    }

    #[test]
    fn what_is_forgotten_is_said_to_be() {
        let mut lives = Lives::default();
        for number in 0..=MAX_LIVES_OVER {
            let id = Incarnation((number as u128 + 1).to_be_bytes());
            lives.note(id, address(u8::from(number > 0)));
            let scopes = vec![Scope::All];
            let flush = Flush { seq: Seq(1), cache: "c", scopes, inherited: None };
            lives.apply(Position { incarnation: id, seq: Seq(1) }, &flush);
        }
        lives.sweep(|_| false);
        assert_eq!(lives.forgotten(), 1);
        let mut asker = Lives::default();
        assert!(asker.has_forgotten(life(1), 1));
        assert!(!asker.has_forgotten(life(1), 1), "covered already");
        assert!(asker.has_forgotten(life(1), 2));
        assert_eq!(lives.at(address(1), &[], None).len(), MAX_LIVES_OVER);
    }
}
