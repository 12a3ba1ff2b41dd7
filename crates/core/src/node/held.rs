//! Owns the count of what a node holds of others, for checks of its limits. It must never be part of a
//! node that serves anybody.

use super::{Node, conn::Conn};
use crate::wire::{Incarnation, Seq};

/// How much a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Connections and dials.
    pub conns: usize,
    /// Places on the roster.
    pub places: usize,
    /// Lives that are linked.
    pub linked: usize,
    /// Lives that are not linked and not forgotten.
    pub apart: usize,
    /// Lives of which something waits to be applied.
    pub busy: usize,
    /// Lives of which something is wanted from others.
    pub wanted: usize,
    /// Bytes of control frames that wait to be read, most of any connection.
    pub control_bytes: usize,
    /// Bytes that have arrived and are not whole frames yet, most of any connection.
    pub unread_bytes: usize,
    /// Bytes kept of what a life told, most of any life.
    pub tail_bytes: usize,
}

impl Node {
    /// What it holds now. Looks at all of it.
    pub fn held(&self) -> Held {
        let most = |of: fn(&Conn) -> usize| self.conns.values().map(of).max().unwrap_or_default();
        let lives = || self.lives.iter().map(|(_, it)| it);
        Held {
            conns: self.conns.len(),
            places: self.roster.len(),
            linked: lives().filter(|it| it.is_linked()).count(),
            apart: self.lives.count_apart(),
            busy: lives().filter(|it| it.is_busy()).count(),
            wanted: self.recovery.lives().len(),
            control_bytes: most(|it| it.control.len()),
            unread_bytes: most(|it| it.reader.held()),
            tail_bytes: lives().map(|it| it.books.tail_bytes()).max().unwrap_or_default(),
        }
    }

    /// Over how many connections it is linked with a life.
    pub fn links_with(&self, life: Incarnation) -> usize {
        self.lives.get(life).map_or(0, |it| it.conns.len())
    }

    /// Up to where a life has applied this node's log, as far as is known.
    pub fn acknowledged_by(&self, life: Incarnation) -> Seq {
        self.lives.get(life).map_or(Seq::START, |it| it.acked)
    }
}
