//! Deliveries without a fault of ours: once each, retried on schedule, dead when given up.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;

use super::{PATIENCE, STRIPE, billing, stripe};
use crate::both_databases;
use crate::support::daemon::wait_until_settled;
use crate::support::{Answer, DaemonPlan, Endpoint, Signer, eventually};

both_databases!(a_restart_between_two_copies_of_an_event_runs_it_once, |db| async move {
    let endpoint = Endpoint::start().await;
    let mut daemon = billing(&db, &endpoint, "").start().await;
    let event = stripe().event("evt_1", "invoice.paid");
    let first = daemon.sender().send(STRIPE, &event).await;
    first.assert_accepted();
    endpoint.wait_for_calls(1, PATIENCE).await;
    assert!(daemon.stop().await.success());
    daemon.start().await;
    let second = daemon.sender().send(STRIPE, &event).await;
    assert_eq!(second.assert_duplicate().event(), first.event());
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(db.number("SELECT count(*) FROM event").await, 1);
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE state = 'delivered'").await, 1);
    assert_eq!(endpoint.count(), 1);
});

both_databases!(sixty_four_copies_at_once_are_one_row_and_one_call, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = billing(&db, &endpoint, "").start().await;
    let event = stripe().event("evt_1", "invoice.paid");
    let senders: Vec<_> = (0..64).map(|_| daemon.sender()).collect();
    let answers = join_all(senders.iter().map(|sender| sender.send(STRIPE, &event))).await;
    let accepted = answers.iter().filter(|answer| answer.code() == "accepted").count();
    let duplicates = answers.iter().filter(|answer| answer.code() == "duplicate").count();
    assert_eq!((accepted, duplicates), (1, 63));
    let named: BTreeSet<String> = answers.iter().map(crate::support::sender::Sent::event).collect();
    assert_eq!(named.len(), 1, "every answer names the same event");
    endpoint.wait_for_calls(1, PATIENCE).await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(endpoint.count(), 1);
    assert_eq!(db.number("SELECT count(*) FROM event").await, 1);
    assert_eq!(db.number("SELECT duplicates FROM event").await, 63);
});

both_databases!(
    a_handler_that_fails_twice_is_called_a_third_time_under_the_same_id,
    |db| async move {
        let endpoint = Endpoint::start().await;
        endpoint.answer_next([
            Answer::status(500).body("on fire"),
            Answer::status(302).header("location", "/x"),
        ]);
        let retry = "retry = { attempts = 5, backoff = [\"50ms\", \"100ms\"] }";
        let daemon = billing(&db, &endpoint, retry).start().await;
        daemon
            .sender()
            .send(STRIPE, &stripe().event("evt_1", "invoice.paid"))
            .await
            .assert_accepted();
        let calls = endpoint.wait_for_calls(3, PATIENCE).await;
        wait_until_settled(&db, PATIENCE).await;
        assert_eq!(endpoint.count(), 3);
        let ids: BTreeSet<&str> = calls.iter().map(|call| call.webhook_id()).collect();
        assert_eq!(ids.len(), 1, "one delivery has one id: {ids:?}");
        let tries: Vec<&str> = calls.iter().map(|call| call.header("hookonce-attempt")).collect();
        assert_eq!(tries, ["1", "2", "3"]);
        let outcomes = "SELECT outcome || ' ' || status FROM attempt ORDER BY n";
        assert_eq!(db.texts(outcomes).await, ["retry 500", "retry 302", "delivered 200"]);
        assert_eq!(
            db.bytes("SELECT response FROM attempt WHERE n = 1").await,
            [b"on fire".to_vec()]
        );
    }
);

both_databases!(deliveries_of_one_lane_are_called_one_by_one_in_their_order, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_next([Answer::status(500), Answer::status(200), Answer::status(500)]);
    // Nothing stands there, so all are in one lane.
    let lines = "lane = \"body:/no/such/place\"\nretry = { attempts = 5, backoff = [\"50ms\"] }";
    let daemon = billing(&db, &endpoint, lines).start().await;
    for at in 1..=5 {
        let event = stripe().event(&format!("evt_{at}"), "invoice.paid");
        daemon.sender().send(STRIPE, &event).await.assert_accepted();
    }
    let calls = endpoint.wait_for_calls(7, PATIENCE).await;
    let called: Vec<&str> = calls.iter().map(|call| call.header("hookonce-event-id")).collect();
    assert_eq!(called, ["evt_1", "evt_1", "evt_2", "evt_2", "evt_3", "evt_4", "evt_5"]);
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(endpoint.count(), 7);
});

both_databases!(who_waits_in_a_lane_is_seen, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_otherwise(Answer::ok().held());
    let lines = "lane = \"body:/data/object/id\"\ntimeout = \"50s\"";
    let daemon = billing(&db, &endpoint, lines).start().await;
    for id in ["evt_1", "evt_2"] {
        daemon.sender().send(STRIPE, &stripe().event(id, "x")).await.assert_accepted();
    }
    endpoint.wait_for_calls(1, PATIENCE).await;
    let list = daemon.run(&["delivery", "list", "-o", "json"]).await.json();
    let items = list["items"].as_array().unwrap();
    let seen: Vec<_> =
        items.iter().map(|it| (&it["event_id"], &it["lane"], &it["waits"])).collect();
    let row = |id: &'static str, waits: bool| (json!(id), json!("in_1"), json!(waits));
    let (first, second) = (row("evt_1", false), row("evt_2", true));
    assert_eq!(seen, [(&second.0, &second.1, &second.2), (&first.0, &first.1, &first.2)]);
    let id = items[0]["id"].as_str().unwrap();
    let shown = daemon.run(&["delivery", "show", id]).await;
    assert!(
        shown.text().contains("lane \"in_1\", waits for the one before it"),
        "{}",
        shown.text()
    );
    endpoint.release(2);
    wait_until_settled(&db, PATIENCE).await;
});

both_databases!(a_source_that_floods_a_handler_keeps_no_other_waiting, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_otherwise(Answer::ok().held());
    let table = format!(
        "[handlers.audit]\nfrom = [\"stripe\", \"github\"]\nconcurrency = 2\ntimeout = \"50s\"\nhttp = {{ url = {:?} }}\n",
        endpoint.url("/")
    );
    let github = Signer::of("github");
    let daemon = DaemonPlan::on(&db).source(&stripe()).source(&github).toml(&table).start().await;
    for at in 0..40 {
        let event = stripe().event(&format!("evt_{at}"), "invoice.paid");
        daemon.sender().send(STRIPE, &event).await.assert_accepted();
    }
    endpoint.wait_for_calls(2, PATIENCE).await;
    daemon.sender().send("/in/github", &github.event("gh_1", "push")).await.assert_accepted();
    endpoint.release(41);
    wait_until_settled(&db, PATIENCE).await;
    let calls = endpoint.calls();
    let at = calls.iter().position(|call| call.header("hookonce-source") == "github");
    // By its turn it is among the next; that chance passes it over until nothing else is left is one in 2^38.
    assert!(at.is_some_and(|at| at < 40), "called as number {at:?} of {}", calls.len());
});

both_databases!(a_handler_that_asks_for_time_gets_it, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_next([Answer::status(503).header("retry-after", "2")]);
    let daemon =
        billing(&db, &endpoint, "retry = { attempts = 3, backoff = [\"10ms\"] }").start().await;
    daemon.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    let calls = endpoint.wait_for_calls(2, PATIENCE).await;
    let between = calls[1].at - calls[0].at;
    assert!(between >= Duration::from_millis(1900), "called again after {between:?}");
});

both_databases!(what_a_handler_receives_is_what_the_contract_says, |db| async move {
    let endpoint = Endpoint::start().await;
    let sign = "http = { url = \"URL\", headers = { x-team = { value = \"billing-team\" } }, sign = { value = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\" } }";
    let table = format!(
        "[handlers.billing]\nfrom = \"stripe\"\n{}\n",
        sign.replace("URL", &endpoint.url("/hook?tenant=7"))
    );
    let daemon = DaemonPlan::on(&db).source(&stripe()).toml(&table).start().await;
    let event = stripe().event("evt_1", "invoice.paid");
    let sent = daemon.sender().send(STRIPE, &event).await;
    let call = endpoint.wait_for_calls(1, PATIENCE).await.remove(0);
    assert_eq!((call.method.as_str(), call.target.as_str()), ("POST", "/hook?tenant=7"));
    assert_eq!(call.body, event.body);
    for (name, value) in [
        ("content-type", "application/json"),
        ("hookonce-source", "stripe"),
        ("hookonce-event", &sent.event()),
        ("hookonce-event-id", "evt_1"),
        ("hookonce-event-type", "invoice.paid"),
        ("hookonce-attempt", "1"),
        ("idempotency-key", call.webhook_id()),
        ("x-team", "billing-team"),
    ] {
        assert_eq!(call.header(name), value, "{name}");
    }
    assert!(!call.header("traceparent").is_empty());
    let delivery = db.texts(match db.kind() {
        crate::support::Kind::Postgres => "SELECT id::text FROM delivery",
        crate::support::Kind::Sqlite => "SELECT lower(hex(id)) FROM delivery",
    });
    assert_eq!(delivery.await[0].replace('-', ""), call.webhook_id().replace('-', ""));
    // Signed by Standard Webhooks, judged by its reference library.
    let mut headers = reqwest::header::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, call.header(name).parse().unwrap());
    }
    let judge = standardwebhooks::Webhook::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    judge.verify(&call.body, &headers).unwrap();
});

both_databases!(each_handler_gets_the_types_that_it_asked_for_once, |db| async move {
    let (invoices, all) = (Endpoint::start().await, Endpoint::start().await);
    let daemon = DaemonPlan::on(&db)
        .source(&stripe())
        .calls("invoices", "stripe", &invoices.url("/"), "events = [\"invoice.*\"]")
        .calls("all", "stripe", &all.url("/"), "")
        .start()
        .await;
    let sender = daemon.sender();
    let sends = (0..60).map(|n| {
        let kind = ["invoice.paid", "charge.succeeded", "invoice.voided"][n % 3];
        let event = stripe().event(&format!("evt_{n}"), kind);
        let sender = &sender;
        async move { sender.send(STRIPE, &event).await.assert_accepted().event() }
    });
    let sent: BTreeSet<String> = join_all(sends).await.into_iter().collect();
    all.wait_for_calls(60, PATIENCE).await;
    invoices.wait_for_calls(40, PATIENCE).await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!((all.count(), invoices.count()), (60, 40));
    let called: BTreeSet<String> =
        all.calls().iter().map(|call| call.header("hookonce-event").to_owned()).collect();
    assert_eq!(called, sent);
    assert!(
        invoices
            .calls()
            .iter()
            .all(|call| call.header("hookonce-event-type").starts_with("invoice."))
    );
    let ids: BTreeSet<String> = all
        .calls()
        .iter()
        .chain(&invoices.calls())
        .map(|call| call.webhook_id().to_owned())
        .collect();
    assert_eq!(ids.len(), 100, "each delivery has an id of its own");
});

both_databases!(a_slow_handler_keeps_its_lease_and_is_called_once, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_next([Answer::ok().held()]);
    // Renewed when a third of it is over, so that a machine may stall for the rest.
    let lines = "lease = \"15s\"\ntimeout = \"120s\"";
    let daemon = billing(&db, &endpoint, lines).start().await;
    daemon.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    endpoint.wait_for_calls(1, PATIENCE).await;
    let lease = "SELECT CAST(lease_until AS text) FROM delivery";
    let mut before = db.texts(lease).await;
    for _ in 0..2 {
        before = eventually(PATIENCE, "the lease to be renewed", || async {
            Some(db.texts(lease).await).filter(|now| *now != before)
        })
        .await;
    }
    endpoint.release(1);
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(endpoint.count(), 1);
    assert_eq!(db.texts("SELECT outcome FROM attempt").await, ["delivered"]);
});

both_databases!(a_handler_beyond_its_deadline_is_cut_off_and_tried_again, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_next([Answer::ok().held()]);
    // Long enough for a good answer on a busy machine; should one be late all the same, there is another try.
    let lines = "timeout = \"5s\"\nretry = { for = \"1h\", backoff = [\"10ms\"] }";
    let daemon = billing(&db, &endpoint, lines).start().await;
    daemon.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    endpoint.wait_for_calls(2, PATIENCE).await;
    wait_until_settled(&db, PATIENCE).await;
    let outcomes = db.texts("SELECT outcome FROM attempt ORDER BY n").await;
    let (last, cut_off) = outcomes.split_last().unwrap();
    assert!(!cut_off.is_empty() && cut_off.iter().all(|it| it == "timeout"), "{outcomes:?}");
    assert_eq!(last, "delivered", "{outcomes:?}");
});

both_databases!(
    a_handler_that_never_succeeds_ends_dead_and_is_delivered_on_retry_under_its_id,
    |db| async move {
        let endpoint = Endpoint::start().await;
        endpoint.answer_otherwise(Answer::status(500));
        let retry = "retry = { attempts = 2, backoff = [\"10ms\"] }";
        let daemon = billing(&db, &endpoint, retry).start().await;
        daemon.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
        wait_for_state(&db, "dead").await;
        assert_eq!(endpoint.count(), 2);
        assert_eq!(
            db.number("SELECT count(*) FROM delivery WHERE state = 'dead' AND cause LIKE '%500%'")
                .await,
            1
        );

        endpoint.answer_otherwise(Answer::ok());
        let retried = daemon.command(&["dead", "retry", "--all", "--yes"]).output().await.unwrap();
        assert!(retried.status.success(), "{}", String::from_utf8_lossy(&retried.stderr));
        let calls = endpoint.wait_for_calls(3, PATIENCE).await;
        wait_until_settled(&db, PATIENCE).await;
        assert_eq!(db.texts("SELECT state FROM delivery").await, ["delivered"]);
        let ids: BTreeSet<&str> = calls.iter().map(|call| call.webhook_id()).collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert_eq!(calls[2].header("hookonce-attempt"), "3");
    }
);

both_databases!(a_refusal_of_the_handler_is_dead_at_once, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_otherwise(Answer::status(422).body("no such customer"));
    let daemon = billing(&db, &endpoint, "").start().await;
    daemon.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    wait_for_state(&db, "dead").await;
    assert_eq!(endpoint.count(), 1);
    assert_eq!(db.texts("SELECT outcome FROM attempt").await, ["reject"]);
});

both_databases!(a_program_gets_the_body_and_its_exit_code_decides, |db| async move {
    let place = tempfile::tempdir().unwrap();
    let (seen, program) = (place.path().join("seen"), place.path().join("handler"));
    // The first call fails; the second writes down what it got.
    let script = "#!/bin/sh\nif [ \"$HOOKONCE_ATTEMPT\" = 1 ]; then cat >/dev/null; exit 75; fi\n\
                  { cat; echo; echo \"$HOOKONCE_EVENT_ID $HOOKONCE_SOURCE $HOOKONCE_EVENT_TYPE\"; } > SEEN\n"
        .replace("SEEN", &seen.display().to_string());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let table = format!(
        "[handlers.thumb]\nfrom = \"stripe\"\nexec = {{ command = [{:?}] }}\nretry = {{ attempts = 3, backoff = [\"10ms\"] }}\n",
        program.display().to_string()
    );
    let daemon = DaemonPlan::on(&db).source(&stripe()).toml(&table).start().await;
    let event = stripe().event("evt_1", "invoice.paid");
    daemon.sender().send(STRIPE, &event).await.assert_accepted();
    wait_for_state(&db, "delivered").await;
    let text = std::fs::read_to_string(&seen).unwrap();
    let (body, facts) = text.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(body.as_bytes(), event.body);
    assert_eq!(facts, "evt_1 stripe invoice.paid");
    let outcomes = "SELECT outcome || ' ' || status FROM attempt ORDER BY n";
    assert_eq!(db.texts(outcomes).await, ["retry 75", "delivered 0"]);
});

async fn wait_for_state(db: &crate::support::TestDatabase, state: &str) {
    let query = format!("SELECT count(*) FROM delivery WHERE state = '{state}'");
    eventually(PATIENCE, state, || async { (db.number(&query).await == 1).then_some(()) }).await;
}
