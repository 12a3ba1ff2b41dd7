//! A web app whose reads are cached and whose writes flush, at this instance and at all others.
//! `cargo run -p flushcast --example axum_app`, then
//! `curl localhost:3000/orders/7` and `curl -X PUT localhost:3000/orders/7 -d paid`. Ctrl-C or SIGTERM
//! ends it with a goodbye.
#![allow(clippy::print_stdout, reason = "an example that shows what it does")]

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Router, routing::get};
use flushcast::discovery::Fixed;
use flushcast::{Cache, Node};

/// What stands for the database that all instances share.
#[derive(Clone, Default)]
struct Database(Arc<Mutex<HashMap<u64, String>>>);

impl Database {
    async fn load(&self, id: u64) -> Result<Option<String>, io::Error> {
        println!("loading order {id}");
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned())
    }

    async fn save(&self, id: u64, order: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, order);
    }
}

#[derive(Clone)]
struct App {
    database: Database,
    /// That there is no such order is worth a copy, too.
    orders: Cache<u64, Option<String>>,
}

async fn show(State(app): State<App>, Path(id): Path<u64>) -> Result<String, StatusCode> {
    let order = app.orders.get_or_load(&id, || app.database.load(id)).await;
    order.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?.ok_or(StatusCode::NOT_FOUND)
}

async fn change(
    State(app): State<App>,
    Path(id): Path<u64>,
    order: String,
) -> Result<String, StatusCode> {
    // The source first, then the flush.
    app.database.save(id, order).await;
    let outcome = app.orders.flush(&id).await.map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(format!("{outcome}\n"))
}

/// Waits until somebody wants this process to end, such as whoever rolls out a new version.
async fn asked_to_end() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => pressed,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = "127.0.0.1:7400".parse()?;
    let node = Node::builder("shop").listen(address).discovery(Fixed::new([address]));
    let node = node.start().await?;
    let app = App { database: Database::default(), orders: node.cache("orders").build()? };
    let routes = Router::new().route("/orders/{id}", get(show).put(change)).with_state(app);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}/orders/7", listener.local_addr()?);
    let end = async {
        if let Err(error) = asked_to_end().await {
            println!("cannot wait for signals ({error}): ending now");
        }
    };
    // No request is taken any more, and those under way are answered: nobody flushes after that.
    axum::serve(listener, routes).with_graceful_shutdown(end).await?;
    // Says goodbye, so that nobody waits for this node.
    node.shutdown().await?;
    Ok(())
}
