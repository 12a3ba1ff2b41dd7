//! Owns the simplest source: a list that never changes.

use std::pin::Pin;
use std::time::Duration;

use super::{Discovery, Members, address};

/// Pause before names that do not resolve yet are tried again.
const RETRY: Duration = Duration::from_secs(2);

/// A fixed list of `host:port`. Every node can be given the same list: it knows itself.
#[derive(Debug, Clone)]
pub struct Fixed {
    addresses: Vec<String>,
}

impl Fixed {
    /// A source of these addresses.
    pub fn new<A: ToString>(addresses: impl IntoIterator<Item = A>) -> Self {
        Self { addresses: addresses.into_iter().map(|address| address.to_string()).collect() }
    }
}

impl Discovery for Fixed {
    fn name(&self) -> String {
        "fixed".to_owned()
    }

    fn fixed(&self) -> Option<Vec<String>> {
        Some(self.addresses.clone())
    }

    fn watch(self: Box<Self>, members: Members) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            loop {
                let (addresses, wrong) = address::resolve(&self.addresses).await;
                let complete = wrong.is_none();
                members.set_partly(addresses, wrong);
                if complete {
                    return;
                }
                tokio::time::sleep(RETRY).await;
            }
        })
    }
}
