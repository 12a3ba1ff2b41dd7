//! Owns the network: connections that delay, stall, break, and break at one end only.
//! Bytes of one direction of one connection never overtake each other and are never changed, as
//! TCP promises; everything else may happen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use flushcast_core::Time;
use flushcast_core::node::ConnId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(u64);

/// One end of a connection: which life of which slot, under which id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    pub(crate) slot: usize,
    pub(crate) life: u64,
    pub(crate) conn: ConnId,
}

/// A connection. Side 0 has dialled, side 1 was dialled.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) ends: [End; 2],
    /// The address that was dialled.
    pub(crate) through: SocketAddr,
    /// How many messages were sent to each side.
    sent: [u8; 2],
    /// Whether each end still knows it as open.
    pub(crate) open: [bool; 2],
    /// What is on its way *to* each side, in order.
    pub(crate) flying: [VecDeque<Vec<u8>>; 2],
    /// Nothing arrives any more, whatever the ends believe.
    pub(crate) broken: bool,
    /// When the last bytes to each side arrive: the next ones come no earlier.
    pub(crate) last_arrival: [Time; 2],
}

impl Link {
    pub(crate) fn flying_bytes(&self, to: usize) -> usize {
        self.flying[to].iter().map(Vec::len).sum()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    drawn: u64,
    pub(crate) links: BTreeMap<LinkId, Link>,
    /// Directions in which nothing gets through, from slot to slot, and until when.
    cut: BTreeMap<(usize, usize), Time>,
    by_end: BTreeMap<(usize, u64, ConnId), (LinkId, usize)>,
}

impl Network {
    pub(crate) fn connect(&mut self, dialler: End, dialled: End, through: SocketAddr) -> LinkId {
        self.drawn += 1;
        let id = LinkId(self.drawn);
        let ends = [dialler, dialled];
        for (side, end) in ends.iter().enumerate() {
            self.by_end.insert((end.slot, end.life, end.conn), (id, side));
        }
        let link = Link {
            ends,
            through,
            sent: [0; 2],
            open: [true; 2],
            flying: Default::default(),
            broken: false,
            last_arrival: [Time::ZERO; 2],
        };
        self.links.insert(id, link);
        id
    }

    pub(crate) fn find(&self, slot: usize, life: u64, conn: ConnId) -> Option<(LinkId, usize)> {
        self.by_end.get(&(slot, life, conn)).copied()
    }

    /// Whether what is sent to a side now is among the first on a connection.
    pub(crate) fn is_fresh(&mut self, id: LinkId, side: usize) -> bool {
        let Some(link) = self.links.get_mut(&id) else { return false };
        link.sent[side] = link.sent[side].saturating_add(1);
        link.sent[side] <= FIRST_MESSAGES
    }

    /// Forgets a link when neither end knows it as open.
    pub(crate) fn sweep(&mut self, id: LinkId) {
        if let Some(link) = self.links.get(&id)
            && link.open == [false; 2]
        {
            for end in link.ends {
                self.by_end.remove(&(end.slot, end.life, end.conn));
            }
            self.links.remove(&id);
        }
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize, until: Time) {
        let end = self.cut.entry((from, to)).or_insert(until);
        *end = (*end).max(until);
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// When something sent at `now` may set out: at once, or when the cut ends.
    pub(crate) fn passable_at(&self, from: usize, to: usize, now: Time) -> Time {
        self.cut.get(&(from, to)).copied().unwrap_or(now).max(now)
    }

    /// Links that the life in `slot` has an end of.
    pub(crate) fn of(&self, slot: usize, life: u64) -> BTreeSet<LinkId> {
        let mine = |link: &Link| link.ends.iter().any(|end| end.slot == slot && end.life == life);
        self.links.iter().filter(|(_, link)| mine(link)).map(|(&id, _)| id).collect()
    }
}

/// How many messages of each side make a handshake, more or less.
const FIRST_MESSAGES: u8 = 3;

/// The longest that a piece of a message takes.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_millis(500);

/// How long a message takes: mostly short, now and then long.
pub(crate) fn delay(rng: &mut fastrand::Rng) -> Duration {
    let micros = if rng.u8(..) < 16 {
        rng.u64(1_000..LONGEST_DELAY.as_micros() as u64)
    } else {
        rng.u64(20..2_000)
    };
    Duration::from_micros(micros)
}
