//! The port itself: spreads requests over the instances that live, as a load balancer would.
//!
//! Round robin, request by request, so that the next press of a button may land anywhere. Who does
//! not answer a look at its health, or takes no connection, is skipped; what was sent is never sent
//! again elsewhere.

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
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::failure::Failure;

/// Between two looks at the health of the instances.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long an instance, on the same machine, may take to accept a connection, and to say that it is
/// healthy.
const HEALTHY_WITHIN: Duration = Duration::from_millis(500);
/// How long it may take until it begins to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

struct Balancer {
    living: watch::Receiver<Vec<SocketAddrV4>>,
    healthy: watch::Receiver<Vec<SocketAddrV4>>,
    turns: AtomicUsize,
    client: Client<HttpConnector, Body>,
}

/// Serves until it cannot.
pub(super) async fn serve(
    listener: TcpListener,
    control: Router,
    living: watch::Receiver<Vec<SocketAddrV4>>,
) -> Result<Infallible, Failure> {
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let (tell, healthy) = watch::channel(living.borrow().clone());
    let balancer =
        Arc::new(Balancer { living: living.clone(), healthy, turns: AtomicUsize::new(0), client });
    let serve = async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let passed_on = Router::new().fallback(pass_on).with_state(balancer);
        axum::serve(listener, control.merge(passed_on)).await
    };
    let serve = async {
        tokio::select! {
            served = serve => served,
            never = look_after(living, tell) => match never {},
        }
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
        let mut healthy = self.healthy.borrow().clone();
        // Who is to leave is known at once.
        healthy.retain(|web| self.living.borrow().contains(web));
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        for ahead in 0..healthy.len() {
            let web = healthy[turn.wrapping_add(ahead) % healthy.len()];
            if matches!(timeout(HEALTHY_WITHIN, TcpStream::connect(web)).await, Ok(Ok(_))) {
                return Some(web);
            }
        }
        None
    }
}

/// Tells who is healthy, of those that live, for ever.
async fn look_after(
    living: watch::Receiver<Vec<SocketAddrV4>>,
    tell: watch::Sender<Vec<SocketAddrV4>>,
) -> Infallible {
    loop {
        let mut looks = JoinSet::new();
        let all = living.borrow().clone();
        for (place, web) in all.into_iter().enumerate() {
            looks.spawn(async move { is_healthy(web).await.then_some((place, web)) });
        }
        let mut healthy: Vec<_> = looks.join_all().await.into_iter().flatten().collect();
        healthy.sort_unstable();
        tell.send_replace(healthy.into_iter().map(|(_, web)| web).collect());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn is_healthy(web: SocketAddrV4) -> bool {
    let look = async {
        let mut stream = TcpStream::connect(web).await?;
        let request = format!("GET /health HTTP/1.0\r\nHost: {web}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer.ends_with(b" 200"))
    };
    matches!(timeout(HEALTHY_WITHIN, look).await, Ok(Ok(true)))
}
