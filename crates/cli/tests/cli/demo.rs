//! `flushcast demo` as a user runs it: real processes, real ports, real signals.

use std::fs;
use std::net::TcpListener;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Demo, eventually, fails, free_ports, is_alive, kill};

#[tokio::test]
async fn a_save_through_any_instance_is_seen_by_every_other_instances_own_copy() {
    let demo = Demo::start(&[]).await;
    for saver in 1..=3 {
        let before = demo.copies().await;
        let version = before[0]["version"].as_u64().unwrap();
        let settings = json!([{ "name": "saved by", "value": demo.name(saver) }]);

        let (status, saved) = demo.save(saver, version, &settings).await;
        assert_eq!(status, StatusCode::OK, "{saved}");
        let applied = saved["flush"]["applied"].as_array().unwrap();
        assert!(applied.iter().all(|it| it["after"].as_f64() > Some(0.0)), "{saved}");
        let mut applied: Vec<_> = applied.iter().map(|it| it["node"].as_str().unwrap()).collect();
        applied.sort();
        let others: Vec<String> = (1..=3).filter(|i| *i != saver).map(|i| demo.name(i)).collect();
        assert_eq!(applied, others, "{saved}");
        assert_eq!(saved["flush"]["fenced"], json!([]));
        assert_eq!(saved["flush"]["unconfirmed"], json!([]));

        // Asked at each itself, at once: copies live for an hour, and nobody polls.
        for (before, after) in before.iter().zip(demo.copies().await) {
            assert_eq!(after["version"], json!(version + 1), "{after}");
            assert_eq!(after["date"], saved["date"], "{after}");
            let loads = before["loads"].as_u64().unwrap();
            assert_eq!(after["loads"], json!(loads + 1), "one more load, and only one: {after}");
        }
        for instance in 1..=3 {
            assert_eq!(demo.get(instance, "/api/settings").await["settings"], settings);
        }
    }
    // The table at each says the same, row by row, as the instances themselves.
    let copies = demo.copies().await;
    for instance in 1..=3 {
        let rows = demo.get(instance, "/api/instances").await;
        assert_eq!(rows.as_array().unwrap().len(), 3, "{rows}");
        for (row, copy) in rows.as_array().unwrap().iter().zip(&copies) {
            for field in ["instance", "version", "date", "loaded_at", "loads"] {
                assert_eq!(row[field], copy[field], "{rows}");
            }
        }
        assert_eq!(rows[0]["address"], demo.address(1));
    }
}

#[tokio::test]
async fn a_save_from_an_old_version_is_a_conflict_and_changes_nothing() {
    let demo = Demo::start(&[]).await;
    let (status, _) = demo.save(1, 1, &json!([{ "name": "kept", "value": "yes" }])).await;
    assert_eq!(status, StatusCode::OK);
    let before = demo.copies().await;

    let (status, answer) = demo.save(2, 1, &json!([{ "name": "lost", "value": "yes" }])).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let message = answer["error"].as_str().unwrap();
    assert!(message.contains("the settings are at version 2"), "{message}");

    for (before, after) in before.iter().zip(demo.copies().await) {
        assert_eq!((&after["version"], &after["loads"]), (&before["version"], &before["loads"]));
    }
    let settings = demo.get(3, "/api/settings").await;
    assert_eq!(settings["settings"], json!([{ "name": "kept", "value": "yes" }]));
}

#[tokio::test]
async fn ctrl_c_ends_every_process_and_removes_the_temporary_folder() {
    let mut demo = Demo::start(&[]).await;
    assert_eq!(demo.temporary_folders(), 1);
    // A terminal sends it to all of them; those that the demo started leave it to the demo.
    for instance in 1..=3 {
        kill("INT", demo.instance_pid(instance));
        demo.get(instance, "/api/copy").await;
    }
    kill("INT", demo.pid());
    let (status, stderr) = demo.ended().await;
    assert!(status.success(), "{status}\n{stderr}");
    for instance in 1..=3 {
        assert!(!is_alive(demo.instance_pid(instance)));
    }
    assert_eq!(demo.temporary_folders(), 0);
    assert_eq!(stderr, "", "an ordinary end has nothing to tell");
}

#[tokio::test]
async fn a_polite_kill_leaves_nothing_behind_after_the_crash_of_an_instance_either() {
    let mut demo = Demo::start(&[]).await;
    kill("KILL", demo.instance_pid(2));
    demo.stderr_line("instance-2").await;
    kill("TERM", demo.pid());
    let (status, stderr) = demo.ended().await;
    assert!(status.success(), "{status}\n{stderr}");
    assert!((1..=3).all(|instance| !is_alive(demo.instance_pid(instance))));
    assert_eq!(demo.temporary_folders(), 0);
}

#[tokio::test]
async fn instances_end_by_themselves_when_the_demo_is_killed() {
    // With logs on: they have nowhere to go once the demo is gone.
    let mut demo = Demo::start_with(&[], &[("RUST_LOG", "debug")]).await;
    kill("KILL", demo.pid());
    demo.ended().await;
    for instance in 1..=3 {
        let pid = demo.instance_pid(instance);
        eventually("the instance ends", async || !is_alive(pid)).await;
    }
    assert_eq!(demo.temporary_folders(), 1, "nobody is left to remove it");
    demo.age_temporary_folders();
    let mut next = Demo::start_in(demo.temporary, &["--instances", "1"], &[]).await;
    assert_eq!(next.temporary_folders(), 1, "its own");
    kill("INT", next.pid());
    next.ended().await;
    assert_eq!(next.temporary_folders(), 0);
}

#[tokio::test]
async fn an_instance_that_was_killed_is_named_and_not_restarted() {
    let mut demo = Demo::start(&[]).await;
    let pid = demo.instance_pid(1);
    kill("KILL", pid);
    let told = demo.stderr_line("instance-1").await;
    assert!(told.contains(&format!("process {pid}")), "{told}");
    assert!(told.contains("ended by itself: signal: 9"), "{told}");
    assert!(told.contains("not restarted"), "{told}");

    let (status, saved) = demo.save(2, 1, &json!([])).await;
    assert_eq!(status, StatusCode::OK, "{saved}");
    let flush = &saved["flush"];
    assert_eq!(flush["applied"][0]["node"], "instance-3", "{saved}");
    assert_eq!(flush["applied"].as_array().unwrap().len(), 1, "{saved}");
    assert_eq!(flush["unconfirmed"][0]["node"], "instance-1", "{saved}");
    assert!(flush["unconfirmed"][0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()));

    for instance in [2, 3] {
        let rows = demo.get(instance, "/api/instances").await;
        assert_eq!(rows[0]["instance"], "instance-1", "{rows}");
        assert_eq!(rows[0]["address"], demo.address(1), "{rows}");
        assert!(rows[0]["error"].is_string(), "{rows}");
        for alive in [1, 2] {
            assert_eq!(rows[alive]["version"], 2, "{rows}");
        }
    }
    // The port itself leads to those that live.
    for _ in 0..4 {
        assert_ne!(demo.get(0, "/api/copy").await["instance"], "instance-1");
    }
}

#[tokio::test]
async fn a_stopped_instance_has_the_others_say_that_they_are_cut_off_and_heals_by_replay() {
    let demo = Demo::start(&[]).await;
    let state = async |instance| demo.get(instance, "/api/copy").await["state"].take();
    let states = async || [state(1).await, state(2).await];
    for state in states().await {
        let in_sync = json!({ "in_sync": true, "text": "in sync", "cut_off": [], "healed": null });
        assert_eq!(state, in_sync);
    }

    kill("STOP", demo.instance_pid(3));
    let is_cut_off = |state: &Value| state["in_sync"] == json!(false);
    eventually("all are cut off", async || states().await.iter().all(is_cut_off)).await;
    for state in states().await {
        // From the other one too, if the third stopped before it had told them all that it knew.
        let cut_off = state["cut_off"].as_array().unwrap();
        let third = cut_off.iter().find(|peer| peer["node"] == "instance-3");
        let seconds = third.and_then(|peer| peer["for_seconds"].as_u64());
        assert!(seconds >= Some(4), "copies are served for 5 s, less the clock's step: {state}");
        let text = state["text"].as_str().unwrap();
        assert!(text.starts_with("cut off from ") && text.contains("instance-3"), "{state}");
    }
    // Cut off, and no older for it: every read loads.
    let (status, saved) = demo.save(1, 1, &json!([])).await;
    assert_eq!(status, StatusCode::OK, "{saved}");
    assert_eq!(saved["flush"]["unconfirmed"][0]["node"], "instance-3", "{saved}");
    assert_eq!(demo.get(2, "/api/copy").await["version"], 2);

    kill("CONT", demo.instance_pid(3));
    // The end that dialled has given up the silent link by now; the other may still hold it.
    let has_healed = |state: &Value| state["in_sync"] == json!(true) && state["healed"].is_object();
    eventually("they heal", async || states().await.iter().all(has_healed)).await;
    for state in states().await {
        let healed = &state["healed"];
        assert_eq!((&healed["node"], &healed["by"]), (&json!("instance-3"), &json!("replay")));
        let text = healed["text"].as_str().unwrap();
        assert!(text.starts_with("in step with instance-3 again with nothing missed"), "{state}");
    }
    eventually("the third is in sync", async || state(3).await["in_sync"] == json!(true)).await;
    assert_eq!(demo.get(3, "/api/copy").await["version"], 2);
    for row in demo.get(1, "/api/instances").await.as_array().unwrap() {
        assert_eq!(row["state"]["in_sync"], true, "{row}");
    }
}

#[tokio::test]
async fn the_port_itself_leads_to_one_after_the_other_with_path_query_and_body() {
    let demo = Demo::start(&["--instances", "2"]).await;
    for _ in 0..2 {
        for instance in ["instance-1", "instance-2"] {
            assert_eq!(demo.get(0, "/api/copy?why=curious").await["instance"], instance);
        }
    }
    for (version, instance) in [(1, "instance-1"), (2, "instance-2")] {
        let (status, saved) = demo.save(0, version, &json!([])).await;
        assert_eq!((status, &saved["version"]), (StatusCode::OK, &json!(version + 1)), "{saved}");
        assert_eq!(saved["instance"], instance);
    }
}

#[tokio::test]
async fn the_demo_ends_with_a_failure_when_no_instance_is_left() {
    let mut demo = Demo::start(&["--instances", "1"]).await;
    kill("TERM", demo.instance_pid(1));
    let (status, stderr) = demo.ended().await;
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("instance-1"), "{stderr}");
    assert!(stderr.contains("ended by itself: exit status: 0"), "{stderr}");
    assert!(stderr.contains("error: all instances have ended\nhint: "), "{stderr}");
}

#[tokio::test]
async fn a_data_folder_keeps_the_settings_for_the_next_demo() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("made/if/missing");
    let arguments = ["--instances", "2", "--data", data.to_str().unwrap()];
    let settings = json!([{ "name": "kept", "value": "yes" }]);

    let mut demo = Demo::start(&arguments).await;
    assert_eq!(demo.save(1, 1, &settings).await.0, StatusCode::OK);
    let members: Value =
        serde_json::from_slice(&fs::read(data.join("members.json")).unwrap()).unwrap();
    assert_eq!(members["members"].as_array().unwrap().len(), 2, "{members}");

    let port = free_ports(3).to_string();
    let (code, stderr) = fails(&["--port", &port, "--data", data.to_str().unwrap()]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("in use by another demo\nhint: end that demo"), "{stderr}");

    kill("TERM", demo.pid());
    assert!(demo.ended().await.0.success());
    let demo = Demo::start(&arguments).await;
    let read = demo.get(2, "/api/settings").await;
    assert_eq!((&read["version"], &read["settings"]), (&json!(2), &settings));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_before_anything_is_started() {
    for place in [0, 3] {
        let port = free_ports(3);
        let taken = port + place;
        let _taker = TcpListener::bind(("127.0.0.1", taken)).unwrap();
        let (code, stderr) = fails(&["--port", &port.to_string()]).await;
        assert_eq!(code, 1);
        let expected = format!(
            "error: port {taken} is taken\n\
             hint: stop what is listening there, or pass another --port\n"
        );
        assert_eq!(stderr, expected);
    }
}

#[tokio::test]
async fn arguments_that_cannot_be_are_refused() {
    let cases: [(&[&str], &str); 5] = [
        (&["--bogus"], "'--bogus'"),
        (&["--instances", "0"], "1..=50"),
        (&["--instances", "51"], "1..=50"),
        (&["--port", "0"], "1..=65535"),
        (&["--port", "65533", "--instances", "3"], "hint: pass --port 65532 or lower"),
    ];
    for (arguments, told) in cases {
        let (code, stderr) = fails(arguments).await;
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
        assert!(stderr.contains(told), "{stderr}");
    }
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_used_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let refused = async |data: &std::path::Path, told: &str| {
        let port = free_ports(3).to_string();
        let (code, stderr) = fails(&["--port", &port, "--data", data.to_str().unwrap()]).await;
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains(data.to_str().unwrap()), "{stderr}");
        assert!(stderr.contains(told), "{stderr}");
        assert!(stderr.contains("\nhint: "), "{stderr}");
    };
    let file = folder.path().join("a file");
    fs::write(&file, "").unwrap();
    refused(&file, "cannot be written").await;

    for (name, why) in
        [("members.json", "is not a members file"), ("settings.db", "is not an SQLite database")]
    {
        let data = folder.path().join(name.replace('.', " "));
        fs::create_dir(&data).unwrap();
        let shopping = "eggs, milk, bread\n".repeat(100);
        fs::write(data.join(name), &shopping).unwrap();
        refused(&data, why).await;
        assert_eq!(fs::read_to_string(data.join(name)).unwrap(), shopping);
    }
}
