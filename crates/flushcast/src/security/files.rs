//! Owns certificates of the user's own: reading them from files, and again when those change.
//! It must never put anything in use that this node's peers would refuse.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, Error, RootCertStore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::handshake::in_words;
use super::{Credentials, Handshake};
use crate::driver::Shared;
use crate::log::Line;
use crate::regular_file;

/// Seconds.
const DAY: u64 = 24 * 3600;
/// How often the files are read. They are small.
const READ_EVERY: Duration = Duration::from_secs(1);
/// Largest file, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// So long before a node's certificate ends, it is warned of.
const WARN_BEFORE: Duration = Duration::from_secs(14 * DAY);
/// And how often.
const WARN_EVERY: Duration = Duration::from_secs(DAY);

/// Why certificates cannot be used. A node that runs keeps those it has.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There is not in a file what has to be there.
    #[error("{} has no {what} in PEM; each -----BEGIN has to be at the start of a line", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// No certificate can be for it.
    #[error(
        "{name:?} is no name that a certificate can carry: say which one those of this cluster do, \
         with Tls::from_files(..).name(\"cache.example\")"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// This node's peers would refuse its certificate.
    #[error("peers would refuse the certificate of {}: it {why}", path.display())]
    Refused {
        /// Its file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The key is not of the certificate, or nothing can be made of one of them.
    #[error("{} and {} do not go together: {why}", certificate.display(), key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        why: String,
    },
}

shown_as_told!(TlsError);

/// Certificates of your own, in PEM files that are read again as they change.
///
/// A member is who shows a certificate that the authority has signed, that carries the cluster's name
/// as a DNS name, and has not expired. One for a server is enough: the same is shown by whoever dials.
/// Links that are up stay when a certificate expires. They are made anew, within two seconds, when this
/// node's certificate was renewed, or when it no longer trusts the authority that they were made with.
/// Revocation is not looked up: replace the authority.
#[derive(Debug, Clone)]
pub struct Tls {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    name: Option<String>,
}

impl Tls {
    /// Takes the files of the authorities whose members are accepted, one or more; of this node's
    /// certificate, followed by those that lead to an authority; and of its key.
    ///
    /// They are read each second. Replace them in any order: until they fit each other, those before stay
    /// in use, and the log says why.
    pub fn from_files(
        authority: impl Into<PathBuf>,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        let (authority, certificate, key) = (authority.into(), certificate.into(), key.into());
        Self { authority, certificate, key, name: None }
    }

    /// The DNS name that all certificates of the cluster carry, if it is not the cluster's.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Reads the files, and makes of them what they say. Blocks.
    pub(crate) fn load(&self, cluster: &str) -> Result<(Handshake, Files), TlsError> {
        let files = self.read()?;
        Ok((self.make(cluster, &files)?, files))
    }

    fn read(&self) -> Result<Files, TlsError> {
        Ok(Files([read(&self.authority)?, read(&self.certificate)?, read(&self.key)?]))
    }

    fn make(&self, cluster: &str, files: &Files) -> Result<Handshake, TlsError> {
        let Files([authority, certificate, key]) = files;
        let name = self.name.as_deref().unwrap_or(cluster).to_owned();
        if ServerName::try_from(&*name).is_err() {
            return Err(TlsError::Name { name });
        }
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.authority, authority)? {
            let cannot = |error: Error| TlsError::File {
                path: self.authority.clone(),
                why: error.to_string(),
            };
            roots.add(root).map_err(cannot)?;
        }
        let missing = |_| TlsError::Missing {
            path: self.key.clone(),
            what: "private key, or an encrypted one,",
        };
        let key = PrivateKeyDer::from_pem_slice(key).map_err(missing)?;
        let shown = certificates(&self.certificate, certificate)?;
        let wanted = name.clone();
        let credentials = Credentials { roots, shown, key, name };
        Handshake::new(credentials).map_err(|error| self.unusable(&error, &wanted))
    }

    fn unusable(&self, error: &Error, name: &str) -> TlsError {
        let path = self.certificate.clone();
        let why = match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                format!("is not signed by an authority in {}", self.authority.display())
            }
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => format!("does not carry the name {name:?} as a DNS name"),
            Error::InvalidCertificate(why @ CertificateError::Other(_)) => {
                format!("{} ({why})", in_words(why))
            }
            Error::InvalidCertificate(why) => in_words(why).to_owned(),
            error => {
                let (key, why) = (self.key.clone(), error.to_string());
                return TlsError::Unusable { certificate: path, key, why };
            }
        };
        TlsError::Refused { path, why }
    }
}

/// What was in the files when they were read.
#[derive(PartialEq)]
pub(crate) struct Files([Zeroizing<Vec<u8>>; 3]);

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let cannot = |why: String| TlsError::File { path: path.to_owned(), why };
    let file = regular_file::open(path).map_err(|error| cannot(error.to_string()))?;
    let mut text = Zeroizing::new(Vec::new());
    let count = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text);
    match count.map_err(|error| cannot(error.to_string()))? as u64 {
        ..=MAX_FILE_BYTES => Ok(text),
        _ => Err(cannot(format!("it has more than {MAX_FILE_BYTES} bytes"))),
    }
}

/// All certificates of a file: one at least, and none that is passed over because of what surrounds it.
fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let count = text.windows(BEGIN.len()).filter(|&it| it == BEGIN).count();
    let missing = || TlsError::Missing {
        path: path.to_owned(),
        what: "certificate, or one that is not whole,",
    };
    found.ok().filter(|found| !found.is_empty() && found.len() == count).ok_or_else(missing)
}

/// What there is to say of this node's own certificate.
#[derive(Debug)]
pub(crate) enum CertificateNews {
    /// It ends soon, or has.
    Expires(Duration),
    /// Its files have changed, and are in use.
    New,
    /// They cannot be used; those before stay in use.
    Bad(TlsError),
}

impl fmt::Display for CertificateNews {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expires(Duration::ZERO) => out.write_str(
                "this node's certificate has expired: nobody makes a link with it until its files \
                 are replaced",
            ),
            Self::Expires(left) => write!(
                out,
                "this node's certificate expires in {} days and {} hours: replace its files, they \
                 are read as they change",
                left.as_secs() / DAY,
                left.as_secs() % DAY / 3600
            ),
            Self::New => out.write_str("the certificates in the files are in use"),
            Self::Bad(why) => write!(out, "the former certificates stay in use: {why}"),
        }
    }
}

/// Puts in use what the files come to, whenever they change, and warns before a certificate ends.
pub(crate) async fn follow(tls: Tls, used: Files, shared: Arc<Shared>) {
    let cluster = shared.ask(|core, _| core.config().cluster.clone());
    let (tls, mut used) = (Arc::new(tls), Arc::new(used));
    let (mut problem, mut warned) = (None::<TlsError>, None::<(Instant, bool)>);
    loop {
        let left = shared.door.expires();
        let left = left.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
        if let Some(left) = left.filter(|&left| left < WARN_BEFORE)
            && warned.is_none_or(|(at, was_over)| {
                at.elapsed() >= WARN_EVERY || left.is_zero() && !was_over
            })
        {
            warned = Some((Instant::now(), left.is_zero()));
            shared.tell(Line::Certificate(CertificateNews::Expires(left)));
        }
        sleep(READ_EVERY).await;
        let (tls, before, cluster) = (Arc::clone(&tls), Arc::clone(&used), cluster.clone());
        // On a thread that may wait for a disk. One look at a time: one that hangs holds a thread.
        let look = spawn_blocking(move || {
            let files = tls.read()?;
            let is_new = files != *before;
            is_new.then(|| Ok((tls.make(&cluster, &files)?, files))).transpose()
        });
        match look.await {
            Ok(Ok(None)) => {
                if problem.take().is_some() {
                    shared.tell(Line::Certificate(CertificateNews::New));
                }
            }
            Ok(Ok(Some((handshake, files)))) => {
                (used, problem, warned) = (Arc::new(files), None, None);
                shared.tell(Line::Certificate(CertificateNews::New));
                shared.door.replace(handshake);
            }
            Ok(Err(why)) if problem.as_ref() != Some(&why) => {
                problem = Some(why.clone());
                shared.tell(Line::Certificate(CertificateNews::Bad(why)));
            }
            // Said already, or the runtime ends.
            Ok(Err(_)) | Err(_) => {}
        }
    }
}
