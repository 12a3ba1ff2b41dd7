//! Owns one place of the roster: where a node is said to be, who is there as far as is known, and
//! up to when it is proven that nothing from there is missed.
//! It must never be taken for a node: any life, or none, may be at a place.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::Backoff;
use crate::Time;
use crate::ack::Reason;
use crate::node::ConnId;
use crate::wire::Incarnation;

/// Names one place of a roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PlaceId(pub(crate) u32);

/// What a proof is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// A listed place, while no life stands for it.
    Place(PlaceId),
    /// A life that was met and is not settled.
    Life(Incarnation),
}

/// Where a place was learnt from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A discovery source, by its name.
    Discovery(Arc<str>),
    /// The node itself said it.
    Hello,
}

/// Who is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    Nobody,
    /// This node.
    Own,
    One(Incarnation),
    /// Two or more that live.
    Conflict,
}

/// How a place is being dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dial {
    Waiting {
        until: Time,
    },
    /// Being dialled, or connected and not answered yet.
    Trying(ConnId),
}

/// A look at all addresses of a place, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Round {
    /// The address to try next.
    pub(crate) next: usize,
    /// When the first one was tried.
    pub(crate) began: Time,
    /// Nobody of this cluster was at any of them so far.
    pub(crate) all_empty: bool,
}

/// Nobody of this cluster was at any address of a place, as of when the first was dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) sent: Time,
    pub(crate) received: Time,
}

/// One place.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: Arc<str>,
    /// All are tried: one node is at any of them.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) sources: BTreeSet<Source>,
    /// Since when it is on the roster.
    pub(crate) added: Time,
    /// Since when whoever is here is waited for as what they are: at these addresses, or more than one.
    pub(crate) awaited_since: Time,
    pub(crate) dial: Dial,
    pub(crate) round: Round,
    pub(crate) backoff: Backoff,
    /// Why nobody of this cluster was reached here.
    pub(crate) trouble: Option<Reason>,
    /// The linked lives that claim it.
    pub(crate) claimants: BTreeSet<Incarnation>,
    /// This node says to be here.
    pub(crate) is_own: bool,
    /// The connection that was dialled here, and the life that answered without claiming the place:
    /// this node's own, where the place leads back to it.
    pub(crate) evidence: Option<(ConnId, Incarnation)>,
    /// This node was met here.
    pub(crate) was_met: bool,
    /// Another one said to be here as well, and this node was not met here since.
    pub(crate) is_contested: bool,
    /// Who was here when it was last looked at.
    pub(crate) holder: Holder,
    /// The last life that was here alone.
    pub(crate) last: Option<Incarnation>,
    /// The life for which all are settled that were here before: if it claims the place, is lost and
    /// comes back, it was nobody else meanwhile.
    pub(crate) settled_for: Option<Incarnation>,
    /// That one has left properly, and nobody was met here since.
    pub(crate) is_vacant: bool,
    /// Since when it is open for strict caches who was here before, until all who may have heard them
    /// were asked: they do not take a refusal for an answer.
    pub(crate) strict_unsettled: Option<Time>,
    /// The newest refusal, and the one that is being settled.
    pub(crate) refusal: Option<Refusal>,
    pub(crate) candidate: Option<Refusal>,
    /// Up to here nothing from this place is missed: while nobody stands for it.
    pub(crate) proven: Time,
    /// The same without trusting refusals, unless the operator does.
    pub(crate) strict: Time,
    /// The last grant that was given to a life that was here and did not leave properly.
    pub(crate) granted: Time,
    /// The linked lives that are in touch with somebody here with whom this node is not, and when they
    /// were asked.
    pub(crate) touched_by: BTreeMap<Incarnation, Time>,
}

impl Place {
    pub(crate) fn new(name: Arc<str>, addresses: Vec<SocketAddr>, now: Time) -> Self {
        Self {
            name,
            addresses,
            sources: BTreeSet::new(),
            added: now,
            awaited_since: now,
            dial: Dial::Waiting { until: now },
            round: Round { next: 0, began: now, all_empty: true },
            backoff: Backoff::default(),
            trouble: None,
            claimants: BTreeSet::new(),
            is_own: false,
            evidence: None,
            was_met: false,
            is_contested: false,
            holder: Holder::Nobody,
            last: None,
            settled_for: None,
            is_vacant: false,
            strict_unsettled: None,
            refusal: None,
            candidate: None,
            proven: now,
            strict: Time::ZERO,
            granted: Time::ZERO,
            touched_by: BTreeMap::new(),
        }
    }

    pub(crate) fn is_listed(&self) -> bool {
        self.sources.iter().any(|source| matches!(source, Source::Discovery(_)))
    }

    /// Who is here now; `own` is this node's life.
    pub(crate) fn look(&self, own: Incarnation) -> Holder {
        let seen = self.evidence.map(|(_, life)| life);
        let is_own = self.is_own || seen == Some(own);
        let others = seen.filter(|&life| life != own);
        let mut lives = self.claimants.iter().copied().chain(others);
        let first = lives.next();
        let differs = lives.any(|life| Some(life) != first);
        match (first, is_own) {
            (None, true) => Holder::Own,
            (None, false) => Holder::Nobody,
            (Some(life), false) if !differs => Holder::One(life),
            _ => Holder::Conflict,
        }
    }

    /// Whether this node was met where it says to be, and nobody else says so since: only that shows that
    /// nobody else is there.
    pub(crate) fn is_surely_own(&self) -> bool {
        !self.is_own || self.was_met && !self.is_contested
    }

    /// The address that people are told.
    pub(crate) fn address(&self) -> SocketAddr {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        self.addresses.first().copied().unwrap_or(nowhere)
    }
}
