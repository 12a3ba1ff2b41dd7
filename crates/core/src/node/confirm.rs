//! Owns the judgement of awaited flushes: who has applied one, and whether to wait longer.

use std::collections::{BTreeMap, BTreeSet};

use super::{Node, Output};
use crate::Time;
use crate::ack::{Applied, Outcome, Reason, Ticket, TicketId, Unconfirmed};
use crate::cache::Guarantee;
use crate::peers::{Holder, Place, PlaceId};
use crate::planted::{Fault, planted};
use crate::wire::{Incarnation, Seq};

impl Node {
    /// Asks to be told, by [`Output::Settled`], when every node of the roster has applied `seq`
    /// or waiting longer cannot help; at `deadline` at the latest. `announced` is a reading of the
    /// clock from after it was announced. A flush of a strict cache is waited for until each node
    /// has applied it or its lease has run out.
    pub fn await_applied(
        &mut self,
        now: Time,
        seq: Seq,
        announced: Time,
        deadline: Time,
        strict: bool,
    ) -> TicketId {
        let id = self.tickets.draw();
        let tickets = if strict { &mut self.strict_tickets } else { &mut self.tickets };
        let acknowledged = Vec::new();
        tickets.add(Ticket { id, seq, announced, strict, acknowledged }, deadline);
        self.settle(now);
        self.rearm();
        id
    }

    /// Settles every ticket that all of the roster has applied, or for which waiting cannot help.
    pub(super) fn settle(&mut self, now: Time) {
        if self.tickets.first().is_some() {
            let reached = self.minima.awaited.min().unwrap_or(Seq(u64::MAX));
            while let Some(ticket) = self.tickets.take_up_to(reached) {
                self.tell(now, ticket);
            }
        }
        self.next_lease_end = Time::NEVER;
        while let Some(ticket) = self.strict_tickets.first() {
            let due = self.fenced_at(ticket);
            if due > now {
                self.next_lease_end = due;
                break;
            }
            if let Some(ticket) = self.strict_tickets.take_up_to(ticket.seq) {
                self.tell(now, ticket);
            }
        }
    }

    /// Settles every ticket whose deadline has come, as it stands.
    pub(super) fn settle_overdue(&mut self, now: Time) {
        if self.next_lease_end <= now {
            self.settle(now);
        }
        while let Some(ticket) = self.tickets.take_overdue(now) {
            self.tell(now, ticket);
        }
        while let Some(ticket) = self.strict_tickets.take_overdue(now) {
            self.tell(now, ticket);
        }
    }

    /// When somebody who waits is to be told something, at the latest.
    pub(super) fn next_settlement(&self) -> Option<Time> {
        let deadlines = [self.tickets.next_deadline(), self.strict_tickets.next_deadline()];
        deadlines.into_iter().flatten().chain([self.next_lease_end]).min()
    }

    fn tell(&mut self, now: Time, ticket: Ticket) {
        let mut outcome = Outcome {
            seq: ticket.seq,
            applied: Vec::new(),
            fenced: Vec::new(),
            unconfirmed: Vec::new(),
        };
        let acknowledged: BTreeMap<_, _> = ticket.acknowledged.iter().copied().collect();
        let mut told = BTreeSet::new();
        let applied = |life: Incarnation, node: String| {
            let at = acknowledged.get(&life).copied().unwrap_or(now);
            Applied { node, after: at.since(ticket.announced) }
        };
        for (id, place) in self.roster.iter() {
            if !place.is_listed() || place.is_vacant {
                continue;
            }
            let node = self.who_is_at(id);
            let address = place.address();
            let (life, reason) = match place.holder {
                Holder::Own | Holder::One(_) => continue,
                Holder::Conflict => (None, Reason::Conflict),
                Holder::Nobody => {
                    let trouble = place.trouble.as_ref();
                    (place.last, trouble.map_or(Reason::Connecting, |it| it.reason()))
                }
            };
            if let Some(life) = life
                && self.lives.get(life).is_some_and(|it| it.acked >= ticket.seq)
            {
                if told.insert(life) {
                    outcome.applied.push(applied(life, node));
                }
            } else if ticket.strict
                && place.holder == Holder::Nobody
                && self.lease_end(place.granted, ticket.announced) <= now
            {
                outcome.fenced.push(node);
            } else {
                outcome.unconfirmed.push(Unconfirmed { node, address, reason });
            }
            told.extend(life);
        }
        for (life, it) in self.lives.iter() {
            if !it.is_linked() && !(it.is_lost() && !it.has_left()) || told.contains(&life) {
                continue;
            }
            let node = it.name_or(life);
            if it.acked >= ticket.seq {
                outcome.applied.push(applied(life, node));
            } else if ticket.strict && self.fences(life, ticket.announced) <= now {
                outcome.fenced.push(node);
            } else {
                let (address, lost) = (self.address_of(life), it.is_lost());
                let why = "the connection to it is lost".to_owned();
                let reason = if lost { Reason::Unreachable(why) } else { Reason::Silent };
                outcome.unconfirmed.push(Unconfirmed { node, address, reason });
            }
        }
        outcome.applied.sort_by(|one, other| one.node.cmp(&other.node));
        outcome.fenced.sort();
        self.outputs.push_back(Output::Settled { ticket: ticket.id, outcome });
    }

    /// When each node that has not applied a strict flush can serve nothing older any more; never
    /// where nothing is known of that.
    fn fenced_at(&self, ticket: &Ticket) -> Time {
        // Whoever was lost without a goodbye may live elsewhere, until its lease is over.
        let lost = match self.lost_grant {
            Time::ZERO => Time::ZERO,
            lost => self.lease_end(lost, ticket.announced),
        };
        if self.minima.required.min().is_none_or(|acked| acked >= ticket.seq) {
            return lost;
        }
        let mut due = lost;
        for (id, place) in self.roster.iter() {
            due = due.max(self.place_fenced_at(id, place, ticket));
        }
        for (life, it) in self.lives.iter() {
            if (it.is_linked() || it.is_lost() && !it.has_left()) && it.acked < ticket.seq {
                due = due.max(self.fences(life, ticket.announced));
            }
        }
        due
    }

    fn place_fenced_at(&self, id: PlaceId, place: &Place, ticket: &Ticket) -> Time {
        let _ = id;
        let acked = |life: Incarnation| self.lives.get(life).is_some_and(|it| it.acked >= ticket.seq);
        match place.holder {
            _ if !place.is_listed() || place.is_vacant => Time::ZERO,
            Holder::Own | Holder::One(_) => Time::ZERO,
            Holder::Conflict => Time::NEVER,
            Holder::Nobody if place.last.is_some_and(acked) => Time::ZERO,
            Holder::Nobody => self.lease_end(place.granted, ticket.announced),
        }
    }

    /// When a life serves nothing from before `announced`, unless it has applied what was announced
    /// then. A life that is on no list needs no grant of this node for what it serves: only its word
    /// counts.
    fn fences(&self, life: Incarnation, announced: Time) -> Time {
        let Some(it) = self.lives.get(life) else { return Time::ZERO };
        let on_list = it
            .places
            .iter()
            .filter_map(|&place| self.roster.get(place))
            .any(|place| place.is_listed());
        match on_list {
            true => self.lease_end(it.granted, announced),
            false => Time::NEVER,
        }
    }

    /// When the lease is over that a grant gave, at the latest.
    ///
    /// Whoever is at a place needs a proof of this node's, which it got from this life's grants, or
    /// from what was there before this life began, at [`Time::ZERO`]. A grant given later than
    /// `announced` names a head that has to be applied.
    fn lease_end(&self, granted: Time, announced: Time) -> Time {
        if planted(Fault::NewLifeDoesNotWait) && granted == Time::ZERO {
            return Time::ZERO;
        }
        granted.min(announced) + Guarantee::strict_wait()
    }
}
