//! Owns who is a member: what a node has to show before anything that it says counts.
//! It must never let anybody in whose connection did not prove it.

mod authority;
mod derived;
mod files;
mod members;
mod secret;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) use authority::{Authority, Proof, Refused};
pub(crate) use derived::derive;
pub(crate) use files::{CertificateNews, Files, follow};
pub use files::{Tls, TlsError};
pub use secret::{Secret, SecretError, Secrets};

/// Nothing could be made of a good secret: a fault of this library, or of those that it uses.
#[derive(Debug, thiserror::Error)]
#[error(
    "no certificate can be made of the secret, which is no fault of yours, please report it: {0}"
)]
pub struct SecurityError(String);

/// What a node shows, and what it accepts.
struct Papers {
    /// Who may have signed what others show.
    roots: RootCertStore,
    /// What this node shows: its certificate, then those that lead to a root.
    shown: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// What a member's certificate has to carry, as a name that it is for.
    name: String,
    /// Most certificates that are looked at, and the largest, in bytes.
    most: (usize, usize),
    /// Whether certificates end.
    do_expire: bool,
}
