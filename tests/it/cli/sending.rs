//! `hookonce send`: a provider at one's desk.

use serde_json::json;

use super::{PATIENCE, with_three_events};
use crate::both_databases;
use crate::support::daemon::wait_until_settled;
use crate::support::sender::PROVIDERS;
use crate::support::{Answer, DaemonPlan, Endpoint, Signer};

both_databases!(sent_twice_is_accepted_and_then_a_duplicate, |db| async move {
    let daemon = with_three_events(&db).await;
    let lines =
        daemon.run(&["send", "stripe", "invoice.paid", "--twice", "-o", "jsonl"]).await.lines();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["status"], &lines[0]["code"]), (&json!(200), &json!("accepted")));
    assert_eq!((&lines[1]["status"], &lines[1]["code"]), (&json!(200), &json!("duplicate")));
    assert_eq!(lines[0]["event"], lines[1]["event"]);
    assert_eq!(lines[0]["event_id"], lines[1]["event_id"]);
    assert!(lines[0]["ms"].is_number(), "{lines:?}");
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(db.number("SELECT count(*) FROM event").await, 4);
    // People read words.
    let text = daemon.run(&["send", "stripe", "invoice.paid", "--twice"]).await;
    assert!(
        text.code(0).text().contains("accepted") && text.text().contains("duplicate"),
        "{}",
        text.text()
    );
});

both_databases!(spoiled_requests_are_refused_and_say_so_by_the_exit_code, |db| async move {
    let daemon = with_three_events(&db).await;
    for (flag, status, code) in [
        ("--bad-signature", 401, "signature_mismatch"),
        ("--stale", 401, "timestamp_stale"),
        ("--truncate", 401, "signature_mismatch"),
    ] {
        let said = daemon.run(&["send", "stripe", "invoice.paid", flag, "-o", "jsonl"]).await;
        said.code(1);
        let line: serde_json::Value = serde_json::from_str(said.text().trim()).unwrap();
        assert_eq!((&line["status"], &line["code"]), (&json!(status), &json!(code)), "{flag}");
    }
    assert_eq!(db.number("SELECT count(*) FROM event").await, 3);
});

both_databases!(every_provider_can_be_played_and_what_it_sends_can_be_set, |db| async move {
    let mut plan = DaemonPlan::on(&db);
    for provider in PROVIDERS {
        plan = plan.source(&Signer::of(provider));
    }
    let daemon = plan.start().await;
    for provider in PROVIDERS {
        // Slack's acks say nothing, because it would show a body to people.
        let code = if provider == "slack" { "ok" } else { "accepted" };
        let lines =
            daemon.run(&["send", provider, "--id", "chosen-1", "-o", "jsonl"]).await.lines();
        assert_eq!(lines[0]["code"], code, "{provider}: {lines:?}");
        let lines = daemon
            .run(&["send", provider, "--count", "3", "--concurrent", "2", "-o", "jsonl"])
            .await
            .lines();
        assert_eq!(lines.len(), 3, "{provider}");
        assert!(lines.iter().all(|line| line["code"] == code), "{provider}: {lines:?}");
    }
    assert_eq!(db.number("SELECT count(*) FROM event").await, 4 * PROVIDERS.len() as i64);

    let set = [
        "send",
        "stripe",
        "invoice.paid",
        "--set",
        "data.object.amount_paid=777",
        "--id",
        "evt_set",
    ];
    daemon.run(&set).await.code(0);
    let body = daemon.run(&["event", "body", "evt_set"]).await;
    assert!(body.code(0).text().contains("777"), "{}", body.text());
});

both_databases!(ones_own_fixture_is_signed_sent_and_waited_for, |db| async move {
    let endpoint = Endpoint::start().await;
    let plan = DaemonPlan::on(&db).source(&Signer::of("stripe")).calls(
        "billing",
        "stripe",
        &endpoint.url("/"),
        "retry = { attempts = 2, backoff = [\"10ms\"] }",
    );
    let daemon = plan.start().await;
    let fixture = json!({
        "provider": "stripe", "type": "invoice.paid",
        "body_json": { "id": "evt_mine", "object": "event", "type": "invoice.paid", "data": { "object": {} } }
    });
    std::fs::create_dir(daemon.dir().join("mine")).unwrap();
    std::fs::write(daemon.dir().join("mine/invoice-paid.json"), fixture.to_string()).unwrap();
    let one =
        ["send", "mine/invoice-paid.json", "--source", "stripe", "--wait", "30s", "-o", "jsonl"];
    let lines = daemon.run(&one).await.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(endpoint.count(), 1, "it returned when the handler was done");
    daemon.run(&["send", "mine", "--source", "stripe", "--wait", "30s"]).await.code(0);

    endpoint.answer_otherwise(Answer::status(500));
    daemon.run(&["send", "mine", "--source", "stripe", "--wait", "30s"]).await.code(1);
});

both_databases!(a_daemon_that_is_not_there_is_exit_3, |db| async move {
    let daemon = DaemonPlan::on(&db).source(&Signer::of("stripe")).place();
    daemon.run(&["send", "stripe", "invoice.paid"]).await.code(3);
    daemon.run(&["send", "nobody"]).await.code(2);
});
