//! Statements in another database, behind the fence there.

use std::time::Duration;

use entity::Name;
use hookonce::secret::Secret;
use hookonce::statement::{Dialect, Script};
use hookonce::store::effect::{Applied, Elsewhere, Foreseen, Refusal, Statements};
use uuid::Uuid;

use super::{app_database, handler, slow, states};
use crate::both_databases;
use crate::daemon::{PATIENCE, STRIPE, stripe};
use crate::store::ground::{claim_one, event, fresh};
use crate::support::daemon::wait_until_settled;
use crate::support::{DaemonPlan, Kind, TestApp, TestDatabase};

pub const LIMIT: Duration = Duration::from_secs(10);

pub fn elsewhere(db: &TestDatabase) -> Elsewhere {
    Elsewhere::new(Name::new("app").unwrap(), &Secret::new(db.url())).unwrap()
}

pub fn statements(db: &TestDatabase, texts: &[&str]) -> Statements {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    Statements::new(Script::read(&texts, Dialect::of_url(&db.url())).unwrap())
}

both_databases!(a_delivery_is_applied_once_however_many_try_at_once, |db| async move {
    let app = app_database(db.kind()).await;
    let (one, two) = (elsewhere(&app), elsewhere(&app));
    let add = statements(&app, &["update acct set n = n + 1"]);
    let delivery = Uuid::now_v7();
    let tries = (0..10).map(|n| {
        let elsewhere = if n % 2 == 0 { one.clone() } else { two.clone() };
        let add = add.clone();
        async move { elsewhere.apply(delivery, &add, vec![Vec::new()], LIMIT).await }
    });
    let tries = futures::future::join_all(tries).await;
    let now = tries.iter().filter(|it| **it == Ok(Applied::Now)).count();
    assert_eq!(now, 1, "{tries:?}");
    assert_eq!(app.number("SELECT n FROM acct").await, 1);
    assert_eq!(one.apply(delivery, &add, vec![Vec::new()], LIMIT).await, Ok(Applied::Before));
    assert_eq!(app.number("SELECT count(*) FROM hookonce_fence").await, 1);
    // Another round of the same event is another delivery, and runs.
    assert_eq!(one.apply(Uuid::now_v7(), &add, vec![Vec::new()], LIMIT).await, Ok(Applied::Now));
    assert_eq!(app.number("SELECT n FROM acct").await, 2);
});

both_databases!(what_fails_leaves_no_fence, |db| async move {
    let app = app_database(db.kind()).await;
    let there = elsewhere(&app);
    let delivery = Uuid::now_v7();
    let refused =
        statements(&app, &["update acct set n = n + 1", "insert into acct values (null)"]);
    let nothing = || vec![Vec::new(), Vec::new()];
    let answer = there.apply(delivery, &refused, nothing(), LIMIT).await;
    assert!(matches!(answer, Err(Refusal::Never(_))), "{answer:?}");
    let long = statements(&app, &["update acct set n = n + 1", slow(app.kind())]);
    let answer = there.apply(delivery, &long, nothing(), Duration::from_millis(200)).await;
    assert!(matches!(answer, Err(Refusal::Again(_))), "{answer:?}");
    assert_eq!(app.number("SELECT n FROM acct").await, 0);
    assert_eq!(app.number("SELECT count(*) FROM hookonce_fence").await, 0);
    let add = statements(&app, &["update acct set n = n + 1"]);
    assert_eq!(there.apply(delivery, &add, vec![Vec::new()], LIMIT).await, Ok(Applied::Now));
});

/// How many tables of fences there are.
async fn fences(app: &TestDatabase) -> i64 {
    let catalog = match app.kind() {
        Kind::Postgres => "SELECT count(*) FROM pg_class WHERE relname = 'hookonce_fence'",
        Kind::Sqlite => "SELECT count(*) FROM sqlite_master WHERE name = 'hookonce_fence'",
    };
    app.number(catalog).await
}

both_databases!(a_rehearsal_leaves_nothing_there_and_keeps_nobody_from_working, |db| async move {
    let app = app_database(db.kind()).await;
    let there = elsewhere(&app);
    let delivery = Uuid::now_v7();
    let add = statements(&app, &["update acct set n = n + 1"]);
    let rehearse = async |of: &Statements, limit| {
        let values = of.script().statements().iter().map(|_| Vec::new()).collect();
        there.rehearse(delivery, of, values, limit).await
    };
    // Twice: the table of fences that the first one made and rolled back is missing again.
    for _ in 0..2 {
        let Foreseen::Done(seen) = rehearse(&add, LIMIT).await else { panic!("it is not done") };
        assert_eq!((seen.len(), seen[0].rows), (1, 1));
        if db.kind() == Kind::Postgres {
            assert_eq!(seen[0].shown, [r#"{"n": 1}"#]);
        }
        assert_eq!(fences(&app).await, 0);
    }
    let refused = statements(&app, &["update acct set n = 5", "insert into acct values (null)"]);
    let seen = rehearse(&refused, LIMIT).await;
    assert!(
        matches!(&seen, Foreseen::Refused(why) if why.cause().starts_with("statement 2 was refused")),
        "{seen:?}"
    );
    let long = statements(&app, &["update acct set n = 6", slow(app.kind())]);
    let seen = rehearse(&long, Duration::from_millis(200)).await;
    assert!(matches!(seen, Foreseen::Refused(_)), "{seen:?}");
    assert_eq!((app.number("SELECT n FROM acct").await, fences(&app).await), (0, 0));
    // Its locks are free, and so is the writer of a file.
    app.run("UPDATE acct SET n = n + 10").await;
    assert_eq!(there.apply(delivery, &add, vec![Vec::new()], LIMIT).await, Ok(Applied::Now));
    assert_eq!(rehearse(&add, LIMIT).await, Foreseen::Before);
    let other = there.rehearse(Uuid::now_v7(), &add, vec![Vec::new()], LIMIT).await;
    assert!(matches!(other, Foreseen::Done(_)), "{other:?}");
    assert_eq!(app.number("SELECT n FROM acct").await, 11);
    assert_eq!(app.number("SELECT count(*) FROM hookonce_fence").await, 1);
    there.close().await;
});

both_databases!(
    a_crash_between_its_commit_and_our_settlement_runs_nothing_twice,
    |db| async move {
        let app = app_database(db.kind()).await;
        // The worker did its work there and died before it settled here.
        let store = db.store().await;
        fresh(&store, event("evt_1", b"{}", &["ledger"])).await;
        let claim = claim_one(&store, "ledger").await;
        let add = statements(&app, &["update acct set n = n + 1"]);
        let done = elsewhere(&app).apply(claim.delivery, &add, vec![Vec::new()], LIMIT).await;
        assert_eq!(done, Ok(Applied::Now));
        db.run("UPDATE delivery SET state = 'pending', lease_until = NULL, leased_by = NULL").await;
        store.close().await;
        drop(store);
        let handler = handler("database = \"app\", ", &["update acct set n = n + 1"], "");
        let databases = format!("[databases.app]\nurl = {:?}\n", app.url());
        let plan = DaemonPlan::on(&db).source(&stripe()).toml(&handler).toml(&databases);
        let running = TestApp::start(&db, &plan, |app| app).await;
        running.sender().send(STRIPE, &stripe().event("evt_2", "x")).await.assert_accepted();
        wait_until_settled(&db, PATIENCE).await;
        assert_eq!(states(&db).await, ["delivered", "delivered"]);
        assert_eq!(app.number("SELECT n FROM acct").await, 2);
        running.finish().await;
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_waited_for() {
    let (db, app) = (TestDatabase::sqlite().await, TestDatabase::sqlite_without_tables());
    let lines = "retry = { for = \"1h\", backoff = [\"20ms\"] }";
    let handler = handler("database = \"app\", ", &["insert into t values (:event.id)"], lines);
    let databases = format!("[databases.app]\nurl = {:?}\n", app.url());
    let plan = DaemonPlan::on(&db).source(&stripe()).toml(&handler).toml(&databases);
    let running = TestApp::start(&db, &plan, |app| app).await;
    running.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    crate::support::eventually(PATIENCE, "the first refusal", || async {
        (db.number("SELECT count(*) FROM attempt WHERE outcome = 'retry'").await > 0).then_some(())
    })
    .await;
    let url = format!("{}?mode=rwc", app.url());
    let mut made = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE t (id text)").execute(&mut made).await.unwrap();
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(app.texts("SELECT id FROM t").await, ["evt_1"]);
    running.finish().await;
}
