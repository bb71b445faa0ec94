//! A delivery's row that somebody holds: only its own settlement waits for it.

use std::time::Duration;

use entity::TryOutcome;
use hookonce::store::{Claimed, Settled, Settlement, Store, StoreError, StoreSettings, Verdict};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::ground::{claim, event, fresh, settlement};
use crate::support::TestDatabase;

/// Claims so many, and holds the rows of some of them.
async fn held(
    db: &TestDatabase,
    count: u32,
    rows: &[usize],
) -> (Store, Vec<Claimed>, PgConnection) {
    // One statement waits no longer than that, whatever it waits for.
    let settings = StoreSettings { statement_timeout: Duration::from_secs(3), ..db.settings() };
    let store = Store::open(&settings).await.unwrap();
    for at in 0..count {
        fresh(&store, event(&format!("evt_{at}"), b"{}", &["a"])).await;
    }
    let claims = claim(&store, "a", count).await;
    let mut holder = PgConnection::connect(&db.url()).await.unwrap();
    holder.execute("BEGIN").await.unwrap();
    for row in rows {
        let id = claims[*row].delivery;
        let hold = format!("SELECT 1 FROM delivery WHERE id = '{id}' FOR UPDATE");
        holder.execute(AssertSqlSafe(hold)).await.unwrap();
    }
    (store, claims, holder)
}

fn delivered(claims: &[Claimed]) -> Vec<Settlement> {
    let delivered = |claim| settlement(claim, Verdict::Delivered, TryOutcome::Delivered);
    claims.iter().map(delivered).collect()
}

/// Whether each was settled; each other may be tried again.
fn done(answers: &[Result<Settled, StoreError>]) -> Vec<bool> {
    let is_done = |answer: &Result<Settled, StoreError>| match answer {
        Ok(Settled::Done) => true,
        Err(error) if error.is_transient() => false,
        other => panic!("{other:?}"),
    };
    answers.iter().map(is_done).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_row_that_is_held_keeps_no_other_of_its_batch_from_being_settled() {
    let db = TestDatabase::postgres().await;
    let (store, claims, holder) = held(&db, 5, &[2]).await;
    let answers = store.settle_batch(delivered(&claims)).await;
    assert_eq!(done(&answers), [true, true, false, true, true], "{answers:?}");
    holder.close().await.unwrap();
    let answers = store.settle_batch(delivered(&claims)).await;
    assert_eq!(done(&answers), [true; 5], "once it is free");
    assert_eq!(db.number("SELECT count(*) FROM attempt").await, 5);
}

/// Each that is waited for costs its time, and of many that are held a batch would not come to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_held_keep_no_other_from_being_settled_however_many() {
    let db = TestDatabase::postgres().await;
    let (store, claims, holder) = held(&db, 6, &[1, 2, 4]).await;
    let answers = store.settle_batch(delivered(&claims)).await;
    assert_eq!(done(&answers), [true, false, false, true, false, true], "{answers:?}");
    holder.close().await.unwrap();
    let answers = store.settle_batch(delivered(&claims)).await;
    assert_eq!(done(&answers), [true; 6]);
    assert_eq!(db.number("SELECT count(*) FROM attempt").await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_is_told_once_nothing_is_held() {
    let db = TestDatabase::postgres().await;
    let (store, claims, holder) = held(&db, 3, &[1]).await;
    let take = format!("UPDATE delivery SET lease_epoch = -1 WHERE id = '{}'", claims[0].delivery);
    db.run(&take).await;
    let answers = store.settle_batch(delivered(&claims)).await;
    assert_eq!(done(&answers), [false, false, true], "{answers:?}");
    holder.close().await.unwrap();
    let mut answers = store.settle_batch(delivered(&claims)).await;
    assert_eq!(answers.remove(0).unwrap(), Settled::LeaseLost);
    assert_eq!(done(&answers), [true, true]);
}

/// Nothing is held, and yet each would take its time alone: of a whole batch that would be much too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_slow_is_not_asked_for_each_of_a_batch() {
    let db = TestDatabase::postgres().await;
    let (store, claims, holder) = held(&db, 25, &[]).await;
    holder.close().await.unwrap();
    db.run(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN PERFORM pg_sleep(0.6); RETURN NEW; END $$",
    )
    .await;
    db.run("CREATE TRIGGER slow BEFORE UPDATE ON delivery FOR EACH ROW EXECUTE FUNCTION slow()")
        .await;
    let answers = store.settle_batch(delivered(&claims)).await;
    assert!(done(&answers).contains(&false), "{answers:?}");
    db.run("DROP TRIGGER slow ON delivery").await;
    let answers = store.settle_batch(delivered(&claims)).await;
    assert_eq!(done(&answers), [true; 25]);
    assert_eq!(db.number("SELECT count(*) FROM attempt").await, 25);
}
