//! Owns both ends of a link's handshake, and what it proves. TLS 1.3 does the work. It must never leave
//! another way in.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::Papers;
use super::members::Members;

/// Both ends of a link's handshake.
#[derive(Clone)]
pub(crate) struct Authority {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    members: Arc<Members>,
    /// When what this node shows ends.
    pub(crate) expires: Option<SystemTime>,
}

/// What the other end of a link has shown.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    chain: Vec<CertificateDer<'static>>,
    /// When it did.
    at: UnixTime,
    /// When that ends.
    pub(crate) expires: Option<SystemTime>,
}

impl Authority {
    /// Makes both ends of it. What this node shows has to be what it would accept.
    pub(super) fn new(papers: Papers) -> Result<Self, Error> {
        let Papers { roots, shown, key, name, most, do_expire } = papers;
        let unusable = |error: &dyn std::fmt::Display| Error::General(error.to_string());
        // The process's own choice, if there is any, is another matter.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| unusable(&error))?;
        let name = ServerName::try_from(name).map_err(|error| unusable(&error))?;
        let members = Arc::new(Members { name, most, do_expire, verifier });
        let (own, others) = shown.split_first().ok_or(Error::NoCertificatesPresented)?;
        members.check(own, others, UnixTime::now())?;
        let expires = members.end_of(&shown).map(system_time);

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&members) as _)
            .with_client_auth_cert(shown.clone(), key.clone_key())?;
        // A session that is taken up again shows no certificate: it would outlive a secret.
        client.resumption = Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::clone(&members) as _)
            .with_single_cert(shown, key)?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(client)),
            acceptor: TlsAcceptor::from(Arc::new(server)),
            members,
            expires,
        })
    }

    /// The handshake of who has dialled.
    pub(crate) async fn connect(&self, socket: TcpStream) -> Result<TlsStream<TcpStream>, Refused> {
        let connected = self.connector.connect(self.members.name.clone(), socket).await;
        connected.map(TlsStream::from).map_err(|error| Refused::from(&error))
    }

    /// The handshake of who was dialled.
    pub(crate) async fn accept(&self, socket: TcpStream) -> Result<TlsStream<TcpStream>, Refused> {
        let accepted = self.acceptor.accept(socket).await;
        accepted.map(TlsStream::from).map_err(|error| Refused::from(&error))
    }

    /// What the other end has shown in a handshake that is over.
    pub(crate) fn proof(&self, stream: &TlsStream<TcpStream>) -> Proof {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain: Vec<_> = chain.iter().map(|it| it.clone().into_owned()).collect();
        let expires = self.members.end_of(&chain).map(system_time);
        Proof { chain, at: UnixTime::now(), expires }
    }

    /// Whether what was shown then would be accepted by this authority too. What has ended since counts:
    /// a link outlives the certificates that it was made with.
    pub(crate) fn accepts(&self, proof: &Proof) -> bool {
        let Some((end, others)) = proof.chain.split_first() else { return false };
        self.members.check(end, others, proof.at).is_ok()
    }
}

fn system_time(at: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(at.as_secs())
}

/// Why there is no link.
pub(crate) enum Refused {
    /// What answers is another program.
    Stranger(String),
    /// The handshake did not come to its end, which says nothing of who is there.
    Broken(String),
}

impl From<&io::Error> for Refused {
    /// The words are few and fixed: nothing that a stranger sends is told.
    fn from(error: &io::Error) -> Self {
        let broken = |why: &str| Self::Broken(why.to_owned());
        let tls = error.get_ref().and_then(|it| it.downcast_ref::<Error>());
        match tls {
            // It may well be a member, whose secret is to be replaced, or was: it counts as lost.
            Some(Error::InvalidCertificate(why)) => {
                Self::Broken(format!("its certificate {}", in_words(why)))
            }
            Some(Error::NoCertificatesPresented) => broken("it shows no certificate"),
            Some(Error::AlertReceived(AlertDescription::CertificateExpired)) => broken(
                "it refuses this node's certificate, as one that has expired or is not valid yet: \
                 look at both clocks",
            ),
            Some(Error::AlertReceived(AlertDescription::ProtocolVersion)) => {
                broken("it does not speak TLS 1.3")
            }
            Some(Error::AlertReceived(_)) => broken(
                "it refuses this node's certificate: it has another secret or authority, or is of \
                 another cluster",
            ),
            Some(Error::InvalidMessage(_)) => Self::Stranger("it does not speak TLS".to_owned()),
            Some(Error::PeerIncompatible(_)) => broken("it does not speak TLS 1.3"),
            Some(_) => broken("it broke the handshake"),
            None => Self::Broken(format!("the handshake was not ended: {}", error.kind())),
        }
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
        _ => "is none that can be checked",
    }
}
