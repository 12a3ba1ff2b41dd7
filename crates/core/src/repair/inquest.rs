//! Owns the settling between survivors: whom it is about, and who has answered.
//! It must never be concluded on the word of some: every listed node answers, or is itself among
//! the dead.
//!
//! All open questions are settled together. Settling them one by one would have each wait for the
//! others, or conclude one on the silence of another whose own last words are still unheard.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::Time;
use crate::node::ConnId;
use crate::wire::{Incarnation, Position, Seq};

#[derive(Debug, Default)]
pub(crate) struct Inquest {
    /// Tells its answers from earlier ones.
    pub(crate) nonce: u64,
    pub(crate) subjects: BTreeMap<SocketAddr, Goal>,
    /// When the last subject was added: all that were dead then must be found dead once more.
    pub(crate) since: Time,
    /// Whether the questions are asked.
    pub(crate) asked: bool,
    /// The nodes that were asked, by address.
    pub(crate) witnesses: BTreeMap<SocketAddr, Witness>,
}

/// What is done about an address once all lives that were there are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Nobody listened when it was dialled at this time: that is a proof.
    Refusal { dialled: Time },
    /// Another life is there: its answers count as proofs.
    NewLife(Incarnation),
    /// Discovery lists it no more since then: it is taken off.
    Drop { since: Time },
}

/// How far one of those who are asked has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Witness {
    Asked {
        conn: ConnId,
    },
    /// It will count once its log is applied up to `head`.
    Testified {
        head: Seq,
        lives: Vec<(SocketAddr, Position)>,
        forgotten: u64,
    },
    /// It counts.
    Heard {
        by: Incarnation,
        lives: Vec<(SocketAddr, Position)>,
        forgotten: u64,
    },
}

impl Goal {
    /// The life that is not asked about.
    pub(crate) fn alive(self) -> Option<Incarnation> {
        match self {
            Goal::NewLife(life) => Some(life),
            Goal::Refusal { .. } | Goal::Drop { .. } => None,
        }
    }
}

impl Inquest {
    /// Begins anew, with another subject.
    pub(crate) fn add(&mut self, now: Time, address: SocketAddr, goal: Goal) {
        self.subjects.insert(address, goal);
        self.begin(now);
    }

    /// Begins anew with the same subjects.
    pub(crate) fn begin(&mut self, now: Time) {
        self.nonce += 1;
        self.since = now;
        self.asked = false;
        self.witnesses.clear();
    }

    pub(crate) fn goal(&self, address: SocketAddr) -> Option<Goal> {
        self.subjects.get(&address).copied()
    }

    /// Whether a refused dial of the dead has to be later than the last subject came up: one who
    /// was thought dead may have lived in between and heard another's last words.
    pub(crate) fn needs_second_look(&self) -> bool {
        let may_know = |goal: &&Goal| !matches!(goal, Goal::Drop { .. });
        self.subjects.values().filter(may_know).count() > 1
    }

    /// Whether the answer of a witness counts.
    pub(crate) fn has_heard(&self, witness: SocketAddr) -> bool {
        matches!(self.witnesses.get(&witness), Some(Witness::Heard { .. }))
    }

    /// What was asked over a connection that is over has to be asked anew, as has what was
    /// answered but not applied.
    pub(crate) fn lost_touch(&mut self, witness: SocketAddr) {
        if !self.has_heard(witness) {
            self.witnesses.remove(&witness);
        }
    }
}
