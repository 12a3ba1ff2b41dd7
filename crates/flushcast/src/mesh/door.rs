//! Owns who gets a link: what a fresh connection has to show before the core hears of it. It must
//! never let anybody in by a way of its own: what counts is decided by [`security`](crate::security).

use std::io;
use std::net::SocketAddr;

use flushcast_core::ack::Reason;
use flushcast_core::peers::canonical;
use tokio::net::TcpStream;

use super::stream::Stream;
#[cfg(feature = "tls")]
use crate::security::{Authority, Refused};

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
    Tls(parking_lot::RwLock<Authority>),
}

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
            Self::Open { .. } => Ok(Stream::Plain(socket)),
            #[cfg(feature = "tls")]
            Self::Tls(authority) => {
                let authority = authority.read().clone();
                match authority.connect(socket).await {
                    Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
                    Err(Refused::Stranger(why)) => Err(Reason::Foreign(why)),
                    Err(Refused::Broken(why)) => Err(Reason::Unreachable(why)),
                }
            }
        };
        Ok((stream?, local))
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
    pub(super) async fn come_in(&self, socket: TcpStream) -> Result<Stream, String> {
        match self {
            Self::Open { .. } => Ok(Stream::Plain(socket)),
            #[cfg(feature = "tls")]
            Self::Tls(authority) => {
                let authority = authority.read().clone();
                match authority.accept(socket).await {
                    Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
                    Err(Refused::Stranger(why) | Refused::Broken(why)) => Err(why),
                }
            }
        }
    }

    /// Whether who comes is a member without having shown anything.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }
}
