//! Owns who gets a link: what a fresh connection has to show before the core hears of it. It must
//! never let anybody in by a way of its own: what counts is decided by [`security`](crate::security).

use std::io;
use std::net::SocketAddr;
#[cfg(feature = "tls")]
use std::time::{Duration, SystemTime};

use flushcast_core::ack::Reason;
use flushcast_core::peers::canonical;
use flushcast_core::wire::Incarnation;
use tokio::net::TcpStream;

#[cfg(feature = "tls")]
use super::stream::trouble;
use super::stream::{Stream, WasShown};
#[cfg(feature = "tls")]
use crate::security::{Handshake, NodeKey, Shown};
#[cfg(feature = "tls")]
use tokio::sync::watch;

/// This end of a connection, where it is known.
type Local = Option<SocketAddr>;

/// The way to a link, for both ends.
pub(crate) enum Door {
    /// Whoever is there is a member.
    Open {
        /// Not on this machine alone.
        everywhere: bool,
    },
    /// Members prove that they are, and what they say is encrypted.
    #[cfg(feature = "tls")]
    Tls {
        handshake: watch::Sender<Handshake>,
        /// This node's own, where members prove to be by a secret; none for certificates of the user's,
        /// which several may have, and which are replaced.
        key: Option<NodeKey>,
    },
}

/// Links that count no more are made anew within this time, not all at once.
#[cfg(feature = "tls")]
const RENEW_LINKS_WITHIN: Duration = Duration::from_secs(2);

impl Door {
    /// What comes of a connection that was dialled. With TLS 1.3, the other end may still refuse: that
    /// is heard when it is read first.
    pub(super) async fn go_out(&self, address: SocketAddr) -> Result<(Stream, Local), Reason> {
        self.check(address)?;
        let socket = TcpStream::connect(address).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Reason::Refused,
            _ => Reason::Unreachable(error.to_string()),
        })?;
        let local = socket.local_addr().ok();
        let stream = match self {
            Self::Open { .. } => Stream::Plain(socket),
            #[cfg(feature = "tls")]
            Self::Tls { handshake, .. } => {
                let shaking = handshake.borrow().clone();
                let stream = shaking.connect(socket).await.map_err(|error| trouble(&error))?;
                Stream::tls(stream, &shaking, &handshake.borrow())?
            }
        };
        Ok((stream, local))
    }

    /// Without a secret, whoever answers would be a member.
    fn check(&self, address: SocketAddr) -> Result<(), Reason> {
        match self {
            Self::Open { everywhere: false } if !canonical(address).ip().is_loopback() => {
                let why =
                    "without a .secret(..), or .insecure_plaintext(), only this machine is dialled";
                Err(Reason::Unreachable(why.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// What comes of a connection that was accepted, or why it is none.
    pub(super) async fn come_in(&self, socket: TcpStream) -> Result<Stream, Reason> {
        match self {
            Self::Open { .. } => Ok(Stream::Plain(socket)),
            #[cfg(feature = "tls")]
            Self::Tls { handshake, .. } => {
                let shaking = handshake.borrow().clone();
                let stream = shaking.accept(socket).await.map_err(|error| trouble(&error))?;
                Stream::tls(stream, &shaking, &handshake.borrow())
            }
        }
    }

    /// Waits until what a link was let in for counts no more. Never, if it had to show nothing.
    pub(super) async fn would_not_take(&self, shown: WasShown) {
        #[cfg(feature = "tls")]
        if let (Self::Tls { handshake, .. }, Some(shown)) = (self, &shown) {
            let mut handshake = handshake.subscribe();
            while handshake.borrow_and_update().would_take(shown) {
                // The sender lives as long as this borrow.
                let _ = handshake.changed().await;
            }
            return tokio::time::sleep(RENEW_LINKS_WITHIN.mul_f64(fastrand::f64())).await;
        }
        let _ = shown;
        std::future::pending().await
    }

    /// Uses another handshake from here on. Links that it would not have made are made anew.
    #[cfg(feature = "tls")]
    pub(crate) fn replace(&self, by: Handshake) {
        if let Self::Tls { handshake, .. } = self {
            handshake.send_replace(by);
        }
    }

    /// When the certificate ends that this node shows, if it does.
    #[cfg(feature = "tls")]
    pub(crate) fn expires(&self) -> Option<SystemTime> {
        match self {
            Self::Tls { handshake, .. } => handshake.borrow().expires,
            Self::Open { .. } => None,
        }
    }

    /// The life that this node's key is of, where keys tell lives apart.
    pub(crate) fn life(&self) -> Option<Incarnation> {
        match self {
            Self::Open { .. } => None,
            #[cfg(feature = "tls")]
            Self::Tls { key, .. } => key.as_ref().map(NodeKey::life),
        }
    }

    /// The life that has shown this, where keys tell lives apart.
    #[cfg(feature = "tls")]
    pub(super) fn life_of(&self, shown: &Shown) -> Option<Incarnation> {
        match self {
            // A certificate that cannot be read is no node's: no life has this id.
            Self::Tls { key: Some(_), .. } => Some(shown.life().unwrap_or(Incarnation([0; 16]))),
            _ => None,
        }
    }

    /// Whether who comes is a member without having shown anything.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }
}
