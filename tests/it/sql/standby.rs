//! A COMMIT that waits for a synchronous standby which doesn't answer.

use std::sync::Arc;
use std::time::Duration;

use hookonce::store::Verdict;
use hookonce::store::effect::{Applied, Effected, Kept, Refusal};
use sqlx::Executor;
use uuid::Uuid;

use super::account;
use super::elsewhere::{LIMIT, elsewhere, statements};
use crate::store::ground::{claim_one, event, fresh, settlement};
use crate::support::{PostgresServer, TestDatabase, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

/// Has the server wait for a standby of this name; none when it is empty.
async fn wait_for_standby(db: &TestDatabase, name: &str) {
    db.run(&format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'")).await;
    db.run("SELECT pg_reload_conf()").await;
    eventually(PATIENCE, "the server's new setting", || async {
        (db.texts("SHOW synchronous_standby_names").await == [name]).then_some(())
    })
    .await;
}

/// Ended by us, such a session would show its work though no standby has it: the next try would find the fence and
/// settle as delivered what is gone when a standby takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_standby_has_yet_is_not_held_for_done() {
    let server = Arc::new(PostgresServer::started().await);
    let app = TestDatabase::on(Arc::clone(&server)).await;
    account(&app).await;
    let there = elsewhere(&app);
    let add = statements(&app, &["update acct set n = n + 1"]);
    let apply = async |delivery| there.apply(delivery, &add, vec![Vec::new()], LIMIT).await;
    assert_eq!(apply(Uuid::now_v7()).await, Ok(Applied::Now));
    wait_for_standby(&app, "nobody").await;
    let delivery = Uuid::now_v7();
    let answer = apply(delivery).await;
    assert!(matches!(answer, Err(Refusal::Again(_))), "{answer:?}");
    // Nor is it by another try, which finds that the row of its fence is just being written.
    let answer = apply(delivery).await;
    assert!(matches!(answer, Err(Refusal::Again(_))), "{answer:?}");
    assert_eq!(app.number("SELECT n FROM acct").await, 1);
    wait_for_standby(&app, "").await;
    eventually(PATIENCE, "the COMMIT that waited", || async {
        (app.number("SELECT n FROM acct").await == 2).then_some(())
    })
    .await;
    assert_eq!(apply(delivery).await, Ok(Applied::Before));
    assert_eq!(app.number("SELECT n FROM acct").await, 2);
}

/// It must not commit, and past its limit it is ended: but not while the server waits for the standby.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_is_what_a_function_commits_by_itself() {
    let server = Arc::new(PostgresServer::started().await);
    let db = TestDatabase::on(Arc::clone(&server)).await;
    account(&db).await;
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let claim = claim_one(&store, "a").await;
    let delivered = settlement(&claim, Verdict::Delivered, entity::TryOutcome::Delivered);
    wait_for_standby(&db, "nobody").await;
    let ended = store
        .settle_with(delivered, Duration::from_secs(2), |mut tx| {
            Box::pin(async move {
                let connection = tx.postgres().unwrap();
                connection.execute("UPDATE acct SET n = n + 1").await.unwrap();
                drop(connection.execute("COMMIT").await);
                Ok::<_, String>(Kept::default())
            })
        })
        .await;
    assert!(matches!(ended, Ok(Effected::TimedOut)), "{ended:?}");
    assert_eq!(db.number("SELECT n FROM acct").await, 0);
    wait_for_standby(&db, "").await;
    eventually(PATIENCE, "the COMMIT that waited", || async {
        (db.number("SELECT n FROM acct").await == 1).then_some(())
    })
    .await;
}
