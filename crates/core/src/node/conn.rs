//! Owns what the node remembers of one connection.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::Time;
use crate::peers::{Identity, PlaceId, Step, WallTime};
use crate::wire::{self, Frame, FrameReader, HANDSHAKE_WITHIN, Incarnation, SILENT_AFTER, Seq};

/// Names one connection, or one dial that may become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub(crate) u64);

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
    /// The life that the other end has proven to be, where keys tell lives apart.
    pub(super) proven: Option<Incarnation>,
    /// When the certificate ends that the other end has shown, if it does.
    pub(super) expires: Option<WallTime>,
    /// The shell is writing, or was told to: it will ask again.
    pub(super) awake: bool,
}

#[derive(Debug)]
pub(super) enum Role {
    /// Accepted; who it is will be told.
    Fresh,
    /// It has said who it is, and was welcomed; its `Go` is not here yet.
    Welcomed { life: Incarnation, said: Box<Introduction> },
    /// Being dialled, to see who is at the place.
    Dialling { place: PlaceId },
    /// Connected; `Hello` is said, the answer is not here yet.
    Greeting { place: PlaceId },
    /// Both ends know each other.
    Linked(Linked),
    /// Over, but for what is still to be sent.
    Ended,
}

/// What somebody says of itself.
#[derive(Debug)]
pub(super) struct Introduction {
    pub(super) who: Identity,
    pub(super) claims: BTreeSet<SocketAddr>,
    pub(super) fixed: Vec<SocketAddr>,
}

/// An established connection.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) life: Incarnation,
    /// This end has dialled.
    pub(super) dialled: bool,
    /// Whoever has dialled keeps it to see who is at that place.
    pub(super) is_evidence: bool,
    /// The place that this end keeps it for.
    pub(super) place: Option<PlaceId>,
    /// The other end is known to count this node for linked: its `Go` has come, or what it says behind
    /// this node's.
    pub(super) is_mutual: bool,
    /// How much of this node's log it was given.
    pub(super) cursor: Seq,
    pub(super) step: Step,
    pub(super) renew_due: Option<Time>,
}

impl Conn {
    pub(super) fn new(now: Time, remote: SocketAddr, role: Role) -> Self {
        // A new connection's writer asks by itself before it waits to be woken.
        let (reader, control) = (FrameReader::default(), Vec::new());
        Self { remote, role, reader, control, heard: now, proven: None, expires: None, awake: true }
    }

    pub(super) fn linked(&self) -> Option<&Linked> {
        match &self.role {
            Role::Linked(linked) => Some(linked),
            _ => None,
        }
    }

    pub(super) fn linked_mut(&mut self) -> Option<&mut Linked> {
        match &mut self.role {
            Role::Linked(linked) => Some(linked),
            _ => None,
        }
    }

    /// When it counts as dead if nothing arrives, and as what.
    pub(super) fn deadline(&self) -> Option<(Time, &'static str)> {
        match &self.role {
            Role::Fresh | Role::Greeting { .. } => Some((
                self.heard + HANDSHAKE_WITHIN,
                "said nothing in time: is it a node of Flushcast?",
            )),
            Role::Welcomed { .. } => {
                Some((self.heard + HANDSHAKE_WITHIN, "did not end its handshake in time"))
            }
            // The dialler is the first to notice, so that one end dials again, not both.
            Role::Linked(linked) if linked.dialled => {
                Some((self.heard + SILENT_AFTER, "went silent"))
            }
            Role::Linked(_) => Some((self.heard + 2 * SILENT_AFTER, "went silent")),
            Role::Ended => Some((self.heard + SILENT_AFTER, "did not read the last words")),
            Role::Dialling { .. } => None,
        }
    }

    /// Puts a control frame in line.
    pub(super) fn say(&mut self, frame: &Frame<'_>) {
        // Names, labels and lists are within their limits, so that no control frame is over its own.
        let fits = wire::encode(frame, &mut self.control);
        debug_assert_eq!(fits, Ok(()));
    }
}
