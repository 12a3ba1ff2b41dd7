//! Owns what the node remembers of one connection.

use std::net::SocketAddr;

use crate::Time;
use crate::wire::{self, Frame, FrameReader, HANDSHAKE_WITHIN, Incarnation, SILENT_AFTER, Seq};

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
    /// When something last arrived over it, or it was made.
    pub(super) heard: Time,
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
    Following { address: SocketAddr, ack_due: bool, renew_due: Option<Time> },
    /// Over, but for what is still to be sent.
    Ended,
}

impl Conn {
    pub(super) fn new(now: Time, remote: SocketAddr, role: Role) -> Self {
        // A new connection's writer asks by itself before it waits to be woken.
        let (reader, control) = (FrameReader::default(), Vec::new());
        Self { remote, role, reader, control, heard: now, awake: true }
    }

    /// When it counts as dead if nothing arrives, and as what.
    pub(super) fn deadline(&self) -> Option<(Time, &'static str)> {
        match self.role {
            Role::Fresh { since } | Role::Greeting { since, .. } => {
                Some((since + HANDSHAKE_WITHIN, "said nothing in time: is it a flushcast node?"))
            }
            Role::Following { .. } => Some((self.heard + SILENT_AFTER, "went silent")),
            // A follower asks each renewal; it is given longer, so that it is the first to notice.
            Role::Serving { .. } => Some((self.heard + 2 * SILENT_AFTER, "went silent")),
            Role::Ended => Some((self.heard + SILENT_AFTER, "did not read the last words")),
            Role::Dialling { .. } => None,
        }
    }

    /// Puts a control frame in line.
    pub(super) fn say(&mut self, frame: &Frame<'_>) {
        // Names and labels are checked at the start, so that no control frame is over the limit.
        let fits = wire::encode(frame, &mut self.control);
        debug_assert_eq!(fits, Ok(()));
    }
}
