//! An authority of one's own, and what it signs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flushcast::Tls;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

/// A day.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub struct Paper {
    pub text: String,
    pub key_text: String,
    pub certificate: CertificateDer<'static>,
    pub key: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "operations");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn text(&self) -> String {
        self.0.pem()
    }

    pub fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// One for a server of this name, valid since yesterday.
    pub fn sign(&self, name: &str, until: SystemTime) -> Paper {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = (SystemTime::now() - 30 * DAY).into();
        params.not_after = until.into();
        let signed = params.signed_by(&key, &self.0).unwrap();
        Paper {
            text: signed.pem(),
            key_text: key.serialize_pem(),
            certificate: signed.der().clone(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        }
    }
}

/// The files of one node.
pub struct Files(TempDir);

impl Files {
    pub fn of(authorities: &str, paper: &Paper) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.trust(authorities);
        files.show(paper);
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces the authorities.
    pub fn trust(&self, authorities: &str) {
        replace(&self.path("ca.pem"), authorities);
    }

    /// Replaces the certificate, and then its key: between the two they do not fit.
    pub fn show(&self, paper: &Paper) {
        replace(&self.path("node.pem"), &paper.text);
        replace(&self.path("node.key"), &paper.key_text);
    }

    pub fn tls(&self) -> Tls {
        Tls::from_files(self.path("ca.pem"), self.path("node.pem"), self.path("node.key"))
    }
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}
