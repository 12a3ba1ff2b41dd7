//! Owns whether a certificate is a member's. Whoever connects can send many large ones, and each would
//! cost a search for a way to the authority: so no more is looked at than a member would send.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// When certificates are looked at that do not expire, so that no machine's wrong clock counts.
const ALWAYS: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
/// Later than any certificate ends.
const LATEST: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(u32::MAX as u64 * 100));

/// What a member's certificate is. The same for both ends of a link: whoever dials and whoever is
/// dialled is a node, so that one for a server is enough.
#[derive(Debug)]
pub(super) struct Members<V: ?Sized = WebPkiServerVerifier> {
    pub(super) name: ServerName<'static>,
    /// Most certificates that are looked at, and the largest, in bytes.
    pub(super) most: (usize, usize),
    pub(super) do_expire: bool,
    pub(super) verifier: Arc<V>,
}

impl<V: ServerCertVerifier + ?Sized> Members<V> {
    /// Whether it is one, at a time.
    pub(super) fn check(
        &self,
        end: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<(), Error> {
        let (count, bytes) = self.most;
        let is_small = |certificate: &CertificateDer<'_>| certificate.len() <= bytes;
        if others.len() >= count || !is_small(end) || !others.iter().all(is_small) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        let at = if self.do_expire { at } else { ALWAYS };
        self.verifier.verify_server_cert(end, others, &self.name, &[], at).map(drop)
    }

    /// When one that is a member's will not be one any more; `None` for one that does not end.
    pub(super) fn end_of(&self, chain: &[CertificateDer<'_>]) -> Option<UnixTime> {
        let (end, others) = chain.split_first().filter(|_| self.do_expire)?;
        let mut ends = LATEST;
        // Who looks at it later than that is told when it ended; so is each that leads to a root.
        for _ in chain {
            match self.check(end, others, ends) {
                Err(Error::InvalidCertificate(CertificateError::ExpiredContext {
                    not_after,
                    ..
                })) if not_after < ends => ends = not_after,
                _ => break,
            }
        }
        Some(ends).filter(|&ends| ends < LATEST)
    }
}

impl<V: ServerCertVerifier + ?Sized> ServerCertVerifier for Members<V> {
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
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

impl<V: ServerCertVerifier + ?Sized> ClientCertVerifier for Members<V> {
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
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
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
    fn no_more_is_looked_at_than_a_member_would_send() {
        let name = ServerName::try_from("it").unwrap();
        let verifier = Arc::new(TakesAll);
        let members = Members { name, most: (2, 100), do_expire: false, verifier };
        let is_looked_at = |bytes: &[usize]| {
            let chain = bytes.iter().map(|&bytes| CertificateDer::from(vec![0; bytes]));
            let chain: Vec<_> = chain.collect();
            members
                .check(&chain[0], &chain[1..], UnixTime::since_unix_epoch(Duration::ZERO))
                .is_ok()
        };
        assert!(is_looked_at(&[100]) && is_looked_at(&[100, 100]));
        assert!(!is_looked_at(&[101]) && !is_looked_at(&[1, 101]) && !is_looked_at(&[1, 1, 1]));
    }
}
