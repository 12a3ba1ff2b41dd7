//! Owns the source for a name that stands for all nodes, such as a headless service.

use std::pin::Pin;
use std::time::Duration;

use super::address::Name;
use super::names::{Names, REFRESH_EVERY, tell_for_ever};
use super::system::Os;
use super::{Discovery, Members};

/// Every address, A and AAAA, that a name resolves to, each a node at one port. Made for a headless
/// service of Kubernetes, whose name resolves to the pods that are ready.
///
/// The name is resolved again for as long as the node runs, by the system's resolver. A name that
/// does not resolve leaves the last list in use, and shows in
/// [`Node::discovery`](crate::Node::discovery). A new node needs not be resolved by the others
/// first: it dials them.
///
/// Addresses of a family that this host has never had a route for, such as IPv6 in a network
/// without it, are left out if there are others.
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

    /// How often to resolve. Default: every 5 s; at most every 100 ms. After a failure it is every
    /// 2 s, or as often as set here.
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
            let name = Name { host: self.name, port: self.port };
            let names = Names::headless(Os, name, self.refresh);
            tell_for_ever(names, |list| members.tell(list)).await;
        })
    }
}
