//! What `flushcast demo` can be told on its own port: more or fewer instances, and faults.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Demo, eventually, is_alive, kill};

const WRITERS: usize = 20;
const SAVES_OF_EACH: u64 = 10;

/// Adds one to this writer's own setting, from whatever version is the newest, until it is answered
/// with success. Gives back how many tries were answered with a failure that tells nothing.
async fn count_up(demo: &Demo, writer: usize) -> u64 {
    let name = format!("writer {writer}");
    let mut unknown = 0;
    loop {
        let Ok((StatusCode::OK, mut read)) = demo.try_get(0, "/api/settings").await else {
            continue;
        };
        let settings = read["settings"].as_array_mut().unwrap();
        match settings.iter_mut().find(|setting| setting["name"] == name) {
            Some(own) => own["value"] = json!((value(own) + 1).to_string()),
            None => settings.push(json!({ "name": name, "value": "1" })),
        }
        let version = read["version"].as_u64().unwrap();
        match demo.try_save(0, version, &read["settings"]).await {
            Ok((StatusCode::OK, _)) => return unknown,
            Ok((StatusCode::CONFLICT, _)) => {}
            _ => unknown += 1,
        }
    }
}

fn value(setting: &Value) -> u64 {
    setting["value"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_save_that_was_answered_with_success_is_lost_while_instances_come_and_go() {
    let demo = Demo::start(&["--instances", "2"]).await;
    assert_eq!(demo.save(0, 1, &json!([])).await.0, StatusCode::OK);
    let write = async |writer| {
        let mut unknown = 0;
        for _ in 0..SAVES_OF_EACH {
            unknown += count_up(&demo, writer).await;
        }
        unknown
    };
    let saves = futures_util::future::join_all((0..WRITERS).map(write));
    let scale = async {
        for instances in [6, 2, 5, 3] {
            demo.scale(instances).await;
        }
    };
    let (unknown, ()) = tokio::join!(saves, scale);

    let newest = demo.get(0, "/api/settings").await;
    for (writer, unknown) in unknown.into_iter().enumerate() {
        let name = format!("writer {writer}");
        let settings = newest["settings"].as_array().unwrap();
        let saved = value(settings.iter().find(|setting| setting["name"] == name).unwrap());
        assert!(saved >= SAVES_OF_EACH, "{name} has saved {SAVES_OF_EACH} times: {saved}");
        assert!(saved <= SAVES_OF_EACH + unknown, "{name}: {saved}, {unknown} unknown");
    }
    for instance in 1..=3 {
        let copy = async || demo.get(instance, "/api/copy").await["version"].take();
        eventually("it has the newest", async || copy().await == newest["version"]).await;
    }
}

/// Reads are counted from before they begin and flushes from after they were announced, so that no
/// slowness of this machine adds to what is out of date; clocks show whole milliseconds.
const BOUND: i64 = 5000 + 1;

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_cut_serves_nothing_beyond_the_bound_and_heals_by_replay() {
    let demo = Demo::start(&[]).await;
    let act = async |action: &str| {
        let path = format!("/api/instances/instance-3/{action}");
        let (status, answer) = demo.order(&path, &json!(null)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        // An order is answered when it is carried out.
        let control = demo.get(0, "/api/control").await;
        assert_eq!(control["instances"][2]["cut"], action == "cut", "{control}");
    };
    let row = async |at| demo.get(at, "/api/instances").await[2].take();

    demo.copies().await;
    act("cut").await;
    let (_, saved) = demo.save(1, 1, &json!([{ "name": "during", "value": "the cut" }])).await;
    assert_eq!(saved["flush"]["applied"][0]["node"], "instance-2", "{saved}");
    assert_eq!(saved["flush"]["unconfirmed"][0]["node"], "instance-3", "{saved}");
    let mut oldest = 0;
    let mut seen = row(1).await;
    while seen["version"] == 1 {
        let behind = seen["behind"].as_i64().unwrap();
        assert!(behind <= BOUND, "{seen}");
        oldest = oldest.max(behind);
        seen = row(1).await;
    }
    assert!(oldest > 0, "the old copy was served for a while");
    assert_eq!((&seen["version"], &seen["behind"]), (&json!(2), &json!(0)), "{seen}");
    for at in [1, 3] {
        eventually("both sides tell", async || row(at).await["state"]["in_sync"] == false).await;
    }

    act("heal").await;
    eventually("it is in sync", async || {
        let state = row(1).await["state"].take();
        state["in_sync"] == true && state["healed"]["by"] == "replay"
    })
    .await;
    let (_, saved) = demo.save(1, 2, &json!([])).await;
    assert_eq!(saved["flush"]["applied"].as_array().unwrap().len(), 2, "{saved}");
    let last = row(2).await["last_flush"].take();
    assert_eq!((&last["from"], &last["version"]), (&json!("instance-1"), &json!(3)), "{last}");
    let flushes = demo.get(2, "/api/flushes").await;
    let versions: Vec<_> =
        flushes.as_array().unwrap().iter().map(|it| it["version"].clone()).collect();
    assert_eq!(versions, [3, 2], "{flushes}");
}

#[tokio::test]
async fn an_instance_is_paused_resumed_and_killed_and_its_number_given_to_a_new_one() {
    let demo = Demo::start(&[]).await;
    let state = async |name: &str| {
        let control = demo.get(0, "/api/control").await;
        let instances = control["instances"].as_array().unwrap().clone();
        instances.into_iter().find(|it| it["name"] == name).unwrap()["state"].take()
    };
    let act = async |action: &str| {
        demo.order(&format!("/api/instances/instance-3/{action}"), &json!(null)).await
    };
    assert_eq!(act("pause").await.0, StatusCode::OK);
    assert_eq!(state("instance-3").await, "paused");
    let (status, told) = act("pause").await;
    assert_eq!((status, &told["error"]), (StatusCode::CONFLICT, &json!("instance-3 is paused")));
    assert_eq!(act("resume").await.0, StatusCode::OK);
    assert_eq!(demo.get(3, "/api/copy").await["instance"], "instance-3");

    assert_eq!(act("kill").await.0, StatusCode::OK);
    eventually("it is gone", async || state("instance-3").await == "ended").await;
    assert!(!is_alive(demo.instance_pid(3)));
    let (_, saved) = demo.save(1, 1, &json!([])).await;
    assert_eq!(saved["flush"]["unconfirmed"][0]["node"], "instance-3", "{saved}");
    demo.scale(3).await;
    assert_eq!(demo.get(3, "/api/copy").await["version"], 2);
}

#[tokio::test]
async fn orders_that_cannot_be_are_refused() {
    let demo = Demo::start(&["--instances", "1"]).await;
    for (path, body, status, why) in [
        ("/api/scale", json!({ "instances": 0 }), 422, "1 to 50"),
        ("/api/scale", json!({ "instances": 51 }), 422, "1 to 50"),
        ("/api/scale", json!({ "instances": "two" }), 422, "instances"),
        ("/api/scale", json!({ "instances": 2, "force": true }), 422, "force"),
        ("/api/instances/instance-9/kill", json!(null), 404, "instance-9"),
        ("/api/instances/instance-1/resume", json!(null), 409, "instance-1 is running"),
        ("/api/instances/instance-1/melt", json!(null), 422, "cut, heal, kill, pause and resume"),
    ] {
        let (answered, told) = demo.order(path, &body).await;
        assert_eq!(answered, status, "{path}: {told}");
        assert!(told["error"].as_str().unwrap().contains(why), "{path}: {told}");
    }
    // Without the token, and under a foreign name.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let order = || client.post(demo.address(0) + "/api/scale").json(&json!({ "instances": 3 }));
    assert_eq!(order().send().await.unwrap().status(), StatusCode::FORBIDDEN);
    let guessed = order().header("x-flushcast-token", "guessed").send().await.unwrap();
    assert_eq!(guessed.status(), StatusCode::FORBIDDEN);
    let foreign = client.get(demo.address(0) + "/api/control").header("host", "evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), StatusCode::MISDIRECTED_REQUEST);
    // What is no order at all is refused as an API does, in JSON.
    let token = demo.get(0, "/api/control").await["token"].as_str().unwrap().to_owned();
    let post = |path: &str| client.post(demo.address(0) + path).header("x-flushcast-token", &token);
    for (request, status) in [
        (post("/api/scale").body("{}"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (
            post("/api/scale").header("content-type", "application/json").body("{"),
            StatusCode::BAD_REQUEST,
        ),
        (post("/api/instances/%ff/kill"), StatusCode::BAD_REQUEST),
        (post("/api/control"), StatusCode::METHOD_NOT_ALLOWED),
        (post("/api/nothing"), StatusCode::NOT_FOUND),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["content-type"]),
            (status, &"application/json".parse().unwrap())
        );
        let answer: Value = answer.json().await.unwrap();
        assert!(answer["error"].is_string(), "{answer}");
    }
    assert_eq!(demo.get(0, "/api/instances").await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_paused_instance_ends_with_the_demo_however_that_ends() {
    for how in ["INT", "KILL"] {
        let mut demo = Demo::start(&[]).await;
        let (status, _) = demo.order("/api/instances/instance-2/pause", &json!(null)).await;
        assert_eq!(status, StatusCode::OK);
        kill(how, demo.pid());
        demo.ended().await;
        for instance in 1..=3 {
            let pid = demo.instance_pid(instance);
            eventually("it ends", async || !is_alive(pid)).await;
        }
    }
}
