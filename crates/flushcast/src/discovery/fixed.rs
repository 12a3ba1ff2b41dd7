//! Owns the simplest source: a list that never changes.

use std::pin::Pin;

use super::names::{Names, tell_for_ever};
use super::system::Os;
use super::{Discovery, Members};

/// A fixed list of `host:port`. Every node can be given the same list: it knows itself.
///
/// A host name stands for one node, at any address that it resolves to. Names are resolved again
/// every 5 s, for as long as the node runs. One that does not resolve keeps its last addresses, and
/// shows in [`Node::discovery`](crate::Node::discovery).
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
            let mut names = Names::new(Os);
            names.set(&self.addresses);
            tell_for_ever(names, |list| members.tell(list)).await;
        })
    }
}
