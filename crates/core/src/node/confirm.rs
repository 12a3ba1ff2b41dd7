//! Owns the judgement of awaited flushes: who has applied one, and whether to wait longer.

use std::collections::{BTreeMap, BTreeSet};

use super::{Node, Output};
use crate::Time;
use crate::ack::{Applied, Outcome, Reason, SUSPECTED_AFTER, Ticket, TicketId, Unconfirmed};
use crate::cache::Guarantee;
use crate::peers::{Holder, Place, PlaceId, Subject};
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
        self.settle_applied(now);
        self.settle_strict(now);
        self.rearm();
        id
    }

    /// Has every ticket settled that all of the roster has applied, or for which waiting cannot help. To
    /// be called when a life, a place or what links them has changed.
    pub(super) fn settle(&mut self) {
        self.is_unsettled = true;
    }

    /// Settles what is to be, behind all that an input has changed: half of it would make a flush forget
    /// one whose place is not waited for any more, and who is not waited for yet.
    pub(super) fn settle_changed(&mut self, now: Time) {
        if std::mem::take(&mut self.is_unsettled) {
            self.settle_applied(now);
            self.waits_on = None;
            self.settle_strict(now);
        }
    }

    /// Settles what can be where nothing has changed but how far a life has acknowledged.
    pub(super) fn settle_acked(&mut self, now: Time, life: Incarnation) {
        self.settle_applied(now);
        let is_waited_on = self.waits_on.is_none_or(|(_, subject)| match subject {
            Subject::Place(id) => self.roster.get(id).is_none_or(|it| it.last == Some(life)),
            subject => subject == Subject::Life(life),
        });
        if is_waited_on {
            self.settle_strict(now);
        }
    }

    fn settle_applied(&mut self, now: Time) {
        if self.tickets.first().is_some() {
            let reached = self.minima.awaited.min().unwrap_or(Seq(u64::MAX));
            while let Some(ticket) = self.tickets.take_up_to(reached) {
                self.tell(now, ticket);
            }
        }
    }

    /// Settles the strict tickets, the first number first, until somebody has to be waited for.
    fn settle_strict(&mut self, now: Time) {
        self.next_lease_end = Time::NEVER;
        while let Some(ticket) = self.strict_tickets.first() {
            // Once all have been looked at, one by one, some lease may have been renewed meanwhile: that
            // node acknowledges soon, and is not to be told as silent until then.
            let waits = self.waits_for(now, ticket, self.waits_on);
            if let Some((subject, until)) = waits.or_else(|| self.waits_for(now, ticket, None)) {
                self.waits_on = subject.map(|subject| (ticket.id, subject));
                self.next_lease_end = until;
                return;
            }
            if let Some(ticket) = self.strict_tickets.take_up_to(ticket.seq) {
                self.tell(now, ticket);
            }
        }
        self.waits_on = None;
    }

    /// Settles every ticket whose deadline has come, as it stands.
    pub(super) fn settle_overdue(&mut self, now: Time) {
        if self.next_lease_end <= now {
            self.settle_strict(now);
        }
        while let Some(ticket) = self.tickets.take_overdue(now) {
            self.give_up_on(now, ticket);
        }
        while let Some(ticket) = self.strict_tickets.take_overdue(now) {
            self.give_up_on(now, ticket);
        }
    }

    /// A ticket's time is over: whoever was waited for is not for the next one, until it has acknowledged
    /// this one. Nobody is suspected for what this node could not hear.
    fn give_up_on(&mut self, now: Time, ticket: Ticket) {
        let (seq, announced, strict) = (ticket.seq, ticket.announced, ticket.strict);
        self.tell(now, ticket);
        let is_late = |who: Subject| {
            let heard = match who {
                Subject::Life(life) => self.lives.get(life).map(|it| self.could_hear(now, it)),
                Subject::Place(id) => self.roster.get(id).map(|it| it.awaited_since),
            };
            let heard = heard.unwrap_or_default().max(self.paused_until);
            now >= announced.max(heard) + SUSPECTED_AFTER
        };
        let awaited = self.minima.awaited.iter().filter(|&(_, acked)| acked < seq);
        let awaited = awaited.map(|(subject, _)| (subject, self.suspect_at(subject)));
        let contested =
            self.roster.iter().filter(|(_, it)| strict && it.holder == Holder::Conflict);
        let contested = contested.map(|(id, _)| (Subject::Place(id), Subject::Place(id)));
        let late = awaited.chain(contested).filter(|&(_, who)| is_late(who));
        for (subject, who) in late.collect::<Vec<_>>() {
            self.suspects.add(who, seq, announced);
            self.minima.awaited.set(subject, None);
        }
        self.settle();
    }

    /// Has flushes wait until what `acked` counts reaches them, unless one has waited for it in vain.
    pub(super) fn expect(&mut self, subject: Subject, acked: Option<Seq>) {
        let who = self.suspect_at(subject);
        let acked = acked.filter(|&acked| self.suspects.look_at(who, acked).is_none());
        self.minima.awaited.set(subject, acked);
    }

    /// Who is suspected where a subject is waited for in vain: the life that was last at a place, so that
    /// a link that breaks behind the first such wait makes no second one.
    pub(super) fn suspect_at(&self, subject: Subject) -> Subject {
        let Subject::Place(id) = subject else { return subject };
        let last = self.roster.get(id).and_then(|place| place.last);
        last.filter(|&life| self.lives.get(life).is_some()).map_or(subject, Subject::Life)
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
            let is_nobodys = is_nobodys(place, ticket.strict);
            let (life, reason) = match place.holder {
                Holder::Conflict => (None, Reason::Conflict),
                _ if !is_nobodys => continue,
                _ => (place.last, self.trouble_at(now, id, place)),
            };
            let node = match place.holder {
                Holder::Own => place.name.to_string(),
                _ => self.who_is_at(id),
            };
            let address = place.address();
            if let Some(life) = life
                && self.lives.get(life).is_some_and(|it| it.acked >= ticket.seq)
            {
                if told.insert(life) {
                    outcome.applied.push(applied(life, node));
                }
            } else if ticket.strict
                && is_nobodys
                && self.lease_end(place.granted, ticket.announced) <= now
            {
                outcome.fenced.push(node);
            } else {
                outcome.unconfirmed.push(Unconfirmed { node, address, reason });
            }
            told.extend(life);
        }
        for (life, it) in self.lives.iter() {
            if !it.may_serve() || told.contains(&life) {
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
                let reason = match self.suspects.since(Subject::Life(life)) {
                    Some(since) => Reason::Suspected { since: now.since(since) },
                    None if lost => Reason::Unreachable(why),
                    None => Reason::Silent,
                };
                outcome.unconfirmed.push(Unconfirmed { node, address, reason });
            }
        }
        outcome.applied.sort_by(|one, other| one.node.cmp(&other.node));
        outcome.fenced.sort();
        self.outputs.push_back(Output::Settled { ticket: ticket.id, outcome });
    }

    /// Why nobody at a place has acknowledged anything.
    fn trouble_at(&self, now: Time, id: PlaceId, place: &Place) -> Reason {
        let since = self.suspects.since(self.suspect_at(Subject::Place(id)));
        let suspected = since.map(|since| Reason::Suspected { since: now.since(since) });
        place.trouble.clone().or(suspected).unwrap_or(Reason::Connecting)
    }

    /// Somebody who has not applied a strict flush and may serve older copies, and until when at the
    /// longest; nobody in particular while one that was lost may.
    ///
    /// Whoever was looked at before the one that `waits_on` names had applied the flush, or its lease was
    /// over. So each is looked at once for a ticket, however many acknowledge it one by one.
    fn waits_for(
        &self,
        now: Time,
        ticket: &Ticket,
        waits_on: Option<(TicketId, Subject)>,
    ) -> Option<(Option<Subject>, Time)> {
        // Whoever was lost without a goodbye may live elsewhere, until its lease is over.
        if self.lost_grant > Time::ZERO {
            let until = self.lease_end(self.lost_grant, ticket.announced);
            if until > now {
                return Some((None, until));
            }
        }
        let before = waits_on.filter(|(id, _)| *id == ticket.id).map(|(_, subject)| subject);
        let from = match before {
            Some(Subject::Life(life)) => life,
            _ => {
                let places =
                    self.roster.iter().filter(|(id, _)| Some(Subject::Place(*id)) >= before);
                for (id, place) in places {
                    let until = self.place_fenced_at(id, place, ticket);
                    if until > now {
                        return Some((Some(Subject::Place(id)), until));
                    }
                }
                Incarnation([0; 16])
            }
        };
        for (life, it) in self.lives.iter_from(from) {
            if it.may_serve() && it.acked < ticket.seq {
                let until = self.fences(life, ticket.announced);
                let is_suspect = self.suspects.since(Subject::Life(life)).is_some();
                // One whose lease ends is waited for until then, and no longer.
                if until > now && !(is_suspect && until == Time::NEVER) {
                    return Some((Some(Subject::Life(life)), until));
                }
            }
        }
        None
    }

    /// When whoever was at a place can serve nothing older any more; never where nothing is known of
    /// that.
    fn place_fenced_at(&self, id: PlaceId, place: &Place, ticket: &Ticket) -> Time {
        let acked =
            |life: Incarnation| self.lives.get(life).is_some_and(|it| it.acked >= ticket.seq);
        match place.holder {
            _ if !place.is_listed() || place.is_vacant => Time::ZERO,
            // It was waited for in vain, and is told as what it is.
            Holder::Conflict if self.suspects.since(Subject::Place(id)).is_some() => Time::ZERO,
            Holder::Conflict => Time::NEVER,
            _ if !is_nobodys(place, ticket.strict) => Time::ZERO,
            _ if place.last.is_some_and(acked) => Time::ZERO,
            _ => self.lease_end(place.granted, ticket.announced),
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

/// Whether somebody whom this node does not know may be at a place: a strict flush takes no word for it,
/// this node's own included.
fn is_nobodys(place: &Place, strict: bool) -> bool {
    match place.holder {
        Holder::Nobody => true,
        Holder::Own => strict && !place.is_surely_own(),
        Holder::One(_) | Holder::Conflict => false,
    }
}
