//! Serves routes on a port to any client, and limits what each can take: time, memory, connections
//! and event streams. The instances and the demo's own port are served by it.
//!
//! Never serves a route without the guard (`../guard.rs`). Speaks HTTP/1 only.
//!
//! | file | what is in it |
//! |---|---|
//! | `limits.rs` | the limits, each with its unit |
//! | `places.rs` | the open connections, and which of them gives way |
//! | `wire.rs` | a connection's socket, and JSON for what is no request |
//! | `requests.rs` | what is done around each request |

pub mod limits;
mod places;
mod requests;
mod wire;

use std::future::{Future, poll_fn};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub use self::limits::Limits;
use self::limits::MAX_HEAD_BYTES;
use self::places::{Place, Places};
use self::wire::Wire;

/// Serves the routes until `stop`, and then until the requests under way are answered.
///
/// A client that is too slow is answered with 408, and one that asks for too much with 413, 431 or
/// 503. If all connections are taken, a new one replaces the one that has waited longest for its
/// client. If all of them are being answered, the new one waits until an answer ends.
pub async fn serve(
    mut listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let places = Places::new(limits.connections);
    let router = crate::guard::protect(requests::limit(router, &limits));
    // Dropping the sender tells all connections to stop.
    let (running, stopping) = watch::channel(());
    let accept = async {
        loop {
            // If the system gives no socket, this waits a second and tries again.
            let (stream, _) = Listener::accept(&mut listener).await;
            let place = places.take().await;
            let (router, limits, stopping) = (router.clone(), limits.clone(), stopping.clone());
            tokio::spawn(attend(stream, place, router, limits, stopping));
        }
    };
    tokio::select! {
        () = stop => {}
        () = accept => {}
    }
    drop((listener, running));
    places.all_free().await;
}

/// Serves one connection until it ends.
async fn attend(
    stream: TcpStream,
    place: Arc<Place>,
    router: Router,
    limits: Limits,
    mut stopping: watch::Receiver<()>,
) {
    let requests_place = Arc::clone(&place);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&requests_place));
        Box::pin(TowerToHyperService::new(router.clone()).call(request))
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_within)
        // One is for a head that has not ended yet, the other for one that has.
        .max_buf_size(MAX_HEAD_BYTES)
        .max_header_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(Wire::new(stream, limits.reads_within)), service);
    let mut is_stopping = false;
    let ended = loop {
        tokio::select! {
            biased;
            () = place.gives_way() => return,
            _ = stopping.changed(), if !is_stopping => {
                is_stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => break ended,
        }
    };
    let parts = connection.into_parts();
    let is_asking = !parts.read_buf.is_empty();
    tokio::select! {
        () = place.gives_way() => {}
        () = parts.io.into_inner().close(ended, is_asking) => {}
    }
}
