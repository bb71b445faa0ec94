//! Rescuing: a lapsed lease is a failed try; what is still alive is left alone.

use std::time::Duration;

use entity::{State, TryOutcome};
use hookonce::retry::{Backoff, Limit, OnUnknown, RetryPolicy};
use hookonce::store::claim::Held;
use hookonce::store::{Claimed, Verdict};
use hookonce::upkeep::rescue::rescue_once;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::ground::{LEASE, claim, claim_one, event, fresh, name, settlement};
use crate::both_databases;
use crate::support::{TestDatabase, within};

fn policy(tries: u32) -> RetryPolicy {
    RetryPolicy {
        limit: Limit::Attempts(tries),
        backoff: Backoff::List(vec![Duration::from_secs(600)]),
        on_unknown: OnUnknown::Retry,
    }
}

pub async fn let_leases_lapse(db: &TestDatabase) {
    db.run(match db.kind() {
        // In the order of their id, as settling locks them: it may be under way.
        crate::support::Kind::Postgres => {
            "WITH held AS MATERIALIZED (
                SELECT id FROM delivery WHERE state = 'leased' ORDER BY id FOR NO KEY UPDATE)
             UPDATE delivery d SET lease_until = clock_timestamp() - interval '1 second'
               FROM held WHERE d.id = held.id AND d.state = 'leased'"
        }
        crate::support::Kind::Sqlite => {
            "UPDATE delivery SET lease_until = strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 seconds')
              WHERE state = 'leased'"
        }
    })
    .await;
}

both_databases!(a_lapsed_lease_is_freed_at_once_and_its_try_is_kept_as_fenced, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let lost = claim_one(&store, "a").await;
    let handlers = [(name("a"), policy(3))];
    assert_eq!(rescue_once(&store, &handlers, 0.5).await.unwrap(), 0, "its lease is alive");
    let_leases_lapse(&db).await;
    assert_eq!(rescue_once(&store, &handlers, 0.5).await.unwrap(), 1);
    let (row, tries) = store.delivery(lost.delivery).await.unwrap().unwrap();
    assert_eq!((row.delivery.state, row.delivery.attempts), (State::Pending, 1));
    assert_eq!((tries.len(), tries[0].outcome), (1, TryOutcome::Fenced));
    let again = claim_one(&store, "a").await;
    assert_eq!((again.attempt, again.tried, again.epoch), (2, 2, 2));
    let late = settlement(&lost, Verdict::Delivered, TryOutcome::Delivered);
    assert_eq!(
        store.settle_batch(vec![late]).await.pop().unwrap().unwrap(),
        hookonce::store::Settled::LeaseLost
    );
});

both_databases!(a_crash_of_the_last_try_makes_it_dead, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let lost = claim_one(&store, "a").await;
    let_leases_lapse(&db).await;
    assert_eq!(rescue_once(&store, &[(name("a"), policy(1))], 0.5).await.unwrap(), 1);
    let (row, _) = store.delivery(lost.delivery).await.unwrap().unwrap();
    assert_eq!(row.delivery.state, State::Dead);
});

both_databases!(an_unknown_handlers_lease_is_left_for_a_replica_that_knows_it, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["elsewhere"])).await;
    fresh(&store, event("evt_2", b"{}", &["a"])).await;
    claim_one(&store, "elsewhere").await.delivery.as_bytes();
    claim_one(&store, "a").await.delivery.as_bytes();
    let_leases_lapse(&db).await;
    assert_eq!(rescue_once(&store, &[(name("a"), policy(3))], 0.5).await.unwrap(), 1);
    assert_eq!(
        db.number("SELECT count(*) FROM delivery WHERE state = 'leased' AND handler = 'elsewhere'")
            .await,
        1
    );
});

both_databases!(a_lease_that_was_renewed_meanwhile_is_left_alone, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let alive = claim_one(&store, "a").await;
    let_leases_lapse(&db).await;
    let seen = store.lapsed(vec![name("a")], 10).await.unwrap();
    assert_eq!(seen.len(), 1);
    store
        .renew(vec![Held { delivery: alive.delivery, epoch: alive.epoch, lease: LEASE }])
        .await
        .unwrap();
    let verdict = Verdict::Pending { after: Duration::ZERO, cause: "x".to_owned() };
    let rescue = settlement(&alive, verdict, TryOutcome::Fenced);
    assert_eq!(
        store.settle_lapsed(vec![rescue]).await.pop().unwrap().unwrap(),
        hookonce::store::Settled::LeaseLost
    );
    assert!(claim(&store, "a", 1).await.is_empty());
});

both_databases!(two_rescuers_count_a_crash_once, |db| async move {
    let store = db.store().await;
    for at in 0..50 {
        fresh(&store, event(&format!("evt_{at}"), b"{}", &["a"])).await;
    }
    assert_eq!(claim(&store, "a", 50).await.len(), 50);
    let_leases_lapse(&db).await;
    let handlers = [(name("a"), policy(9))];
    let (first, second) =
        tokio::join!(rescue_once(&store, &handlers, 0.1), rescue_once(&store, &handlers, 0.9));
    assert_eq!(first.unwrap() + second.unwrap(), 50);
    assert_eq!(db.number("SELECT count(*) FROM attempt").await, 50);
});

/// Holds the row of the first of these claims, as an effect does that works in its transaction.
async fn hold(db: &TestDatabase, claim: &Claimed) -> PgConnection {
    let mut holder = PgConnection::connect(&db.url()).await.unwrap();
    let hold =
        format!("BEGIN; SELECT 1 FROM delivery WHERE id = '{}' FOR NO KEY UPDATE", claim.delivery);
    holder.execute(AssertSqlSafe(hold)).await.unwrap();
    holder
}

/// On SQLite an effect holds the only writer, and everything waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lapsed_lease_whose_effect_still_works_keeps_no_other_from_being_freed() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    for at in 0..3 {
        fresh(&store, event(&format!("evt_{at}"), b"{}", &["a"])).await;
    }
    let claims = claim(&store, "a", 3).await;
    let_leases_lapse(&db).await;
    let holder = hold(&db, &claims[0]).await;
    let handlers = [(name("a"), policy(9))];
    assert_eq!(rescue_once(&store, &handlers, 0.5).await.unwrap(), 2);
    holder.close().await.unwrap();
    assert_eq!(rescue_once(&store, &handlers, 0.5).await.unwrap(), 1, "once it is free");
    assert_eq!(db.number("SELECT count(*) FROM attempt").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_whose_effect_works_keeps_no_other_from_being_renewed() {
    let db = TestDatabase::postgres().await;
    let store = db.store().await;
    for at in 0..3 {
        fresh(&store, event(&format!("evt_{at}"), b"{}", &["a"])).await;
    }
    let claims = claim(&store, "a", 3).await;
    let holder = hold(&db, &claims[0]).await;
    let mut held: Vec<Held> = claims
        .iter()
        .map(|claim| Held { delivery: claim.delivery, epoch: claim.epoch, lease: 10 * LEASE })
        .collect();
    held[2].epoch = 99;
    // One that waited for the held row would be refused by the session's `lock_timeout`, and name no busy one.
    let done = within(Duration::from_secs(20), "the renewal", store.renew(held)).await.unwrap();
    assert_eq!((done.lost, done.busy), (vec![claims[2].delivery], vec![claims[0].delivery]));
    let renewed = "SELECT count(*) FROM delivery WHERE lease_until > now() + interval '60 seconds'";
    assert_eq!(db.number(renewed).await, 1);
    holder.close().await.unwrap();
}

both_databases!(what_a_rescuer_kept_is_not_held_for_ones_own_try, |db| async move {
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let lost = claim_one(&store, "a").await;
    let_leases_lapse(&db).await;
    assert_eq!(rescue_once(&store, &[(name("a"), policy(1))], 0.5).await.unwrap(), 1);
    // Its worker shuts down, and gives it back: a try under the same epoch, and kept as fenced as well.
    let verdict = Verdict::Released { after: Duration::ZERO, cause: "shut down".to_owned() };
    let own = settlement(&lost, verdict, TryOutcome::Fenced);
    let settled = store.settle_batch(vec![own]).await.pop().unwrap().unwrap();
    assert_eq!(settled, hookonce::store::Settled::LeaseLost);
    let (row, _) = store.delivery(lost.delivery).await.unwrap().unwrap();
    assert_eq!(row.delivery.state, State::Dead);
});
