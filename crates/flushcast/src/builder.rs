//! Owns what a node is told at its start, and whether it makes sense.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use flushcast_core::cache::Caches;
use flushcast_core::flush::LogLimits;
use flushcast_core::node::{Limits, NodeConfig};
use flushcast_core::peers::canonical;
use flushcast_core::wire::{Incarnation, MAX_LABEL_BYTES, MAX_LABELS, MAX_NAME_BYTES};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
#[cfg(feature = "tls")]
use tokio::sync::watch;

use crate::clock::Clocks;
use crate::discovery::{self, Discovery, Members};
use crate::driver::Shared;
use crate::log::Line;
use crate::mesh::{self, Door};
use crate::node::{Inner, Node};
#[cfg(feature = "tls")]
use crate::security::{self, NodeKey, Secrets, SecurityError, Tls, TlsError};
use crate::{strict, sweeper};

/// Where peers are listened for, if nothing else is said.
const DEFAULT_PORT: u16 = 7400;
/// How long a start waits for what discovery tells first.
const FIRST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// Why a node could not start. Nothing is left behind.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A name or label is empty, too long or has control characters.
    #[error("{what} {text:?} is not usable: {why}")]
    BadText {
        /// What it is.
        what: &'static str,
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// Peers cannot be listened for.
    #[error(
        "cannot listen for peers at {address}: {source}; stop what listens there, or choose another address (port 0 picks a free one)"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// Whoever reaches the address would be a member.
    #[error(
        "at {address}, whoever reaches the port would be a member of the cluster: give all nodes the \
         same .secret(..), or certificates of your own by .tls(..), or listen at a loopback address such as 127.0.0.1:{DEFAULT_PORT}, or say \
         .insecure_plaintext() if nobody else can reach it"
    )]
    Unprotected {
        /// The address.
        address: SocketAddr,
    },
    /// Nothing could be made of the secret.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The certificates cannot be used.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A node must be started within a tokio runtime.
    #[error("no tokio runtime here: start the node from async code")]
    NoRuntime,
    /// The system gave no random bytes, of which a node's identity is made.
    #[error("the system gives no random bytes: {0}")]
    NoRandomness(#[from] getrandom::Error),
}

/// What keeps others out.
enum Protection {
    /// That nobody else is on this machine.
    None,
    /// Something else than this node.
    Plaintext,
    #[cfg(feature = "tls")]
    Secret(Secrets),
    #[cfg(feature = "tls")]
    Tls(Tls),
}

impl Protection {
    /// What a connection has to show before it becomes a link.
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "nothing depends on it"))]
    async fn door(self, cluster: &str) -> Result<(Door, Followed), StartError> {
        match self {
            Self::None => Ok((Door::Open { everywhere: false }, None)),
            Self::Plaintext => Ok((Door::Open { everywhere: true }, None)),
            #[cfg(feature = "tls")]
            Self::Secret(secrets) => {
                let key = NodeKey::generate()?;
                let handshake = watch::Sender::new(security::derive(cluster, &secrets, &key)?);
                Ok((Door::Tls { handshake, key: Some(key) }, None))
            }
            #[cfg(feature = "tls")]
            Self::Tls(tls) => {
                let (reading, of) = (tls.clone(), cluster.to_owned());
                let read = tokio::task::spawn_blocking(move || reading.load(&of)).await;
                let (handshake, files) = read.map_err(|_| StartError::NoRuntime)??;
                let door = Door::Tls { handshake: watch::Sender::new(handshake), key: None };
                Ok((door, Some((tls, files))))
            }
        }
    }
}

/// The files that have to be read again.
#[cfg(feature = "tls")]
type Followed = Option<(Tls, security::Files)>;
#[cfg(not(feature = "tls"))]
type Followed = Option<std::convert::Infallible>;

/// Settings of a node to be. Made by [`Node::builder`].
pub struct NodeBuilder {
    cluster: String,
    name: Option<String>,
    listen: Option<SocketAddr>,
    protection: Protection,
    advertise: Option<SocketAddr>,
    labels: BTreeMap<String, String>,
    discovery: Vec<Box<dyn Discovery>>,
    confirm_within: Duration,
    log: LogLimits,
    trust_refusals: Option<bool>,
}

impl NodeBuilder {
    pub(crate) fn new(cluster: String) -> Self {
        Self {
            cluster,
            name: None,
            listen: None,
            protection: Protection::None,
            advertise: None,
            labels: BTreeMap::new(),
            discovery: Vec::new(),
            confirm_within: Duration::from_secs(5),
            log: LogLimits::default(),
            trust_refusals: None,
        }
    }

    /// Where to listen for peers. Port 0 picks a free one. Default: `0.0.0.0:7400` with a
    /// secret or [`insecure_plaintext`](Self::insecure_plaintext), else `127.0.0.1:7400`: without either,
    /// only loopback addresses are listened at, and dialled.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// The secret of the cluster, the same on all nodes. Links are encrypted by TLS 1.3, and lead only to
    /// nodes that know the secret; for another cluster, the same one is another secret.
    ///
    /// Give two, [`old.or(new)`](crate::Secret::or), while one replaces the other;
    /// [`Node::change_secret`] does it on a running node.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn secret(mut self, secrets: impl Into<Secrets>) -> Self {
        self.protection = Protection::Secret(secrets.into());
        self
    }

    /// Certificates of your own: links are encrypted by TLS 1.3, and lead only to nodes that show one for
    /// this cluster. Of this, [`secret`](Self::secret) and
    /// [`insecure_plaintext`](Self::insecure_plaintext), what is said last counts.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, files: Tls) -> Self {
        self.protection = Protection::Tls(files);
        self
    }

    /// Links are neither encrypted nor authenticated: whoever reaches the port is a member, and may make
    /// this node drop its copies, or keep what it should drop. For networks where nobody else can. Said in
    /// the log at each start.
    #[must_use]
    pub fn insecure_plaintext(mut self) -> Self {
        self.protection = Protection::Plaintext;
        self
    }

    /// Where peers reach this node, if not where it listens, for example behind a port mapping. No
    /// other node may say the same: two at one place are a [conflict](crate::Event::Conflict), which
    /// keeps all that list it out of sync. An unspecified IP, as in `0.0.0.0:7400`, stands for the
    /// one that this node dials a peer from.
    ///
    /// A node that cannot be dialled takes part all the same: each connection that it dials carries
    /// flushes both ways. Two nodes of which neither can dial the other miss each other's flushes.
    #[must_use]
    pub fn advertise(mut self, address: SocketAddr) -> Self {
        self.advertise = Some(address);
        self
    }

    /// The name in outcomes and pages. Default: `node-` and a part of its random identity.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A small text about this node that its peers can read, such as its web address.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// A way to find peers. Several may be given: their lists are merged. With none, the node is
    /// found by others, or stays alone.
    #[must_use]
    pub fn discovery(mut self, discovery: impl Discovery) -> Self {
        self.discovery.push(Box::new(discovery));
        self
    }

    /// How long awaiting a flush may take, counted from the flush. Default: 5 s. A node
    /// with [`Strict`](crate::Guarantee::Strict) caches needs 2.1 s or more, as their flushes may wait
    /// for a lease to be over.
    ///
    /// A node that does not acknowledge for so long is not waited for again until it has: later flushes
    /// name it at once ([`Reason::Suspected`](crate::Reason::Suspected)).
    #[must_use]
    pub fn confirm_within(mut self, bound: Duration) -> Self {
        self.confirm_within = bound;
        self
    }

    /// How much of its own flushes the node keeps for peers that are behind. Whoever is further
    /// behind distrusts all its copies. Default: 262,144 flushes, 16 MiB.
    #[must_use]
    pub fn flush_log(mut self, limits: LogLimits) -> Self {
        self.log = limits;
        self
    }

    /// Whether a refused connection, or one that another program answers, proves that nobody is at that
    /// place, once all other nodes have said what they were told from there. Default: yes for [`Bounded`](crate::Guarantee::Bounded)
    /// caches, no for [`Strict`](crate::Guarantee::Strict) ones.
    ///
    /// Say no where something between living nodes refuses in their name: a firewall that rejects
    /// instead of dropping, or a proxy that restarts, or answers by itself. A node that was killed then cuts the others off
    /// until discovery drops it or it is back. Say yes for strict caches where nothing does, so that
    /// a killed node does not make the others read through until it is back.
    #[must_use]
    pub fn trust_refusals(mut self, trust: bool) -> Self {
        self.trust_refusals = Some(trust);
        self
    }

    /// Starts the node. When this returns it listens, and each discovery source has told its list, so
    /// that flushes name whom they did not reach; or has failed once, or taken over a second.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(self) -> Result<Node, StartError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        self.check()?;
        let is_local = matches!(self.protection, Protection::None);
        let default = if is_local { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        let listen = self.listen.unwrap_or(SocketAddr::from((default, DEFAULT_PORT)));
        if is_local && !canonical(listen).ip().is_loopback() {
            return Err(StartError::Unprotected { address: listen });
        }
        let (door, followed) = self.protection.door(&self.cluster).await?;
        #[cfg(not(feature = "tls"))]
        let None = followed;
        let incarnation = match door.life() {
            Some(life) => life,
            None => Incarnation(random()?),
        };
        let name = self.name.unwrap_or_else(|| format!("node-{incarnation}"));
        let is_told = matches!(door, Door::Open { everywhere: true });
        let cannot = |source| StartError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(cannot)?;
        let local = listener.local_addr().map_err(cannot)?;

        let caches = Arc::new(Caches::default());
        let address = self.advertise.unwrap_or(local);
        let lists = self.discovery.iter().map(|source| (source.name(), source.fixed()));
        let list = strict::list_of(address, lists.collect());
        let config = NodeConfig {
            cluster: self.cluster,
            name: name.clone(),
            incarnation,
            address,
            labels: self.labels,
            log: self.log,
            sources: self.discovery.len(),
            fixed: list.clone().ok(),
            trust_refusals: self.trust_refusals,
            limits: Limits::default(),
            seed: u64::from_le_bytes(random()?),
        };
        let core = flushcast_core::Node::new(config, Arc::clone(&caches));
        // Its clock starts when it can be dialled: no refusal of this address is younger.
        let shared = Shared::new(core, caches, Clocks::new(), door, runtime);
        if is_told {
            shared.tell(Line::Plaintext(local));
        }
        #[cfg(feature = "tls")]
        if let Some((tls, files)) = followed {
            shared.spawn(security::follow(tls, files, Arc::clone(&shared)));
        }
        *shared.listener.lock() = Some(listener);
        shared.spawn(mesh::accept(Arc::clone(&shared)));
        shared.spawn(Arc::clone(&shared).run_timer());
        shared.spawn(sweeper::run(Arc::clone(&shared)));
        let mut first_words = Vec::new();
        for (number, source) in self.discovery.into_iter().enumerate() {
            let (members, first_word) = Members::new(&shared, source.name(), number);
            shared.spawn(discovery::run(source, members));
            first_words.push(first_word);
        }
        let (confirm_within, strict) = (self.confirm_within, list.map(|_| ()));
        // From here on, whoever drops this future has the node stopped.
        let handles = Mutex::default();
        let inner = Inner { shared, name, local, confirm_within, strict, handles };
        let node = Node { inner: Arc::new(inner) };
        let all_told = async {
            for first_word in first_words {
                first_word.await;
            }
        };
        // Who is slower is heard when it comes.
        let _ = tokio::time::timeout(FIRST_WORDS_WITHIN, all_told).await;
        Ok(node)
    }

    fn check(&self) -> Result<(), StartError> {
        check_text("cluster name", &self.cluster, MAX_NAME_BYTES)?;
        if let Some(name) = &self.name {
            check_text("node name", name, MAX_NAME_BYTES)?;
        }
        for (name, value) in &self.labels {
            check_text("label name", name, MAX_LABEL_BYTES)?;
            check_text("label value", value, MAX_LABEL_BYTES)?;
        }
        if self.labels.len() > MAX_LABELS {
            let text = format!("{} of them", self.labels.len());
            let why = format!("a node has at most {MAX_LABELS}");
            return Err(StartError::BadText { what: "labels", text, why });
        }
        Ok(())
    }
}

/// Whether a text can travel in a handshake.
pub(crate) fn check_text(what: &'static str, text: &str, most: usize) -> Result<(), StartError> {
    let why = if text.is_empty() {
        "it is empty".to_owned()
    } else if text.len() > most {
        format!("it has {} bytes, {most} are allowed", text.len())
    } else if text.chars().any(char::is_control) {
        "it has control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(StartError::BadText { what, text: text.chars().take(80).collect(), why })
}

pub(crate) fn random<const COUNT: usize>() -> Result<[u8; COUNT], getrandom::Error> {
    let mut bytes = [0; COUNT];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Whoever gives it back from `main` is shown this: it says what to do, too.
impl std::fmt::Debug for StartError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, out)
    }
}

impl std::fmt::Debug for NodeBuilder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cluster, name, listen, .. } = self;
        let mut fields = out.debug_struct("NodeBuilder");
        fields.field("cluster", cluster).field("name", name).field("listen", listen);
        fields.finish_non_exhaustive()
    }
}
