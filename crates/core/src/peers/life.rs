//! Owns what is known of one life of a node: who it is, the books of its log, how far it follows
//! this node's, and the connections that link the two.
//! It must never be told apart by an address: a life is a member, a place is where to look for one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::{Books, PlaceId, Subject};
use crate::Time;
use crate::flush::LogLimits;
use crate::node::ConnId;
use crate::wire::{Incarnation, MAX_NAMED, RENEW_EVERY, Seq};

/// Who a peer said it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Its life.
    pub incarnation: Incarnation,
    /// Small texts about it, such as the address of its web page.
    pub labels: BTreeMap<String, String>,
}

/// How a break is being healed: a link that was lost, or a silence that was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Healing {
    /// When it was noticed.
    pub(crate) since: Time,
    /// The last flush that was heard before it.
    pub(crate) from: Seq,
    /// The log did not reach back to it.
    pub(crate) reset: bool,
}

/// What a life is to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Some connection links the two.
    Linked,
    /// None does any more. It may have announced what others were told, until that is settled.
    Lost {
        /// The oldest are given up first where there are too many.
        since: Time,
    },
    /// It is settled, has left, or was only heard of. It is forgotten at that time.
    Over { forget_at: Time },
}

/// One life.
#[derive(Debug)]
pub(crate) struct Life {
    /// None while it was only heard of.
    pub(crate) who: Option<Identity>,
    /// Where it says to be.
    pub(crate) claims: BTreeSet<SocketAddr>,
    /// The places of the roster that it holds.
    pub(crate) places: BTreeSet<PlaceId>,
    /// Addresses at which it was met, so many at most as it may claim.
    pub(crate) met_at: BTreeSet<SocketAddr>,
    /// Where the other end of its last connection was.
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) state: State,
    pub(crate) books: Books,
    /// Frames of its log that were heard and that nobody has taken to apply them: the last one is the
    /// last that it has told itself.
    pub(crate) inbox: Vec<u8>,
    /// Somebody applies some of its flushes, the last of which came then: nothing was read since from
    /// where that one came.
    pub(crate) applying: Option<Time>,
    /// It is to be told how far its log is applied.
    pub(crate) ack_due: bool,
    /// Lives of which it has handed something over that is not applied yet.
    pub(crate) relays: BTreeSet<Incarnation>,
    /// Its log ends here, it says.
    pub(crate) bye: Option<Seq>,
    /// So much of it was heard by somebody who has forgotten it, taking it for over while it is linked
    /// here: what that is worth shows when this node loses it, too.
    pub(crate) over: Seq,
    /// Up to here it has applied this node's flushes.
    pub(crate) acked: Seq,
    /// The tails that were put in this node's log for it, each from a place on that it asked for, and
    /// when: as many as one question names.
    pub(crate) handed: BTreeMap<Incarnation, Time>,
    /// When it was last given a grant by this node.
    pub(crate) granted: Time,
    /// The established connections to it, in that order.
    pub(crate) conns: Vec<ConnId>,
    /// The one over which this node sends its flushes.
    pub(crate) out: Option<ConnId>,
    pub(crate) linked_since: Time,
    /// Proven in step since it is linked.
    pub(crate) proven: Time,
    /// What was proven before the last break.
    pub(crate) banked: Time,
    /// When the last question was asked that it has answered since it is linked.
    pub(crate) answered: Time,
    /// The oldest of its answers whose head it has not told yet: when that was asked for, and the head.
    pub(crate) owes: Option<(Time, Seq)>,
    /// The largest head that it has named since it is linked.
    pub(crate) named: Seq,
    /// Nothing was read from it before for long, as its flushes were being applied.
    pub(crate) unread_until: Time,
    /// What it said to be in touch with, and this node is not.
    pub(crate) touching: BTreeSet<Subject>,
    /// The lives that said to be in touch with this one while it is lost, and when they were asked.
    pub(crate) touched_by: BTreeMap<Incarnation, Time>,
    pub(crate) healing: Option<Healing>,
    /// No discovery lists it any more, so that its own word does not count either.
    pub(crate) is_dropped: bool,
    /// The fixed list of nodes that it was given, where that is not this node's.
    pub(crate) other_list: Option<Vec<SocketAddr>>,
}

impl Life {
    pub(crate) fn new(tail: LogLimits, forget_at: Time) -> Self {
        Self {
            who: None,
            claims: BTreeSet::new(),
            places: BTreeSet::new(),
            met_at: BTreeSet::new(),
            remote: None,
            state: State::Over { forget_at },
            books: Books::new(tail),
            inbox: Vec::new(),
            applying: None,
            ack_due: false,
            relays: BTreeSet::new(),
            bye: None,
            over: Seq::START,
            acked: Seq::START,
            handed: BTreeMap::new(),
            granted: Time::ZERO,
            conns: Vec::new(),
            out: None,
            linked_since: Time::ZERO,
            proven: Time::ZERO,
            banked: Time::ZERO,
            answered: Time::ZERO,
            owes: None,
            named: Seq::START,
            unread_until: Time::ZERO,
            touching: BTreeSet::new(),
            touched_by: BTreeMap::new(),
            healing: None,
            is_dropped: false,
            other_list: None,
        }
    }

    pub(crate) fn is_linked(&self) -> bool {
        self.state == State::Linked
    }

    /// Whether a tail may be put in this node's log for it from another place on than where it stands
    /// there: not as often as it asks.
    pub(crate) fn may_have(&mut self, now: Time, tail: Incarnation) -> bool {
        let is_recent = |at: Time| now < at + RENEW_EVERY;
        if self.handed.len() >= MAX_NAMED {
            self.handed.retain(|_, at| is_recent(*at));
        }
        let is_full = self.handed.len() >= MAX_NAMED;
        !is_full && !self.handed.get(&tail).is_some_and(|&at| is_recent(at))
    }

    /// It has said goodbye, and nothing of it is missing here.
    pub(crate) fn has_left(&self) -> bool {
        self.bye.is_some_and(|head| self.books.applied() >= head)
    }

    /// Something of it, or that came over its log, waits to be applied.
    pub(crate) fn is_busy(&self) -> bool {
        let waits = self.books.heard() != self.books.applied();
        waits || self.applying.is_some() || !self.inbox.is_empty()
    }

    /// The connection over which it is asked and told.
    pub(crate) fn main(&self) -> Option<ConnId> {
        self.out.or(self.conns.last().copied())
    }

    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost { .. })
    }

    /// It is linked, or lost without a goodbye: what it has not acknowledged it may still serve.
    pub(crate) fn may_serve(&self) -> bool {
        self.is_linked() || self.is_lost() && !self.has_left()
    }

    /// It has answered, and names a head: what it named before counts until it has told that. Then it owes
    /// all that it has named since, though it names less now.
    pub(crate) fn note_answer(&mut self, asked: Time, head: Seq) {
        self.answered = self.answered.max(asked);
        self.named = self.named.max(head);
        let heard = self.books.heard();
        self.owes = self.owes.filter(|&(_, head)| head > heard);
        if self.named > heard {
            self.owes.get_or_insert((asked, self.named));
        }
    }

    /// When the question was put that it has answered last, and whose answer it has made good: it has
    /// told all up to the head that it named.
    pub(crate) fn made_good(&self) -> Time {
        let owed = self.owes.filter(|&(_, head)| head > self.books.heard());
        owed.map_or(self.answered, |(asked, _)| asked.min(self.answered))
    }

    /// Its name, or a part of its id while it never said one.
    pub(crate) fn name_or(&self, id: Incarnation) -> String {
        self.who.as_ref().map_or_else(|| format!("life {id}"), |who| who.name.clone())
    }
}
