//! Where a blob with settings is: `azure://account/container/blob` and the like.
//!
//! Credentials are never part of it: they come from the environment, by the names that the tools of
//! each cloud use.

use std::fmt;
use std::str::FromStr;

use object_store::path::Path;

/// The address of a blob in an object store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) service: Service,
    pub(super) blob: Path,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Service {
    Azure { account: String, container: String },
    S3 { bucket: String },
    Gcs { bucket: String },
    Memory,
}

/// Why a text is no place of a blob.
#[derive(Debug, thiserror::Error)]
#[error(
    "{text:?} is no place of a blob: {why}; known are azure://account/container/blob, \
     s3://bucket/blob, gs://bucket/blob and memory:///blob"
)]
pub struct PlaceError {
    text: String,
    why: &'static str,
}

impl Place {
    /// Whether only one process can have it.
    pub fn is_in_memory(&self) -> bool {
        self.service == Service::Memory
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Place, PlaceError> {
        let error = |why| PlaceError { text: text.to_owned(), why };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| error("it has no scheme"))?;
        let part = |rest: &str, why| match rest.split_once('/') {
            Some((part, rest)) if !part.is_empty() => Ok((part.to_owned(), rest.to_owned())),
            _ => Err(error(why)),
        };
        let (service, blob) = match scheme {
            "azure" => {
                let (account, rest) = part(rest, "it names no account")?;
                let (container, blob) = part(&rest, "it names no container")?;
                (Service::Azure { account, container }, blob)
            }
            "s3" => {
                let (bucket, blob) = part(rest, "it names no bucket")?;
                (Service::S3 { bucket }, blob)
            }
            "gs" => {
                let (bucket, blob) = part(rest, "it names no bucket")?;
                (Service::Gcs { bucket }, blob)
            }
            "memory" => (Service::Memory, rest.trim_start_matches('/').to_owned()),
            _ => return Err(error("its scheme is not known")),
        };
        let blob = Path::parse(blob).map_err(|_| error("its blob's name is not allowed"))?;
        match blob.as_ref() {
            "" => Err(error("it names no blob")),
            _ => Ok(Place { service, blob }),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { service, blob } = self;
        match service {
            Service::Azure { account, container } => {
                write!(out, "azure://{account}/{container}/{blob}")
            }
            Service::S3 { bucket } => write!(out, "s3://{bucket}/{blob}"),
            Service::Gcs { bucket } => write!(out, "gs://{bucket}/{blob}"),
            Service::Memory => write!(out, "memory:///{blob}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_it_is_read() {
        for text in [
            "azure://account/container/blob",
            "azure://account/container/folder/blob.json",
            "s3://bucket/blob",
            "gs://bucket/blob",
            "memory:///blob",
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_place_is_refused_with_the_reason() {
        for (text, why) in [
            ("settings.json", "it has no scheme"),
            ("ftp://host/blob", "its scheme is not known"),
            ("azure://", "it names no account"),
            ("azure://account", "it names no account"),
            ("azure://account/container", "it names no container"),
            ("azure://account/container/", "it names no blob"),
            ("azure://account//blob", "it names no container"),
            ("s3://bucket", "it names no bucket"),
            ("s3://bucket/a//b", "its blob's name is not allowed"),
            ("memory://", "it names no blob"),
        ] {
            let error = text.parse::<Place>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
            assert!(error.contains("azure://account/container/blob"), "{error}");
        }
    }
}
