//! The port itself: spreads requests over the instances that live, as a load balancer would.
//!
//! Round robin, request by request, so that the next press of a button may land anywhere. Who does
//! not take a connection is skipped; what was sent is never sent again elsewhere.

use std::convert::Infallible;
use std::net::{SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use axum_reverse_proxy::{HostBehaviour, ProxyPolicy, ReverseProxy};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::failure::Failure;

/// How long an instance may take to accept a connection, on the same machine.
const ACCEPT_TIMEOUT: Duration = Duration::from_millis(200);
/// How long it may take until it begins to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

struct Balancer {
    living: watch::Receiver<Vec<SocketAddrV4>>,
    turns: AtomicUsize,
    client: Client<HttpConnector, Body>,
}

/// Serves until it cannot.
pub(super) async fn serve(
    listener: TcpListener,
    living: watch::Receiver<Vec<SocketAddrV4>>,
) -> Result<Infallible, Failure> {
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let balancer = Arc::new(Balancer { living, turns: AtomicUsize::new(0), client });
    let serve = async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, Router::new().fallback(pass_on).with_state(balancer)).await
    };
    let error = serve.await.err().map_or_else(String::new, |error| format!(": {error}"));
    Err(Failure::new(format!("the port itself is no longer served{error}"), "start the demo again"))
}

async fn pass_on(State(balancer): State<Arc<Balancer>>, request: Request) -> Response {
    let Some(web) = balancer.next().await else {
        let error = serde_json::json!({ "error": "no instance takes connections now: try again" });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(error)).into_response();
    };
    // The instances look at the name under which they were asked for, to refuse foreign ones.
    let policy = ProxyPolicy::new()
        .with_host_behaviour(HostBehaviour::Preserve)
        .with_upstream_timeout(ANSWER_TIMEOUT);
    let target = format!("http://{web}");
    let proxy = ReverseProxy::new_with_client("/", target, balancer.client.clone());
    match proxy.with_policy(policy).proxy_request(request).await {
        Ok(response) => response,
    }
}

impl Balancer {
    /// The next one in turn that takes a connection.
    async fn next(&self) -> Option<SocketAddrV4> {
        let living = self.living.borrow().clone();
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        for ahead in 0..living.len() {
            let web = living[turn.wrapping_add(ahead) % living.len()];
            if matches!(timeout(ACCEPT_TIMEOUT, TcpStream::connect(web)).await, Ok(Ok(_))) {
                return Some(web);
            }
        }
        None
    }
}
