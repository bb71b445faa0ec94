//! Secrets that providers hand over: the first handshake counts, on every replica and after a restart.

use std::time::Duration;

use super::events;
use crate::both_databases;
use crate::support::raw::{RawAnswer, RawRequest};
use crate::support::sender::hmac;
use crate::support::{Daemon, DaemonPlan, TestDatabase, eventually};

const SECRET: &str = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81";
const OTHERS: &str = "00000000000000000000000000000000000000000000000000000000000000ff";
const TOKEN: &str = "secret_XkWIe2tD0sZVqCMWKqbJ2mZRqVlqB9eN";

/// For a replica to learn what another one captured: its poll and more.
const PATIENCE: Duration = Duration::from_secs(20);

fn plan(db: &TestDatabase) -> DaemonPlan {
    DaemonPlan::on(db)
        .admin("token = { value = \"an-admin-token-of-tests\" }")
        .server("public_url = \"https://hooks.example.com\"")
        .toml(
            r#"
[sources.asana]
provider = "asana"

[sources.notion]
provider = "notion"
"#,
        )
}

async fn hands(daemon: &Daemon, secret: &str) -> RawAnswer {
    let request = RawRequest::post("/in/asana", "").header("x-hook-secret", secret);
    request.send(daemon.public()).await
}

async fn sends(daemon: &Daemon, secret: &str, body: &str) -> RawAnswer {
    let mac = hex::encode(hmac(secret.as_bytes(), &[body.as_bytes()]));
    RawRequest::post("/in/asana", body).header("x-hook-signature", mac).send(daemon.public()).await
}

async fn shown(daemon: &Daemon, name: &str) -> serde_json::Value {
    daemon.run(&["source", "show", name, "-o", "json"]).await.json()
}

/// Waits until so many closed handshakes are kept.
async fn wait_for_refusals(db: &TestDatabase, count: i64) {
    let kept = "SELECT count(*) FROM rejection WHERE code = 'handshake_closed'";
    eventually(PATIENCE, "the refusals to be kept", || async {
        (db.try_number(kept).await.ok()? == count).then_some(())
    })
    .await;
}

#[track_caller]
fn is_closed(answer: &RawAnswer) {
    assert_eq!((answer.status, answer.code().as_str()), (403, "handshake_closed"));
}

both_databases!(the_first_handshake_counts_and_nobody_replaces_its_secret, |db| async move {
    let mut daemon = plan(&db).start().await;
    assert_eq!(shown(&daemon, "asana").await["state"], "pending");
    assert_eq!(sends(&daemon, SECRET, "{}").await.code(), "signature_mismatch");
    assert_eq!(RawRequest::post("/in/asana", "{}").send(daemon.public()).await.status, 401);
    assert_eq!(hands(&daemon, "short").await.code(), "handshake_refused");

    let answer = hands(&daemon, SECRET).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{answer:?}");
    assert_eq!(answer.head.header("x-hook-secret"), Some(SECRET));
    assert_eq!(answer.head.header("content-type"), None);
    assert_eq!(sends(&daemon, SECRET, "{}").await.json()["status"], "accepted");

    is_closed(&hands(&daemon, OTHERS).await);
    assert_eq!(sends(&daemon, OTHERS, "[]").await.code(), "signature_mismatch");
    assert_eq!(hands(&daemon, SECRET).await.status, 200, "the provider's second try");
    assert_eq!(sends(&daemon, SECRET, "{}").await.json()["status"], "duplicate");

    // The refusal is written behind the answer: a kill would take it along.
    wait_for_refusals(&db, 1).await;
    // It is durable, and known before the first request after a restart.
    daemon.kill().await;
    daemon.start().await;
    is_closed(&hands(&daemon, OTHERS).await);
    assert_eq!(sends(&daemon, SECRET, "[1]").await.json()["status"], "accepted");
    assert_eq!(events(&db).await, 2);

    // The secret is shown only when it is asked for, and logged never.
    let source = shown(&daemon, "asana").await;
    assert_eq!(source["state"], "active");
    assert_eq!(source["url"], "https://hooks.example.com/in/asana");
    assert!(source["captured_at"].is_string() && source["captured_secret"].is_null(), "{source}");
    let revealed = daemon.run(&["source", "show", "asana", "--reveal", "-o", "json"]).await.json();
    assert_eq!(revealed["captured_secret"], SECRET);
    assert!(!daemon.log().contains(SECRET) && !daemon.log().contains(OTHERS));
    wait_for_refusals(&db, 2).await;
    for headers in db.bytes("SELECT headers FROM rejection WHERE code = 'handshake_closed'").await {
        assert!(!String::from_utf8_lossy(&headers).contains(OTHERS));
    }
});

both_databases!(a_reopened_source_waits_for_the_next_handshake, |db| async move {
    let daemon = plan(&db).start().await;
    assert_eq!(hands(&daemon, SECRET).await.status, 200);
    daemon.run(&["source", "reopen", "asana"]).await.code(2);
    daemon.run(&["source", "reopen", "nobody", "--yes"]).await.code(4);
    is_closed(&hands(&daemon, OTHERS).await);
    let reopened = daemon.run(&["source", "reopen", "asana", "--yes", "-o", "json"]).await.json();
    assert_eq!(reopened["state"], "pending");
    // The daemon looks when it would refuse, so it need not have noticed yet.
    assert_eq!(hands(&daemon, OTHERS).await.status, 200);
    assert_eq!(sends(&daemon, OTHERS, "{}").await.json()["status"], "accepted");
    assert_eq!(sends(&daemon, SECRET, "[]").await.code(), "signature_mismatch");

    // The same over the admin API, which shows a secret only behind a token.
    let url = daemon.admin_url();
    let remote = ["--url", &url, "--token", "an-admin-token-of-tests", "-o", "json"];
    let with = |words: &[&'static str]| [words, &remote[..]].concat();
    let list = daemon.run(&with(&["source", "list"])).await.json();
    let list = list["items"].as_array().expect("a list");
    assert_eq!(list.len(), 2);
    assert!(list.iter().any(|it| it["name"] == "asana" && it["state"] == "active"), "{list:?}");
    assert!(list.iter().any(|it| it["name"] == "notion" && it["state"] == "pending"), "{list:?}");
    let revealed = daemon.run(&with(&["source", "show", "asana", "--reveal"])).await.json();
    assert_eq!(revealed["captured_secret"], OTHERS);
    let hidden = daemon.run(&with(&["source", "show", "asana"])).await.json();
    assert!(hidden["captured_secret"].is_null(), "{hidden}");
    let reopened = daemon.run(&with(&["source", "reopen", "asana", "--yes"])).await.json();
    assert_eq!(reopened["state"], "pending");
    assert_eq!(sends(&daemon, OTHERS, "[]").await.code(), "signature_mismatch");
});

both_databases!(a_token_in_a_body_is_captured_as_well, |db| async move {
    let daemon = plan(&db).start().await;
    let body = format!(r#"{{"verification_token":"{TOKEN}"}}"#);
    let answer = RawRequest::post("/in/notion", body.clone()).send(daemon.public()).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{answer:?}");
    let event = r#"{"id":"1","type":"page.created"}"#;
    let mac = hex::encode(hmac(TOKEN.as_bytes(), &[event.as_bytes()]));
    let answer = RawRequest::post("/in/notion", event)
        .header("x-notion-signature", format!("sha256={mac}"))
        .send(daemon.public())
        .await;
    assert_eq!(answer.json()["status"], "accepted");
    let other = body.replace(TOKEN, "secret_of_somebody_else_altogether");
    is_closed(&RawRequest::post("/in/notion", other).send(daemon.public()).await);
    let revealed = daemon.run(&["source", "show", "notion", "--reveal", "-o", "json"]).await.json();
    assert_eq!(revealed["captured_secret"], TOKEN);
    assert!(!daemon.log().contains(TOKEN));
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_captured_the_other_verifies_with_at_once() {
    let db = TestDatabase::postgres().await;
    let plan = plan(&db);
    let (first, second) = (plan.start().await, plan.start().await);
    assert_eq!(hands(&first, SECRET).await.status, 200);
    // No wait: the other one looks when it would refuse.
    assert_eq!(sends(&second, SECRET, "{}").await.json()["status"], "accepted");
    is_closed(&hands(&second, OTHERS).await);
    assert_eq!(sends(&first, SECRET, "{}").await.json()["status"], "duplicate");

    // Many at once on both: one secret wins, and only its sender was answered 200.
    first.run(&["source", "reopen", "asana", "--yes"]).await.code(0);
    let secrets: Vec<String> = (0..16).map(|n| format!("{n:064x}")).collect();
    let handed = secrets.iter().enumerate().map(|(n, secret)| {
        let replica = if n % 2 == 0 { &first } else { &second };
        async move { (secret, hands(replica, secret).await.status) }
    });
    let answers = futures::future::join_all(handed).await;
    let won: Vec<_> = answers.iter().filter(|(_, status)| *status == 200).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|(_, status)| matches!(status, 200 | 403)), "{answers:?}");
    // A replica that looked a moment ago, for one of the others, looks again a little later.
    for daemon in [&first, &second] {
        eventually(PATIENCE, "the winner to be known", || async {
            (sends(daemon, won[0].0, "[7]").await.status == 200).then_some(())
        })
        .await;
    }
    // And by the poll, without any request that asks for it.
    first.run(&["source", "reopen", "asana", "--yes"]).await.code(0);
    eventually(PATIENCE, "both to be pending", || async {
        let mut pending = 0;
        for daemon in [&first, &second] {
            let request = RawRequest::new("GET", "/api/v1/sources/asana")
                .without("host")
                .header("host", daemon.admin().to_string())
                .header("authorization", "Bearer an-admin-token-of-tests");
            let answer = request.send(daemon.admin()).await;
            pending += usize::from(answer.json()["state"] == "pending");
        }
        (pending == 2).then_some(())
    })
    .await;
}
