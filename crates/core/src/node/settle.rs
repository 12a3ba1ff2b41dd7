//! Owns the judgement of awaited flushes: who has applied one, and whether to wait longer.

use std::net::SocketAddr;

use super::{Node, Output};
use crate::Time;
use crate::ack::{Applied, Outcome, Reason, Ticket, TicketId, Unconfirmed};
use crate::cache::Guarantee;
use crate::peers::{Entry, Link, Trouble};
use crate::planted::{Fault, planted};
use crate::repair::Goal;
use crate::wire::Seq;

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
            let awaited = |(address, entry): (SocketAddr, &Entry)| {
                let (applied, reason) = self.standing(address, entry)?;
                reason.may_pass().then_some(applied)
            };
            let reached = self.roster.iter().filter_map(awaited).min().unwrap_or(Seq(u64::MAX));
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
        for (address, entry) in self.roster.iter() {
            let Some((applied, reason)) = self.standing(address, entry) else {
                continue;
            };
            let node = entry.name_or(address);
            if applied >= ticket.seq {
                let of_it = |(life, _): &&(_, Time)| entry.life() == Some(*life);
                let at = ticket.acknowledged.iter().find(of_it).map_or(now, |&(_, at)| at);
                outcome.applied.push(Applied { node, after: at.since(ticket.announced) });
            } else if ticket.strict && self.lease_end(entry, ticket.announced) <= now {
                outcome.fenced.push(node);
            } else {
                outcome.unconfirmed.push(Unconfirmed { node, address, reason });
            }
        }
        outcome.applied.sort_by(|one, other| one.node.cmp(&other.node));
        outcome.fenced.sort();
        self.outputs.push_back(Output::Settled { ticket: ticket.id, outcome });
    }

    /// When each node that has not applied a strict flush can serve nothing older any more.
    fn fenced_at(&self, ticket: &Ticket) -> Time {
        let pending = self.roster.iter().filter_map(|(address, entry)| {
            let (applied, _) = self.standing(address, entry)?;
            (applied < ticket.seq).then(|| self.lease_end(entry, ticket.announced))
        });
        pending.max().unwrap_or(Time::ZERO)
    }

    /// When whoever is at an address serves nothing from before `announced`, unless it has applied
    /// what was announced then.
    ///
    /// It needs a proof of this node's address, which it got from this life's grants, or from a
    /// life or a refusal before this life began, at [`Time::ZERO`]. A grant given later than
    /// `announced` names a head that has to be applied.
    fn lease_end(&self, entry: &Entry, announced: Time) -> Time {
        if planted(Fault::NewLifeDoesNotWait) && entry.granted == Time::ZERO {
            return Time::ZERO;
        }
        entry.granted.min(announced) + Guarantee::strict_wait()
    }

    /// How far a node has applied, and what keeps it from more; `None` if nobody waits for it.
    fn standing(&self, address: SocketAddr, entry: &Entry) -> Option<(Seq, Reason)> {
        // Another way to a node counts for nothing only while that node is on the roster itself.
        let counted_elsewhere = entry.trouble == Some(Trouble::Alias)
            && self.roster.iter().any(|(other, it)| {
                other != address && it.life() == entry.life() && !self.is_dropped(other)
            });
        if entry.left || counted_elsewhere || self.is_dropped(address) {
            return None;
        }
        let follower = entry.life().and_then(|life| self.followers.get(life));
        let applied = follower.map_or(Seq::START, |follower| follower.applied);
        let follows = follower.is_some_and(|follower| follower.conn.is_some());
        let trouble = entry.trouble.as_ref().and_then(Trouble::reason);
        let reason = match (follows, entry.link, trouble) {
            (true, ..) => Reason::Silent,
            (false, Link::Open(_), _) => Reason::NotFollowing,
            (false, _, Some(reason)) => reason,
            (false, _, None) => Reason::Connecting,
        };
        Some((applied, reason))
    }

    /// Discovery has dropped it: it is only asked around what it had announced.
    fn is_dropped(&self, address: SocketAddr) -> bool {
        matches!(self.inquest.goal(address), Some(Goal::Drop { .. }))
    }
}
