//! Owns the flushes that somebody awaits.

use std::collections::BTreeMap;

use crate::Time;
use crate::wire::{Incarnation, Seq};

/// Names one awaited flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId(u64);

#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) id: TicketId,
    pub(crate) seq: Seq,
    /// When it was announced, at the latest.
    pub(crate) announced: Time,
    /// Whether it is of a strict cache.
    pub(crate) strict: bool,
    /// When each life's acknowledgement was here, of those that came since it is awaited.
    pub(crate) acknowledged: Vec<(Incarnation, Time)>,
}

/// Awaited flushes, by number and by deadline.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    drawn: u64,
    by_seq: BTreeMap<(Seq, TicketId), (Time, Ticket)>,
    by_deadline: BTreeMap<(Time, TicketId), Seq>,
}

impl Tickets {
    pub(crate) fn draw(&mut self) -> TicketId {
        self.drawn += 1;
        TicketId(self.drawn)
    }

    pub(crate) fn add(&mut self, ticket: Ticket, deadline: Time) {
        let (seq, id) = (ticket.seq, ticket.id);
        self.by_seq.insert((seq, id), (deadline, ticket));
        self.by_deadline.insert((deadline, id), seq);
    }

    /// The ticket with the lowest number.
    pub(crate) fn first(&self) -> Option<&Ticket> {
        self.by_seq.first_key_value().map(|(_, (_, ticket))| ticket)
    }

    /// Notes who has acknowledged what is beyond `from`, up to `to`.
    pub(crate) fn note(&mut self, now: Time, by: Incarnation, from: Seq, to: Seq) {
        let awaited = (from.next(), TicketId(0))..=(to, TicketId(u64::MAX));
        if from < to {
            for (_, (_, ticket)) in self.by_seq.range_mut(awaited) {
                ticket.acknowledged.push((by, now));
            }
        }
    }

    /// Takes a ticket with a number up to `seq`, the lowest number first.
    pub(crate) fn take_up_to(&mut self, seq: Seq) -> Option<Ticket> {
        self.first().filter(|ticket| ticket.seq <= seq)?;
        let ((_, id), (deadline, ticket)) = self.by_seq.pop_first()?;
        self.by_deadline.remove(&(deadline, id));
        Some(ticket)
    }

    /// Takes a ticket whose deadline has come.
    pub(crate) fn take_overdue(&mut self, now: Time) -> Option<Ticket> {
        let (&(deadline, id), &seq) = self.by_deadline.first_key_value()?;
        if deadline > now {
            return None;
        }
        self.by_deadline.remove(&(deadline, id));
        self.by_seq.remove(&(seq, id)).map(|(_, ticket)| ticket)
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.by_deadline.first_key_value().map(|(&(deadline, _), _)| deadline)
    }
}
