//! `hookonce replay --dry-run --diff` where handlers' statements run in another database.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{PATIENCE, STRIPE, run_in, stripe};
use crate::both_databases;
use crate::sql::app_database;
use crate::support::daemon::wait_until_settled;
use crate::support::{Daemon, DaemonPlan, Kind, TestDatabase};

/// Three events that only the log had, which then become such that the SQL handlers take. One of these
/// handlers works in `app`, one in `gone`, one in our own.
async fn with_other_databases(db: &TestDatabase, app: &TestDatabase, gone: &str) -> Daemon {
    let daemon = DaemonPlan::on(db)
        .source(&stripe())
        .toml(&format!(
            "[databases.app]\nurl = {:?}\n[databases.gone]\nurl = {gone:?}
             [handlers.audit]\nfrom = \"stripe\"\nlog = {{}}
             [handlers.ledger]\nfrom = \"stripe\"\nevents = \"invoice.*\"
             sql = {{ database = \"app\", statements = [\"update acct set n = n + 1\", \"insert into seen (event) values (:event.id)\"] }}
             [handlers.lost]\nfrom = \"stripe\"\nevents = \"invoice.*\"
             sql = {{ database = \"gone\", statements = [\"delete from seen\"] }}
             [handlers.own]\nfrom = \"stripe\"\nevents = \"invoice.*\"
             sql = {{ statements = [\"update kept set n = n + 1\"] }}",
            app.url()
        ))
        .start()
        .await;
    for n in 1..=3 {
        let event = stripe().event(&format!("evt_{n}"), "charge.failed");
        daemon.sender().send(STRIPE, &event).await.assert_accepted();
    }
    wait_until_settled(db, PATIENCE).await;
    db.run("UPDATE event SET type = 'invoice.paid'").await;
    daemon
}

async fn diff(daemon: &Daemon, arguments: &[&str]) -> Value {
    let words = [&["replay", "--dry-run", "--diff=9", "-o", "json"], arguments].concat();
    daemon.run(&words).await.json()
}

/// What is said of one event.
fn of<'v>(said: &'v Value, event: &str) -> &'v Value {
    let mut all = said["diff"].as_array().unwrap().iter();
    all.find(|it| it["event_id"] == event).unwrap_or_else(|| panic!("no {event} in {said}"))
}

both_databases!(statements_in_another_database_are_shown_and_leave_nothing, |db| async move {
    let app = app_database(db.kind()).await;
    app.run("CREATE TABLE seen (event text PRIMARY KEY)").await;
    app.run("INSERT INTO seen VALUES ('evt_2')").await;
    db.run("CREATE TABLE kept (n integer)").await;
    let daemon = with_other_databases(&db, &app, "sqlite:///nowhere/at/all.db").await;
    let to_ledger = ["--to-handler", "ledger"];

    let said = diff(&daemon, &to_ledger).await;
    assert_eq!(said["diff"].as_array().unwrap().len(), 3, "{said}");
    for event in ["evt_1", "evt_3"] {
        let one = of(&said, event);
        assert_eq!((&one["database"], &one["error"]), (&json!("app"), &Value::Null), "{one}");
        assert_eq!(one["done_before"], json!(false), "{one}");
        assert_eq!(
            (&one["statements"][0]["rows"], &one["statements"][1]["rows"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(one["statements"][0]["written"], json!([{"n": 1}]), "each begins anew");
        assert_eq!(one["statements"][1]["written"], json!([{"event": event}]));
    }
    let refused = of(&said, "evt_2");
    assert_eq!(refused["statements"], json!([]), "{refused}");
    assert!(refused["error"].as_str().unwrap().starts_with("statement 2 was refused"), "{refused}");
    let fences = match db.kind() {
        Kind::Postgres => "SELECT count(*) FROM pg_class WHERE relname LIKE 'hookonce_fence%'",
        Kind::Sqlite => "SELECT count(*) FROM sqlite_master WHERE name LIKE 'hookonce_fence%'",
    };
    assert_eq!(app.number(fences).await, 0, "not even the fence's table is there");
    assert_eq!(app.number("SELECT n FROM acct").await, 0);
    assert_eq!(app.number("SELECT count(*) FROM seen").await, 1);
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE handler = 'ledger'").await, 0);

    // Done, and then dead all the same, as when the answer to each COMMIT was lost.
    app.run("DELETE FROM seen").await;
    daemon.run(&["replay", "--to-handler", "ledger", "--yes"]).await.code(0);
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(app.number("SELECT n FROM acct").await, 3);
    db.run(
        "UPDATE delivery SET state = 'dead' WHERE handler = 'ledger'
          AND event_id IN (SELECT id FROM event WHERE event_id <> 'evt_3')",
    )
    .await;
    let said = diff(&daemon, &["--handler", "ledger"]).await;
    assert_eq!(said["diff"].as_array().unwrap().len(), 2, "{said}");
    for event in ["evt_1", "evt_2"] {
        let one = of(&said, event);
        assert_eq!((&one["done_before"], &one["error"]), (&json!(true), &Value::Null), "{one}");
        assert_eq!(one["statements"], json!([]));
    }
    let text = daemon.run(&["replay", "--handler", "ledger", "--dry-run", "--diff"]).await;
    let text = text.code(0).text();
    assert!(text.contains("ledger  in app") && text.contains("done already: the fence"), "{text}");
    // A new round is another delivery: its statements would run, and the second one would be refused.
    let said = diff(&daemon, &["--handler", "ledger", "--again", "--state", "delivered"]).await;
    let one = of(&said, "evt_3");
    assert!(one["error"].as_str().unwrap().starts_with("statement 2 was refused"), "{one}");
    assert_eq!(app.number("SELECT n FROM acct").await, 3);
    assert_eq!(app.number("SELECT count(*) FROM hookonce_fence").await, 3);
});

both_databases!(a_database_that_is_away_hides_nothing_of_the_others, |db| async move {
    let app = app_database(db.kind()).await;
    app.run("CREATE TABLE seen (event text PRIMARY KEY)").await;
    db.run("CREATE TABLE kept (n integer)").await;
    // What hangs up on everybody is a server that is going down.
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = format!("postgres://nobody@{}/none", server.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let hanging_up = tokio::spawn({
        let asked = Arc::clone(&asked);
        async move {
            while let Ok((connection, _)) = server.accept().await {
                asked.fetch_add(1, Ordering::SeqCst);
                drop(connection);
            }
        }
    });
    let daemon = with_other_databases(&db, &app, &gone).await;
    // As if all three handlers had failed on all events.
    let deliveries = match db.kind() {
        Kind::Postgres => "gen_random_uuid()",
        Kind::Sqlite => "randomblob(16)",
    };
    for handler in ["ledger", "lost", "own"] {
        db.run(&format!(
            "INSERT INTO delivery (id, event_id, handler, state, attempts, opened_at, due_at, settled_at, cause)
             SELECT {deliveries}, event_id, '{handler}', 'dead', 1, opened_at, due_at, settled_at, 'x'
               FROM delivery WHERE handler = 'audit'"
        ))
        .await;
    }
    let said = diff(&daemon, &[]).await;
    let all = said["diff"].as_array().unwrap();
    let of = |handler: &str| all.iter().filter(|it| it["handler"] == handler).collect::<Vec<_>>();
    assert_eq!((of("ledger").len(), of("lost").len(), of("own").len()), (3, 3, 3), "{said}");
    for one in of("lost") {
        let why = one["error"].as_str().unwrap_or_default();
        assert!(why.contains("the database `gone` can't be used now"), "{one}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1, "it is asked for no second delivery");
    hanging_up.abort();
    for one in of("ledger") {
        assert_eq!(
            (&one["error"], &one["statements"][1]["rows"]),
            (&Value::Null, &json!(1)),
            "{one}"
        );
    }
    for one in of("own") {
        assert_eq!((&one["error"], &one["database"]), (&Value::Null, &Value::Null), "{one}");
    }
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_admin_api_it_is_refused_before_anything_is_asked() {
    let place = tempfile::tempdir().unwrap();
    // Nobody listens there: who asked would be told so, with another code.
    let url = "http://127.0.0.1:9";
    for words in [
        ["--url", url, "replay", "--dry-run", "--diff"],
        ["replay", "--dry-run", "--diff", "--url", url],
    ] {
        let (code, out, err) = run_in(place.path(), &words).await;
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains("admin API") && err.contains("leave --url out"), "{err}");
    }
}

both_databases!(rows_are_shown_with_all_their_values_and_twenty_at_most, |db| async move {
    let (bytes, none) = match db.kind() {
        Kind::Postgres => ("bytea", "'\\x00ff'"),
        Kind::Sqlite => ("blob", "x'00ff'"),
    };
    db.run(&format!("CREATE TABLE odd (i integer, r real, t text, b {bytes}, z text)")).await;
    db.run("CREATE TABLE many (n integer)").await;
    db.run("INSERT INTO many VALUES (1), (1), (1), (1), (1)").await;
    db.run("INSERT INTO many SELECT a.n FROM many a, many b").await;
    let statements = format!(
        "[{:?}, \"update many set n = 2\", \"delete from many where n = 2 -- all\", \"insert into odd select * from odd where i = 2\"]",
        format!("insert into odd values (1, 1.5, :event.id, {none}, null)")
    );
    let daemon = DaemonPlan::on(&db)
        .source(&stripe())
        .toml(&format!(
            "[handlers.odd]\nfrom = \"stripe\"\nevents = \"invoice.*\"\nsql = {{ statements = {statements} }}
             [handlers.audit]\nfrom = \"stripe\"\nlog = {{}}"
        ))
        .start()
        .await;
    daemon.sender().send(STRIPE, &stripe().event("evt_1", "charge.failed")).await.assert_accepted();
    wait_until_settled(&db, PATIENCE).await;
    db.run("UPDATE event SET type = 'invoice.paid'").await;
    let said = diff(&daemon, &["--to-handler", "odd"]).await;
    let statements = &of(&said, "evt_1")["statements"];
    let odd = json!([{"i": 1, "r": 1.5, "t": "evt_1", "b": "\\x00ff", "z": null}]);
    assert_eq!((&statements[0]["rows"], &statements[0]["written"]), (&json!(1), &odd), "{said}");
    for at in [1, 2] {
        assert_eq!(statements[at]["rows"], json!(30), "{said}");
        assert_eq!(statements[at]["written"], json!(vec![json!({"n": 2}); 20]), "{said}");
    }
    assert_eq!((&statements[3]["rows"], &statements[3]["written"]), (&json!(0), &json!([])));
    assert_eq!(db.number("SELECT count(*) FROM many WHERE n = 1").await, 30);
});
