//! Owns what is looked at of a certificate before anything is proven: one, and a small one. Whoever
//! connects can send many large ones, and each would cost a search for a way to the authority.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// Largest certificate, in bytes: a node's own has about 400.
const MAX_CERTIFICATE_BYTES: usize = 1024;
/// When certificates are looked at: they do not expire, so that no machine's wrong clock counts.
const ALWAYS: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));

/// A verifier of rustls's own, which is asked about nothing larger than a member would send.
#[derive(Debug)]
pub(super) struct Sparing<V: ?Sized>(pub(super) Arc<V>);

fn check_size(end: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
    match others.is_empty() && end.len() <= MAX_CERTIFICATE_BYTES {
        true => Ok(()),
        false => Err(CertificateError::ApplicationVerificationFailure.into()),
    }
}

impl<V: ServerCertVerifier + ?Sized> ServerCertVerifier for Sparing<V> {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        check_size(end, others)?;
        self.0.verify_server_cert(end, others, name, ocsp, ALWAYS)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

impl<V: ClientCertVerifier + ?Sized> ClientCertVerifier for Sparing<V> {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        check_size(end, others)?;
        self.0.verify_client_cert(end, others, ALWAYS)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
