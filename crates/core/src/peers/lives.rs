//! Owns all lives that this node knows, and what it remembers of those it has forgotten.
//! It must never forget one that is linked, or lost and not settled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use super::{Life, Minimum, State, bare};
use crate::Time;
use crate::flush::LogLimits;
use crate::wire::{Incarnation, MAX_CLAIMS, Seq};

/// How many forgotten lives are remembered by the last number that was heard of them, so that
/// somebody who forgets them later does not make this node distrust its copies.
const REMEMBERED: usize = 4096;

/// What it costs to forget a life that is not linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Price {
    /// Nothing, as far as is known here: that is looked up before it is paid.
    Nothing,
    /// All copies: something of it waits to be applied, or is wanted. It may have become cheaper since.
    Copies,
    /// All copies, and it is not settled.
    Unsettled,
}

#[derive(Debug)]
pub(crate) struct Lives {
    by_id: BTreeMap<Incarnation, Life>,
    tail: LogLimits,
    /// Those that are not linked, in the order in which they are forgotten where there are too many.
    apart: Minimum<Incarnation, (Price, Time)>,
    /// The linked ones, by where they say to be.
    by_claim: BTreeMap<SocketAddr, BTreeSet<Incarnation>>,
    /// All, by the addresses at which they were met: they may be elsewhere now.
    met_at: BTreeMap<SocketAddr, BTreeSet<Incarnation>>,
    /// Up to where each was heard, and how much of that was its own word.
    forgotten: BTreeMap<Incarnation, (Seq, Seq)>,
    in_order: VecDeque<Incarnation>,
}

impl Lives {
    pub(crate) fn new(tail: LogLimits) -> Self {
        Self {
            by_id: BTreeMap::new(),
            tail,
            apart: Minimum::default(),
            by_claim: BTreeMap::new(),
            met_at: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            in_order: VecDeque::new(),
        }
    }

    pub(crate) fn get(&self, id: Incarnation) -> Option<&Life> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: Incarnation) -> Option<&mut Life> {
        self.by_id.get_mut(&id)
    }

    /// The life, made where it was not known: as one that is only heard of.
    pub(crate) fn entry(&mut self, id: Incarnation, forget_at: Time) -> &mut Life {
        let (tail, heard) = (self.tail, self.forgotten.get(&id).copied());
        let apart = &mut self.apart;
        self.by_id.entry(id).or_insert_with(|| {
            apart.set(id, Some((Price::Nothing, forget_at)));
            let mut life = Life::new(tail, forget_at);
            // One that was forgotten and is back: what was heard of it counts.
            let (heard, own_word) = heard.unwrap_or_default();
            life.books.cover(heard);
            life.books.note_own_word(own_word);
            life
        })
    }

    /// A life is linked, and says to be there, too: of what it has said over other connections, so much
    /// is kept as it may claim over one.
    pub(crate) fn link(&mut self, id: Incarnation, claims: &BTreeSet<SocketAddr>) {
        let Some(life) = self.by_id.get_mut(&id) else { return };
        if !life.is_linked() {
            self.apart.set(id, None);
            // Where it was before it was lost it may be no more.
            life.claims.clear();
        }
        life.state = State::Linked;
        let mut earlier: Vec<_> = life.claims.difference(claims).copied().collect();
        let room = MAX_CLAIMS.saturating_sub(claims.len()).min(earlier.len());
        for address in earlier.split_off(room) {
            life.claims.remove(&address);
            take_out(&mut self.by_claim, address, id);
        }
        for &claim in claims {
            life.claims.insert(claim);
            self.by_claim.entry(claim).or_default().insert(id);
        }
    }

    /// A life is not linked any more.
    pub(crate) fn set_apart(&mut self, id: Incarnation, state: State) {
        let Some(life) = self.by_id.get_mut(&id) else { return };
        life.state = state;
        let rank = match state {
            State::Over { forget_at } => Some((Price::Nothing, forget_at)),
            State::Lost { since } => Some((Price::Unsettled, since)),
            State::Linked => None,
        };
        self.apart.set(id, rank);
        for &claim in &life.claims {
            take_out(&mut self.by_claim, claim, id);
        }
    }

    /// Those that are not linked.
    pub(crate) fn apart(&self) -> impl Iterator<Item = (Incarnation, &Life)> {
        self.apart.iter().filter_map(|(id, _)| Some((id, self.by_id.get(&id)?)))
    }

    pub(crate) fn count_apart(&self) -> usize {
        self.apart.len()
    }

    /// Which of those that are not linked is to be forgotten first: those that cost nothing, by when
    /// they would be in any case, then those that cost the copies, as `costs` says of one that is over,
    /// then those that are not settled. Each is asked about once as long as it gets no cheaper.
    pub(crate) fn first_to_forget(
        &mut self,
        costs: impl Fn(Incarnation, &Life) -> bool,
    ) -> Option<Incarnation> {
        loop {
            let id = self.apart.first()?;
            match self.apart.get(id)? {
                (Price::Nothing, at) if costs(id, self.by_id.get(&id)?) => {
                    self.apart.set(id, Some((Price::Copies, at)));
                }
                _ => return Some(id),
            }
        }
    }

    /// Something of a life was applied, or is not wanted any more.
    pub(crate) fn is_cheaper(&mut self, id: Incarnation) {
        if let Some((Price::Copies, at)) = self.apart.get(id) {
            self.apart.set(id, Some((Price::Nothing, at)));
        }
    }

    /// The linked lives that say to be at an address.
    pub(crate) fn claiming(&self, address: SocketAddr) -> impl Iterator<Item = Incarnation> {
        self.by_claim.get(&address).into_iter().flatten().copied()
    }

    /// A life was met at these addresses.
    pub(crate) fn note_met(&mut self, id: Incarnation, addresses: &[SocketAddr]) {
        let Some(life) = self.by_id.get_mut(&id) else { return };
        for address in addresses.iter().copied().map(bare) {
            if life.met_at.len() < MAX_CLAIMS && life.met_at.insert(address) {
                self.met_at.entry(address).or_default().insert(id);
            }
        }
    }

    /// The lives that were met at an address.
    pub(crate) fn met_at(&self, address: SocketAddr) -> impl Iterator<Item = Incarnation> {
        self.met_at.get(&bare(address)).into_iter().flatten().copied()
    }

    /// Up to here it was heard, or is covered.
    pub(crate) fn heard(&self, id: Incarnation) -> Seq {
        let known = self.by_id.get(&id).map(|life| life.books.heard());
        known.or_else(|| self.forgotten.get(&id).map(|it| it.0)).unwrap_or(Seq::START)
    }

    /// Up to here it has told itself: it goes on behind that.
    pub(crate) fn own_word(&self, id: Incarnation) -> Seq {
        let known = self.by_id.get(&id).map(|life| life.books.own_word());
        known.or_else(|| self.forgotten.get(&id).map(|it| it.1)).unwrap_or(Seq::START)
    }

    /// Up to here it is applied, or covered.
    pub(crate) fn applied(&self, id: Incarnation) -> Seq {
        let known = self.by_id.get(&id).map(|life| life.books.applied());
        known.or_else(|| self.forgotten.get(&id).map(|it| it.0)).unwrap_or(Seq::START)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Incarnation, &Life)> {
        self.by_id.iter().map(|(&id, life)| (id, life))
    }

    /// All from this id on.
    pub(crate) fn iter_from(&self, id: Incarnation) -> impl Iterator<Item = (Incarnation, &Life)> {
        self.by_id.range(id..).map(|(&id, life)| (id, life))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Forgets a life, all but its number.
    pub(crate) fn forget(&mut self, id: Incarnation) -> Option<Life> {
        let life = self.by_id.remove(&id)?;
        self.apart.set(id, None);
        for &address in &life.met_at {
            take_out(&mut self.met_at, address, id);
        }
        if self.forgotten.insert(id, (life.books.heard(), life.books.own_word())).is_none() {
            self.in_order.push_back(id);
        }
        if self.in_order.len() > REMEMBERED
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.forgotten.remove(&oldest);
        }
        Some(life)
    }
}

/// A life is not at an address any more.
fn take_out(
    lives: &mut BTreeMap<SocketAddr, BTreeSet<Incarnation>>,
    address: SocketAddr,
    id: Incarnation,
) {
    if let Some(there) = lives.get_mut(&address) {
        there.remove(&id);
        if there.is_empty() {
            lives.remove(&address);
        }
    }
}
