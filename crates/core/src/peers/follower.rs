//! Owns who follows this node, and how far each has applied its log.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::node::ConnId;
use crate::wire::{Incarnation, Seq};

#[derive(Debug)]
pub(crate) struct Follower {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its connection, while it has one.
    pub(crate) conn: Option<ConnId>,
    /// Up to here it has applied this node's flushes.
    pub(crate) applied: Seq,
}

/// Followers by their life: what an earlier life had applied says nothing about this one.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    by_life: BTreeMap<Incarnation, Follower>,
}

impl Followers {
    /// Lets a follower in on `conn`. Gives back the connections that it replaces: an older one of
    /// the same life, and those of earlier lives at the same address, which are over.
    pub(crate) fn enter(
        &mut self,
        life: Incarnation,
        address: SocketAddr,
        conn: ConnId,
        applied: Seq,
    ) -> Vec<ConnId> {
        let mut replaced = self.forget(address, |other| other == life);
        let entered = Follower { address, conn: Some(conn), applied };
        // The follower's own word of where it stands counts, even if an acknowledgement that
        // crossed the break said more: what it asks for is sent again.
        replaced.extend(self.by_life.insert(life, entered).and_then(|before| before.conn));
        replaced
    }

    pub(crate) fn get(&self, life: Incarnation) -> Option<&Follower> {
        self.by_life.get(&life)
    }

    pub(crate) fn get_mut(&mut self, life: Incarnation) -> Option<&mut Follower> {
        self.by_life.get_mut(&life)
    }

    pub(crate) fn remove(&mut self, life: Incarnation) {
        self.by_life.remove(&life);
    }

    pub(crate) fn knows(&self, life: Incarnation) -> bool {
        self.by_life.contains_key(&life)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_life.len()
    }

    /// Takes out the lives at `address` but those to keep; gives back the connections they held.
    pub(crate) fn forget(
        &mut self,
        address: SocketAddr,
        keep: impl Fn(Incarnation) -> bool,
    ) -> Vec<ConnId> {
        let over = |life: &Incarnation, follower: &mut Follower| {
            follower.address == address && !keep(*life)
        };
        let gone: Vec<_> = self.by_life.extract_if(.., over).collect();
        gone.into_iter().filter_map(|(_, follower)| follower.conn).collect()
    }
}
