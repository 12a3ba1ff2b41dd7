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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    /// Takes all, and has nothing to tell of any.
    #[derive(Debug)]
    struct TakesAll;

    impl ServerCertVerifier for TakesAll {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            assert_eq!(now, ALWAYS, "no clock counts");
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            Vec::new()
        }
    }

    #[test]
    fn nothing_is_looked_at_but_one_small_certificate() {
        let name = ServerName::try_from("node.flushcast").unwrap();
        let is_asked = |bytes: usize, others: &[CertificateDer<'_>]| {
            let end = CertificateDer::from(vec![0; bytes]);
            let now = UnixTime::since_unix_epoch(Duration::ZERO);
            Sparing(Arc::new(TakesAll)).verify_server_cert(&end, others, &name, &[], now).is_ok()
        };
        assert!(is_asked(MAX_CERTIFICATE_BYTES, &[]));
        assert!(!is_asked(MAX_CERTIFICATE_BYTES + 1, &[]));
        assert!(!is_asked(1, &[CertificateDer::from(vec![0])]));
    }
}
