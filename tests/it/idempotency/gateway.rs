//! The gateway, as the real program with a real service behind it.

use std::time::Duration;

use futures::future::join_all;

use super::PATIENCE;
use crate::both_databases;
use crate::support::raw::{RawAnswer, RawRequest};
use crate::support::{
    Answer, Daemon, DaemonPlan, Endpoint, Kind, TestDatabase, eventually, within,
};

mod claims;
mod dying;
mod relay;
mod tunnel;

/// A daemon with a gateway before this service.
pub async fn gateway(db: &TestDatabase, service: &Endpoint, lines: &str) -> Daemon {
    DaemonPlan::on(db).toml(&table(service, lines)).start().await
}

pub fn table(service: &Endpoint, lines: &str) -> String {
    let upstream = service.url("");
    format!("[gateways.pay]\npath = \"/payments\"\nupstream = {upstream:?}\n{lines}\n")
}

/// A payment under a key, by somebody.
pub fn payment(key: &str) -> RawRequest {
    RawRequest::post("/payments", br#"{"amount":100}"#)
        .header("authorization", "Bearer alice")
        .header("idempotency-key", key)
}

pub async fn pay(daemon: &Daemon, key: &str) -> RawAnswer {
    send_past(daemon, &payment(key), &["store_unavailable"]).await
}

/// Sends, and again while it is put off for one of these reasons, as a client does: a machine may stall for longer
/// than a request waits.
async fn send_past(daemon: &Daemon, request: &RawRequest, reasons: &[&str]) -> RawAnswer {
    eventually(PATIENCE, "an answer that puts off no more", || async {
        let answer = request.send(daemon.public()).await;
        let refused = answer.head.header("content-type") == Some("application/problem+json");
        let put_off = answer.status == 503 && refused && reasons.contains(&answer.code().as_str());
        (!put_off).then_some(answer)
    })
    .await
}

/// What a client may compare: everything but what is one answer's own.
fn essence(answer: &RawAnswer) -> (u16, Vec<u8>, Option<String>) {
    (answer.status, answer.body.clone(), answer.head.header("content-type").map(str::to_owned))
}

both_databases!(fifty_concurrent_payments_reach_the_service_once, |db| async move {
    let service = Endpoint::start().await;
    let answer =
        Answer::status(201).header("content-type", "application/json").header("set-cookie", "a=b");
    service.answer_otherwise(answer.body("{\"id\":\"pay_1\"}").held());
    let daemon = gateway(&db, &service, "").await;
    let all = (0..50).map(|_| pay(&daemon, "\"k-1\""));
    let (answers, _) = futures::join!(join_all(all), async {
        service.wait_for_calls(1, PATIENCE).await;
        // Let go once the others have had their answer: they get it without the service.
        eventually(PATIENCE, "49 refusals", || async {
            let text = daemon.get("/metrics").await;
            let text = String::from_utf8_lossy(&text.body).into_owned();
            let line = "hookonce_idempotency_total{gateway=\"pay\",outcome=\"idempotency_in_progress\"} 49";
            text.contains(line).then_some(())
        })
        .await;
        service.release(100);
    });
    assert_eq!(service.count(), 1, "the service sees one");
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!((refused.status, refused.code().as_str()), (409, "idempotency_in_progress"));
        assert_eq!(refused.head.header("retry-after"), Some("1"));
    }
    let first = answers.iter().find(|answer| answer.status == 201).unwrap();
    assert_eq!(first.head.header("idempotent-replayed"), None);
    assert_eq!(first.head.header("set-cookie"), Some("a=b"));
    // Bare or quoted, it is the same key, and the same answer.
    for key in ["k-1", "\"k-1\""] {
        let replay = pay(&daemon, key).await;
        assert_eq!(essence(&replay), essence(first));
        assert_eq!(replay.head.header("idempotent-replayed"), Some("true"));
        assert_eq!(replay.head.header("set-cookie"), None);
    }
    assert_eq!(service.count(), 1);
    let call = &service.calls()[0];
    assert_eq!((call.method.as_str(), call.target.as_str()), ("POST", "/payments"));
    assert_eq!(call.header("idempotency-key"), "\"k-1\"");
    assert_eq!(call.header("authorization"), "Bearer alice");
    assert_eq!(call.header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(call.header("x-forwarded-host"), "hooks.example.com");
    assert_eq!(call.body, br#"{"amount":100}"#);
});

both_databases!(a_key_is_one_principals_and_stands_for_one_request, |db| async move {
    let service = Endpoint::start().await;
    service.answer_otherwise(Answer::status(201).body("done"));
    let daemon = gateway(&db, &service, "").await;
    assert_eq!(pay(&daemon, "k").await.status, 201);
    let bob = payment("k").without("authorization").header("authorization", "Bearer bob");
    assert_eq!(bob.send(daemon.public()).await.head.header("idempotent-replayed"), None);
    assert_eq!(service.count(), 2, "another principal is independent");
    for other in [
        RawRequest::post("/payments/2", br#"{"amount":100}"#),
        RawRequest::post("/payments?x=1", br#"{"amount":100}"#),
        RawRequest::post("/payments", br#"{"amount":101}"#),
    ] {
        let other = other.header("authorization", "Bearer alice").header("idempotency-key", "k");
        let answer = other.send(daemon.public()).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, "idempotency_key_reused"));
    }
    assert_eq!(service.count(), 2);
    let leaked = db.number("SELECT count(*) FROM idempotency_key WHERE scope LIKE '%alice%'").await;
    assert_eq!(leaked, 0, "a principal is hashed");
});

both_databases!(a_request_without_a_usable_key_makes_no_record, |db| async move {
    let service = Endpoint::start().await;
    let daemon = gateway(&db, &service, "max_body = \"1 KiB\"").await;
    let plain = || payment("k").without("idempotency-key");
    let long = "k".repeat(256);
    for (request, status, code) in [
        (plain(), 400, "idempotency_key_missing"),
        (plain().header("idempotency-key", ""), 400, "idempotency_key_invalid"),
        (payment("k").header("idempotency-key", "k"), 400, "idempotency_key_invalid"),
        (payment(&long), 400, "idempotency_key_invalid"),
        (payment("a,b"), 400, "idempotency_key_invalid"),
        (payment("k").without("authorization"), 400, "idempotency_scope_missing"),
        (payment("k").header("authorization", "Bearer bob"), 400, "idempotency_scope_missing"),
        (
            RawRequest::post("/payments", vec![b'x'; 2000])
                .header("authorization", "x")
                .header("idempotency-key", "k"),
            413,
            "body_too_large",
        ),
        (RawRequest::post("/payments/../admin", "{}"), 400, "path_ambiguous"),
        (RawRequest::post("/payments/%2e%2e/admin", "{}"), 400, "path_ambiguous"),
    ] {
        let answer = request.send(daemon.public()).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{request:?}");
    }
    assert_eq!(service.count(), 0);
    assert_eq!(db.number("SELECT count(*) FROM idempotency_key").await, 0);
    assert_eq!(payment(&long[1..]).send(daemon.public()).await.status, 200);
});

both_databases!(what_an_outcome_does_to_the_key, |db| async move {
    let service = Endpoint::start().await;
    let keep = gateway(&db, &service, "").await;
    // 429 is released: the next one runs, and a 402 of it is kept.
    service.answer_next([429, 503, 402].map(Answer::status));
    for want in [429, 503, 402, 402] {
        assert_eq!(pay(&keep, "released").await.status, want);
    }
    assert_eq!(service.count(), 3);
    // keep: a 500 that came is the answer.
    service.answer_next([Answer::status(500).body("boom")]);
    for _ in 0..2 {
        let answer = pay(&keep, "kept").await;
        assert_eq!((answer.status, &answer.body[..]), (500, &b"boom"[..]));
    }
    assert_eq!(service.count(), 4);
});

both_databases!(a_500_is_uncertain_or_run_again_when_so_configured, |db| async move {
    let service = Endpoint::start().await;
    for (on_unknown, then, calls) in [("conflict", 409, 1), ("rerun", 200, 3)] {
        let mut daemon = gateway(&db, &service, &format!("on_unknown = \"{on_unknown}\"")).await;
        service.answer_next([Answer::status(500)]);
        assert_eq!(pay(&daemon, on_unknown).await.status, 500);
        let answer = pay(&daemon, on_unknown).await;
        assert_eq!(answer.status, then);
        if then == 409 {
            assert_eq!(answer.code(), "idempotency_outcome_uncertain");
        }
        assert_eq!(service.count(), calls);
        daemon.stop().await;
    }
});

both_databases!(a_service_that_is_not_there_or_too_slow, |db| async move {
    let service = Endpoint::start().await;
    let daemon = gateway(&db, &service, "timeout = \"3s\"").await;
    service.answer_next([Answer::ok().held()]);
    let answer = pay(&daemon, "slow").await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"));
    let retry = pay(&daemon, "slow").await;
    assert_eq!((retry.status, retry.code().as_str()), (409, "idempotency_outcome_uncertain"));
    drop(service);
    for _ in 0..2 {
        let answer = pay(&daemon, "refused").await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "upstream_unreachable"));
        assert!(answer.head.header("retry-after").is_some());
    }
    let failed = "SELECT count(*) FROM idempotency_key WHERE status = 'failed' AND attempts = 2";
    assert_eq!(db.number(failed).await, 1, "nothing was sent, so it may run again");
});

both_databases!(a_client_that_hangs_up_ends_no_run, |db| async move {
    let service = Endpoint::start().await;
    service.answer_next([Answer::status(201).body("paid").held()]);
    let daemon = gateway(&db, &service, "").await;
    let hasty = tokio::time::timeout(Duration::from_secs(600), pay(&daemon, "k"));
    tokio::select! {
        answer = hasty => panic!("it is held: {answer:?}"),
        // Dropping the other branch closes its connection.
        _ = service.wait_for_calls(1, PATIENCE) => {}
    }
    service.release(1);
    eventually(PATIENCE, "the answer to be kept", || async {
        let done = "SELECT count(*) FROM idempotency_key WHERE status = 'completed'";
        (db.number(done).await == 1).then_some(())
    })
    .await;
    let replay = pay(&daemon, "k").await;
    assert_eq!((replay.status, &replay.body[..]), (201, &b"paid"[..]));
    assert_eq!(service.count(), 1);
});

both_databases!(an_answer_over_the_cap_is_given_once_and_never_run_again, |db| async move {
    let service = Endpoint::start().await;
    let large = "0123456789abcdef".repeat(8192);
    service.answer_otherwise(Answer::ok().body(&large));
    let daemon = gateway(&db, &service, "max_answer = \"64 KiB\"").await;
    let first = pay(&daemon, "k").await;
    assert_eq!(first.body, large.as_bytes());
    let retry = pay(&daemon, "k").await;
    assert_eq!((retry.status, retry.code().as_str()), (409, "result_not_stored"));
    assert_eq!(service.count(), 1);
    let notes = db.texts("SELECT failure FROM idempotency_key").await;
    assert!(notes[0].starts_with("the answer of 131072 bytes was not kept, sha256 "), "{notes:?}");
});

both_databases!(a_key_that_expired_runs_again_with_the_cleaner_stopped, |db| async move {
    let service = Endpoint::start().await;
    let daemon = gateway(&db, &service, "").await;
    assert_eq!(pay(&daemon, "k").await.status, 200);
    let past = match db.kind() {
        Kind::Postgres => "clock_timestamp() - interval '1 second'",
        Kind::Sqlite => "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 seconds')",
    };
    db.run(&format!("UPDATE idempotency_key SET expires_at = {past}")).await;
    let again = within(PATIENCE, "a run", pay(&daemon, "k")).await;
    assert_eq!(again.head.header("idempotent-replayed"), None);
    assert_eq!(service.count(), 2);
});
