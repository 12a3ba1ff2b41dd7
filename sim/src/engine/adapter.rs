//! Owns what an adapter has to know of its engine: it numbers what it reads, and says which of its flushes
//! others have applied.

use std::collections::{BTreeMap, VecDeque};

use flushcast_core::planted::{Fault, planted};
use flushcast_core::shared_log::{Entry, Epoch, Follower, RegistryRow};
use flushcast_core::wire::{Incarnation, Seq};

use super::server::{Anchor, Logged, Registered, Snapshot};

/// How an engine is followed, and what a question is to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// As PostgreSQL: one statement asks and reads, entries may become visible late, and positions are
    /// snapshots.
    Polled,
    /// As Redis: entries are pushed, places have no holes, and a script answers.
    Scripted,
    /// As JetStream: entries are pushed, and a question comes back among them.
    Echoed,
}

/// Own flushes whose places are kept.
const PLACES: usize = 1000;

pub(super) struct Adapter {
    pub(super) kind: Kind,
    /// How far it has read.
    at: Snapshot,
    /// The number of what it has read last, and its place.
    number: Seq,
    last: Option<u64>,
    /// Where it stands when all up to a number is applied.
    reached: VecDeque<(Seq, Snapshot)>,
    /// Something may be missing before what it reads next.
    leaves_out: bool,
    /// Where the engine has put own flushes.
    places: BTreeMap<Seq, (Epoch, u64)>,
}

impl Adapter {
    pub(super) fn new(kind: Kind) -> Self {
        let (at, reached, places) = (Snapshot::default(), VecDeque::new(), BTreeMap::new());
        Self { kind, at, number: Seq::START, last: None, reached, leaves_out: false, places }
    }

    /// What is to be read on behind, with the entry there as the follower knows it.
    pub(super) fn place(&self, follower: &Follower) -> Option<(Snapshot, Option<Anchor>)> {
        let anchor = follower.place()?.anchor;
        Some((self.at.clone(), self.last.zip(anchor)))
    }

    /// Its reading began again; whether the log reached back to where it stood, with the entry there, was
    /// looked at behind that.
    pub(super) fn begins(&mut self, is_whole: bool) {
        self.leaves_out = !is_whole;
    }

    /// The number of the head that an answer names.
    pub(super) fn head(&self, head: &Snapshot, polled: usize) -> Seq {
        match self.kind {
            Kind::Polled => Seq(self.number.0 + polled as u64),
            Kind::Echoed => self.number,
            Kind::Scripted => Seq((self.number.0 + head.upto).saturating_sub(self.at.upto)),
        }
    }

    /// It follows from that head on, whose number is that.
    pub(super) fn reset(&mut self, head: Snapshot, number: Seq) {
        self.number = number;
        self.last = None;
        self.leaves_out = false;
        self.reached = VecDeque::from([(number, head.clone())]);
        self.at = head;
    }

    /// What was read next, unless it is known.
    pub(super) fn number(&mut self, logged: &Logged) -> Option<Entry> {
        if self.at.holds(logged.place) {
            return None;
        }
        let left_out = std::mem::take(&mut self.leaves_out) && !planted(Fault::HoleNumberedOver);
        let step = match self.kind {
            Kind::Scripted => logged.place - self.at.upto,
            Kind::Polled | Kind::Echoed => 1,
        };
        self.number = Seq(self.number.0 + step + u64::from(left_out));
        self.last = Some(logged.place);
        if self.kind != Kind::Polled {
            self.at = Snapshot::of(logged.place);
            self.reached.push_back((self.number, self.at.clone()));
        }
        Some(Entry { number: self.number, by: logged.by })
    }

    /// All that a poll has brought is numbered.
    pub(super) fn polled(&mut self, mut at: Snapshot) {
        if planted(Fault::VisibleLateSkipped) {
            at.open.clear();
        }
        self.reached.push_back((self.number, at.clone()));
        self.at = at;
    }

    /// Where it stands by what is applied.
    pub(super) fn applied(&mut self, follower: &Follower) -> Option<(Epoch, Snapshot)> {
        let (epoch, applied) = follower.applied_upto()?;
        while self.reached.get(1).is_some_and(|(number, _)| *number <= applied) {
            self.reached.pop_front();
        }
        let (number, at) = self.reached.front()?;
        (*number <= applied).then(|| (epoch, at.clone()))
    }

    pub(super) fn appended(&mut self, epoch: Epoch, first: Seq, places: &[u64]) {
        for (seq, &place) in (first.0..).map(Seq).zip(places) {
            self.places.insert(seq, (epoch, place));
        }
        while self.places.len() > PLACES {
            self.places.pop_first();
        }
    }

    /// What a row says of own flushes. Those of an epoch before are long over, or appended again.
    pub(super) fn row(&self, epoch: Epoch, life: Incarnation, row: &Registered) -> RegistryRow {
        let mut ours = self.places.iter().filter(|(_, (of, _))| *of == epoch);
        let missing = ours.find(|(_, (_, place))| !row.applied.holds(*place));
        let applied = match missing {
            Some((seq, _)) => Seq(seq.0 - 1),
            None => self.places.last_key_value().map_or(Seq::START, |(&seq, _)| seq),
        };
        RegistryRow { name: format!("{life}"), life, epoch: row.epoch, applied }
    }
}
