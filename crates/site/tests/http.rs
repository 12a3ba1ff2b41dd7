//! The routes of one instance over real HTTP, alone in its cluster.

#![allow(clippy::unwrap_used, reason = "an unwrap in a test is how it fails")]

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use flushcast::Node;
use flushcast_site::limits::{MAX_BODY_BYTES, MAX_NAME_BYTES};
use flushcast_site::server::{self, Limits};
use flushcast_site::settings::Settings;
use flushcast_site::store::{Setting, Store};
use flushcast_site::{Site, WEB_LABEL};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// No wait of these tests is longer.
const PATIENCE: Duration = Duration::from_secs(30);

struct Instance {
    address: String,
    client: Client,
    _folder: TempDir,
}

async fn node(address: &str) -> Node {
    Node::builder("http-test")
        .listen("127.0.0.1:0".parse().unwrap())
        .name("instance-1")
        .label(WEB_LABEL, address)
        .start()
        .await
        .unwrap()
}

fn store(folder: &TempDir) -> Store {
    Store::database(&folder.path().join("settings.db")).unwrap()
}

impl Instance {
    async fn start() -> Instance {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let site = Site::new(node(&address).await, address.clone(), store(&folder)).unwrap();
        let limits = Limits::default();
        tokio::spawn(server::serve(listener, site.router(), limits, std::future::pending()));
        flushcast_site::tls::choose();
        let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Instance { address, client, _folder: folder }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.address))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = answer(self.request(Method::GET, path)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    async fn put(&self, version: u64, settings: Value) -> (StatusCode, Value) {
        let body = json!({ "version": version, "settings": settings });
        answer(self.request(Method::PUT, "/api/settings").json(&body)).await
    }

    /// Whatever the request is, it is refused with a message that says `why`, as JSON, and the
    /// settings are as they were.
    async fn refuses(&self, request: RequestBuilder, status: StatusCode, why: &str) {
        let before = self.get("/api/settings").await;
        let (refused, answer) = answer(request).await;
        assert_eq!(refused, status, "{answer}");
        let message = answer["error"].as_str().unwrap();
        assert!(message.contains(why), "{message}");
        assert_eq!(self.get("/api/settings").await, before);
    }
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

fn setting(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

#[tokio::test]
async fn a_save_is_answered_with_its_version_and_the_next_read_loads_it_once() {
    let instance = Instance::start().await;
    let first = instance.get("/api/copy").await;
    assert_eq!((&first["instance"], &first["version"]), (&json!("instance-1"), &json!(1)));
    assert_eq!((&first["loads"], &first["hits"]), (&json!(1), &json!(0)));
    let in_sync = json!({ "in_sync": true, "text": "in sync", "cut_off": [], "healed": null });
    assert_eq!(first["state"], in_sync, "with nobody to be in step with");
    instance.get("/api/settings").await;
    assert_eq!(instance.get("/api/copy").await["hits"], 1, "to look at it is no hit");

    let settings = json!([setting("greeting", "hello"), setting("empty", "")]);
    let (status, saved) = instance.put(1, settings.clone()).await;
    assert_eq!(status, StatusCode::OK, "{saved}");
    assert_eq!(saved["version"], 2);
    let nobody = json!({ "applied": [], "fenced": [], "unconfirmed": [] });
    assert_eq!(saved["flush"], nobody, "there is nobody else");

    let read = instance.get("/api/settings").await;
    let date = &saved["date"];
    assert_eq!(read, json!({ "version": 2, "date": date, "settings": settings }));
    let copy = instance.get("/api/copy").await;
    assert_eq!((&copy["version"], &copy["date"]), (&json!(2), date));
    assert_eq!((&copy["loads"], &copy["hits"]), (&json!(2), &json!(1)));
}

#[tokio::test]
async fn a_save_from_an_old_version_is_a_conflict_and_changes_nothing() {
    let instance = Instance::start().await;
    instance.put(1, json!([])).await;
    let body = json!({ "version": 1, "settings": [setting("lost", "")] });
    let request = instance.request(Method::PUT, "/api/settings").json(&body);
    instance.refuses(request, StatusCode::CONFLICT, "the settings are at version 2").await;
}

#[tokio::test]
async fn bad_settings_are_refused_and_change_nothing() {
    let instance = Instance::start().await;
    let long = "n".repeat(MAX_NAME_BYTES + 1);
    let cases = [
        (json!([setting("", "")]), "setting 1 has no name"),
        (json!([setting("a", ""), setting("a", "")]), "settings 1 and 2 have the same name"),
        (json!([setting(&long, "")]), "at most 200 bytes"),
        (json!([{ "name": "a" }]), "missing field `value`"),
        (json!("all"), "expected a sequence"),
    ];
    for (settings, why) in cases {
        let body = json!({ "version": 1, "settings": settings });
        let request = instance.request(Method::PUT, "/api/settings").json(&body);
        instance.refuses(request, StatusCode::UNPROCESSABLE_ENTITY, why).await;
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_or_too_large_is_refused() {
    let instance = Instance::start().await;
    let put = || {
        let request = instance.request(Method::PUT, "/api/settings");
        request.header("Content-Type", "application/json")
    };
    let why = "Failed to parse the request body as JSON";
    instance.refuses(put().body("settings=none"), StatusCode::BAD_REQUEST, why).await;
    let large = " ".repeat(MAX_BODY_BYTES + 1);
    let why = MAX_BODY_BYTES.to_string();
    instance.refuses(put().body(large), StatusCode::PAYLOAD_TOO_LARGE, &why).await;
}

#[tokio::test]
async fn a_page_of_somebody_else_cannot_save() {
    let instance = Instance::start().await;
    let body = json!({ "version": 1, "settings": [] }).to_string();
    let put = || instance.request(Method::PUT, "/api/settings").body(body.clone());
    // What a browser sends across sites without asking first.
    for simple in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let request = put().header("Content-Type", simple);
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        instance.refuses(request, status, "Content-Type: application/json").await;
    }
    // And what it sends for a foreign name that leads to this machine.
    let request = put().header("Content-Type", "application/json").header("Host", "evil.example");
    instance.refuses(request, StatusCode::MISDIRECTED_REQUEST, "this machine only").await;
}

#[tokio::test]
async fn an_unknown_path_or_method_is_refused_in_json() {
    let instance = Instance::start().await;
    for path in ["/api", "/api/nothing", "/index.html"] {
        let request = instance.request(Method::GET, path);
        instance.refuses(request, StatusCode::NOT_FOUND, "nothing is served").await;
    }
    let request = instance.request(Method::DELETE, "/api/settings");
    instance.refuses(request, StatusCode::METHOD_NOT_ALLOWED, "no request of this method").await;
}

#[tokio::test]
async fn the_page_shows_settings_as_text_and_forbids_foreign_scripts() {
    let instance = Instance::start().await;
    let script = "</textarea><script>alert(1)</script>";
    let settings = json!([setting("\"><b>bold", script)]);
    assert_eq!(instance.put(1, settings).await.0, StatusCode::OK);

    let response = instance.request(Method::GET, "/").send().await.unwrap();
    let policy = response.headers()["Content-Security-Policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'; script-src 'self'"), "{policy}");
    assert_eq!(response.headers()["X-Content-Type-Options"], "nosniff");
    assert_eq!(response.headers()["Cache-Control"], "no-store");
    let html = response.text().await.unwrap();
    assert!(html.contains("Served by <strong>instance-1</strong>"), "{html}");
    assert!(!html.contains("<b>") && !html.contains("alert(1)</script>"), "{html}");
}

#[tokio::test]
async fn the_table_has_a_row_of_this_instance_itself() {
    let instance = Instance::start().await;
    let rows = instance.get("/api/instances").await;
    let copy = instance.get("/api/copy").await;
    assert_eq!(rows.as_array().unwrap().len(), 1);
    for field in ["instance", "version", "date", "loaded_at", "loaded_by"] {
        assert_eq!(rows[0][field], copy[field]);
    }
    assert_eq!(rows[0]["address"], instance.address);
}

#[tokio::test]
async fn a_save_that_nobody_waits_for_any_more_is_flushed_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(&node("http://nowhere").await, store(&folder)).unwrap();
    assert_eq!(settings.read().await.unwrap().snapshot.version, 1);

    // The client hangs up as soon as the save has begun.
    let mut save = Box::pin(settings.save(1, vec![Setting::new("kept", "yes")]));
    let begun = poll_fn(|context| Poll::Ready(save.as_mut().poll(context).is_pending())).await;
    assert!(begun);
    drop(save);

    let seen = async {
        while settings.read().await.unwrap().snapshot.version != 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("this instance still has its old copy");
}
