//! Owns what a secret comes to: a certificate authority that all who know the secret can derive, and
//! one certificate of it for this node. TLS 1.3 does the rest. It must never leave another way in.

use std::io;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use ring::hkdf;
use rustls::client::{Resumption, VerifierBuilderError, WebPkiServerVerifier};
use rustls::pki_types::{InvalidDnsNameError, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use zeroize::Zeroizing;

use super::secret::{Secret, Secrets};
use super::sparing::Sparing;

/// What an authority's key is derived for. Whoever changes how, changes this.
const PURPOSE: &[u8] = b"flushcast link authority 1";
/// What a private Ed25519 key begins with as PKCS#8, version 1 (RFC 8410, section 7).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// Every node's certificate has this name: who it is, it says itself.
const NAME: &str = "node.flushcast";

/// Nothing could be made of a good secret: a fault of this library, or of those that it uses.
#[derive(Debug, thiserror::Error)]
#[error(
    "no certificate can be made of the secret, which is no fault of yours, please report it: {0}"
)]
pub struct SecurityError(String);

impl From<ring::error::Unspecified> for SecurityError {
    fn from(error: ring::error::Unspecified) -> Self {
        Self(error.to_string())
    }
}

impl From<rcgen::Error> for SecurityError {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<rustls::Error> for SecurityError {
    fn from(error: rustls::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<VerifierBuilderError> for SecurityError {
    fn from(error: VerifierBuilderError) -> Self {
        Self(error.to_string())
    }
}

impl From<InvalidDnsNameError> for SecurityError {
    fn from(error: InvalidDnsNameError) -> Self {
        Self(error.to_string())
    }
}

/// Both ends of a link's handshake.
#[derive(Clone)]
pub(crate) struct Authority {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    name: ServerName<'static>,
}

impl Authority {
    /// Derives all from the secrets. The same secret is another one for another cluster.
    pub(crate) fn new(cluster: &str, secrets: &Secrets) -> Result<Self, SecurityError> {
        let shown = issuer(cluster, &secrets.shown)?;
        let mut roots = RootCertStore::empty();
        roots.add(shown.der().clone())?;
        if let Some(accepted) = &secrets.accepted {
            roots.add(issuer(cluster, accepted)?.der().clone())?;
        }
        let roots = Arc::new(roots);

        let own_key = KeyPair::generate()?;
        let mut params = CertificateParams::new([NAME.to_owned()])?;
        params.distinguished_name = named("flushcast node");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let own = vec![params.signed_by(&own_key, &shown)?.der().clone()];
        let own_key = || PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own_key.serialize_der()));

        // The process's own choice, if there is any, is another matter.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()?;
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Sparing(verifier)))
            .with_client_auth_cert(own.clone(), own_key())?;
        // A session that is taken up again shows no certificate: it would outlive a secret.
        client.resumption = Resumption::disabled();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(Sparing(verifier)))
            .with_single_cert(own, own_key())?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(client)),
            acceptor: TlsAcceptor::from(Arc::new(server)),
            name: ServerName::try_from(NAME)?,
        })
    }

    /// The handshake of who has dialled.
    pub(crate) async fn connect(&self, socket: TcpStream) -> Result<TlsStream<TcpStream>, Refused> {
        let connected = self.connector.connect(self.name.clone(), socket).await;
        connected.map(TlsStream::from).map_err(|error| Refused::from(&error))
    }

    /// The handshake of who was dialled.
    pub(crate) async fn accept(&self, socket: TcpStream) -> Result<TlsStream<TcpStream>, Refused> {
        let accepted = self.acceptor.accept(socket).await;
        accepted.map(TlsStream::from).map_err(|error| Refused::from(&error))
    }
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
        let tls = error.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>());
        match tls {
            // It may well be a member, whose secret is to be replaced, or was: it counts as lost.
            Some(rustls::Error::InvalidCertificate(_)) => {
                broken("its certificate is of another secret, or of another cluster")
            }
            Some(rustls::Error::NoCertificatesPresented) => broken("it shows no certificate"),
            Some(rustls::Error::AlertReceived(_)) => {
                broken("it refuses this node's certificate: it has another secret or cluster")
            }
            Some(rustls::Error::InvalidMessage(_)) => {
                Self::Stranger("it does not speak TLS".to_owned())
            }
            Some(rustls::Error::PeerIncompatible(_)) => broken("it does not speak TLS 1.3"),
            Some(_) => broken("it broke the handshake"),
            None => Self::Broken(format!("the handshake was not ended: {}", error.kind())),
        }
    }
}

/// Reads out how long a derived key is.
struct SeedLen;

impl hkdf::KeyType for SeedLen {
    fn len(&self) -> usize {
        32
    }
}

/// The authority of a secret: an Ed25519 key that is derived from it by HKDF (RFC 5869).
fn issuer(
    cluster: &str,
    secret: &Secret,
) -> Result<CertifiedIssuer<'static, KeyPair>, SecurityError> {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, PURPOSE);
    let drawn = salt.extract(secret.bytes());
    let mut key = Zeroizing::new(PKCS8.to_vec());
    key.resize(PKCS8.len() + 32, 0);
    drawn.expand(&[cluster.as_bytes()], SeedLen)?.fill(&mut key[PKCS8.len()..])?;
    let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(&key[..]))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named("flushcast cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(CertifiedIssuer::self_signed(params, key)?)
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}
