//! What one client can take of a port, and for how long.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::sse::{Event, Sse};
use axum::routing::{get, put};
use flushcast_site::server::{self, Limits};
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::raw::{Client, Port, SOON, ample, patient};

const GET: &str = "GET /now HTTP/1.1\r\nHost: localhost\r\n\r\n";
const SLOW: &str = "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n";
const EVENTS: &str = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// `/now` answers at once, `/slow` when it is told to, and `/events` never ends.
struct Routes {
    begun: mpsc::Receiver<()>,
    finish: Arc<Notify>,
}

fn routes() -> (Router, Routes) {
    let (begin, begun) = mpsc::channel(8);
    let finish = Arc::new(Notify::new());
    let finished = Arc::clone(&finish);
    let slow = async move || {
        begin.send(()).await.unwrap();
        finished.notified().await;
        "done"
    };
    let events = async || {
        let first = stream::once(async { Ok::<_, Infallible>(Event::default().data("first")) });
        Sse::new(stream::StreamExt::chain(first, stream::pending()))
    };
    let router = Router::new()
        .route("/now", get(async || "now"))
        .route("/slow", get(slow))
        .route("/events", get(events))
        .route("/put", put(async |body: Bytes| body.len().to_string()));
    (router, Routes { begun, finish })
}

async fn port(limits: Limits) -> Port {
    Port::serve(routes().0, limits).await
}

/// Asks on a connection that is open; gives back the status.
async fn status(client: &mut Client, request: &str) -> u16 {
    client.send(request).await;
    client.answer().await.status
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_not_waited_for() {
    let port = port(Limits { head_within: SOON, ..ample() }).await;
    let mut client = port.connect().await;
    client.send("GET /now HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await;
    let answer = client.send_slowly(b"x").await;
    assert!(answer.error(408).contains("head"), "{answer:?}");
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_not_waited_for() {
    let port = port(Limits { body_within: SOON, ..ample() }).await;
    let head = "PUT /put HTTP/1.1\r\nHost: localhost\r\n";
    for (framing, bytes) in [
        ("Content-Length: 1000000\r\n\r\n", &b"x"[..]),
        ("Transfer-Encoding: chunked\r\n\r\n", &b"1\r\nx\r\n"[..]),
    ] {
        let mut client = port.connect().await;
        client.send(format!("{head}{framing}")).await;
        let answer = client.send_slowly(bytes).await;
        assert!(answer.error(408).contains("body"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_without_a_word() {
    let port = port(Limits { head_within: SOON, ..ample() }).await;
    assert_eq!(port.connect().await.closed().await, "");
    // Nor with one that was answered.
    let mut client = port.connect().await;
    assert_eq!(status(&mut client, GET).await, 200);
    assert_eq!(client.closed().await, "");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_let_go() {
    let (gone, is_gone) = oneshot::channel::<()>();
    let gone = Arc::new(Mutex::new(Some(gone)));
    let endless = async move || {
        let kept = gone.lock().unwrap().take();
        Body::from_stream(stream::repeat_with(move || {
            let _ = &kept;
            Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 16 * 1024]))
        }))
    };
    let router = Router::new().route("/endless", get(endless));
    let port = Port::serve(router, Limits { reads_within: SOON, ..ample() }).await;
    let mut client = port.connect().await;
    client.send("GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    patient("the end of the answer", is_gone).await.unwrap_err();
}

#[tokio::test]
async fn if_all_connections_are_taken_the_one_that_waited_longest_gives_way() {
    let port = port(Limits { connections: 3, ..ample() }).await;
    let mut silent = port.connect().await;
    let mut honest = port.connect().await;
    let mut partial = port.connect().await;
    partial.send("GET /now HTTP/1.1\r\n").await;
    assert_eq!(status(&mut honest, GET).await, 200);
    let mut fourth = port.connect().await;
    assert_eq!(status(&mut fourth, GET).await, 200);
    assert_eq!(silent.closed().await, "");
    let mut fifth = port.connect().await;
    assert_eq!(status(&mut fifth, GET).await, 200);
    assert_eq!(partial.closed().await, "");
    assert_eq!(status(&mut honest, GET).await, 200, "it was answered last before");
}

#[tokio::test]
async fn clients_that_hold_bodies_back_give_way_too() {
    let port = port(Limits { connections: 1, ..ample() }).await;
    let mut slow = port.connect().await;
    slow.send("PUT /put HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n").await;
    slow.send("Expect: 100-continue\r\n\r\n").await;
    let head = slow.answer().await;
    assert_eq!(head.status, 100, "its body is waited for: {head:?}");
    assert_eq!(port.ask(GET).await.status, 200);
    assert_eq!(slow.closed().await, "");
}

#[tokio::test]
async fn a_request_under_way_keeps_its_connection() {
    let (router, mut routes) = routes();
    let port = Port::serve(router, Limits { connections: 1, ..ample() }).await;
    let mut first = port.connect().await;
    first.send(SLOW).await;
    patient("the request", routes.begun.recv()).await.unwrap();
    let mut second = port.connect().await;
    second.send(GET).await;
    routes.finish.notify_one();
    assert_eq!(first.answer().await.body, "done");
    assert_eq!(second.answer().await.body, "now");
}

#[tokio::test]
async fn event_streams_beyond_the_limit_are_refused_until_one_ends() {
    let port = port(Limits { streams: 1, ..ample() }).await;
    let mut open = port.connect().await;
    assert_eq!(status(&mut open, EVENTS).await, 200);
    let refused = port.ask(EVENTS).await;
    assert!(refused.error(503).contains("event streams"), "{refused:?}");
    assert_eq!(port.ask(GET).await.status, 200, "others are served");
    drop(open);
    let again = async { while port.ask(EVENTS).await.status != 200 {} };
    patient("a place for another one", again).await;
}

#[tokio::test]
async fn bodies_that_do_not_fit_in_memory_are_refused() {
    let port = port(Limits { held_bytes: 1000, ..ample() }).await;
    let put = |length: usize| {
        format!("PUT /put HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
    };
    let mut holds = port.connect().await;
    holds.send(put(2000) + &"x".repeat(2000)).await;
    assert!(holds.answer().await.error(503).contains("try again"));
    let fits = port.ask(put(1000) + &"x".repeat(1000)).await;
    assert_eq!((fits.status, &*fits.body), (200, "1000"));
    let again = port.ask(put(1000) + &"x".repeat(1000)).await;
    assert_eq!(again.status, 200, "what was held is given back: {again:?}");
}

#[tokio::test]
async fn requests_under_way_are_answered_before_the_end() {
    let (router, mut routes) = routes();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = Port { address: listener.local_addr().unwrap() };
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let server = tokio::spawn(server::serve(listener, router, ample(), stopped));
    let mut idle = port.connect().await;
    assert_eq!(status(&mut idle, GET).await, 200);
    let mut client = port.connect().await;
    client.send(SLOW).await;
    patient("the request", routes.begun.recv()).await.unwrap();
    stop.send(()).unwrap();
    assert_eq!(idle.closed().await, "");
    routes.finish.notify_one();
    assert_eq!(client.answer().await.body, "done");
    assert_eq!(client.closed().await, "");
    patient("the end", server).await.unwrap();
}
