//! A COMMIT that a function sent, and gave up before its server answered.

use std::time::Duration;

use futures::FutureExt;
use hookonce::store::Verdict;
use hookonce::store::effect::{Effected, Kept};
use sqlx::{Connection, Executor, PgConnection};

use super::account;
use crate::store::ground::{claim_one, event, fresh, settlement};
use crate::support::{TestDatabase, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

/// A COMMIT that takes until nobody has the lock.
const SLOW: [&str; 2] = [
    "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN
         WHILE NOT pg_try_advisory_xact_lock(1) LOOP PERFORM pg_sleep(0.05); END LOOP;
         RETURN NULL;
     END $$",
    "CREATE CONSTRAINT TRIGGER wait AFTER UPDATE ON acct DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait()",
];

async fn commits_run_until(db: &TestDatabase, count: i64) {
    let running = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND state = 'active' AND query = 'COMMIT'";
    eventually(PATIENCE, "the COMMIT to begin or to end", || async {
        (db.number(running).await == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_given_up_is_not_done_behind_the_next_try() {
    let db = TestDatabase::postgres().await;
    account(&db).await;
    for statement in SLOW {
        db.run(statement).await;
    }
    let mut holder = PgConnection::connect(&db.url()).await.unwrap();
    holder.execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let claim = claim_one(&store, "a").await;
    let delivered = settlement(&claim, Verdict::Delivered, entity::TryOutcome::Delivered);
    let seen = db.clone();
    let ended = store
        .settle_with(delivered, Duration::from_secs(600), |mut tx| {
            Box::pin(async move {
                let connection = tx.postgres().unwrap();
                connection.execute("UPDATE acct SET n = n + 1").await.unwrap();
                let mut one = connection.begin().await.unwrap();
                let mut two = one.begin().await.unwrap();
                // It undoes two levels, so that the COMMIT is the transaction's.
                while two.begin().now_or_never().is_some() {}
                tokio::select! {
                    done = two.commit() => panic!("nobody waits for the lock: {done:?}"),
                    () = commits_run_until(&seen, 1) => {}
                }
                Err::<Kept, _>("gave it up")
            })
        })
        .await;
    assert!(matches!(ended, Ok(Effected::Refused(_))), "{ended:?}");
    holder.close().await.unwrap();
    commits_run_until(&db, 0).await;
    assert_eq!(db.number("SELECT n FROM acct").await, 0);
}
