//! Owns how long loads may take, and how long others wait for them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::LoadError;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Of a load.
    pub(super) load: Option<Duration>,
    /// Of who has an expired copy to serve instead.
    pub(super) patience: Option<Duration>,
    /// After a load that has failed in the background.
    pub(super) pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { load: None, patience: None, pause: Duration::from_secs(10) }
    }
}

/// What a load with a limit fails with, as those see it who wait for it.
#[derive(Debug)]
pub(super) enum Failure<E> {
    Own(Arc<E>),
    TimedOut(Duration),
}

impl Limits {
    /// Has a load end in time.
    pub(super) async fn limited<T, E>(
        self,
        load: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure<E>> {
        let own = |error| Failure::Own(Arc::new(error));
        // Without a runtime there is nobody who would end it.
        let Some(limit) = self.load.filter(|_| Handle::try_current().is_ok()) else {
            return load.await.map_err(own);
        };
        match tokio::time::timeout(limit, load).await {
            Ok(ended) => ended.map_err(own),
            Err(_) => Err(Failure::TimedOut(limit)),
        }
    }
}

/// The error as the application knows it.
pub(super) fn told<E>(error: LoadError<Failure<E>>) -> LoadError<E> {
    error.and_then(|failure| match failure {
        Failure::Own(error) => LoadError::Failed(Arc::clone(error)),
        Failure::TimedOut(after) => LoadError::TimedOut { after: *after },
    })
}
