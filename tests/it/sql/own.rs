//! Statements in our own database.

use serde_json::json;

use super::{account, ledger, slow, states};
use crate::both_databases;
use crate::daemon::{PATIENCE, STRIPE, stripe};
use crate::support::daemon::wait_until_settled;
use crate::support::{Kind, Sender, TestApp, TestDatabase};

/// Sends a body under an id.
async fn send(sender: &Sender, id: &str, data: serde_json::Value) {
    let mut body = stripe().body(id, "charge.succeeded");
    body["data"]["object"] = data;
    let signed = stripe().sign(id, "charge.succeeded", body.to_string());
    sender.send(STRIPE, &signed).await.assert_accepted();
}

both_databases!(values_become_what_their_columns_are, |db| async move {
    db.run(match db.kind() {
        Kind::Postgres => {
            "CREATE TYPE mood AS ENUM ('good', 'bad');
             CREATE TABLE ledger (id text, kind varchar(40), at timestamptz, delivery uuid, amount bigint, exact numeric,
                                  ratio float8, paid boolean, items jsonb, name json, mood mood, raw bytea, day date, gone text,
                                  code char(3), codes char(3)[], bits bit(8))"
        }
        Kind::Sqlite => {
            "CREATE TABLE ledger (id text, kind text, at text, delivery text, amount integer, exact text,
                                  ratio real, paid integer, items text, name text, mood text, raw blob, day text, gone text,
                                  code text, codes text, bits text)"
        }
    })
    .await;
    let statement = "insert into ledger values (:event.id, :event.type, :event.received_at, :delivery.id,
        :body.data.object.amount, :body.data.object.exact, :body.data.object.ratio, :body.data.object.paid,
        :body.data.object.items, :body.data.object.name, :body.data.object.items.1.mood, :body, :body.data.object.day,
        :body.data.object.gone?, :body.data.object.code, :body.data.object.codes, :body.data.object.bits)";
    let app = TestApp::start(&db, &ledger(&db, &[statement], ""), |app| app).await;
    let data = json!({
        "amount": 1999, "exact": "12345678901234567890.12", "ratio": 0.5, "paid": true,
        "items": [1, {"mood": "good"}], "name": "é'; drop table ledger; --", "day": "2026-11-26",
        "code": "EUR", "codes": "{EUR,USD}", "bits": "10100101",
    });
    send(&app.sender(), "evt_1", data).await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(states(&db).await, ["delivered"]);
    let row = match db.kind() {
        Kind::Postgres => {
            "SELECT concat_ws('|', l.id, kind, at = e.received_at, l.delivery = d.id, amount, exact, ratio, paid, items->1->>'mood',
                    name #>> '{}', mood, raw = b.body, day, COALESCE(gone, 'NULL'), code, codes, bits)
               FROM ledger l, event e, event_body b, delivery d"
        }
        Kind::Sqlite => {
            "SELECT concat_ws('|', l.id, kind, CASE at = e.received_at WHEN 1 THEN 't' END, CASE length(l.delivery) WHEN 36 THEN 't' END,
                    amount, exact, ratio, CASE paid WHEN 1 THEN 't' END, items->1->>'mood', name, mood,
                    CASE CAST(raw AS blob) = b.body WHEN 1 THEN 't' END, day, COALESCE(gone, 'NULL'), code, codes, bits)
               FROM ledger l, event e, event_body b, delivery d"
        }
    };
    assert_eq!(
        db.texts(row).await,
        [
            "evt_1|charge.succeeded|t|t|1999|12345678901234567890.12|0.5|t|good|é'; drop table ledger; --|good|t|2026-11-26|NULL|EUR|{EUR,USD}|10100101"
        ]
    );
    let tries = db.texts("SELECT outcome || ' ' || CAST(n AS text) FROM attempt").await;
    assert_eq!(tries, ["delivered 1"]);
    app.finish().await;
});

both_databases!(one_failing_statement_undoes_those_before_it, |db| async move {
    account(&db).await;
    db.run("CREATE TABLE ledger (amount integer NOT NULL CHECK (amount > 0))").await;
    let statements =
        ["update acct set n = n + 1", "insert into ledger values (:body.data.object.amount)"];
    let app = TestApp::start(&db, &ledger(&db, &statements, ""), |app| app).await;
    let sender = app.sender();
    send(&sender, "evt_1", json!({"amount": 5})).await;
    send(&sender, "evt_2", json!({"amount": -5})).await;
    send(&sender, "evt_3", json!({"amount": null})).await;
    send(&sender, "evt_4", json!({})).await;
    wait_until_settled(&db, PATIENCE).await;
    let states = states(&db).await;
    assert_eq!(states[0], "delivered");
    assert!(states[1].starts_with("dead: statement 2 was refused ("), "{states:?}");
    assert!(states[2].starts_with("dead: statement 2 was refused ("), "{states:?}");
    assert!(states[3].starts_with("dead: `:body.data.object.amount` has no value"), "{states:?}");
    assert_eq!(db.number("SELECT n FROM acct").await, 1);
    assert_eq!(db.number("SELECT count(*) FROM ledger").await, 1);
    let tries = db.texts("SELECT outcome FROM attempt ORDER BY outcome").await;
    assert_eq!(tries, ["delivered", "reject", "reject", "reject"]);
    app.finish().await;
});

both_databases!(what_is_not_json_is_dead_with_the_reason_and_never_null, |db| async move {
    db.run("CREATE TABLE ledger (amount integer)").await;
    let plan = crate::support::DaemonPlan::on(&db).toml(
        "[sources.open]\nverify = \"none\"\nevent = { id = \"header:x-id\", type = \"header:x-type\" }\n",
    );
    let handler = crate::sql::handler("", &["insert into ledger values (:body.a?)"], "");
    let plan = plan.toml(&handler.replace("\"stripe\"", "\"open\""));
    let app = TestApp::start(&db, &plan, |app| app).await;
    let request = crate::support::RawRequest::post("/in/open", "a=1".to_owned())
        .header("x-id", "1")
        .header("x-type", "x");
    assert_eq!(request.send(app.running().public_address()).await.status, 200);
    wait_until_settled(&db, PATIENCE).await;
    let states = states(&db).await;
    assert!(
        states[0].starts_with("dead: a statement needs values of the body, which is no JSON"),
        "{states:?}"
    );
    assert_eq!(db.number("SELECT count(*) FROM ledger").await, 0);
    app.finish().await;
});

both_databases!(statements_that_take_too_long_are_undone_and_tried_again, |db| async move {
    account(&db).await;
    let statements = ["update acct set n = n + 1", slow(db.kind())];
    let lines = "timeout = \"300ms\"\nretry = { attempts = 2, backoff = [\"10ms\"] }";
    let app = TestApp::start(&db, &ledger(&db, &statements, lines), |app| app).await;
    send(&app.sender(), "evt_1", json!({})).await;
    wait_until_settled(&db, PATIENCE).await;
    let states = states(&db).await;
    assert!(states[0].starts_with("dead: given up after 2 tries: "), "{states:?}");
    assert_eq!(db.number("SELECT n FROM acct").await, 0);
    // The writer, and the connections, are none the worse.
    db.run("UPDATE acct SET n = 7").await;
    app.finish().await;
});

both_databases!(a_table_that_is_not_there_yet_is_waited_for, |db| async move {
    let lines = "retry = { for = \"1h\", backoff = [\"20ms\"] }";
    let statements = ["insert into later (id) values (:event.id)"];
    let app = TestApp::start(&db, &ledger(&db, &statements, lines), |app| app).await;
    send(&app.sender(), "evt_1", json!({})).await;
    crate::support::eventually(PATIENCE, "the first refusal", || async {
        (db.number("SELECT count(*) FROM attempt WHERE outcome = 'retry'").await > 0).then_some(())
    })
    .await;
    db.run("CREATE TABLE later (id text)").await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(states(&db).await, ["delivered"]);
    assert_eq!(db.texts("SELECT id FROM later").await, ["evt_1"]);
    app.finish().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_changes_its_type_is_asked_for_again() {
    let db = TestDatabase::postgres().await;
    db.run("CREATE TABLE ledger (v integer)").await;
    let lines = "retry = { attempts = 20, backoff = [\"20ms\"] }";
    let statements = ["insert into ledger values (:body.data.object.v)"];
    let app = TestApp::start(&db, &ledger(&db, &statements, lines), |app| app).await;
    send(&app.sender(), "evt_1", json!({"v": 1})).await;
    wait_until_settled(&db, PATIENCE).await;
    db.run("ALTER TABLE ledger ALTER v TYPE jsonb USING to_jsonb(v)").await;
    send(&app.sender(), "evt_2", json!({"v": {"x": 2}})).await;
    wait_until_settled(&db, PATIENCE).await;
    let states = states(&db).await;
    // The value was refused under the old type; its type is known now, and a retry is an operator's word.
    if states[1] != "delivered" {
        let dead = db.texts("SELECT CAST(id AS text) FROM delivery WHERE state = 'dead'").await;
        let id = dead[0].parse().unwrap();
        app.running().store().retry(id).await.unwrap();
        wait_until_settled(&db, PATIENCE).await;
    }
    assert_eq!(db.number("SELECT count(*) FROM ledger").await, 2);
    app.finish().await;
}
