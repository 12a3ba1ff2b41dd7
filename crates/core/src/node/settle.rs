//! Owns the judgement of awaited flushes: who has applied one, and whether to wait longer.

use std::net::SocketAddr;

use super::{Node, Output};
use crate::Time;
use crate::ack::{Outcome, Reason, Ticket, Unconfirmed};
use crate::peers::{Entry, Link, Trouble};
use crate::wire::Seq;

impl Node {
    /// Settles every ticket that all of the roster has applied, or for which waiting cannot help.
    pub(super) fn settle(&mut self) {
        if self.tickets.is_empty() {
            return;
        }
        let awaited = |(address, entry): (SocketAddr, &Entry)| {
            let (applied, reason) = self.standing(address, entry)?;
            reason.may_pass().then_some(applied)
        };
        let reached = self.roster.iter().filter_map(awaited).min().unwrap_or(Seq(u64::MAX));
        while let Some(ticket) = self.tickets.take_up_to(reached) {
            self.tell(ticket);
        }
    }

    /// Settles every ticket whose deadline has come, as it stands.
    pub(super) fn settle_overdue(&mut self, now: Time) {
        while let Some(ticket) = self.tickets.take_overdue(now) {
            self.tell(ticket);
        }
    }

    fn tell(&mut self, ticket: Ticket) {
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
                outcome.applied.push(node);
            } else {
                outcome.unconfirmed.push(Unconfirmed { node, address, reason });
            }
        }
        outcome.applied.sort();
        self.outputs.push_back(Output::Settled { ticket: ticket.id, outcome });
    }

    /// How far a node has applied, and what keeps it from more; `None` if nobody waits for it.
    fn standing(&self, address: SocketAddr, entry: &Entry) -> Option<(Seq, Reason)> {
        // Another way to a node counts for nothing only while that node is on the roster itself.
        let counted_elsewhere = entry.trouble == Some(Trouble::Alias)
            && entry.life().is_some_and(|life| self.roster.met_elsewhere(life, address));
        if entry.left || counted_elsewhere {
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
}
