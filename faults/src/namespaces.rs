//! Owns a network of its own for some nodes, and the faults in it: one network namespace for each
//! node, wired to a bridge in one more. It must never touch the machine's own network.
//!
//! Faults are filters where packets *arrive*, so that whoever sends sees what it would see of a
//! wire: nothing, or what the other end is made to answer.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// What all names start with; the process and a number follow.
const PREFIX: &str = "flushcast";
/// Most nodes of one network.
pub const MAX_NODES: usize = 200;
/// Where each node listens.
const PORT: u16 = 7400;
/// The network behind a router, without its last number.
const INSIDE: &str = "10.78.0";
/// The bridge, in the namespace that no node is in.
const BRIDGE: &str = "br0";

/// Why a network cannot be had, or not be changed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// It cannot be had on this machine: no reason for a test to fail.
    #[error("no network namespaces here: {0}")]
    Unavailable(String),
    /// A command did not do what it should.
    #[error("{command}: {why}")]
    Command {
        /// What was run.
        command: String,
        /// What it said.
        why: String,
    },
}

/// A network of nodes, counted from 0. It goes when this is dropped.
#[derive(Debug)]
pub struct Namespaces {
    name: String,
    nodes: usize,
}

impl Namespaces {
    /// A network for so many nodes.
    ///
    /// # Errors
    /// [`NetworkError::Unavailable`] without the rights or the programs that it takes.
    pub fn new(nodes: usize) -> Result<Namespaces, NetworkError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unavailable = |why: &str| Err(NetworkError::Unavailable(why.to_owned()));
        if !rustix::process::geteuid().is_root() {
            return unavailable("they take root");
        }
        if nodes > MAX_NODES {
            return unavailable("too many nodes");
        }
        sweep();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{number}", process::id());
        let network = Namespaces { name, nodes };
        // Dropping it clears away what was made, whatever fails here.
        let made = network.make().and_then(|()| network.heal());
        match made {
            Ok(()) => Ok(network),
            Err(error) => unavailable(&error.to_string()),
        }
    }

    /// The namespace of a node.
    pub fn of(&self, node: usize) -> String {
        format!("{}-{node}", self.name)
    }

    /// Where a node is to listen.
    pub fn address(&self, node: usize) -> SocketAddr {
        SocketAddr::from((ip(node), PORT))
    }

    /// Loses all packets between two nodes.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn cut(&self, one: usize, other: usize) -> Result<(), NetworkError> {
        self.cut_one_way(one, other)?;
        self.cut_one_way(other, one)
    }

    /// Loses all packets that one node sends to another.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn cut_one_way(&self, from: usize, to: usize) -> Result<(), NetworkError> {
        self.filter(from, to, "-j DROP")
    }

    /// Answers for both nodes, to each other, as if nobody listened: open connections are reset,
    /// new ones refused.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn reject(&self, one: usize, other: usize) -> Result<(), NetworkError> {
        // What one side answers is let through on the other, or it would look like silence.
        let what = "-p tcp --tcp-flags RST NONE -j REJECT --reject-with tcp-reset";
        self.filter(one, other, what)?;
        self.filter(other, one, what)
    }

    /// Puts some nodes behind another one, which becomes a router that lets them out by its own
    /// address: they reach all others, and nobody reaches them. They have other addresses then.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn behind_one_address(&self, router: usize, nodes: &[usize]) -> Result<(), NetworkError> {
        let at = self.of(router);
        let inside = |node: usize| format!("{INSIDE}.{}", node + 1);
        run(&format!("ip -n {at} addr add {}/24 dev eth0", inside(router)))?;
        // It must not tell them of the shorter way, which is the wire that all of them share.
        for set in ["ip_forward=1", "conf.all.send_redirects=0", "conf.eth0.send_redirects=0"] {
            run(&format!("ip netns exec {at} sysctl -q -w net.ipv4.{set}"))?;
        }
        let out = ip(router);
        run(&format!(
            "ip netns exec {at} iptables -w -t nat -A POSTROUTING -s {INSIDE}.0/24 -j SNAT --to {out}"
        ))?;
        for &node in nodes {
            let there = self.of(node);
            run(&format!("ip -n {there} addr flush dev eth0"))?;
            run(&format!("ip -n {there} addr add {}/24 dev eth0", inside(node)))?;
            run(&format!("ip -n {there} route add default via {}", inside(router)))?;
        }
        Ok(())
    }

    /// Ends all faults.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn heal(&self) -> Result<(), NetworkError> {
        let flush = |node| run(&format!("ip netns exec {} iptables -w -F INPUT", self.of(node)));
        (0..self.nodes).try_for_each(flush)
    }

    fn filter(&self, from: usize, to: usize, what: &str) -> Result<(), NetworkError> {
        let (there, source) = (self.of(to), ip(from));
        run(&format!("ip netns exec {there} iptables -w -A INPUT -s {source} {what}"))
    }

    fn make(&self) -> Result<(), NetworkError> {
        let hub = format!("{}-hub", self.name);
        run(&format!("ip netns add {hub}"))?;
        run(&format!("ip -n {hub} link add {BRIDGE} type bridge"))?;
        run(&format!("ip -n {hub} link set {BRIDGE} up"))?;
        for node in 0..self.nodes {
            let (there, address) = (self.of(node), ip(node));
            run(&format!("ip netns add {there}"))?;
            run(&format!(
                "ip -n {hub} link add port{node} type veth peer name eth0 netns {there}"
            ))?;
            run(&format!("ip -n {hub} link set port{node} master {BRIDGE} up"))?;
            run(&format!("ip -n {there} addr add {address}/24 dev eth0"))?;
            run(&format!("ip -n {there} link set eth0 up"))?;
            run(&format!("ip -n {there} link set lo up"))?;
        }
        Ok(())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        remove(|name| name.strip_prefix(&self.name).is_some_and(|rest| rest.starts_with('-')));
    }
}

/// Each network has its own namespaces, so that all can use the same addresses.
fn ip(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, u8::try_from(node + 1).unwrap_or(u8::MAX))
}

/// Clears away what a process left that was killed.
fn sweep() {
    remove(|name| {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-'));
        let owner = owner.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    });
}

/// Removes the namespaces whose names are so. What cannot be removed is left: it does no harm.
fn remove(is_so: impl Fn(&str) -> bool) {
    let listed = Command::new("ip").args(["netns", "list"]).stderr(Stdio::null()).output();
    let Ok(listed) = listed else { return };
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        // A number may follow the name.
        if let Some(name) = line.split_whitespace().next().filter(|name| is_so(name)) {
            let _ = run(&format!("ip netns del {name}"));
        }
    }
}

/// Runs a command whose words hold no spaces.
fn run(command: &str) -> Result<(), NetworkError> {
    let failed = |why| Err(NetworkError::Command { command: command.to_owned(), why });
    let mut words = command.split(' ');
    let program = words.next().unwrap_or_default();
    let output: io::Result<_> = Command::new(program).args(words).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let mut why = output.status.to_string();
            let said = String::from_utf8_lossy(&output.stderr);
            let _ = write!(why, ", {}", said.trim());
            failed(why)
        }
        Err(error) => failed(error.to_string()),
    }
}
