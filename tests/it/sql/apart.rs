//! Who works in a transaction ends it himself: what he did then stands without its settlement, and is not done again.
//!
//! Three levels deep the driver undoes two of them when a `begin()` fails or is dropped, so that what its caller
//! commits is no savepoint any more but the transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt;
use hookonce::handler::Outcome;
use hookonce::store::effect::{Effected, Kept, Tx};
use hookonce::store::{Store, StoreError, Verdict};
use sqlx::{Connection, Executor};

use super::elsewhere::statements;
use super::{account, states};
use crate::both_databases;
use crate::daemon::{PATIENCE, STRIPE, stripe};
use crate::store::ground::{claim_one, event, fresh, settlement};
use crate::support::daemon::wait_until_settled;
use crate::support::{DaemonPlan, Kind, TestApp, TestDatabase};

const ADD: &str = "UPDATE acct SET n = n + 1";

/// How a function goes on once its savepoint was committed as the transaction.
#[derive(Debug, Clone, Copy)]
enum Then {
    Returns,
    Refuses,
    WorksOn,
    BeginsAnew,
    NeverEnds,
}

/// Adds one and commits what it holds for a savepoint, on a connection of either driver.
macro_rules! commit_apart {
    ($connection:expr) => {{
        let connection = $connection;
        connection.execute(ADD).await.unwrap();
        let mut one = connection.begin().await.unwrap();
        let mut two = one.begin().await.unwrap();
        // Whatever is answered at once was not dropped while it began.
        while two.begin().now_or_never().is_some() {}
        // SQLite's hook refuses it.
        drop(two.commit().await);
        drop(one);
    }};
}

pub async fn commit_apart(tx: &mut Tx<'_>) {
    if let Some(connection) = tx.postgres() {
        commit_apart!(connection);
    } else if let Some(connection) = tx.sqlite() {
        commit_apart!(connection);
    }
}

async fn add(tx: &mut Tx<'_>) {
    if let Some(connection) = tx.postgres() {
        drop(connection.execute(ADD).await);
    } else if let Some(connection) = tx.sqlite() {
        drop(connection.execute(ADD).await);
    }
}

async fn work(then: Then, tx: &mut Tx<'_>) -> Result<Kept, String> {
    commit_apart(tx).await;
    match then {
        Then::Returns => {}
        Then::Refuses => return Err("refused".to_owned()),
        Then::WorksOn => add(tx).await,
        Then::BeginsAnew => {
            if let Some(connection) = tx.postgres() {
                std::mem::forget(connection.begin().await);
            }
        }
        Then::NeverEnds => std::future::pending().await,
    }
    Ok(Kept::default())
}

async fn worked(store: &Store, then: Then, id: &str) -> Result<Effected<String>, StoreError> {
    fresh(store, event(id, b"{}", &["a"])).await;
    let claim = claim_one(store, "a").await;
    let settlement = settlement(&claim, Verdict::Delivered, entity::TryOutcome::Delivered);
    let limit = match then {
        Then::NeverEnds => Duration::from_secs(3),
        _ => Duration::from_secs(30),
    };
    let ended = store
        .settle_with(settlement, limit, move |mut tx| {
            Box::pin(async move { work(then, &mut tx).await })
        })
        .await;
    let row = store.delivery(claim.delivery).await.unwrap().unwrap().0;
    let settled = matches!(ended, Ok(Effected::Settled));
    assert_eq!(row.delivery.state == entity::State::Delivered, settled, "{then:?}: {ended:?}");
    ended
}

both_databases!(what_was_committed_apart_is_told_as_that, |db| async move {
    account(&db).await;
    let store = db.store().await;
    let stories = [Then::Returns, Then::Refuses, Then::WorksOn, Then::BeginsAnew, Then::NeverEnds];
    for (at, then) in stories.into_iter().enumerate() {
        let before = db.number("SELECT n FROM acct").await;
        let ended = worked(&store, then, &format!("evt_{at}")).await;
        let stands = db.number("SELECT n FROM acct").await - before;
        let apart = matches!(ended, Err(StoreError::Apart));
        match db.kind() {
            Kind::Postgres => assert_eq!((stands, apart), (1, true), "{then:?}: {ended:?}"),
            // Its hook lets no such COMMIT pass: all of it is settled, or nothing.
            Kind::Sqlite => {
                assert!(!apart, "{then:?}: {ended:?}");
                let settled = matches!(ended, Ok(Effected::Settled));
                assert_eq!(stands > 0, settled, "{then:?}: {ended:?}");
            }
        }
    }
});

/// One more question for each try that isn't delivered: only of who had the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_of_an_operator_are_not_asked_about() {
    let db = TestDatabase::postgres().await;
    account(&db).await;
    let store = db.store().await;
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                    AND pid <> pg_backend_pid() AND query LIKE '%pg_xact_status%'";
    for (id, lent) in [("evt_1", false), ("evt_2", true)] {
        fresh(&store, event(id, b"{}", &["a"])).await;
        let claim = claim_one(&store, "a").await;
        let settlement = settlement(&claim, Verdict::Delivered, entity::TryOutcome::Delivered);
        let add = statements(&db, &["update acct set n = n + 1"]);
        let ended = store
            .settle_with(settlement, Duration::from_secs(30), move |mut tx| {
                Box::pin(async move {
                    add.apply(&mut tx, &vec![Vec::new()]).await.unwrap();
                    assert!(!lent || tx.postgres().is_some());
                    Err::<Kept, _>("refused")
                })
            })
            .await;
        assert!(matches!(ended, Ok(Effected::Refused(_))), "{ended:?}");
        assert_eq!(db.number(asked).await, i64::from(lent));
    }
}

/// Also when it says so itself, which it must not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_by_statement_is_told_as_that() {
    let db = TestDatabase::postgres().await;
    account(&db).await;
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let claim = claim_one(&store, "a").await;
    let settlement = settlement(&claim, Verdict::Delivered, entity::TryOutcome::Delivered);
    let ended = store
        .settle_with(settlement, Duration::from_secs(30), |mut tx| {
            Box::pin(async move {
                add(&mut tx).await;
                drop(tx.postgres().unwrap().execute("COMMIT").await);
                Ok::<_, String>(Kept::default())
            })
        })
        .await;
    assert!(matches!(ended, Err(StoreError::Apart)), "{ended:?}");
    assert_eq!(db.number("SELECT n FROM acct").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_commits_apart_makes_its_delivery_dead_and_runs_once() {
    let db = TestDatabase::postgres().await;
    account(&db).await;
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let plan = DaemonPlan::on(&db).source(&stripe());
    let app = TestApp::start(&db, &plan, |app| {
        app.on_tx("stripe", "*", move |event, _, mut tx| {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                commit_apart(&mut tx).await;
                match event.event_id.as_str() {
                    "evt_1" => Outcome::done(),
                    "evt_2" => Outcome::retry("not yet"),
                    _ => panic!("after its work"),
                }
            })
        })
    })
    .await;
    for id in ["evt_1", "evt_2", "evt_3"] {
        app.sender().send(STRIPE, &stripe().event(id, "x")).await.assert_accepted();
    }
    wait_until_settled(&db, PATIENCE).await;
    for state in states(&db).await {
        let why = "dead: the effect was committed apart from its settlement";
        assert!(state.starts_with(why), "{state}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    assert_eq!(db.number("SELECT n FROM acct").await, 3);
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE state = 'dead'").await, 3);
    assert_eq!(db.number("SELECT count(*) FROM attempt").await, 3);
    app.finish().await;
}
