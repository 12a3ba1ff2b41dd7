//! Owns what a link runs over: a socket, or TLS over one.

use flushcast_core::ack::Reason;
use tokio::net::TcpStream;
#[cfg(feature = "tls")]
use tokio_rustls::TlsStream;

#[cfg(feature = "tls")]
pub(super) use crate::security::trouble;
#[cfg(feature = "tls")]
use crate::security::{Handshake, Shown};

/// What an error of a connection comes to.
#[cfg(not(feature = "tls"))]
pub(super) fn trouble(error: &std::io::Error) -> Reason {
    Reason::Unreachable(error.to_string())
}

/// A connection between two nodes, admitted by whoever has to.
pub(crate) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<(TlsStream<TcpStream>, Shown)>),
}

/// What the ends have shown, if they had to.
#[cfg(feature = "tls")]
pub(super) type WasShown = Option<Shown>;
#[cfg(not(feature = "tls"))]
pub(super) type WasShown = Option<std::convert::Infallible>;

impl Stream {
    /// What comes of a handshake that `made` it, if that still counts `now`.
    #[cfg(feature = "tls")]
    pub(super) fn tls(
        stream: TlsStream<TcpStream>,
        made: &Handshake,
        now: &Handshake,
    ) -> Result<Self, Reason> {
        let shown = made.shown(&stream);
        match now.would_take(&shown) {
            true => Ok(Self::Tls(Box::new((stream, shown)))),
            false => Err(Reason::Unproven("what it showed was replaced meanwhile".to_owned())),
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.0.get_ref().0,
        }
    }

    /// What the ends have shown, if they had to.
    pub(super) fn shown(&self) -> WasShown {
        match self {
            Self::Plain(_) => None,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Some(stream.1.clone()),
        }
    }
}
