//! Looking: lists, single rows, bodies; by the admin API and by the database alike.

use serde_json::{Value, json};

use super::{run_in, stripe, with_three_events};
use crate::both_databases;
use crate::support::raw::RawRequest;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn assert_has(value: &Value, wanted: &[&str]) {
    for key in wanted {
        assert!(value.get(key).is_some(), "no `{key}` in {value}");
    }
}

both_databases!(a_list_has_the_contracts_shape_newest_first_and_pages, |db| async move {
    let daemon = with_three_events(&db).await;
    let list = daemon.run(&["event", "list", "-o", "json"]).await.json();
    assert_eq!(keys(&list), ["items", "next_cursor"]);
    assert_eq!(list["next_cursor"], Value::Null);
    let ids: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["event_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["evt_3", "evt_2", "evt_1"]);
    let second = &list["items"][1];
    assert_has(
        second,
        &[
            "id",
            "source",
            "event_id",
            "type",
            "received_at",
            "size",
            "duplicates",
            "conflict",
            "deliveries",
        ],
    );
    assert_eq!((&second["duplicates"], &second["conflict"]), (&json!(1), &json!(false)));
    assert_has(&second["deliveries"][0], &["id", "handler", "state", "attempts", "due_at"]);
    assert_eq!(second["deliveries"][0]["state"], "delivered");
    let received = second["received_at"].as_str().unwrap();
    assert!(
        received.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(received).is_ok(),
        "{received}"
    );

    let first = daemon.run(&["event", "list", "-o", "json", "--limit", "2"]).await.json();
    let cursor = first["next_cursor"].as_str().expect("there is a next page");
    let rest = daemon
        .run(&["event", "list", "-o", "json", "--limit", "2", "--cursor", cursor])
        .await
        .json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
    assert_eq!(rest["items"][0]["event_id"], "evt_1");

    let lines = daemon.run(&["event", "list", "-o", "jsonl"]).await.lines();
    assert_eq!(&lines, list["items"].as_array().unwrap());

    for (filter, count) in [
        (["--type", "invoice.*"], 2),
        (["--type", "charge.failed"], 1),
        (["--source", "stripe"], 3),
        (["--source", "nobody"], 0),
        (["--state", "delivered"], 3),
        (["--state", "dead"], 0),
        (["--since", "1h"], 3),
        (["--until", "1h"], 0),
        (["--id", "evt_2"], 1),
    ] {
        let all = [["event", "list"].as_slice(), &filter, &["-o", "jsonl"]].concat();
        assert_eq!(daemon.run(&all).await.lines().len(), count, "{filter:?}");
    }
});

both_databases!(the_admin_api_and_the_database_say_the_same, |db| async move {
    let daemon = with_three_events(&db).await;
    let url = daemon.admin_url();
    for verb in [
        &["event", "list"][..],
        &["event", "show", "evt_2"],
        &["delivery", "list"],
        &["dead", "list"],
        &["rejection", "list"],
        &["cleanup", "--dry-run"],
    ] {
        let direct = daemon.run(&[verb, &["-o", "json"]].concat()).await.json();
        let remote = daemon.run(&[verb, &["-o", "json", "--url", &url]].concat()).await.json();
        assert_eq!(direct, remote, "{verb:?}");
    }
    let direct = daemon.run(&["event", "body", "evt_1"]).await;
    let remote = daemon.run(&["event", "body", "evt_1", "--url", &url]).await;
    assert_eq!(direct.code(0).out, stripe().event("evt_1", "invoice.paid").body);
    assert_eq!(direct.out, remote.code(0).out);
    // What the command line prints is what the API says.
    let api = daemon.get("/api/v1/events?limit=50").await.json();
    assert_eq!(daemon.run(&["event", "list", "-o", "json"]).await.json(), api);
});

both_databases!(one_event_is_shown_by_either_id_with_its_tries, |db| async move {
    let daemon = with_three_events(&db).await;
    let shown = daemon.run(&["event", "show", "evt_2", "-o", "json"]).await.json();
    assert_has(&shown, &["id", "headers", "digest", "deliveries"]);
    assert_eq!(shown["digest"].as_str().unwrap().len(), 64);
    let tries = &shown["deliveries"][0]["tries"];
    assert_has(
        &tries[0],
        &["n", "started_at", "duration_ms", "outcome", "status", "error", "response"],
    );
    assert_eq!((&tries[0]["n"], &tries[0]["outcome"]), (&json!(1), &json!("delivered")));
    let ours = shown["id"].as_str().unwrap();
    assert_eq!(daemon.run(&["event", "show", ours, "-o", "json"]).await.json(), shown);

    let delivery = shown["deliveries"][0]["id"].as_str().unwrap();
    let shown = daemon.run(&["delivery", "show", delivery, "-o", "json"]).await.json();
    assert_eq!((&shown["handler"], &shown["event_id"]), (&json!("audit"), &json!("evt_2")));
    // People get a table.
    let table = daemon.run(&["event", "list"]).await;
    assert!(
        table.code(0).text().contains("evt_2") && table.text().contains("invoice.paid"),
        "{}",
        table.text()
    );
});

both_databases!(what_is_not_there_is_exit_4_and_who_is_not_there_is_exit_3, |db| async move {
    let daemon = with_three_events(&db).await;
    let nobody = "00000000-0000-7000-8000-000000000000";
    for verb in [
        &["event", "show", "evt_none"][..],
        &["event", "show", nobody],
        &["event", "body", "evt_none"],
        &["event", "replay", "evt_none"],
        &["delivery", "show", nobody],
        &["delivery", "retry", nobody],
        &["delivery", "cancel", nobody, "--yes"],
        &["rejection", "show", nobody],
        &["provider", "show", "nobody"],
    ] {
        daemon.run(verb).await.code(4);
    }
    for verb in [&["event", "show", "evt_none"][..], &["delivery", "show", nobody]] {
        daemon.run(&[verb, &["--url", &daemon.admin_url()]].concat()).await.code(4);
    }
    let closed = format!("http://127.0.0.1:{}", crate::support::port::free_port());
    daemon.run(&["event", "list", "--url", &closed]).await.code(3);
    daemon.run(&["event", "list", "--limit", "0"]).await.code(2);
    daemon.run(&["event", "list", "--since", "yesterday-ish"]).await.code(2);
    daemon.run(&["event", "list", "--state", "odd"]).await.code(2);
    daemon.run(&["delivery", "show", "no-uuid"]).await.code(2);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_exit_3() {
    let place = tempfile::tempdir().unwrap();
    let port = crate::support::port::free_port();
    let config = format!("[database]\nurl = \"postgres://postgres@127.0.0.1:{port}/gone\"\n");
    std::fs::write(place.path().join("hookonce.toml"), config).unwrap();
    for verb in [&["event", "list"][..], &["serve"], &["migrate", "status"], &["migrate", "up"]] {
        let (code, _, err) = run_in(place.path(), verb).await;
        assert_eq!(code, 3, "{verb:?}: {err}");
        assert!(err.contains("refused"), "it says why: {err}");
    }
    let (code, _, err) = run_in(place.path(), &["check"]).await;
    assert_eq!(code, 2, "{err}");
}

both_databases!(the_admin_api_wants_its_token_and_its_own_name, |db| async move {
    let daemon = crate::support::DaemonPlan::on(&db)
        .source(&stripe())
        .admin("token = { value = \"an-admin-token-of-some-length\" }")
        .start()
        .await;
    let url = daemon.admin_url();
    let answer = daemon.get("/api/v1/events").await;
    assert_eq!(answer.status, 401, "{answer:?}");
    for open in ["/livez", "/readyz"] {
        assert_eq!(daemon.get(open).await.status, 200, "{open}");
    }
    let bearer = |token: &str, host: String| {
        RawRequest::new("GET", "/api/v1/events")
            .without("host")
            .header("host", host)
            .header("authorization", format!("Bearer {token}"))
    };
    let wrong = bearer("an-admin-token-of-some-lengti", daemon.admin().to_string())
        .send(daemon.admin())
        .await;
    assert_eq!(wrong.status, 401);
    let right = bearer("an-admin-token-of-some-length", daemon.admin().to_string())
        .send(daemon.admin())
        .await;
    assert_eq!(right.status, 200);
    // A page that rebinds its name to loopback still says its own name.
    let rebound =
        bearer("an-admin-token-of-some-length", "evil.example".into()).send(daemon.admin()).await;
    assert!(matches!(rebound.status, 403 | 421), "{rebound:?}");

    daemon.run(&["event", "list", "--url", &url]).await.code(1);
    daemon
        .run(&["event", "list", "--url", &url, "--token", "an-admin-token-of-some-length"])
        .await
        .code(0);
});

both_databases!(a_source_says_whose_answer_is_its_reply, |db| async move {
    let daemon = crate::support::DaemonPlan::on(&db)
        .source_with(&stripe(), "respond = { handler = \"slash\", deadline = \"1.5s\" }")
        .calls("slash", "stripe", "http://127.0.0.1:9/", "")
        .start()
        .await;
    let url = daemon.admin_url();
    for more in [&[][..], &["--url", url.as_str()][..]] {
        let shown = daemon.run(&[&["source", "show", "stripe", "-o", "json"], more].concat()).await;
        let want = json!({"handler": "slash", "deadline": "1s 500ms"});
        assert_eq!(shown.json()["respond"], want, "{more:?}");
        let table = daemon.run(&[&["source", "show", "stripe"], more].concat()).await.text();
        let line = table.lines().find(|it| it.starts_with("respond")).unwrap_or_default();
        assert!(line.ends_with("slash, within 1s 500ms"), "{table}");
    }
});
