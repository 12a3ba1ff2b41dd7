//! Flushcast is a near cache for apps that run as several instances. Every instance keeps its own
//! copies in its own memory; when one changes something it broadcasts a small *flush*, and all
//! others drop their copy. Instances find each other. No server is needed.
//!
//! ```
//! use std::time::Duration;
//! use flushcast::{Cache, Node, discovery::Fixed};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::builder("shop")
//!     .listen("127.0.0.1:0".parse()?)
//!     .discovery(Fixed::new(["127.0.0.1:7401", "127.0.0.1:7402"]))
//!     .confirm_within(Duration::from_millis(500))
//!     .start()
//!     .await?;
//! let prices: Cache<u64, String> = node.cache("prices").capacity(10_000).build()?;
//!
//! // One load per instance, however many ask at once.
//! let price = prices.get_or_load(&42, || async { load_price(42).await }).await?;
//! assert_eq!(price, "9.99");
//!
//! // The source has changed: drop the copy here at once, and everywhere.
//! let outcome = prices.flush(&42).await?;
//! println!("{outcome}");
//! node.shutdown().await;
//! # Ok(())
//! # }
//! # async fn load_price(_: u64) -> Result<String, std::io::Error> { Ok("9.99".into()) }
//! ```

mod afterwards;
mod alarm;
mod builder;
mod cache;
mod clock;
pub mod discovery;
mod driver;
mod events;
mod flush;
mod log;
mod mesh;
mod node;
mod regular_file;
#[cfg(feature = "tls")]
mod security;
mod strict;
mod sweeper;
mod ticket;

pub use builder::{NodeBuilder, StartError};
pub use cache::{Cache, CacheBuilder, CacheError, ReadThrough, Refreshed, Served};
pub use events::Events;
pub use flush::{Flush, FlushError};
pub use flushcast_core::ack::{Applied, Outcome, Reason, Unconfirmed};
pub use flushcast_core::cache::{
    AsKey, FlushCounts, Guarantee, Inspected, NameTaken, Prefix, RemovalCause, Stats, Tag, ToKey,
    Value,
};
pub use flushcast_core::flush::LogLimits;
pub use flushcast_core::key::{self, Key, KeyError, KeyPart};
pub use flushcast_core::load::{Failure, LoadError, Loaded};
pub use flushcast_core::node::{ListsDiffer, Report as Event};
pub use flushcast_core::peers::{CutOff, LinkState, Peer, Source};
pub use flushcast_core::wire::{Incarnation, Seq, Versions};
#[cfg(feature = "tls")]
pub use node::ChangeSecretError;
pub use node::{FindCacheError, Node};
#[cfg(feature = "tls")]
pub use security::{Secret, SecretError, Secrets, SecurityError, Tls, TlsError};
pub use strict::NotStrict;

/// The examples of the documents, compiled as they stand there.
#[cfg(all(doctest, feature = "tls"))]
mod documents {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/guides/keys.md")]
    struct Keys;
    #[doc = include_str!("../../../docs/guides/freshness.md")]
    struct Freshness;
    #[doc = include_str!("../../../docs/guides/from-moka.md")]
    struct FromMoka;
    #[doc = include_str!("../../../docs/guides/from-fusioncache.md")]
    struct FromFusionCache;
    #[doc = include_str!("../../../docs/guides/discovery.md")]
    struct Discovery;
    #[doc = include_str!("../../../docs/guides/security.md")]
    struct Security;
    #[doc = include_str!("../../../docs/guides/guarantee.md")]
    struct Guarantees;
}
