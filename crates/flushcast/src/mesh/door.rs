//! Owns who gets a link: what a fresh connection has to show before the core hears of it. It must
//! never let anybody in by a way of its own: what counts is decided by [`security`](crate::security).

use flushcast_core::ack::Reason;
use tokio::net::TcpStream;

use super::stream::Stream;
#[cfg(feature = "tls")]
use crate::security::{Authority, Refused};

/// The way to a link, for both ends.
pub(crate) enum Door {
    /// Whoever reaches the port is a member.
    Open,
    /// Members prove that they are, and what they say is encrypted.
    #[cfg(feature = "tls")]
    Tls(parking_lot::RwLock<Authority>),
}

impl Door {
    /// What comes of a connection that was dialled. With TLS 1.3, the other end may still refuse: that
    /// is heard when it is read first.
    pub(super) async fn go_out(&self, socket: TcpStream) -> Result<Stream, Reason> {
        match self {
            Self::Open => Ok(Stream::Plain(socket)),
            #[cfg(feature = "tls")]
            Self::Tls(authority) => {
                let authority = authority.read().clone();
                match authority.connect(socket).await {
                    Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
                    Err(Refused::Stranger(why)) => Err(Reason::Foreign(why)),
                    Err(Refused::Broken(why)) => Err(Reason::Unreachable(why)),
                }
            }
        }
    }

    /// What comes of a connection that was accepted, or why it is none.
    pub(super) async fn come_in(&self, socket: TcpStream) -> Result<Stream, String> {
        match self {
            Self::Open => Ok(Stream::Plain(socket)),
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

    /// Whether those who come have to show something first.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }
}
