//! Owns the secrets of a cluster: where one comes from, and whether it is good enough. It must never
//! show one.

use std::env;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::regular_file;

/// Shortest secret, in bytes. Whoever reaches the port may collect what it takes to try secrets at home,
/// so that only one that cannot be guessed protects anything.
pub(crate) const MIN_SECRET_BYTES: usize = 32;
/// Longest secret, in bytes.
pub(crate) const MAX_SECRET_BYTES: usize = 4096;

/// What makes a good one.
const MAKE_ONE: &str = "make one with: openssl rand -base64 32";

/// Why a text or file is no secret.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It is empty.
    #[error("the secret is empty: {MAKE_ONE}")]
    Empty,
    /// It could be guessed.
    #[error(
        "the secret has {bytes} bytes, and one of fewer than {MIN_SECRET_BYTES} may be guessed: {MAKE_ONE}"
    )]
    TooShort {
        /// How long it is.
        bytes: usize,
    },
    /// It is no secret, but something else.
    #[error("the secret has more than {MAX_SECRET_BYTES} bytes: {MAKE_ONE}")]
    TooLong,
    /// It is several lines or words, or no text: perhaps another file than was meant.
    #[error("the secret is not one word of ASCII, as a secret's file has it: {MAKE_ONE}")]
    NotAWord,
    /// There is no good secret in its file.
    #[error("{}: {why}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with what is in it.
        why: Box<SecretError>,
    },
    /// Its file cannot be read.
    #[error("cannot read the secret's file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There is no such variable in the environment.
    #[error("the environment variable {name} is not set: set it to the cluster's secret")]
    NoVariable {
        /// The variable.
        name: String,
    },
}

shown_as_told!(SecretError);

/// A secret that all nodes of a cluster share, and nobody else has: who knows it is a member.
///
/// It is random, of 32 bytes or more, as `openssl rand -base64 32` makes it. A sentence that people
/// remember is none: what a node shows to whoever connects is enough to try sentences with.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a value, which is one word of ASCII; white space around it does not count.
    ///
    /// # Errors
    /// [`SecretError`] if it is empty, too short or too long, or no word.
    pub fn new(value: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        let value = value.as_ref().trim_ascii();
        match value.len() {
            0 => Err(SecretError::Empty),
            bytes @ 1..MIN_SECRET_BYTES => Err(SecretError::TooShort { bytes }),
            ..=MAX_SECRET_BYTES if !value.iter().all(u8::is_ascii_graphic) => {
                Err(SecretError::NotAWord)
            }
            MIN_SECRET_BYTES..=MAX_SECRET_BYTES => Ok(Self(Zeroizing::new(value.to_vec()))),
            _ => Err(SecretError::TooLong),
        }
    }

    /// Reads it from a file, as systems mount it. Blocks until it is read.
    ///
    /// # Errors
    /// [`SecretError`] if the file cannot be read, or has no good secret.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SecretError> {
        let path = path.as_ref();
        let cannot = |source| SecretError::File { path: path.to_owned(), source };
        let mut value = Zeroizing::new(Vec::new());
        let file = regular_file::open(path).map_err(cannot)?;
        // One byte more shows that it is too long, with room for a line's end.
        let most = MAX_SECRET_BYTES as u64 + 3;
        file.take(most).read_to_end(&mut value).map_err(cannot)?;
        Self::new(&*value)
            .map_err(|why| SecretError::InFile { path: path.to_owned(), why: why.into() })
    }

    /// Reads it from a variable of the environment.
    ///
    /// # Errors
    /// [`SecretError`] if there is none, or no good secret in it.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        let value = env::var_os(name);
        let value = value.ok_or_else(|| SecretError::NoVariable { name: name.to_owned() })?;
        Self::new(&*Zeroizing::new(value.into_encoded_bytes()))
    }

    /// Both secrets count: this one is what the node shows, the other is accepted as well.
    ///
    /// So a secret is changed on running nodes, each of these steps on all of them before the next:
    /// `old.or(new)`, `new.or(old)`, `new`.
    #[must_use]
    pub fn or(self, other: Secret) -> Secrets {
        Secrets { shown: self, accepted: Some(other) }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Secret(..)")
    }
}

/// One secret, or two while one replaces the other.
#[derive(Debug, Clone)]
pub struct Secrets {
    pub(super) shown: Secret,
    pub(super) accepted: Option<Secret>,
}

impl From<Secret> for Secrets {
    fn from(shown: Secret) -> Self {
        Self { shown, accepted: None }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_guessed_is_refused_and_told_how_to_make_a_good_one() {
        for (value, told) in [
            ("", "the secret is empty: make one with: openssl rand -base64 32"),
            (" \n", "the secret is empty"),
            ("swordfish", "has 9 bytes, and one of fewer than 32 may be guessed: make one with"),
        ] {
            let error = Secret::new(value).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        assert!(Secret::new([b'x'; MAX_SECRET_BYTES]).is_ok());
        assert!(matches!(Secret::new([b'x'; MAX_SECRET_BYTES + 1]), Err(SecretError::TooLong)));
        let (lines, marked) =
            ([&[b'x'; 40][..], b"\n", &[b'y'; 40]].concat(), "\u{feff}".to_owned());
        for value in [lines, (marked + &"x".repeat(40)).into_bytes(), vec![7; 40]] {
            assert!(matches!(Secret::new(value), Err(SecretError::NotAWord)));
        }
    }

    #[test]
    fn a_file_may_end_with_a_line_and_must_be_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!(Secret::from_file(&path).unwrap().bytes().len(), 32);
        std::fs::write(&path, [b'x'; 100_000]).unwrap();
        let error = Secret::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("secret: the secret has more than"), "{error}");
        let error = Secret::from_file(folder.path()).unwrap_err().to_string();
        assert!(error.contains("it is a folder, not a file"), "{error}");
        let error = Secret::from_file(folder.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("cannot read the secret's file"), "{error}");
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("0123456789abcdef0123456789abcdef").unwrap();
        let both = secret.clone().or(secret);
        assert!(!format!("{both:?}").contains("0123"));
    }
}
