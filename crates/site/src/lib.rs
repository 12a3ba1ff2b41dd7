//! The demo settings site: several instances, one database, and each instance with its own copy
//! of the settings in its own memory. A save at any instance is flushed at all of them.
//!
//! Made to be copied from: [`settings`] holds all that caching asks of an app, the rest is an
//! ordinary site. Never talks to anything but the database, its node and its peers' web ports.
//!
//! | file | what is in it |
//! |---|---|
//! | `settings.rs` | **the caching part**: cached reads, and saves that flush |
//! | `store/` | the source of truth, with compare-and-set by version: SQLite, or a blob |
//! | `limits.rs` | what a save may hold |
//! | `api.rs` | the JSON routes |
//! | `state.rs` | in sync, or cut off from whom, and what was healed |
//! | `flushes.rs` | this instance's own flushes, and who has applied them how soon |
//! | `instances.rs` | what each instance answers when asked |
//! | `overview.rs` | the live table of all instances, and the newest flushes |
//! | `live.rs` | the stream that keeps an open page up to date |
//! | `page.rs` | the page and its assets |
//! | `tls.rs` | which cryptography the HTTP clients use |
//! | `guard.rs` | what a browser may and may not do here |
//! | `server/` | serves routes to any client, with limits for what one may take |

pub mod api;
pub mod flushes;
mod guard;
pub mod instances;
pub mod limits;
mod live;
pub mod overview;
mod page;
pub mod server;
pub mod settings;
pub mod state;
pub mod store;
pub mod tls;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use flushcast::{CacheError, Node};

use crate::flushes::Flushes;
use crate::overview::{Overview, Rounds};
use crate::settings::Settings;
use crate::state::Healing;
use crate::store::Store;

/// The label under which a node tells its peers the web address of its instance.
pub const WEB_LABEL: &str = "web";

/// One instance of the site.
#[derive(Debug)]
pub struct Site {
    node: Node,
    address: String,
    settings: Settings,
    flushes: Arc<Flushes>,
    healing: Healing,
    client: reqwest::Client,
    rounds: Rounds<Overview>,
}

/// Why an instance could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The node refused the cache, because it has one of that name: make one site per node.
    #[error("the cache of the settings cannot be made: {0}")]
    Cache(#[from] CacheError),
    /// The client that asks the other instances could not be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
}

impl Site {
    /// The instance of this node, whose page is at `address`, for example `http://127.0.0.1:8081`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// # Errors
    /// The node has a site already, or the system gives no HTTP client.
    pub fn new(node: Node, address: String, store: Store) -> Result<Site, SiteError> {
        let settings = Settings::new(&node, store)?;
        let healing = Healing::follow(&node);
        let client = instances::client()?;
        let (flushes, rounds) = (Arc::default(), Rounds::default());
        Ok(Site { node, address, settings, flushes, healing, client, rounds })
    }

    /// Everything that the instance serves: the page and the JSON beside it. To be served by
    /// [`server::serve`], which guards it.
    pub fn router(self) -> Router {
        let router = Router::new()
            .route("/", get(page::page))
            .route("/app.js", get(page::script))
            .route("/chart.js", get(page::chart))
            .route("/fabric.js", get(page::fabric))
            .route("/style.css", get(page::style))
            .route("/fabric.css", get(page::fabric_style))
            .merge(api::routes())
            .fallback(api::not_found)
            .method_not_allowed_fallback(api::method_not_allowed);
        router.with_state(Arc::new(self))
    }
}
