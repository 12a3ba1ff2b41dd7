//! Owns who is a member: what a node has to show before anything that it says counts.
//! It must never let anybody in whose connection did not prove it.

/// Whoever gives an error back from `main` is shown its debug text: it says what to do, too.
macro_rules! shown_as_told {
    ($($error:ty),*) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, out)
            }
        }
    )*};
}

mod derived;
mod files;
mod handshake;
mod secret;
#[cfg(test)]
mod tests;
mod verifier;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) use derived::{NodeKey, derive};
pub(crate) use files::{CertificateNews, Files, follow};
pub use files::{Tls, TlsError};
pub(crate) use handshake::{Handshake, Shown, trouble};
pub use secret::{Secret, SecretError, Secrets};

/// Nothing could be made of a good secret: a fault of this library, or of those that it uses.
#[derive(thiserror::Error)]
#[error(
    "no certificate can be made of the secret, which is no fault of yours, please report it: {0}"
)]
pub struct SecurityError(String);

/// What a node shows, and what it accepts.
struct Credentials {
    /// Who may have signed what others show.
    roots: RootCertStore,
    /// What this node shows: its certificate, then those that lead to a root.
    shown: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// What a member's certificate has to carry, as a name that it is for.
    name: String,
}

impl SecurityError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

shown_as_told!(SecurityError);
