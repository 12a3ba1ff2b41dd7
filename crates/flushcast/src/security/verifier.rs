//! Owns whether a certificate is a member's. Whoever connects can send many large ones, and each would
//! cost a search for a way to the authority: so no more is looked at than a member would send.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// Most certificates that are looked at: a member's own, and authorities in between.
const MAX_CERTIFICATES: usize = 4;
/// The largest of them, in bytes: one with a key of 4,096 bits has some 2,000.
const MAX_CERTIFICATE_BYTES: usize = 8 * 1024;
/// Certificates that end in the year 9999, or later, do not end (RFC 5280, section 4.1.2.5).
const NO_END: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(253_370_764_800));
/// Later than any certificate ends.
const LATEST: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(u32::MAX as u64 * 100));

/// What a member's certificate is. The same for both ends of a link: whoever dials and whoever is
/// dialled is a node, so that one for a server is enough.
#[derive(Debug)]
pub(super) struct Verifier {
    /// A name that a member's certificate is for.
    pub(super) name: ServerName<'static>,
    pub(super) inner: Arc<WebPkiServerVerifier>,
}

impl Verifier {
    /// Whether it is a member's, at a time.
    pub(super) fn check(
        &self,
        end: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<(), Error> {
        if !are_few(end.len(), others.iter().map(|it| it.len())) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        self.inner.verify_server_cert(end, others, &self.name, &[], at).map(drop)
    }

    /// When one that is a member's will not be one any more; `None` for one that does not end.
    pub(super) fn end_of(&self, chain: &[CertificateDer<'_>]) -> Option<UnixTime> {
        let (end, others) = chain.split_first()?;
        let mut ends = LATEST;
        // A check for a day far from now says when it ended; at that time, so does one in between.
        for _ in chain {
            match self.check(end, others, ends) {
                Err(Error::InvalidCertificate(CertificateError::ExpiredContext {
                    not_after,
                    ..
                })) if not_after < ends => ends = not_after,
                _ => break,
            }
        }
        Some(ends).filter(|&ends| ends < NO_END)
    }
}

/// Whether a chain of certificates, of so many bytes each, is one that a member would show.
fn are_few(end: usize, others: impl ExactSizeIterator<Item = usize>) -> bool {
    others.len() < MAX_CERTIFICATES
        && std::iter::once(end).chain(others).all(|bytes| bytes <= MAX_CERTIFICATE_BYTES)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end, others, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    /// Who asks for none in particular says nothing of the authority.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end, others, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_looked_at_than_a_member_would_send() {
        let most = MAX_CERTIFICATE_BYTES;
        assert!(are_few(most, [].into_iter()) && are_few(most, [most; 3].into_iter()));
        assert!(!are_few(most + 1, [].into_iter()));
        assert!(!are_few(1, [most + 1].into_iter()) && !are_few(1, [1; 4].into_iter()));
    }
}
