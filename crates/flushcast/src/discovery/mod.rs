//! Owns how nodes find each other: sources that tell who exists.
//! It must never tell who can be reached; the mesh finds that out.

mod address;
mod dns;
mod file;
mod fixed;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};

pub use dns::Dns;
pub use file::File;
pub use fixed::Fixed;
use flushcast_core::node::Input;
pub use flushcast_core::peers::Listed;
use tokio::sync::watch;

use crate::driver::Shared;

/// A source that tells who exists, again and again for as long as the node runs.
///
/// Write your own for a fabric that has none here; [`File`] shows how.
pub trait Discovery: Send + 'static {
    /// What it is called in [`Source::Discovery`](crate::Source::Discovery) and in logs.
    fn name(&self) -> String;

    /// The whole list as `host:port`, if it is known from the start and never changes.
    fn fixed(&self) -> Option<Vec<String>> {
        None
    }

    /// Tells `members` each list as it changes. Ends when there is nothing more to tell; the node
    /// ends it when it stops.
    fn watch(self: Box<Self>, members: Members) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Where a source tells what it knows.
#[derive(Debug)]
pub struct Members {
    shared: Weak<Shared>,
    source: Arc<str>,
    /// Whether there was a first word.
    told: watch::Sender<bool>,
}

/// How a discovery source stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// Its name.
    pub name: Arc<str>,
    /// What it last failed with; none while it works. Its last good list stays in use.
    pub error: Option<String>,
}

impl Members {
    /// Also gives what waits for the first word of the source, or for its end.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        name: String,
        number: usize,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let mut sources = shared.discovery.lock();
        let taken = sources.contains_key(name.as_str());
        let source: Arc<str> = if taken { format!("{name} #{number}") } else { name }.into();
        sources.insert(Arc::clone(&source), None);
        drop(sources);
        let (told, mut first) = watch::channel(false);
        let first_word = async move {
            // Who has ended without a word will tell nothing.
            let _ = first.wait_for(|told| *told).await;
        };
        (Self { shared: Arc::downgrade(shared), source, told }, first_word)
    }

    /// Tells the whole list, this node's own address included or not. Each address is a node.
    pub fn set(&self, addresses: Vec<SocketAddr>) {
        self.set_partly(addresses, None);
    }

    /// Tells a list of which a part may be missing, and why. Nobody is taken off by it then.
    pub fn set_partly(&self, addresses: Vec<SocketAddr>, missing: Option<String>) {
        self.set_listed(addresses.into_iter().map(Listed::from).collect(), missing);
    }

    /// Tells a list of nodes each of which may be at any of several addresses, and what may be
    /// missing. Nobody is taken off if something is.
    pub fn set_listed(&self, listed: Vec<Listed>, missing: Option<String>) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let (source, complete) = (Arc::clone(&self.source), missing.is_none());
        self.note(&shared, missing);
        shared.feed(Input::Members { source, listed, complete });
        self.told.send_replace(true);
    }

    /// Tells that the list cannot be had now, and what to do about it. The last one stays in use.
    pub fn failed(&self, why: String) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        self.note(&shared, Some(why));
        self.told.send_replace(true);
    }

    /// Logs what is new, once.
    fn note(&self, shared: &Shared, error: Option<String>) {
        let source = Arc::clone(&self.source);
        let before = shared.discovery.lock().insert(source, error.clone()).flatten();
        match error {
            Some(why) if before.as_ref() != Some(&why) => {
                tracing::warn!(source = &*self.source, "{why}");
            }
            None if before.is_some() => tracing::info!(source = &*self.source, "works again"),
            _ => {}
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Shared").finish_non_exhaustive()
    }
}
