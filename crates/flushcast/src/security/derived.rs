//! Owns what a secret comes to: a certificate authority that all who know the secret can derive, and
//! one certificate of it for this node.

use flushcast_core::wire::Incarnation;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use ring::{digest, hkdf};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;
use zeroize::Zeroizing;

use super::secret::{Secret, Secrets};
use super::{Credentials, Handshake, SecurityError};

/// What an authority's key is derived for. Whoever changes how, changes this.
const PURPOSE: &[u8] = b"flushcast link authority 1";
/// What a private Ed25519 key begins with as PKCS#8, version 1 (RFC 8410, section 7).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// Every node's certificate has this name: who it is, it says itself.
const NAME: &str = "node.flushcast";
/// Whoever knows the secret could make others, so that an end would protect nothing, and a wrong clock
/// would keep members out.
const NEVER: [(i32, u8, u8); 2] = [(1970, 1, 1), (9999, 12, 31)];

/// The key of one node, for as long as it runs. It is what tells nodes of one secret apart: a node's life is
/// named after it.
pub(crate) struct NodeKey(KeyPair);

impl NodeKey {
    pub(crate) fn generate() -> Result<Self, SecurityError> {
        KeyPair::generate().map(Self).map_err(SecurityError::of)
    }

    pub(crate) fn life(&self) -> Incarnation {
        life_of_key(&self.0.subject_public_key_info())
    }
}

/// The life of the node that a certificate of a secret is of; nothing if it is no certificate.
pub(super) fn life_of(shown: &CertificateDer<'_>) -> Option<Incarnation> {
    let certificate = ParsedCertificate::try_from(shown).ok()?;
    Some(life_of_key(&certificate.subject_public_key_info()))
}

/// Half of the SHA-256 of a public key: whoever wants the life of another has to find a key for it.
fn life_of_key(key: &[u8]) -> Incarnation {
    let digest = digest::digest(&digest::SHA256, key);
    Incarnation(std::array::from_fn(|at| digest.as_ref()[at]))
}

/// The authority of the secrets. The same secret is another one for another cluster.
pub(crate) fn derive(
    cluster: &str,
    secrets: &Secrets,
    NodeKey(key): &NodeKey,
) -> Result<Handshake, SecurityError> {
    let shown = issuer(cluster, &secrets.shown)?;
    let mut roots = RootCertStore::empty();
    roots.add(shown.der().clone()).map_err(SecurityError::of)?;
    if let Some(accepted) = &secrets.accepted {
        roots.add(issuer(cluster, accepted)?.der().clone()).map_err(SecurityError::of)?;
    }
    let mut params = CertificateParams::new([NAME.to_owned()]).map_err(SecurityError::of)?;
    [params.not_before, params.not_after] =
        NEVER.map(|(year, month, day)| date_time_ymd(year, month, day));
    params.distinguished_name = named("flushcast node");
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let signed = params.signed_by(key, &shown).map_err(SecurityError::of)?;
    let credentials = Credentials {
        roots,
        shown: vec![signed.der().clone()],
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        name: NAME.to_owned(),
    };
    Handshake::new(credentials).map_err(SecurityError::of)
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
    let info = [cluster.as_bytes()];
    let read = drawn.expand(&info, SeedLen);
    read.and_then(|read| read.fill(&mut key[PKCS8.len()..])).map_err(SecurityError::of)?;
    let key = KeyPair::try_from(&PrivatePkcs8KeyDer::from(&key[..])).map_err(SecurityError::of)?;
    let mut params = CertificateParams::default();
    [params.not_before, params.not_after] =
        NEVER.map(|(year, month, day)| date_time_ymd(year, month, day));
    params.distinguished_name = named("flushcast cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, key).map_err(SecurityError::of)
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}
