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
    let settings = StoreSettings { statement_timeout: Duration::from_secs(1), ..db.settings() };
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

/// Each costs its time: of many that are held a batch would not come to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_waits_for_two_held_rows_and_for_no_more() {
    let db = TestDatabase::postgres().await;
    let (store, claims, holder) = held(&db, 6, &[1, 2, 4]).await;
    let answers = store.settle_batch(delivered(&claims)).await;
    assert_eq!(done(&answers), [true, false, false, false, false, false], "{answers:?}");
    // What was not asked for is done as soon as it comes without those.
    let free = [3, 5].map(|at| delivered(&claims)[at].clone()).to_vec();
    assert_eq!(done(&store.settle_batch(free).await), [true, true]);
    holder.close().await.unwrap();
    let answers = store.settle_batch(delivered(&claims)).await;
    assert_eq!(done(&answers), [true; 6]);
}
