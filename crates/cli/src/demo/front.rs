//! The port itself: spreads requests over the instances that live, as a load balancer would.
//!
//! Round robin, request by request, so that the next press of a button may land anywhere. Who does
//! not answer a look at its health, or takes no connection, is skipped; what was sent is never sent
//! again elsewhere.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::{SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum_reverse_proxy::{HostBehaviour, ProxyPolicy, ReverseProxy};
use flushcast_site::api::error;
use flushcast_site::server::limits::UNUSED_WITHIN;
use flushcast_site::server::{self, Limits};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
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
/// How many unused connections to each instance are kept, a count.
const MAX_UNUSED: usize = 2;

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
    limits: Limits,
) -> Result<Infallible, Failure> {
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(UNUSED_WITHIN)
        .pool_max_idle_per_host(MAX_UNUSED)
        .build(HttpConnector::new());
    let (tell, healthy) = watch::channel(living.borrow().clone());
    let balancer =
        Arc::new(Balancer { living: living.clone(), healthy, turns: AtomicUsize::new(0), client });
    let serve = async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let passed_on = Router::new().fallback(pass_on).with_state(balancer);
        server::serve(listener, control.merge(passed_on), limits, pending()).await;
        io::Result::Ok(())
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
        let why = "no instance takes connections now: try again";
        return error(StatusCode::SERVICE_UNAVAILABLE, why);
    };
    // The instances look at the name under which they were asked for, to refuse foreign ones.
    let policy = ProxyPolicy::new()
        .with_host_behaviour(HostBehaviour::Preserve)
        .with_upstream_timeout(ANSWER_TIMEOUT);
    let target = format!("http://{web}");
    let proxy = ReverseProxy::new_with_client("/", target, balancer.client.clone());
    let Ok(response) = proxy.with_policy(policy).proxy_request(request).await;
    // An instance that answers does so with a type; these are the proxy's own.
    let why = match response.status() {
        _ if response.headers().contains_key(header::CONTENT_TYPE) => return response,
        StatusCode::BAD_GATEWAY => format!("the instance at {web} gave no answer"),
        StatusCode::GATEWAY_TIMEOUT => {
            format!("the instance at {web} gave no answer within {} s", ANSWER_TIMEOUT.as_secs())
        }
        _ => return response,
    };
    error(response.status(), &why)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A port in front of these instances, with the demo's own routes.
    async fn front(instances: &[SocketAddrV4], limits: Limits) -> SocketAddrV4 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!("an address of version 4 was asked for");
        };
        let (living, lives) = watch::channel(instances.to_vec());
        let (control, orders) = crate::demo::orders::routes();
        tokio::spawn(async move {
            // Nobody carries out an order here.
            let _kept = (living, orders);
            serve(listener, control, lives, limits).await.map(|never| match never {})
        });
        address
    }

    /// Sends it, and reads until the end of the connection.
    async fn ask(address: SocketAddrV4, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = timeout(Duration::from_secs(30), stream.read_to_string(&mut answer));
        read.await.expect("the connection did not end").unwrap();
        answer
    }

    /// Whether an answer is such an error, as JSON with its reason.
    fn check(answer: &str, status: &str, why: &str) {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(answer.matches("content-type: application/json\r\n").count(), 1, "{answer}");
        let error: serde_json::Value =
            serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert!(error["error"].as_str().unwrap().contains(why), "{answer}");
    }

    #[tokio::test]
    async fn the_port_refuses_what_an_instance_would_refuse() {
        let address = front(&[], Limits::default()).await;
        let local = "Host: localhost\r\nConnection: close\r\n";
        for (request, status, why) in [
            ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), "400", "Host"),
            (format!("GET http://evil.example/ HTTP/1.1\r\n{local}\r\n"), "421", "this machine"),
            (format!("GET / HTTP/1.1\r\n{local}\r\n"), "503", "try again"),
            (format!("PUT /api/control HTTP/1.1\r\n{local}\r\n"), "405", "of this method"),
            (format!("POST /api/scale HTTP/1.1\r\n{local}\r\n"), "403", "token"),
        ] {
            check(&ask(address, &request).await, status, why);
        }
    }

    #[tokio::test]
    async fn the_port_does_not_wait_for_a_head_that_never_ends() {
        let limits = Limits { head_within: Duration::from_millis(100), ..Limits::default() };
        let address = front(&[], limits).await;
        check(&ask(address, "GET / HTTP/1.1\r\nHost: localhost\r\n").await, "408", "head");
    }

    #[tokio::test]
    async fn an_instance_that_gives_no_answer_is_named_in_json() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let std::net::SocketAddr::V4(instance) = listener.local_addr().unwrap() else {
            panic!("an address of version 4 was asked for");
        };
        // It says that it is healthy, and closes whatever else it is asked.
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 12];
                let is_look = stream
                    .read_exact(&mut request)
                    .await
                    .is_ok_and(|_| request.starts_with(b"GET /health"));
                if is_look {
                    let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").await;
                }
            }
        });
        let request = "GET /api/copy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = ask(front(&[instance], Limits::default()).await, request).await;
        check(&answer, "502", &format!("the instance at {instance} gave no answer"));
    }
}
