//! Owns what is to happen and when: events in the order of their time, and of their coming.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use flushcast_core::Time;
use flushcast_core::node::Batch;

use crate::history::Teller;
use crate::network::{End, LinkId, Network};
use crate::plan::Action;

#[derive(Debug)]
pub(crate) enum Event {
    Act(Action),
    Timer {
        slot: usize,
        life: u64,
    },
    DialArrives {
        from: End,
        address: std::net::SocketAddr,
    },
    DialFails {
        from: End,
        refused: bool,
    },
    /// A dial that came through is told of.
    Connected {
        from: End,
    },
    /// A stopped process comes to accept what its kernel has accepted long ago.
    Accept {
        link: LinkId,
    },
    /// What is not of the cluster answers a dial, and mostly ends the connection.
    StrangerAnswers {
        from: End,
    },
    Arrive {
        link: LinkId,
        side: usize,
    },
    Breaks {
        link: LinkId,
        side: usize,
    },
    Writable {
        end: End,
    },
    /// Flushes that were taken out of a core are applied.
    Apply {
        slot: usize,
        life: u64,
        batch: Batch,
        from: Option<Teller>,
        taken_at: Time,
    },
    Sample {
        slot: usize,
        life: u64,
        read: u64,
    },
    EndLoad {
        slot: usize,
        life: u64,
        read: u64,
        fails: bool,
    },
}

impl Event {
    /// Which process has to handle it.
    pub(crate) fn addressee(&self, network: &Network) -> Option<(usize, u64)> {
        match *self {
            Event::Act(_) | Event::DialArrives { .. } => None,
            Event::Timer { slot, life }
            | Event::Apply { slot, life, .. }
            | Event::Sample { slot, life, .. }
            | Event::EndLoad { slot, life, .. } => Some((slot, life)),
            Event::DialFails { from: end, .. }
            | Event::Connected { from: end }
            | Event::StrangerAnswers { from: end }
            | Event::Writable { end } => Some((end.slot, end.life)),
            Event::Accept { link } => {
                network.links.get(&link).map(|link| (link.ends[1].slot, link.ends[1].life))
            }
            Event::Arrive { link, side } | Event::Breaks { link, side } => {
                network.links.get(&link).map(|link| (link.ends[side].slot, link.ends[side].life))
            }
        }
    }

    /// Whether the application's own threads handle it, and not what drives the node.
    pub(crate) fn is_of_a_call(&self) -> bool {
        matches!(self, Event::Sample { .. } | Event::EndLoad { .. })
    }
}

#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) at: Time,
    pub(crate) order: u64,
    pub(crate) event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    due: BinaryHeap<Reverse<Due>>,
    drawn: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Time, event: Event) {
        self.drawn += 1;
        self.due.push(Reverse(Due { at, order: self.drawn, event }));
    }

    pub(crate) fn pop(&mut self) -> Option<Due> {
        self.due.pop().map(|Reverse(due)| due)
    }
}
