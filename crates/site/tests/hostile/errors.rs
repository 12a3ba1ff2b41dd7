//! Every refusal is JSON with the reason, and no request gets past the guard.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use flushcast::Node;
use flushcast_site::Site;
use flushcast_site::limits::MAX_BODY_BYTES;
use flushcast_site::server::limits::MAX_HEAD_BYTES;
use flushcast_site::store::Store;
use tempfile::TempDir;

use crate::raw::{Port, ample};

async fn site() -> (Port, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let node = Node::builder("hostile-test").listen(listen).start().await.unwrap();
    let store = Store::database(&folder.path().join("settings.db")).unwrap();
    let site = Site::new(node, "http://nowhere".to_owned(), store).unwrap();
    (Port::serve(site.router(), ample()).await, folder)
}

const LOCAL: &str = "Host: localhost\r\n";

#[tokio::test]
async fn a_request_is_served_for_names_of_this_machine_only() {
    let (port, _folder) = site().await;
    for good in [
        "GET /health HTTP/1.1\r\nHost: 127.0.0.1:8081\r\n",
        "GET /health HTTP/1.1\r\nHost: [::1]\r\n",
        "GET /health HTTP/1.0\r\nHost: localhost\r\n",
        "GET http://localhost:8081/health HTTP/1.1\r\nHost: localhost:8081\r\n",
    ] {
        assert_eq!(port.ask(format!("{good}\r\n")).await.status, 200, "{good}");
    }
    for none in [
        "GET /health HTTP/1.1\r\n",
        "GET /health HTTP/1.0\r\n",
        "GET http://localhost/health HTTP/1.1\r\n",
        "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n",
        "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n",
    ] {
        let answer = port.ask(format!("{none}\r\n")).await;
        assert!(answer.error(400).contains("Host"), "{none}: {answer:?}");
    }
    for foreign in [
        "GET /health HTTP/1.1\r\nHost: evil.example\r\n",
        "GET /health HTTP/1.1\r\nHost:\r\n",
        "GET /health HTTP/1.1\r\nHost: localhost@evil.example\r\n",
        "GET /health HTTP/1.1\r\nHost: evil.example@localhost\r\n",
        "GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n",
        "GET http://localhost/health HTTP/1.1\r\nHost: evil.example\r\n",
        "CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n",
    ] {
        let answer = port.ask(format!("{foreign}\r\n")).await;
        assert!(answer.error(421).contains("this machine only"), "{foreign}: {answer:?}");
    }
    // HTTP/2 is not spoken, so that its authority is no way round.
    let answer = port.ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    answer.error(400);
}

#[tokio::test]
async fn every_error_is_json() {
    let (port, _folder) = site().await;
    let put = |rest: &str| format!("PUT /api/settings HTTP/1.1\r\n{LOCAL}{rest}");
    let json = |rest: &str| put(&format!("Content-Type: application/json\r\n{rest}"));
    let body = |body: &str| json(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    let get = |path: &str, rest: &str| format!("GET {path} HTTP/1.1\r\n{LOCAL}{rest}\r\n");
    let large = MAX_BODY_BYTES + 1;
    let long = "x".repeat(MAX_HEAD_BYTES);
    let chunk = "x".repeat(large);
    for (status, request) in [
        (404, get("/nothing", "")),
        (404, get("/api/settings/%ff", "")),
        (404, format!("OPTIONS * HTTP/1.1\r\n{LOCAL}\r\n")),
        (404, format!("CONNECT localhost:80 HTTP/1.1\r\n{LOCAL}\r\n")),
        (405, format!("DELETE /api/settings HTTP/1.1\r\n{LOCAL}\r\n")),
        (405, format!("POST / HTTP/1.1\r\n{LOCAL}Content-Length: 0\r\n\r\n")),
        (413, json(&format!("Content-Length: {large}\r\n\r\n"))),
        (
            413,
            json(&format!("Transfer-Encoding: chunked\r\n\r\n{large:x}\r\n{chunk}\r\n0\r\n\r\n")),
        ),
        (415, put("Content-Length: 2\r\n\r\n{}")),
        (415, put("Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}")),
        (422, body("{}")),
        (422, body(r#"{"version":1,"settings":[{"name":"","value":""}]}"#)),
        (409, body(r#"{"version":9,"settings":[]}"#)),
        (400, body("")),
        (400, body("{")),
        (400, body("\"\u{fffd}")),
        (400, json("Transfer-Encoding: chunked\r\n\r\nnone\r\n")),
        (400, json("Content-Length: -1\r\n\r\n")),
        (400, json("Content-Length: 1\r\nContent-Length: 2\r\n\r\n")),
        (400, "nothing of HTTP\r\n\r\n".to_owned()),
        (400, "GET /\u{7f} HTTP/1.1\r\n\r\n".to_owned()),
        (400, get("/", "no header\r\n")),
        (400, "GET / HTTP/9.9\r\n\r\n".to_owned()),
        (431, get(&format!("/{}", long), "")),
        (431, get("/", &format!("X-Long: {long}\r\n"))),
        (431, get("/", &"X-Many: 1\r\n".repeat(100))),
    ] {
        let shown: String = request.chars().take(200).collect();
        let answer = port.ask(request).await;
        assert_eq!(answer.status, status, "{shown:?}");
        answer.error(status);
    }
}

#[tokio::test]
async fn what_comes_behind_a_good_request_is_refused_in_json_too() {
    let (port, _folder) = site().await;
    let mut client = port.connect().await;
    client.send(format!("GET /health HTTP/1.1\r\n{LOCAL}\r\nnothing of HTTP\r\n\r\n")).await;
    assert_eq!(client.answer().await.status, 200);
    client.answer().await.error(400);
    assert_eq!(client.closed().await, "");
}

#[tokio::test]
async fn an_error_of_a_library_is_told_in_json_with_its_other_headers() {
    let router = Router::new()
        .route("/get", get(async || "got"))
        .route("/empty", get(async || StatusCode::BAD_GATEWAY))
        .route("/text", get(async || (StatusCode::IM_A_TEAPOT, "tea")));
    let port = Port::serve(router, ample()).await;
    let answer = port.ask(format!("GET /empty HTTP/1.1\r\n{LOCAL}\r\n")).await;
    assert_eq!(answer.error(502), "bad gateway");
    let answer = port.ask(format!("GET /text HTTP/1.1\r\n{LOCAL}\r\n")).await;
    assert_eq!(answer.error(418), "i'm a teapot");
    let answer = port.ask(format!("PUT /get HTTP/1.1\r\n{LOCAL}\r\n")).await;
    answer.error(405);
    assert!(answer.head.contains("allow: GET,HEAD\r\n"), "{answer:?}");
}

#[tokio::test]
async fn a_panic_is_an_error_like_any_other_and_its_connection_goes_on() {
    let panics = async || -> &'static str { panic!("planted by a test") };
    let router = Router::new().route("/bug", get(panics)).route("/now", get(async || "now"));
    let port = Port::serve(router, ample()).await;
    let mut client = port.connect().await;
    client.send(format!("GET /bug HTTP/1.1\r\n{LOCAL}\r\n")).await;
    let error = client.answer().await.error(500);
    assert!(!error.contains("planted"), "what is inside is for the log: {error}");
    client.send(format!("GET /now HTTP/1.1\r\n{LOCAL}\r\n")).await;
    assert_eq!(client.answer().await.body, "now");
}
