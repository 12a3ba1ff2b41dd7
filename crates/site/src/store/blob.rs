//! The settings in one blob of an object store: Azure Storage, S3, Google Cloud Storage.
//!
//! A save writes the blob only where its ETag is still the one that was read. No call waits for
//! longer than [`GIVE_UP`] and a last attempt.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::memory::InMemory;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig,
    UpdateVersion,
};
use serde::{Deserialize, Serialize};

use super::place::{Place, Service};
use super::{ReadError, SaveError, Saved, Setting, Snapshot, first_settings, now};

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long attempts are repeated, where the store fails or is slow.
const GIVE_UP: Duration = Duration::from_secs(10);

/// The settings in a blob.
#[derive(Debug)]
pub(super) struct Blob {
    store: Arc<dyn ObjectStore>,
    place: Place,
}

/// What stands in the blob.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    /// Drawn for each save: tells whether a save whose answer was lost was made.
    save: String,
    version: u64,
    date: String,
    settings: Vec<Setting>,
}

/// Why a blob could not be used; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenBlobError {
    /// What the environment says of the store cannot be.
    #[error("the store of {place} cannot be set up: {why}")]
    Setup {
        /// The blob.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// There is no such container or bucket.
    #[error("{container} does not exist")]
    NoContainer {
        /// Which one.
        container: String,
        /// The command that makes it.
        command: String,
    },
    /// The credentials are not accepted.
    #[error("{place} cannot be read or written with these credentials: {why}")]
    Refused {
        /// The blob.
        place: String,
        /// What the store says.
        why: String,
        /// The variables of the environment that credentials come from.
        variables: &'static str,
    },
    /// The blob holds something else.
    #[error("{place} holds no settings: {why}")]
    NoSettings {
        /// The blob.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store cannot be reached, or fails.
    #[error("{place} cannot be opened: {why}")]
    Failed {
        /// The blob.
        place: String,
        /// What happened.
        why: String,
    },
}

impl Blob {
    /// Opens the blob, and creates it with a few first settings where there is none.
    pub(super) async fn open(place: &Place) -> Result<Blob, OpenBlobError> {
        let store = connect(place).map_err(|error| OpenBlobError::Setup {
            place: place.to_string(),
            why: deepest(&error),
        })?;
        let blob = Blob { store, place: place.clone() };
        match blob.load().await {
            Ok(_) => return Ok(blob),
            Err(ReadError::Blob(object_store::Error::NotFound { .. })) => {}
            Err(error) => return Err(explain(place, &error)),
        }
        let first = Content::new(1, first_settings()).0;
        match blob.write(&first, PutMode::Create).await {
            // Somebody else was faster.
            Ok(()) | Err(object_store::Error::AlreadyExists { .. }) => Ok(blob),
            Err(object_store::Error::NotFound { .. }) => Err(no_container(place)),
            Err(error) => Err(explain(place, &error.into())),
        }
    }

    pub(super) async fn load(&self) -> Result<Snapshot, ReadError> {
        let Content { version, date, settings, .. } = self.read().await?.0;
        Ok(Snapshot { version, date, settings })
    }

    pub(super) async fn save(
        &self,
        expected: u64,
        settings: Vec<Setting>,
    ) -> Result<Saved, SaveError> {
        let (before, read) = self.read().await.map_err(SaveError::Read)?;
        if before.version != expected {
            return Err(SaveError::Conflict { expected, newest: before.version });
        }
        let (content, saved) = Content::new(expected + 1, settings);
        match self.write(&content, PutMode::Update(read)).await {
            Ok(()) => Ok(saved),
            // Or the answer to an attempt was lost, and the next one found what it had written.
            Err(object_store::Error::Precondition { source, .. }) => {
                let unknown = |_| object_store::Error::Precondition {
                    path: self.place.blob.to_string(),
                    source,
                };
                let (after, _) =
                    self.read().await.map_err(|error| SaveError::Unknown(unknown(error)))?;
                if after.save == content.save {
                    return Ok(saved);
                }
                Err(SaveError::Conflict { expected, newest: after.version })
            }
            Err(error) => Err(SaveError::Unknown(error)),
        }
    }

    async fn read(&self) -> Result<(Content, UpdateVersion), ReadError> {
        let answer = self.store.get(&self.place.blob).await?;
        let read = UpdateVersion {
            e_tag: answer.meta.e_tag.clone(),
            version: answer.meta.version.clone(),
        };
        Ok((serde_json::from_slice(&answer.bytes().await?)?, read))
    }

    async fn write(&self, content: &Content, mode: PutMode) -> Result<(), object_store::Error> {
        let bytes = serde_json::to_vec_pretty(content).map_err(|error| {
            object_store::Error::Generic { store: "settings", source: Box::new(error) }
        })?;
        let options = PutOptions { mode, ..PutOptions::default() };
        self.store.put_opts(&self.place.blob, bytes.into(), options).await?;
        Ok(())
    }
}

impl Content {
    fn new(version: u64, settings: Vec<Setting>) -> (Content, Saved) {
        let save = uuid::Uuid::new_v4().to_string();
        let saved = Saved { version, date: now() };
        (Content { save, version, date: saved.date.clone(), settings }, saved)
    }
}

fn connect(place: &Place) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    crate::tls::choose();
    let client = ClientOptions::new().with_timeout(ATTEMPT).with_connect_timeout(ATTEMPT);
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(1), ..BackoffConfig::default() };
    let retry = RetryConfig { backoff, retry_timeout: GIVE_UP, ..RetryConfig::default() };
    Ok(match &place.service {
        Service::Azure { account, container } => {
            let azure = MicrosoftAzureBuilder::from_env()
                .with_account(account)
                .with_container_name(container);
            Arc::new(azure.with_client_options(client).with_retry(retry).build()?)
        }
        Service::S3 { bucket } => {
            let s3 = AmazonS3Builder::from_env().with_bucket_name(bucket);
            Arc::new(s3.with_client_options(client).with_retry(retry).build()?)
        }
        Service::Gcs { bucket } => {
            let gcs = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
            Arc::new(gcs.with_client_options(client).with_retry(retry).build()?)
        }
        Service::Memory => Arc::new(InMemory::new()),
    })
}

fn explain(place: &Place, error: &ReadError) -> OpenBlobError {
    use object_store::Error::{PermissionDenied, Unauthenticated};
    let (text, why) = (place.to_string(), deepest(error));
    match error {
        ReadError::Malformed(_) => OpenBlobError::NoSettings { place: text, why },
        ReadError::Blob(PermissionDenied { .. } | Unauthenticated { .. }) => {
            let variables = match place.service {
                Service::Azure { .. } => {
                    "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_KEY or AZURE_CLIENT_ID; with none \
                     of them, the managed identity of this machine is used"
                }
                Service::S3 { .. } => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION",
                Service::Gcs { .. } => "GOOGLE_SERVICE_ACCOUNT",
                Service::Memory => "none",
            };
            OpenBlobError::Refused { place: text, why, variables }
        }
        _ => OpenBlobError::Failed { place: text, why },
    }
}

fn no_container(place: &Place) -> OpenBlobError {
    let (container, command) = match &place.service {
        Service::Azure { account, container } => (
            format!("container {container} of the storage account {account}"),
            format!("az storage container create --account-name {account} --name {container}"),
        ),
        Service::S3 { bucket } => (format!("bucket {bucket}"), format!("aws s3 mb s3://{bucket}")),
        Service::Gcs { bucket } => {
            (format!("bucket {bucket}"), format!("gcloud storage buckets create gs://{bucket}"))
        }
        Service::Memory => ("memory".to_owned(), "none".to_owned()),
    };
    OpenBlobError::NoContainer { container, command }
}

/// The last cause is the one that tells something.
fn deepest(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
