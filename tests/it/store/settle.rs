//! Settling: only under the lease's epoch, and the try is kept.

use std::time::Duration;

use entity::{State, TryOutcome};
use hookonce::store::{AttemptRecord, Claimed, Settled, Settlement, Store, StoreSettings, Verdict};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::ground::{claim, claim_one, event, fresh, settle, settlement};
use crate::both_databases;
use crate::support::{TestDatabase, eventually};

both_databases!(each_verdict_leaves_the_state_that_it_names, |db| async move {
    let store = db.store().await;
    let cause = || "because".to_owned();
    let cases = [
        (Verdict::Delivered, TryOutcome::Delivered, State::Delivered, 0),
        (
            Verdict::Pending { after: Duration::ZERO, cause: cause() },
            TryOutcome::Retry,
            State::Pending,
            0,
        ),
        (
            Verdict::Released { after: Duration::ZERO, cause: cause() },
            TryOutcome::Snooze,
            State::Pending,
            1,
        ),
        (Verdict::Dead { cause: cause() }, TryOutcome::Reject, State::Dead, 0),
    ];
    for (at, (verdict, outcome, state, before)) in cases.into_iter().enumerate() {
        let handler = format!("h{at}");
        fresh(&store, event(&format!("evt_{at}"), b"{}", &[&handler])).await;
        let claim = claim_one(&store, &handler).await;
        settle(&store, settlement(&claim, verdict.clone(), outcome)).await;
        let (row, tries) = store.delivery(claim.delivery).await.unwrap().unwrap();
        assert_eq!(row.delivery.state, state, "{verdict:?}");
        assert_eq!(row.delivery.attempts, 1);
        assert_eq!(row.delivery.attempts_before, before, "{verdict:?}");
        assert_eq!(row.delivery.lease_until, None);
        assert_eq!(row.delivery.settled_at.is_some(), state != State::Pending);
        assert_eq!(tries.len(), 1);
        assert_eq!((tries[0].n, tries[0].outcome, tries[0].status), (1, outcome, Some(200)));
        assert_eq!(tries[0].response.as_deref(), Some(&b"ok"[..]));
    }
});

both_databases!(a_stale_worker_changes_nothing, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let stale = claim_one(&store, "a").await;
    // Its lease lapses, is rescued, and another worker takes over.
    db.run("UPDATE delivery SET state = 'pending', lease_until = NULL, leased_by = NULL").await;
    let current = claim_one(&store, "a").await;
    let late = settlement(&stale, Verdict::Delivered, TryOutcome::Delivered);
    assert_eq!(store.settle_batch(vec![late]).await.pop().unwrap().unwrap(), Settled::LeaseLost);
    let (row, tries) = store.delivery(current.delivery).await.unwrap().unwrap();
    assert_eq!((row.delivery.state, row.delivery.lease_epoch), (State::Leased, 2));
    assert!(tries.is_empty());
});

both_databases!(settling_twice_keeps_the_first_verdict, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let claim = claim_one(&store, "a").await;
    settle(&store, settlement(&claim, Verdict::Delivered, TryOutcome::Delivered)).await;
    let second = settlement(&claim, Verdict::Dead { cause: "x".to_owned() }, TryOutcome::Reject);
    assert_eq!(store.settle_batch(vec![second]).await.pop().unwrap().unwrap(), Settled::LeaseLost);
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE state = 'delivered'").await, 1);
    assert_eq!(db.number("SELECT count(*) FROM attempt").await, 1);
});

both_databases!(texts_that_a_database_would_refuse_are_settled_all_the_same, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let claim = claim_one(&store, "a").await;
    let nasty = format!("nul \0 and much {}", "é".repeat(5_000));
    let mut settlement =
        settlement(&claim, Verdict::Dead { cause: nasty.clone() }, TryOutcome::Panic);
    settlement.attempt.error = Some(nasty);
    settlement.attempt.response = Some(bytes::Bytes::from_static(b"\0\xff"));
    settle(&store, settlement).await;
    let (row, tries) = store.delivery(claim.delivery).await.unwrap().unwrap();
    assert!(row.delivery.cause.unwrap().starts_with("nul \\0 and much é"));
    assert_eq!(tries[0].response.as_deref(), Some(&b"\0\xff"[..]));
});

both_databases!(a_settlement_that_the_database_refuses_fails_alone, |db| async move {
    let store = db.store().await;
    let mut batch = Vec::new();
    for at in 0..4 {
        fresh(&store, event(&format!("evt_{at}"), b"{}", &["a"])).await;
        let claim = claim_one(&store, "a").await;
        let mut settlement = settlement(&claim, Verdict::Delivered, TryOutcome::Delivered);
        if at == 2 {
            // The table knows no try number 0.
            settlement.attempt.n = 0;
        }
        batch.push(settlement);
    }
    let answers = store.settle_batch(batch).await;
    assert!(matches!(&answers[2], Err(error) if !error.is_transient()), "{:?}", answers[2]);
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok(Settled::Done))).count(), 3);
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE state = 'delivered'").await, 3);
});

both_databases!(
    a_stale_settlement_in_the_batch_of_the_current_one_changes_nothing,
    |db| async move {
        let store = db.store().await;
        fresh(&store, event("evt_1", b"{}", &["a"])).await;
        let stale = claim_one(&store, "a").await;
        db.run("UPDATE delivery SET state = 'pending', lease_until = NULL, leased_by = NULL").await;
        let current = claim_one(&store, "a").await;
        let batch = vec![
            settlement(&stale, Verdict::Dead { cause: "late".to_owned() }, TryOutcome::Reject),
            settlement(&current, Verdict::Delivered, TryOutcome::Delivered),
        ];
        let answers: Vec<_> =
            store.settle_batch(batch).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [Settled::LeaseLost, Settled::Done]);
        let (row, tries) = store.delivery(current.delivery).await.unwrap().unwrap();
        assert_eq!(row.delivery.state, State::Delivered);
        assert_eq!(tries.iter().map(|one| one.n).collect::<Vec<_>>(), [2], "only what was settled");
    }
);

/// Holds the row of the first of two deliveries, has `work` want both in the wrong order, and sees
/// that it waits without holding the second: two that work on the same rows can't deadlock.
async fn takes_rows_in_order<F, Fut>(work: F)
where
    F: FnOnce(Store, Vec<Claimed>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    for at in 0..2 {
        fresh(&store, event(&format!("evt_{at}"), b"{}", &["a"])).await;
    }
    let mut claims = claim(&store, "a", 2).await;
    claims.sort_by_key(|claim| std::cmp::Reverse(claim.delivery));
    let (high, low) = (claims[0].delivery, claims[1].delivery);
    let mut holder = PgConnection::connect(&db.url()).await.unwrap();
    let hold = format!("BEGIN; SELECT 1 FROM delivery WHERE id = '{low}' FOR UPDATE");
    holder.execute(AssertSqlSafe(hold)).await.unwrap();
    let working = tokio::spawn(work(store, claims));
    let waiting = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually(Duration::from_secs(10), "the statement's wait for the held row", || async {
        (db.number(waiting).await == 1).then_some(())
    })
    .await;
    let free = format!("SELECT 1::int8 FROM delivery WHERE id = '{high}' FOR UPDATE NOWAIT");
    let second = db.try_number(&free).await;
    holder.close().await.unwrap();
    working.await.unwrap();
    assert_eq!(second.expect("the second row is not held by one that waits for the first"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settling_takes_its_rows_in_order() {
    takes_rows_in_order(|store, claims| async move {
        let settlements = claims
            .iter()
            .map(|claim| settlement(claim, Verdict::Delivered, TryOutcome::Delivered))
            .collect();
        for settled in store.settle_batch(settlements).await {
            assert_eq!(settled.unwrap(), Settled::Done);
        }
    })
    .await;
}

both_databases!(a_settlement_that_comes_again_finds_its_own_work, |db| async move {
    let store = db.store().await;
    let handlers = [
        (Verdict::Delivered, TryOutcome::Delivered),
        (Verdict::Pending { after: Duration::ZERO, cause: "x".to_owned() }, TryOutcome::Retry),
        (Verdict::Dead { cause: "x".to_owned() }, TryOutcome::Reject),
    ];
    for (at, (verdict, outcome)) in handlers.into_iter().enumerate() {
        let handler = format!("h{at}");
        fresh(&store, event(&format!("evt_{at}"), b"{}", &[&handler])).await;
        let first = claim_one(&store, &handler).await;
        let first = settlement(&first, verdict.clone(), outcome);
        settle(&store, first.clone()).await;
        // Its answer was lost, so it is sent again.
        settle(&store, first.clone()).await;
        // Also when somebody has the delivery again.
        if matches!(verdict, Verdict::Pending { .. }) {
            assert_eq!(claim_one(&store, &handler).await.epoch, 2);
            settle(&store, first.clone()).await;
        }
        let tries = "SELECT CAST(count(*) AS bigint) FROM attempt";
        assert_eq!(db.number(tries).await, i64::try_from(at).unwrap() + 1);
        // What says otherwise isn't it.
        let other = Settlement {
            attempt: AttemptRecord { outcome: TryOutcome::Panic, ..first.attempt.clone() },
            ..first
        };
        let other = store.settle_batch(vec![other]).await.pop().unwrap().unwrap();
        assert_eq!(other, Settled::LeaseLost);
    }
});

/// A statement of each costs half a second here, and all of them longer than one call may take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_refused_among_many_slow_ones_fails_alone() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    let count = 40;
    let mut batch = Vec::new();
    for at in 0..count {
        fresh(&store, event(&format!("evt_{at}"), b"{}", &["a"])).await;
        let claim = claim_one(&store, "a").await;
        let mut settlement = settlement(&claim, Verdict::Delivered, TryOutcome::Delivered);
        // The table knows no try number 0.
        settlement.attempt.n = if at == 7 { 0 } else { settlement.attempt.n };
        batch.push(settlement);
    }
    db.run(
        "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END';
         CREATE TRIGGER slowly BEFORE UPDATE ON delivery FOR EACH STATEMENT EXECUTE FUNCTION slowly()",
    )
    .await;
    // By it one call may take 17 s, and each statement a tenth of its time on any machine that isn't very busy.
    let settings = StoreSettings { statement_timeout: Duration::from_secs(5), ..db.settings() };
    let store = Store::open(&settings).await.unwrap();
    let answers = store.settle_batch(batch).await;
    assert!(matches!(&answers[7], Err(error) if !error.is_transient()), "{:?}", answers[7]);
    let done = answers.iter().filter(|answer| matches!(answer, Ok(Settled::Done))).count();
    assert_eq!(done, count - 1);
}
