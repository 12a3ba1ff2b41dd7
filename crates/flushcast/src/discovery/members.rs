//! Owns the way from a source to the node: lists, and how the source stands.
//! It must never let a source end in silence, nor take a list out of use because it did.

use std::any::Any;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::task::Poll;

use flushcast_core::node::Input;
use flushcast_core::peers::Listed;
use tokio::sync::watch;

use super::Discovery;
use super::list::List;
use crate::driver::Shared;
use crate::log::Line;

/// How a discovery source stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// Its name.
    pub name: Arc<str>,
    /// What it last failed with, and what to do; none while it works. Its last good list stays in
    /// use.
    pub error: Option<String>,
    /// It has told its last list, which stays in use. A fixed list of addresses has ended at once,
    /// which is no trouble: it never changes.
    pub ended: bool,
}

/// Where a source tells what it knows.
///
/// Tell each list as it changes, with [`set`](Self::set) where each address is a node. When this is
/// dropped, the source [has ended](SourceStatus::ended).
#[derive(Debug)]
pub struct Members {
    teller: Teller,
    /// Whether there was a first word.
    told: watch::Sender<bool>,
}

/// What a source is called, and where its standing is written down.
#[derive(Debug, Clone)]
struct Teller {
    shared: Weak<Shared>,
    source: Arc<str>,
}

impl Members {
    /// Also gives what waits for the first word of the source, or for its end.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        name: String,
        number: usize,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let mut sources = shared.discovery.lock();
        let numbered = (number..).map(|number| format!("{name} #{number}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        // There are more numbers than sources.
        let free = names.find(|name| !sources.contains_key(name.as_str()));
        let source: Arc<str> = free.unwrap_or(name).into();
        let status = SourceStatus { name: Arc::clone(&source), error: None, ended: false };
        sources.insert(Arc::clone(&source), status);
        drop(sources);
        let (told, mut first) = watch::channel(false);
        let first_word = async move {
            // Who has ended without a word will tell nothing.
            let _ = first.wait_for(|told| *told).await;
        };
        (Self { teller: Teller { shared: Arc::downgrade(shared), source }, told }, first_word)
    }

    /// Tells the whole list, this node's own address included or not. Each address is a node.
    pub fn set(&self, addresses: Vec<SocketAddr>) {
        self.set_partly(addresses, None);
    }

    /// Tells a list of which a part may be missing, and why. Nobody is taken off if one is.
    pub fn set_partly(&self, addresses: Vec<SocketAddr>, missing: Option<String>) {
        self.set_listed(addresses.into_iter().map(Listed::from).collect(), missing);
    }

    /// Tells a list of nodes each of which is at any of its addresses. They are told apart by their
    /// names, so that the addresses of one may change. Nobody is taken off if something is missing.
    pub fn set_listed(&self, listed: Vec<Listed>, missing: Option<String>) {
        let partly = missing.is_some();
        self.tell(List { listed, partly, problems: missing.into_iter().collect() });
    }

    /// Tells that the list cannot be had now, and what to do about it. The last one stays in use.
    pub fn failed(&self, why: String) {
        self.teller.note(Some(why));
        self.told.send_replace(true);
    }

    pub(super) fn tell(&self, list: List) {
        let Some(shared) = self.teller.shared.upgrade() else {
            return;
        };
        let list = list.check();
        self.teller.note(list.problem());
        let (source, complete) = (Arc::clone(&self.teller.source), !list.partly);
        shared.feed(Input::Members { source, listed: list.listed, complete });
        self.told.send_replace(true);
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.teller.change(|status| status.ended = true);
    }
}

impl Teller {
    fn change<T>(&self, change: impl FnOnce(&mut SourceStatus) -> T) -> Option<T> {
        let shared = self.shared.upgrade()?;
        if shared.stop.is_cancelled() {
            // The node has ended it.
            return None;
        }
        shared.discovery.lock().get_mut(&self.source).map(change)
    }

    /// Logs what is new, once.
    fn note(&self, error: Option<String>) {
        let before = self.change(|status| std::mem::replace(&mut status.error, error.clone()));
        if let (Some(before), Some(shared)) = (before, self.shared.upgrade())
            && before != error
        {
            shared.tell(Line::Source { source: Arc::clone(&self.source), error });
        }
    }
}

/// Runs a source to its end, and tells if that is a panic.
pub(crate) async fn run(source: Box<dyn Discovery>, members: Members) {
    let teller = members.teller.clone();
    let mut watching = Box::pin(async move { source.watch(members).await });
    let end = std::future::poll_fn(|context| {
        match catch_unwind(AssertUnwindSafe(|| watching.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    });
    if let Err(panic) = end.await {
        let text = text_of(&*panic);
        teller.note(Some(format!(
            "the source panicked ({text}) and tells nothing more; its last list stays in use: mend \
             it and restart this node"
        )));
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}
