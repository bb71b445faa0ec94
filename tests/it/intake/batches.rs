//! Many events in one request: each is stored and run once, and one answer stands for all.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::events;
use crate::both_databases;
use crate::support::daemon::wait_until_settled;
use crate::support::raw::{RawAnswer, RawRequest};
use crate::support::{Daemon, DaemonPlan, Endpoint, TestDatabase, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

/// A source whose requests are split as `event` says, that calls `endpoint` for each event.
fn plan(db: &TestDatabase, endpoint: &Endpoint, event: &str, lines: &str) -> DaemonPlan {
    DaemonPlan::on(db)
        .toml(&format!("[sources.batches]\nverify = \"none\"\nevent = {event}\n{lines}"))
        .calls("each", "batches", &endpoint.url("/"), "")
}

const JSON: &str =
    r#"{ split = "/events/*", id = "item:/id", type = "item:/type", empty_ok = true }"#;

async fn post(daemon: &Daemon, body: impl Into<Vec<u8>>) -> RawAnswer {
    let request = RawRequest::post("/in/batches", body).header("content-type", "application/json");
    request.send(daemon.public()).await
}

fn batch(ids: impl IntoIterator<Item = usize>) -> String {
    let items: Vec<Value> =
        ids.into_iter().map(|id| json!({ "id": format!("e{id}"), "type": "x" })).collect();
    json!({ "events": items, "sent": 7 }).to_string()
}

fn ids(answer: &RawAnswer) -> Vec<String> {
    let ids = answer.json()["events"].as_array().expect("events").clone();
    ids.into_iter().map(|id| id.as_str().expect("an id").to_owned()).collect()
}

both_databases!(a_thousand_events_of_one_request_are_stored_and_run_once, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = plan(&db, &endpoint, JSON, "").start().await;
    let answer = post(&daemon, batch(0..1000)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let first = ids(&answer);
    assert_eq!(answer.json()["status"], "accepted");
    assert_eq!(answer.json()["event"], first[0].as_str());
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 1000);
    assert_eq!(events(&db).await, 1000);

    // The same again, with white space: the bytes of each event alone are what counts.
    let again = post(&daemon, batch(0..1000)).await;
    assert_eq!(again.json()["status"], "duplicate");
    assert_eq!(ids(&again), first);
    assert_eq!(events(&db).await, 1000);

    // Half of them are known: what is new is accepted.
    let half = post(&daemon, batch(500..1500)).await;
    assert_eq!(half.json()["status"], "accepted");
    assert_eq!(ids(&half)[..500], first[500..]);
    assert_eq!(events(&db).await, 1500);

    endpoint.wait_for_calls(1500, PATIENCE).await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(endpoint.count(), 1500);
    let called: BTreeSet<Vec<u8>> =
        endpoint.calls().into_iter().map(|call| call.body.to_vec()).collect();
    assert!(called.contains(br#"{"events":[{"id":"e7","type":"x"}],"sent":7}"#.as_slice()));
    assert_eq!(called.len(), 1500);
    let metrics = String::from_utf8(daemon.get("/metrics").await.body).unwrap();
    for line in [
        r#"hookonce_events_total{source="batches",outcome="accepted"} 1500"#,
        r#"hookonce_events_total{source="batches",outcome="duplicate"} 1500"#,
        r#"hookonce_intake_total{source="batches",outcome="accepted"} 2"#,
    ] {
        assert!(metrics.lines().any(|there| there == line), "{line} in\n{metrics}");
    }
});

both_databases!(each_event_has_its_own_bytes_and_size, |db| async move {
    let endpoint = Endpoint::start().await;
    let event = r#"{ split = "/e/*/c/*", id = "item:/id" }"#;
    let daemon = plan(&db, &endpoint, event, "").start().await;
    let body = r#"{ "e": [ {"p":1,"c":[ {"id":1} , {"id":"é"} ]}, {"p":2,"c":[{"id":3}]} ] }"#;
    let answer = post(&daemon, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let stored = db
        .bytes(
            "SELECT b.body FROM event_body b JOIN event e ON e.id = b.event_id ORDER BY e.event_id",
        )
        .await;
    let wanted = [
        r#"{ "e": [{"p":1,"c":[{"id":1}]}] }"#,
        r#"{ "e": [{"p":2,"c":[{"id":3}]}] }"#,
        r#"{ "e": [{"p":1,"c":[{"id":"é"}]}] }"#,
    ];
    assert_eq!(stored, wanted.map(|text| text.as_bytes().to_vec()));
    let sizes: usize = wanted.iter().map(|text| text.len()).sum();
    assert_eq!(db.number("SELECT CAST(sum(size) AS bigint) FROM event").await, sizes as i64);
});

both_databases!(lines_of_json_are_events, |db| async move {
    let endpoint = Endpoint::start().await;
    let event = r#"{ split = "ndjson", id = "item:/id" }"#;
    let daemon = plan(&db, &endpoint, event, "").start().await;
    let answer = post(&daemon, "{\"id\":1}\r\n\r\n \n{\"id\":2}\n{\"id\":1}\r\n").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let found = ids(&answer);
    // The third line is a copy of the first.
    assert_eq!((found.len(), &found[0]), (3, &found[2]));
    assert_eq!(answer.json()["status"], "accepted");
    let stored = db.bytes("SELECT body FROM event_body ORDER BY body").await;
    assert_eq!(stored, [b"{\"id\":1}".to_vec(), b"{\"id\":2}".to_vec()]);
    assert_eq!(db.number("SELECT CAST(sum(duplicates) AS bigint) FROM event").await, 1);
    let bad = post(&daemon, "{\"id\":4}\n{\"id\":").await;
    assert_eq!((bad.status, bad.code().as_str()), (400, "body_malformed"));
    assert_eq!(events(&db).await, 2);
});

both_databases!(a_batch_without_events_is_acked_and_stores_nothing, |db| async move {
    let endpoint = Endpoint::start().await;
    let lines = "reply = { ok = { status = 204 } }";
    let daemon = plan(&db, &endpoint, JSON, lines).start().await;
    let answer = post(&daemon, r#"{"events":[]}"#).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(events(&db).await, 0);
    // One bad part makes the whole request fail, and nothing of it is kept as an event.
    let answer = post(&daemon, r#"{"events":[{"id":"a"},{"id":""}]}"#).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "id_missing"));
    assert_eq!(events(&db).await, 0);
});

both_databases!(a_refused_batch_is_readmitted_whole, |db| async move {
    let endpoint = Endpoint::start().await;
    let source = |secret: &str| {
        DaemonPlan::on(&db)
            .toml(&format!(
                "[sources.batches]\nverify = {{ token = \"header:x-token\" }}\nsecrets = [{{ value = {secret:?} }}]\nevent = {JSON}"
            ))
            .calls("each", "batches", &endpoint.url("/"), "")
    };
    let mut daemon = source("another-token-0123456789").start().await;
    let request =
        RawRequest::post("/in/batches", batch(0..300)).header("x-token", "a-token-0123456789");
    assert_eq!(request.send(daemon.public()).await.status, 401);
    eventually(PATIENCE, "the rejection", || async {
        (db.number("SELECT count(*) FROM rejection").await == 1).then_some(())
    })
    .await;
    assert!(daemon.stop().await.success());
    let daemon = source("a-token-0123456789").start().await;
    for _ in 0..2 {
        let done = daemon.post("/api/v1/rejections/readmit", &json!({})).await;
        assert_eq!(done.status, 200, "{done:?}");
        assert_eq!(events(&db).await, 300);
    }
    endpoint.wait_for_calls(300, PATIENCE).await;
    let again = request.send(daemon.public()).await;
    assert_eq!(again.json()["status"], "duplicate");
});
