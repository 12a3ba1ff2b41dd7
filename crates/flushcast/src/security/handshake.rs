//! Owns both ends of a link's handshake, and what is shown in it. TLS 1.3 does the work. It must never leave
//! another way in.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use flushcast_core::ack::Reason;
use flushcast_core::wire::Incarnation;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::Credentials;
use super::derived::life_of;
use super::verifier::Verifier;

/// Both ends of a link's handshake, with what this node shows and accepts.
#[derive(Clone)]
pub(crate) struct Handshake {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    verifier: Arc<Verifier>,
    /// When what this node shows ends.
    pub(crate) expires: Option<SystemTime>,
}

/// What the ends of a link have shown.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// The other end's certificates.
    theirs: Vec<CertificateDer<'static>>,
    /// When they were shown.
    at: UnixTime,
    /// When they end.
    pub(crate) expires: Option<SystemTime>,
    /// When those of this end did.
    own_expires: Option<SystemTime>,
}

impl Shown {
    /// The life of whoever has shown it, where it is of a secret.
    pub(crate) fn life(&self) -> Option<Incarnation> {
        self.theirs.first().and_then(life_of)
    }
}

impl Handshake {
    /// Makes both ends of it. What this node shows has to be what it would accept.
    pub(super) fn new(credentials: Credentials) -> Result<Self, Error> {
        let Credentials { roots, shown, key, name } = credentials;
        let unusable = |error: &dyn std::fmt::Display| Error::General(error.to_string());
        // The process's own choice, if there is any, is another matter.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let inner =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| unusable(&error))?;
        let name = ServerName::try_from(name).map_err(|error| unusable(&error))?;
        let verifier = Arc::new(Verifier { name, inner });
        let (own, others) = shown.split_first().ok_or(Error::NoCertificatesPresented)?;
        verifier.check(own, others, UnixTime::now())?;
        let expires = verifier.end_of(&shown).map(system_time);

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_auth_cert(shown.clone(), key.clone_key())?;
        // A session that is taken up again shows no certificate: it would outlive a secret.
        client.resumption = Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::clone(&verifier) as _)
            .with_single_cert(shown, key)?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(client)),
            acceptor: TlsAcceptor::from(Arc::new(server)),
            verifier,
            expires,
        })
    }

    /// The handshake of who has dialled.
    pub(crate) async fn connect(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let connected = self.connector.connect(self.verifier.name.clone(), socket).await;
        connected.map(TlsStream::from)
    }

    /// The handshake of who was dialled.
    pub(crate) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(socket).await.map(TlsStream::from)
    }

    /// What was shown in a handshake that is over.
    pub(crate) fn shown(&self, stream: &TlsStream<TcpStream>) -> Shown {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let theirs: Vec<_> = chain.iter().map(|it| it.clone().into_owned()).collect();
        let expires = self.verifier.end_of(&theirs).map(system_time);
        Shown { theirs, at: UnixTime::now(), expires, own_expires: self.expires }
    }

    /// Whether a link would be made with what was shown then. What has ended since counts: a link outlives
    /// the certificates that it was made with. It is made anew when this node has new ones, so that the
    /// other end knows when they expire.
    pub(crate) fn would_take(&self, shown: &Shown) -> bool {
        let Some((end, others)) = shown.theirs.split_first() else { return false };
        self.verifier.check(end, others, shown.at).is_ok() && self.expires == shown.own_expires
    }
}

fn system_time(at: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(at.as_secs())
}

/// Why there is no link with whoever is at the other end. The words are few and fixed: nothing that a
/// stranger sends is told.
pub(crate) fn trouble(error: &io::Error) -> Reason {
    let unproven = |why: &str| Reason::Unproven(why.to_owned());
    match error.get_ref().and_then(|it| it.downcast_ref::<Error>()) {
        // It may well be a member, whose secret is to be replaced, or was.
        Some(Error::InvalidCertificate(why)) => {
            Reason::Unproven(format!("its certificate {}", in_words(why)))
        }
        Some(Error::NoCertificatesPresented) => unproven("it shows no certificate"),
        Some(Error::AlertReceived(AlertDescription::CertificateExpired)) => unproven(
            "it refuses this node's certificate, as one that has expired or is not valid yet: look at \
             both clocks",
        ),
        Some(Error::AlertReceived(AlertDescription::HandshakeFailure)) => {
            unproven("it makes no link by TLS: has it no secret?")
        }
        Some(Error::AlertReceived(_)) => unproven(
            "it refuses this node's certificate: it has another secret or authority, or is of another \
             cluster",
        ),
        Some(Error::InvalidMessage(_)) => Reason::Foreign("it does not speak TLS".to_owned()),
        Some(Error::PeerIncompatible(_)) => unproven("it does not speak TLS 1.3"),
        Some(_) => unproven("it broke the handshake"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Reason::Unreachable("closed by the other end".to_owned())
        }
        None => Reason::Unreachable(error.kind().to_string()),
    }
}

/// What is wrong with a certificate.
pub(super) fn in_words(why: &CertificateError) -> &'static str {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet: look at both clocks"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is of another secret or authority, or of another cluster"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is not for this cluster: it does not carry its name"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not for a server"
        }
        CertificateError::ApplicationVerificationFailure => "is larger than a member's",
        CertificateError::Other(_) => "is an authority's, or of another kind than a member's",
        _ => "is none that can be checked",
    }
}
