//! Owns the names of a list and what they resolve to: each is looked up again for ever.
//! It must never let a lookup that hangs hold up the others, nor take off who stops resolving.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use flushcast_core::peers::{Listed, canonical};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::address::{self, Name, Written};
use super::list::List;
use super::system::System;

/// Pause before a name is looked up again, unless set otherwise.
pub(super) const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// Shortest such pause.
const MIN_REFRESH: Duration = Duration::from_millis(100);
/// Pause after a lookup that failed, or while one hangs.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// How long lookups are waited for. Those that take longer go on, and are heard when they end.
const LOOKUP_WITHIN: Duration = Duration::from_secs(5);
/// Most lookups under way: each holds a thread, and those of a server that is gone take long.
const LOOKUPS_AT_ONCE: usize = 16;

/// What each name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// One node, at any of the addresses.
    OneNode,
    /// A node at each address.
    ManyNodes,
}

/// What is known of one name.
#[derive(Debug)]
struct Known {
    /// The last that it resolved to, sorted.
    addresses: Vec<SocketAddr>,
    /// What the last lookup failed with.
    problem: Option<String>,
    /// When to look it up again.
    due: Instant,
}

/// The entries of a list, and their addresses.
#[derive(Debug)]
pub(super) struct Names<S> {
    system: S,
    meaning: Meaning,
    refresh: Duration,
    entries: Vec<(String, Written)>,
    known: BTreeMap<Name, Known>,
    /// To be looked up when there is room.
    queue: VecDeque<Name>,
    running: JoinSet<(Name, io::Result<Vec<SocketAddr>>)>,
    /// Since when each of them runs.
    started: BTreeMap<Name, Instant>,
    /// Since when lookups are waited for.
    asked: Instant,
    /// Whether there was ever a route to an address of IPv4, and of IPv6.
    routed: [bool; 2],
}

impl<S: System> Names<S> {
    /// Of no entries yet. Each will stand for one node.
    pub(super) fn new(system: S) -> Self {
        Self {
            system,
            meaning: Meaning::OneNode,
            refresh: REFRESH_EVERY,
            entries: Vec::new(),
            known: BTreeMap::new(),
            queue: VecDeque::new(),
            running: JoinSet::new(),
            started: BTreeMap::new(),
            asked: Instant::now(),
            routed: [false; 2],
        }
    }

    /// Of one name that stands for a node at each of its addresses.
    pub(super) fn headless(system: S, name: Name, refresh: Duration) -> Self {
        let mut names = Self::new(system);
        names.meaning = Meaning::ManyNodes;
        names.refresh = refresh.max(MIN_REFRESH);
        let text = format!("{}:{}", name.host, name.port);
        names.write(vec![(text, Written::Name(name))]);
        names
    }

    /// Replaces the entries. What is known of names that stay is kept.
    pub(super) fn set(&mut self, texts: &[String]) {
        let mut met = BTreeSet::new();
        let texts = texts.iter().filter(|text| met.insert(text.as_str()));
        self.write(texts.map(|text| (text.clone(), address::read(text))).collect());
    }

    fn write(&mut self, entries: Vec<(String, Written)>) {
        let now = Instant::now();
        let mut before = std::mem::take(&mut self.known);
        for (_, written) in &entries {
            if let Written::Name(name) = written {
                let fresh = || Known { addresses: Vec::new(), problem: None, due: now };
                let known = before.remove(name).unwrap_or_else(fresh);
                self.known.entry(name.clone()).or_insert(known);
            }
        }
        self.queue.retain(|name| self.known.contains_key(name));
        self.entries = entries;
    }

    /// Asks for the addresses of all names that are due.
    pub(super) fn ask(&mut self) {
        self.asked = Instant::now();
        let waiting = self.waiting();
        let is_due = |known: &Known| known.due <= self.asked;
        let due = self.known.iter().filter(|(name, it)| is_due(it) && !waiting.contains(name));
        let due: Vec<_> = due.map(|(name, _)| name.clone()).collect();
        self.queue.extend(due);
    }

    /// Waits for what was asked, within limits. May be dropped and called again.
    pub(super) async fn settled(&mut self) {
        loop {
            // Of those that were not waited for any more, too.
            while let Some(Ok((name, found))) = self.running.try_join_next() {
                self.learn(&name, found);
            }
            self.start_lookups();
            let now = Instant::now();
            let ends = self.started.values().map(|&started| started + LOOKUP_WITHIN);
            let Some(end) = ends.filter(|&end| end > now).min() else { return };
            let end = end.min(self.asked + LOOKUP_WITHIN);
            if end <= now {
                return;
            }
            tokio::select! {
                Some(Ok((name, found))) = self.running.join_next() => self.learn(&name, found),
                () = sleep_until(end) => {}
            }
        }
    }

    /// When to ask again; `None` if there are no names.
    pub(super) fn next(&self) -> Option<Instant> {
        let waiting = self.waiting();
        let idle = self.known.iter().filter(|(name, _)| !waiting.contains(name));
        let due = idle.map(|(_, known)| known.due.max(self.asked + MIN_REFRESH));
        let unheard = (!self.started.is_empty()).then_some(self.asked + AFTER_FAILURE);
        let unasked = (!self.queue.is_empty()).then_some(self.asked + LOOKUP_WITHIN);
        due.chain(unheard).chain(unasked).min()
    }

    /// The names that a lookup runs for, or will.
    fn waiting(&self) -> BTreeSet<&Name> {
        self.queue.iter().chain(self.started.keys()).collect()
    }

    /// The list as far as it is known.
    pub(super) fn list(&self) -> List {
        let mut list = List::default();
        for (text, written) in &self.entries {
            match written {
                Written::Address(address) => {
                    let addresses = vec![*address];
                    list.listed.push(Listed { name: text.as_str().into(), addresses });
                }
                Written::Malformed(why) => {
                    list.partly = true;
                    list.problems.push(why.clone());
                }
                Written::Name(name) => self.list_name(text, name, &mut list),
            }
        }
        list
    }

    fn list_name(&self, text: &str, name: &Name, list: &mut List) {
        let Some(known) = self.known.get(name) else { return };
        let unknown = known.addresses.is_empty();
        let problem = self.hanging(text, name).or_else(|| known.problem.clone());
        let not_yet = || unknown.then(|| format!("{text:?} is not looked up yet; it will be"));
        list.problems.extend(problem.or_else(not_yet));
        list.partly |= unknown;
        let addresses = known.addresses.clone();
        match self.meaning {
            Meaning::ManyNodes => list.listed.extend(addresses.into_iter().map(Listed::from)),
            Meaning::OneNode if unknown => {}
            Meaning::OneNode => list.listed.push(Listed { name: text.into(), addresses }),
        }
    }

    fn hanging(&self, text: &str, name: &Name) -> Option<String> {
        let started = *self.started.get(name)?;
        (Instant::now() >= started + LOOKUP_WITHIN).then(|| {
            format!(
                "looking up {text:?} takes over {LOOKUP_WITHIN:?}: see that the name server answers"
            )
        })
    }

    fn start_lookups(&mut self) {
        while self.started.len() < LOOKUPS_AT_ONCE {
            let Some(name) = self.queue.pop_front() else { return };
            self.started.insert(name.clone(), Instant::now());
            let system = self.system.clone();
            self.running.spawn(async move {
                let found = system.look_up(name.clone()).await;
                (name, found)
            });
        }
    }

    fn learn(&mut self, name: &Name, found: io::Result<Vec<SocketAddr>>) {
        self.started.remove(name);
        let usable = self.usable(name, found);
        let Some(known) = self.known.get_mut(name) else {
            // It was taken off the list meanwhile.
            return;
        };
        let pause = if usable.is_ok() { self.refresh } else { self.refresh.min(AFTER_FAILURE) };
        known.due = self.asked + pause;
        match usable {
            Ok((addresses, problem)) => {
                known.addresses = addresses;
                known.problem = problem;
            }
            Err(why) if known.addresses.is_empty() => known.problem = Some(why),
            Err(why) => {
                known.problem = Some(format!("{why}; what it resolved to last stays in use"));
            }
        }
    }

    /// The addresses at which a node can be, sorted, with what is wrong about the others.
    fn usable(
        &mut self,
        name: &Name,
        found: io::Result<Vec<SocketAddr>>,
    ) -> Result<(Vec<SocketAddr>, Option<String>), String> {
        let Name { host, port } = name;
        let hint = match self.meaning {
            Meaning::OneNode => "write host:port, with a host that this machine can look up",
            Meaning::ManyNodes => "is it the name of a headless service?",
        };
        let found =
            found.map_err(|error| format!("{host:?} does not resolve ({error}): {hint}"))?;
        let mut problem = None;
        let mut addresses = BTreeSet::new();
        for address in found.into_iter().map(canonical) {
            match address::unusable(address) {
                None => drop(addresses.insert(address)),
                Some(why) => problem = Some(format!("\"{host}:{port}\" leads to {address}: {why}")),
            }
        }
        if addresses.is_empty() {
            let none = || format!("{host:?} has no address: see what the name server has for it");
            return Err(problem.unwrap_or_else(none));
        }
        Ok((self.reachable(addresses), problem))
    }

    /// Without the addresses of a family that this host has no route for, unless there are no
    /// others. A family that once had a route is kept: that it is gone may pass, and until then
    /// whoever is there counts as not reached.
    fn reachable(&mut self, addresses: BTreeSet<SocketAddr>) -> Vec<SocketAddr> {
        let family = |address: &SocketAddr| usize::from(address.is_ipv6());
        for address in &addresses {
            let routed = &mut self.routed[family(address)];
            *routed = *routed || self.system.has_route(*address);
        }
        let routed = |address: &&SocketAddr| self.routed[family(address)];
        let reachable: Vec<_> = addresses.iter().filter(routed).copied().collect();
        if reachable.is_empty() { addresses.into_iter().collect() } else { reachable }
    }
}

/// Tells the list each time that its names were looked up, for ever; once if it has none.
pub(super) async fn tell_for_ever<S: System>(mut names: Names<S>, mut tell: impl FnMut(List)) {
    loop {
        names.ask();
        names.settled().await;
        tell(names.list());
        let Some(next) = names.next() else { return };
        sleep_until(next).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests;
