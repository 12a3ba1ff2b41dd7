//! Owns the flushes that somebody awaits.

use std::collections::BTreeMap;

use crate::Time;
use crate::wire::Seq;

/// Names one awaited flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId(u64);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    pub(crate) id: TicketId,
    pub(crate) seq: Seq,
}

/// Awaited flushes, by number and by deadline.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    drawn: u64,
    by_seq: BTreeMap<(Seq, TicketId), Time>,
    by_deadline: BTreeMap<(Time, TicketId), Seq>,
}

impl Tickets {
    pub(crate) fn add(&mut self, seq: Seq, deadline: Time) -> Ticket {
        self.drawn += 1;
        let id = TicketId(self.drawn);
        self.by_seq.insert((seq, id), deadline);
        self.by_deadline.insert((deadline, id), seq);
        Ticket { id, seq }
    }

    /// Takes a ticket with a number up to `seq`, the lowest number first.
    pub(crate) fn take_up_to(&mut self, seq: Seq) -> Option<Ticket> {
        let (&(lowest, id), &deadline) = self.by_seq.first_key_value()?;
        if lowest > seq {
            return None;
        }
        self.by_seq.remove(&(lowest, id));
        self.by_deadline.remove(&(deadline, id));
        Some(Ticket { id, seq: lowest })
    }

    /// Takes a ticket whose deadline has come.
    pub(crate) fn take_overdue(&mut self, now: Time) -> Option<Ticket> {
        let (&(deadline, id), &seq) = self.by_deadline.first_key_value()?;
        if deadline > now {
            return None;
        }
        self.by_deadline.remove(&(deadline, id));
        self.by_seq.remove(&(seq, id));
        Some(Ticket { id, seq })
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.by_deadline.first_key_value().map(|(&(deadline, _), _)| deadline)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_seq.is_empty()
    }
}
