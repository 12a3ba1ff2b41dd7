//! Owns the state of this node's way to one origin that it follows.

use crate::Time;
use crate::ack::Reason;
use crate::node::ConnId;
use crate::wire::Versions;

/// How far the connection to an origin has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// To be dialled at this time.
    Waiting { until: Time },
    /// Being dialled.
    Dialling(ConnId),
    /// Connected; `Hello` is said, the answer is not here yet.
    Greeting(ConnId),
    /// Following.
    Open(ConnId),
}

impl Link {
    pub(crate) fn conn(self) -> Option<ConnId> {
        match self {
            Link::Waiting { .. } => None,
            Link::Dialling(conn) | Link::Greeting(conn) | Link::Open(conn) => Some(conn),
        }
    }
}

/// Why the last attempt to follow an origin came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    Refused,
    Unreachable(String),
    OtherCluster(String),
    OtherVersion(Versions),
    Full,
    /// Another address on the roster leads to the same node.
    Alias,
}

impl Trouble {
    /// As a reason for an unconfirmed flush; none where there is nobody to confirm.
    pub(crate) fn reason(&self) -> Option<Reason> {
        Some(match self {
            Trouble::Refused => Reason::Refused,
            Trouble::Unreachable(why) => Reason::Unreachable(why.clone()),
            Trouble::OtherCluster(cluster) => Reason::OtherCluster(cluster.clone()),
            Trouble::OtherVersion(versions) => Reason::OtherVersion(*versions),
            Trouble::Full => Reason::Full,
            Trouble::Alias => return None,
        })
    }
}
