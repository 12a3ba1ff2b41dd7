//! Owns what a link runs over: a socket, or TLS over one.

use tokio::net::TcpStream;
#[cfg(feature = "tls")]
use tokio_rustls::TlsStream;

#[cfg(feature = "tls")]
use crate::security::{Authority, Proof};

/// A connection between two nodes, admitted by whoever has to.
pub(crate) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<(TlsStream<TcpStream>, Proof)>),
}

/// What the other end has shown, if it had to.
#[cfg(feature = "tls")]
pub(super) type Shown = Option<Proof>;
#[cfg(not(feature = "tls"))]
pub(super) type Shown = Option<std::convert::Infallible>;

impl Stream {
    #[cfg(feature = "tls")]
    pub(super) fn tls(stream: TlsStream<TcpStream>, authority: &Authority) -> Self {
        let proof = authority.proof(&stream);
        Self::Tls(Box::new((stream, proof)))
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.0.get_ref().0,
        }
    }

    /// What the other end has shown, if it had to.
    pub(super) fn shown(&self) -> Shown {
        match self {
            Self::Plain(_) => None,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Some(stream.1.clone()),
        }
    }
}
