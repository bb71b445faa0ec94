//! Cleanup inside PostgreSQL: the printed procedure does what the daemon's cleanup does, and the real pg_cron runs it.

use std::sync::Arc;
use std::time::Duration;

use hookonce::store::pg_cron::PgCron;
use hookonce::store::{Store, Swept};

use super::cleanup::{RETENTION, expire};
use super::ground::{DAY, dead, delivered, event, fresh, name};
use crate::support::{PostgresServer, TestDatabase, eventually};

/// pg_cron wakes once a minute; then the job runs.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) fn job(max_run: Duration, batch: u32) -> PgCron<'static> {
    PgCron {
        schedule: "* * * * *",
        batch,
        pause: Duration::ZERO,
        max_run,
        window: None,
        retention: RETENTION,
        sources: &[],
    }
}

/// The two parts of the script: for hookonce's database, and for pg_cron's.
fn parts(db: &TestDatabase, job: &PgCron<'_>) -> (String, String) {
    let script = job.script(&db.settings()).unwrap();
    let (ours, crons) = script.split_once("-- 2. ").expect("two parts");
    let (_, crons) = crons.split_once("\n\n").expect("a statement after the words");
    (ours.to_owned(), crons.to_owned())
}

pub(super) async fn install(db: &TestDatabase, job: &PgCron<'_>) {
    db.run(&parts(db, job).0).await;
}

/// Three of each kind that is to go, and one of each that is to stay.
async fn fill(db: &TestDatabase, store: &Store) {
    for at in 0..3 {
        delivered(store, &format!("old_{at}"), "a").await;
        delivered(store, &format!("body_{at}"), "a").await;
    }
    delivered(store, "new", "a").await;
    dead(store, "old_dead", "b").await;
    fresh(store, event("old_open", b"{}", &["c"])).await;
    expire(db, "event", "event_id LIKE 'old%'").await;
    expire(db, "event_body", "event_id IN (SELECT id FROM event WHERE event_id LIKE 'body%')")
        .await;
    db.run(
        "INSERT INTO rejection (id, source, code, detail, received_at, arrived_at, method, target, headers, body, size)
         SELECT gen_random_uuid(), 'shop', 'signature_mismatch', '', clock_timestamp() - n * interval '12 hours',
                clock_timestamp(), 'POST', '/', '', '', 1 FROM generate_series(1, 4) AS n",
    )
    .await;
}

pub(super) async fn runs(db: &TestDatabase) -> Vec<String> {
    db.texts("SELECT worker || ' ' || outcome || ' ' || events || ' ' || bodies || ' ' || rejections FROM upkeep_run ORDER BY started_at")
        .await
}

#[tokio::test]
async fn the_procedure_deletes_what_the_daemon_would_delete_and_says_so() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    fill(&db, &store).await;
    let want = Swept { events: 3, bodies: 3, rejections: 3, ..Swept::default() };
    assert_eq!(store.expired(RETENTION).await.unwrap(), want);

    // Batches of two: each table takes more than one.
    install(&db, &job(DAY, 2)).await;
    db.run("CALL hookonce_cleanup()").await;

    assert_eq!(store.expired(RETENTION).await.unwrap(), Swept::default());
    assert_eq!(runs(&db).await, ["pg_cron done 3 3 3"]);
    assert_eq!(
        db.texts("SELECT event_id FROM event ORDER BY event_id").await,
        ["body_0", "body_1", "body_2", "new", "old_dead", "old_open"]
    );
    assert_eq!(db.number("SELECT count(*) FROM event_body").await, 3, "of the open, dead and new");
}

#[tokio::test]
async fn one_of_daemon_and_procedure_cleans_at_a_time_and_once_a_strike() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    fill(&db, &store).await;
    install(&db, &job(DAY, 1000)).await;

    let ours = store.begin_run("cleanup", "daemon", Duration::from_secs(60), None).await.unwrap();
    db.run("CALL hookonce_cleanup()").await;
    assert_eq!(db.number("SELECT count(*) FROM upkeep_run").await, 1, "the daemon is at it");
    assert_eq!(store.expired(RETENTION).await.unwrap().events, 3);

    // The daemon died; its lease lapses.
    db.run("UPDATE upkeep_run SET lease_until = clock_timestamp() - interval '1 second', started_at = started_at - interval '1 hour'").await;
    db.run("CALL hookonce_cleanup()").await;
    assert_eq!(runs(&db).await, ["daemon lost 0 0 0", "pg_cron done 3 3 3"]);
    assert!(ours.is_some());

    // The same strike is not for the daemon any more.
    let strike = chrono::Utc::now() - Duration::from_secs(30);
    let again = store.begin_run("cleanup", "daemon", Duration::from_secs(60), Some(strike)).await;
    assert_eq!(again.unwrap(), None);
}

#[tokio::test]
async fn a_run_ends_when_its_time_is_up_and_the_next_goes_on() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    fill(&db, &store).await;
    install(&db, &job(Duration::ZERO, 2)).await;
    db.run("CALL hookonce_cleanup()").await;
    assert!(runs(&db).await[0].starts_with("pg_cron partial 0 0 0"), "{:?}", runs(&db).await);
    assert_eq!(store.expired(RETENTION).await.unwrap().events, 3);
}

#[tokio::test]
async fn an_event_that_something_else_refers_to_is_passed_over() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    fill(&db, &store).await;
    db.run("CREATE TABLE mine (event uuid REFERENCES event (id))").await;
    db.run("INSERT INTO mine SELECT id FROM event WHERE event_id = 'old_1'").await;
    install(&db, &job(DAY, 100)).await;
    db.run("CALL hookonce_cleanup()").await;
    assert_eq!(runs(&db).await, ["pg_cron done 2 3 3"]);
    assert_eq!(
        db.texts("SELECT event_id FROM event WHERE event_id LIKE 'old%' ORDER BY 1").await,
        ["old_1", "old_dead", "old_open"]
    );
}

#[tokio::test]
async fn a_run_that_fails_is_written_down_and_fails_the_job() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    fill(&db, &store).await;
    install(&db, &job(DAY, 100)).await;
    db.run("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$").await;
    db.run("CREATE TRIGGER no BEFORE DELETE ON event_body EXECUTE FUNCTION no()").await;
    let failed = db.try_run("CALL hookonce_cleanup()").await.unwrap_err();
    assert!(failed.to_string().contains("not today"), "{failed}");
    assert_eq!(
        db.texts("SELECT outcome || ' ' || error FROM upkeep_run").await,
        ["failed not today"]
    );
}

#[tokio::test]
async fn outside_of_its_window_it_does_nothing() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    fill(&db, &store).await;
    let now = chrono::Utc::now();
    let hours = |hours: i64| (now + chrono::TimeDelta::hours(hours)).time();
    install(&db, &PgCron { window: Some((hours(2), hours(4))), ..job(DAY, 100) }).await;
    db.run("CALL hookonce_cleanup()").await;
    assert_eq!(runs(&db).await, [""; 0]);
    install(&db, &PgCron { window: Some((hours(-2), hours(2))), ..job(DAY, 100) }).await;
    db.run("CALL hookonce_cleanup()").await;
    assert_eq!(runs(&db).await, ["pg_cron done 3 3 3"]);
    assert_eq!(name("shop").as_str(), "shop");
}

/// Waits for a whole minute to strike: pg_cron knows nothing shorter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_pg_cron_runs_the_printed_job() {
    let server = tokio::task::spawn_blocking(|| {
        PostgresServer::start_with(&[
            "shared_preload_libraries=pg_cron",
            "cron.database_name=postgres",
        ])
    });
    let server = Arc::new(server.await.unwrap());
    let db = TestDatabase::on(Arc::clone(&server)).await;
    let store = db.store().await;
    fill(&db, &store).await;
    let (ours, crons) = parts(&db, &job(DAY, 2));
    db.run(&ours).await;
    let cron = Maintenance(server.url("postgres"));
    cron.run("CREATE EXTENSION pg_cron").await;
    cron.run(&crons).await;

    eventually(PATIENCE, "the job's run", || async {
        runs(&db).await.first().is_some_and(|run| !run.contains("running")).then_some(())
    })
    .await;
    assert_eq!(store.expired(RETENTION).await.unwrap(), Swept::default());
    assert_eq!(runs(&db).await[0], "pg_cron done 3 3 3");
    let said = eventually(PATIENCE, "the job's end", || async {
        let said = cron.text("SELECT status || ' ' || return_message FROM cron.job_run_details WHERE status NOT IN ('starting', 'running')").await;
        (!said.is_empty()).then_some(said)
    })
    .await;
    assert_eq!(said[0], "succeeded CALL");
}

/// The database that pg_cron lives in.
struct Maintenance(String);

impl Maintenance {
    async fn run(&self, statements: &str) {
        use sqlx::{Connection, Executor};
        let mut connection = sqlx::PgConnection::connect(&self.0).await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(statements.to_owned())).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn text(&self, query: &str) -> Vec<String> {
        use sqlx::Connection;
        let mut connection = sqlx::PgConnection::connect(&self.0).await.unwrap();
        let query = sqlx::AssertSqlSafe(query.to_owned());
        let texts = sqlx::query_scalar(query).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        texts
    }
}
