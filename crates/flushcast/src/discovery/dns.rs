//! Owns the source for a name that stands for all nodes, such as a headless service.

use std::pin::Pin;
use std::time::Duration;

use super::{Discovery, Members};

/// How often the name is resolved, unless set otherwise.
const REFRESH_EVERY: Duration = Duration::from_secs(5);

/// Every address, A and AAAA, that a name resolves to, each a node at one port. Made for a headless
/// service of Kubernetes, whose name resolves to the pods that are ready.
///
/// The name is resolved again for as long as the node runs, by the system's resolver. A name that
/// does not resolve leaves the last list in use, and shows in
/// [`Node::discovery`](crate::Node::discovery). A new node needs not be resolved by the others
/// first: it dials them, and they dial back.
#[derive(Debug, Clone)]
pub struct Dns {
    name: String,
    port: u16,
    refresh: Duration,
}

impl Dns {
    /// A source of what `name` resolves to, each at `port`.
    pub fn new(name: impl Into<String>, port: u16) -> Self {
        Self { name: name.into(), port, refresh: REFRESH_EVERY }
    }

    /// How often to resolve. Default: every 5 s.
    #[must_use]
    pub fn refresh_every(mut self, pause: Duration) -> Self {
        self.refresh = pause;
        self
    }
}

impl Discovery for Dns {
    fn name(&self) -> String {
        format!("dns {}:{}", self.name, self.port)
    }

    fn watch(self: Box<Self>, members: Members) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            loop {
                match tokio::net::lookup_host((self.name.as_str(), self.port)).await {
                    Ok(addresses) => members.set(addresses.collect()),
                    Err(error) => members.failed(format!(
                        "{:?} does not resolve ({error}): trying again every {:?}; is it the name \
                         of a headless service?",
                        self.name, self.refresh
                    )),
                }
                tokio::time::sleep(self.refresh).await;
            }
        })
    }
}
