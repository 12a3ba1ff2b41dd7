//! The store of the settings: what `--store` names, or else a database in the data folder.

use std::path::Path;

use flushcast_site::store::{OpenBlobError, OpenError, Place, Store};

use crate::failure::Failure;

/// The database's name in the data folder.
const DATABASE: &str = "settings.db";

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Database(#[from] OpenError),
    #[error(transparent)]
    Blob(#[from] OpenBlobError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let hint = match &error {
            StoreError::Database(
                OpenError::NotADatabase { .. } | OpenError::OtherSchema { .. },
            ) => "move that file away, or pass another folder to --data".to_owned(),
            StoreError::Database(_) => {
                "pass --data with a folder that this user may write".to_owned()
            }
            StoreError::Blob(OpenBlobError::NoContainer { command, .. }) => {
                format!("make it: {command}")
            }
            StoreError::Blob(OpenBlobError::Refused { variables, .. }) => {
                format!("look at {variables}")
            }
            StoreError::Blob(OpenBlobError::NoSettings { .. }) => {
                "pass another blob to --store".to_owned()
            }
            StoreError::Blob(_) => {
                "look at the address, the network and the credentials in the environment".to_owned()
            }
        };
        Failure::new(&error, hint)
    }
}

/// Opens it, and makes it with a few first settings where there is none.
pub(crate) async fn open(place: Option<&Place>, data: &Path) -> Result<Store, StoreError> {
    Ok(match place {
        Some(place) => Store::blob(place).await?,
        None => Store::database(&data.join(DATABASE))?,
    })
}
