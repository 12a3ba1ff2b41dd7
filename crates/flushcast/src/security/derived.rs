//! Owns what a secret comes to: a certificate authority that all who know the secret can derive, and
//! one certificate of it for this node.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use ring::hkdf;
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::secret::{Secret, Secrets};
use super::{Authority, Papers, SecurityError};

/// What an authority's key is derived for. Whoever changes how, changes this.
const PURPOSE: &[u8] = b"flushcast link authority 1";
/// What a private Ed25519 key begins with as PKCS#8, version 1 (RFC 8410, section 7).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// Every node's certificate has this name: who it is, it says itself.
const NAME: &str = "node.flushcast";
/// Most certificates that a member shows, and the largest, in bytes: its own has about 400.
const MOST: (usize, usize) = (1, 1024);

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

/// The authority of the secrets. The same secret is another one for another cluster.
pub(crate) fn derive(cluster: &str, secrets: &Secrets) -> Result<Authority, SecurityError> {
    let shown = issuer(cluster, &secrets.shown)?;
    let mut roots = RootCertStore::empty();
    roots.add(shown.der().clone())?;
    if let Some(accepted) = &secrets.accepted {
        roots.add(issuer(cluster, accepted)?.der().clone())?;
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([NAME.to_owned()])?;
    params.distinguished_name = named("flushcast node");
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let papers = Papers {
        roots,
        shown: vec![params.signed_by(&key, &shown)?.der().clone()],
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        name: NAME.to_owned(),
        most: MOST,
        do_expire: false,
    };
    Ok(Authority::new(papers)?)
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
