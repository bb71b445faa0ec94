//! `hookonce record` and `hookonce send FILE|DIR`: a real event becomes a fixture that is accepted again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{PATIENCE, stripe};
use crate::both_databases;
use crate::support::daemon::wait_until_settled;
use crate::support::{Answer, Daemon, DaemonPlan, Endpoint, TestDatabase};

/// What nobody may find in a fixture.
const PRIVATE: [&str; 7] = [
    "ada@lovelace.org",
    "Ada Byron",
    "+44 20 7946 0958",
    "4242",
    "12 St James Square",
    "sk_live_51H8xEFGH",
    "203.0.113.77",
];

/// A daemon to which an event with people in it came.
async fn with_a_person(db: &TestDatabase) -> Daemon {
    let daemon = DaemonPlan::on(db)
        .source(&stripe())
        .toml("[handlers.audit]\nfrom = \"stripe\"\nlog = {}")
        .start()
        .await;
    let event = json!({ "provider": "stripe", "body_json": {
        "id": "evt_person", "type": "charge.succeeded", "created": 1_767_225_600, "data": { "object": {
            "amount": 2500, "receipt_email": "ada@lovelace.org", "description": "for Ada Byron",
            "billing_details": { "name": "Ada Byron", "email": "ada@lovelace.org",
                "phone": "+44 20 7946 0958", "address": { "line1": "12 St James Square", "state": null } },
            "payment_method_details": { "card": { "last4": "4242", "exp_month": 12, "checked": true } },
            "metadata": { "debug": "sk_live_51H8xEFGH", "peer": "203.0.113.77" },
        } } } });
    std::fs::write(daemon.dir().join("person.json"), event.to_string()).unwrap();
    daemon.run(&["send", "person.json", "--id", "evt_person", "--wait", "60s"]).await.code(0);
    daemon
}

both_databases!(
    an_event_becomes_a_fixture_without_people_that_is_accepted_again,
    |db| async move {
        let mut daemon = with_a_person(&db).await;
        let url = daemon.admin_url();
        let remote = ["record", "evt_person", "-o", "remote.json", "--url", &url];
        let said = daemon.run(&remote).await;
        said.code(0).says("/data/object/billing_details/email").says("stripe-signature");
        let text = std::fs::read_to_string(daemon.dir().join("remote.json")).unwrap();
        for private in PRIVATE {
            assert!(!text.contains(private), "{private} is in {text}");
            assert!(!said.err.contains(private), "{private} is in {}", said.err);
        }
        let fixture: Value = serde_json::from_str(&text).unwrap();
        let object = &fixture["body_json"]["data"]["object"];
        assert_eq!(fixture["id"], "evt_person");
        assert_eq!(fixture["body_json"]["id"], "evt_person");
        assert_eq!((&object["amount"], &fixture["source"]), (&json!(2500), &json!("stripe")));
        assert_eq!(object["receipt_email"], object["billing_details"]["email"]);
        assert!(object["receipt_email"].as_str().unwrap().ends_with("@example.com"));
        assert!(fixture["headers"].get("stripe-signature").is_none(), "{text}");

        // Nothing is written over by accident, and the file's form is no form of printing.
        daemon.run(&remote).await.code(1).says("--yes");
        daemon.run(&[&remote[..], &["--yes"]].concat()).await.code(0);
        daemon.run(&["event", "list", "-o", "remote.json"]).await.code(2).says("jsonl");
        daemon.run(&["record", "evt_nobody"]).await.code(4);
        daemon
            .run(&["record", "evt_person", "--redact", "/no/such"])
            .await
            .code(1)
            .says("/no/such");
        let said = daemon.run(&["record", "evt_person", "--redact", "data.object.amount=7"]).await;
        let changed: Value = serde_json::from_slice(&said.code(0).out).unwrap();
        assert_eq!(changed["body_json"]["data"]["object"]["amount"], 7);

        // Signed anew under another id it is an event like any other, and then a copy; under its own id it
        // is known.
        for (id, code) in [("evt_again", "accepted"), ("evt_again", "duplicate")] {
            let lines =
                daemon.run(&["send", "remote.json", "--id", id, "-o", "jsonl"]).await.lines();
            assert_eq!((&lines[0]["status"], &lines[0]["code"]), (&json!(200), &json!(code)));
        }
        let lines = daemon.run(&["send", "remote.json", "-o", "jsonl"]).await.lines();
        assert_eq!(lines[0]["event_id"], "evt_person");
        let lines =
            daemon.run(&["send", "remote.json", "--fresh-ids", "-o", "jsonl"]).await.lines();
        assert_eq!(lines[0]["code"], "accepted");
        assert_ne!(lines[0]["event_id"], "evt_person");
        wait_until_settled(&db, PATIENCE).await;

        // The database gives the same, and says what retention took.
        assert!(daemon.stop().await.success());
        let said = daemon.run(&["record", "evt_person"]).await;
        assert_eq!(said.code(0).text(), text);
        db.run("DELETE FROM event_body").await;
        daemon.run(&["record", "evt_person"]).await.code(4).says("retention");
    }
);

both_databases!(bodies_of_all_kinds_are_recorded_byte_for_byte, |db| async move {
    let source = r#"[sources.any]
verify = { hmac = "sha256", signature = { from = "header:x-signature", encoding = "hex" }, content = "{body}" }
event = { id = "header:x-event-id", type = "header:x-event-type" }
secrets = [{ value = "0a9f3c2e17b6d4058913fd2c7e6a1b04" }]
"#;
    let daemon = DaemonPlan::on(&db).toml(source).start().await;
    let bodies: [(&str, &[u8]); 7] = [
        (
            "application/json",
            b" { \"a\" :1.50,\r\n\t\"big\": 123456789012345678901234567890.10 }\n",
        ),
        ("application/json", b"{\n  \"a\": [\n    1,\n    {}\n  ]\n}"),
        ("application/json", b"{\"s\":\"\\u00e9 \\/\",\"a\":1e400}"),
        ("application/x-ndjson", b"{\"a\":1}\n{\"a\":2}\n"),
        ("application/x-www-form-urlencoded", b"a=%20+b&c&d=%7b"),
        ("text/xml", "<?xml version=\"1.0\"?>\n<a b='c'>é</a>".as_bytes()),
        ("application/octet-stream", b"\x00\xff\xfe raw"),
    ];
    for (n, (kind, body)) in bodies.into_iter().enumerate() {
        let id = format!("any_{n}");
        let original = json!({ "type": "t", "headers": { "content-type": kind, "x-event-type": "t" },
            "body_base64": STANDARD.encode(body) });
        std::fs::write(daemon.dir().join("original.json"), original.to_string()).unwrap();
        let send = ["send", "original.json", "--source", "any", "--id", &id, "-o", "jsonl"];
        assert_eq!(daemon.run(&send).await.lines()[0]["code"], "accepted", "{kind}");
        let file = format!("{id}.json");
        daemon.run(&["record", &id, "--no-redact", "-o", &file]).await.code(0).says("warning");
        let lines = daemon.run(&["send", &file, "-o", "jsonl"]).await.lines();
        assert_eq!((&lines[0]["code"], &lines[0]["event_id"]), (&json!("duplicate"), &json!(id)));
    }
    // Other bytes under a known id would be a conflict.
    assert_eq!(db.number("SELECT count(*) FROM event_conflict").await, 0);
    assert_eq!(db.number("SELECT count(*) FROM event").await, 7);
    for (id, code) in [("any_3", 0), ("any_4", 0), ("any_5", 1), ("any_6", 1)] {
        let said = daemon.run(&["record", id]).await;
        said.code(code);
        assert_eq!(said.err.contains("--no-redact"), code == 1, "{}", said.err);
    }
});

both_databases!(
    a_folder_is_sent_in_order_and_the_wait_tells_dead_late_and_unwanted,
    |db| async move {
        let endpoint = Endpoint::start().await;
        let daemon = DaemonPlan::on(&db)
            .source(&stripe())
            .calls(
                "billing",
                "stripe",
                &endpoint.url("/"),
                "events = \"invoice.*\"\nretry = { attempts = 3, backoff = [\"1h\"] }",
            )
            .start()
            .await;
        std::fs::create_dir(daemon.dir().join("mine")).unwrap();
        for (file, id, kind) in [
            ("2.json", "evt_b", "invoice.paid"),
            ("1.json", "evt_a", "invoice.sent"),
            ("3.json", "evt_c", "x"),
        ] {
            let fixture = json!({ "fixture": 1, "provider": "stripe", "source": "stripe", "id": id,
            "body_json": { "id": id, "type": kind } });
            std::fs::write(daemon.dir().join("mine").join(file), fixture.to_string()).unwrap();
        }
        let send = ["send", "mine", "--wait", "60s", "-o", "jsonl"];
        let said = daemon.run(&send).await;
        let ids: Vec<Value> = said.lines().iter().map(|line| line["event_id"].clone()).collect();
        assert_eq!(ids, ["evt_a", "evt_b", "evt_c"]);
        said.says("no handler takes event").says("delivered 2");
        assert_eq!(endpoint.count(), 2);

        endpoint.answer_otherwise(Answer::status(500));
        let late = ["send", "mine/1.json", "--fresh-ids", "--wait", "200ms"];
        daemon.run(&late).await.code(1).says("not delivered within 200ms");
        endpoint.answer_otherwise(Answer::status(400));
        let dead = ["send", "mine/1.json", "--fresh-ids", "--wait", "60s"];
        daemon.run(&dead).await.code(1).says("billing is dead");
    }
);
