//! Rust functions in the settling transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use hookonce::handler::Outcome;
use hookonce::store::effect::{Effected, Kept, Tx};
use hookonce::store::{Settled, Verdict};

use super::{account, states};
use crate::both_databases;
use crate::daemon::{PATIENCE, STRIPE, stripe};
use crate::store::ground::{claim_one, event, fresh, settlement};
use crate::support::daemon::wait_until_settled;
use crate::support::{DaemonPlan, Kind, TestApp};

/// Adds one, by whichever connection there is.
async fn add_one(tx: &mut Tx<'_>) -> Result<(), sqlx::Error> {
    const ADD: &str = "UPDATE acct SET n = n + 1";
    if let Some(connection) = tx.postgres() {
        sqlx::query(ADD).execute(connection).await?;
    } else if let Some(connection) = tx.sqlite() {
        sqlx::query(ADD).execute(connection).await?;
    }
    Ok(())
}

both_databases!(a_function_that_fails_after_its_work_leaves_nothing_of_it, |db| async move {
    account(&db).await;
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let plan = DaemonPlan::on(&db).source(&stripe());
    let app = TestApp::start(&db, &plan, |app| {
        app.on_tx("stripe", "*", move |_, context, mut tx| {
            let call = counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                add_one(&mut tx).await.unwrap();
                assert_ne!(call, 0, "the first call panics after its work");
                let (cause, after) = ("not yet".to_owned(), Some(Duration::from_millis(1)));
                match context.attempt {
                    2 => Outcome::Retry { cause, after, reply: Default::default() },
                    _ => Outcome::done(),
                }
            })
        })
    })
    .await;
    app.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    let outcomes = "SELECT outcome FROM attempt ORDER BY n";
    crate::support::eventually(PATIENCE, "the panic to be recorded", || async {
        db.texts(outcomes).await.first().is_some_and(|it| it == "panic").then_some(())
    })
    .await;
    // Tests move rows, not clocks.
    db.run(match db.kind() {
        Kind::Postgres => "UPDATE delivery SET due_at = now() WHERE state = 'pending'",
        Kind::Sqlite => {
            "UPDATE delivery SET due_at = '2026-01-01 00:00:00.000' WHERE state = 'pending'"
        }
    })
    .await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(db.texts(outcomes).await, ["panic", "retry", "delivered"]);
    assert_eq!(db.number("SELECT n FROM acct").await, 1);
    assert_eq!(states(&db).await, ["delivered"]);
    app.finish().await;
});

both_databases!(a_stale_epoch_does_no_work, |db| async move {
    account(&db).await;
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let stale = claim_one(&store, "a").await;
    db.run("UPDATE delivery SET state = 'pending', lease_until = NULL, leased_by = NULL").await;
    let current = claim_one(&store, "a").await;
    let work = |claim| {
        let settlement = settlement(claim, Verdict::Delivered, entity::TryOutcome::Delivered);
        store.settle_with(settlement, Duration::from_secs(5), |mut tx| {
            Box::pin(async move {
                add_one(&mut tx).await.map_err(|error| error.to_string())?;
                Ok::<_, String>(Kept::default())
            })
        })
    };
    assert!(matches!(work(&stale).await.unwrap(), Effected::LeaseLost));
    assert_eq!(db.number("SELECT n FROM acct").await, 0);
    assert!(!store.was_delivered(current.delivery, current.epoch).await.unwrap());
    assert!(matches!(work(&current).await.unwrap(), Effected::Settled));
    assert!(matches!(work(&current).await.unwrap(), Effected::LeaseLost));
    assert_eq!(db.number("SELECT n FROM acct").await, 1);
    assert!(store.was_delivered(current.delivery, current.epoch).await.unwrap());
    assert!(!store.was_delivered(stale.delivery, stale.epoch).await.unwrap());
    // What a doubtful worker would say afterwards changes nothing.
    let again = settlement(
        &current,
        Verdict::Pending { after: Duration::ZERO, cause: "doubt".to_owned() },
        entity::TryOutcome::Retry,
    );
    assert_eq!(store.settle_batch(vec![again]).await.pop().unwrap().unwrap(), Settled::LeaseLost);
});

both_databases!(who_passes_over_an_interrupted_statement_is_not_settled_alone, |db| async move {
    account(&db).await;
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let claim = claim_one(&store, "a").await;
    let kind = db.kind();
    let ended = store
        .settle_with(
            settlement(&claim, Verdict::Delivered, entity::TryOutcome::Delivered),
            // What comes before the slow statement has to fit in as well.
            Duration::from_secs(3),
            move |mut tx| {
                Box::pin(async move {
                    add_one(&mut tx).await.unwrap();
                    let failed = match kind {
                        Kind::Postgres => sqlx::query(crate::sql::slow(kind))
                            .execute(tx.postgres().unwrap())
                            .await
                            .is_err(),
                        Kind::Sqlite => sqlx::query(crate::sql::slow(kind))
                            .execute(tx.sqlite().unwrap())
                            .await
                            .is_err(),
                    };
                    assert!(failed, "it takes longer than it may");
                    Ok::<_, String>(Kept::default())
                })
            },
        )
        .await;
    assert!(!matches!(ended, Ok(Effected::Settled)), "{ended:?}");
    assert_eq!(db.number("SELECT n FROM acct").await, 0);
    assert_eq!(db.texts("SELECT state FROM delivery").await, ["leased"]);
    // The store goes on as before.
    fresh(&store, event("evt_2", b"{}", &["a"])).await;
});

both_databases!(a_future_that_is_dropped_leaves_nothing_and_holds_nothing, |db| async move {
    account(&db).await;
    let store = db.store().await;
    fresh(&store, event("evt_1", b"{}", &["a"])).await;
    let claim = claim_one(&store, "a").await;
    let (began, begun) = tokio::sync::oneshot::channel();
    let working = store.settle_with(
        settlement(&claim, Verdict::Delivered, entity::TryOutcome::Delivered),
        Duration::from_secs(60),
        |mut tx| {
            Box::pin(async move {
                add_one(&mut tx).await.unwrap();
                began.send(()).unwrap();
                std::future::pending::<()>().await;
                Ok::<_, String>(Kept::default())
            })
        },
    );
    tokio::select! {
        ended = working => panic!("it never ends: {ended:?}"),
        begun = begun => begun.unwrap(),
    }
    // Its locks are gone: the same delivery can be settled.
    crate::store::ground::settle(
        &store,
        settlement(&claim, Verdict::Dead { cause: "x".to_owned() }, entity::TryOutcome::Reject),
    )
    .await;
    assert_eq!(db.number("SELECT n FROM acct").await, 0);
});

both_databases!(waiting_for_a_connection_is_no_try, |db| async move {
    // More than there are connections for effects, each for longer than a connection is waited for.
    let events = match db.kind() {
        Kind::Postgres => 12,
        Kind::Sqlite => 2,
    };
    let all_sent = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&all_sent);
    let plan = DaemonPlan::on(&db).source(&stripe());
    let app = TestApp::start(&db, &plan, |app| {
        app.on_tx("stripe", "*", move |_, _, _| {
            let open = Arc::clone(&open);
            Box::pin(async move {
                if !open.load(Ordering::Acquire) {
                    return Outcome::Snooze { wait: Duration::from_millis(100) };
                }
                tokio::time::sleep(Duration::from_millis(5500)).await;
                Outcome::done()
            })
        })
    })
    .await;
    for at in 0..events {
        let event = stripe().event(&format!("evt_{at}"), "x");
        app.sender().send(STRIPE, &event).await.assert_accepted();
    }
    all_sent.store(true, Ordering::Release);
    wait_until_settled(&db, PATIENCE).await;
    let counted = "SELECT count(*) FROM attempt WHERE outcome NOT IN ('snooze', 'delivered')";
    assert_eq!(db.number(counted).await, 0);
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE state = 'delivered'").await, events);
    app.finish().await;
});
