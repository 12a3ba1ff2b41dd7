//! Owns what the node remembers of one connection.

use std::net::SocketAddr;

use crate::Time;
use crate::wire::{self, Frame, FrameReader, Incarnation, Seq};

/// Names one connection, or one dial that may become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub(super) u64);

#[derive(Debug)]
pub(super) struct Conn {
    /// The other end, or where it is dialled.
    pub(super) remote: SocketAddr,
    pub(super) role: Role,
    pub(super) reader: FrameReader,
    /// Encoded frames to send before anything else.
    pub(super) control: Vec<u8>,
    /// The shell is writing, or was told to: it will ask again.
    pub(super) awake: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Accepted; who it is will be told.
    Fresh { since: Time },
    /// The way to a follower, which was given everything up to `cursor`.
    Serving { follower: Incarnation, cursor: Seq },
    /// Being dialled, to follow the origin at this address.
    Dialling { address: SocketAddr },
    /// Connected; the origin's answer is awaited.
    Greeting { address: SocketAddr, since: Time },
    /// The way to an origin.
    Following { address: SocketAddr, ack_due: bool },
    /// Over, but for what is still to be sent.
    Ended,
}

impl Conn {
    pub(super) fn new(remote: SocketAddr, role: Role) -> Self {
        // A new connection's writer asks by itself before it waits to be woken.
        Self { remote, role, reader: FrameReader::default(), control: Vec::new(), awake: true }
    }

    /// Puts a control frame in line.
    pub(super) fn say(&mut self, frame: &Frame<'_>) {
        // Names and labels are checked at the start, so that no control frame is over the limit.
        let fits = wire::encode(frame, &mut self.control);
        debug_assert_eq!(fits, Ok(()));
    }
}
