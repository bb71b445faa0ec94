//! Replays beside recorders and workers in the same lanes: nobody waits in a circle, and nobody fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entity::TryOutcome;
use hookonce::store::replay_run::{Replay, ReplayPlan};
use hookonce::store::{NewEvent, Store, Verdict};
use rand::RngExt;

use super::ground::{claim, name, settlement};
use super::lane::in_lane;
use super::replay_run::{asking, drive, target};
use crate::both_databases;
use crate::support::{eventually, within};

/// Handles what is due, a fifth of it badly, until `ended`.
async fn worker(store: Store, ended: Arc<AtomicBool>) {
    while !ended.load(Ordering::Acquire) {
        let claims = claim(&store, "a", 64).await;
        if claims.is_empty() {
            tokio::task::yield_now().await;
        }
        let verdicts = claims.iter().map(|it| match rand::rng().random_range(0..5) {
            0 => settlement(it, Verdict::Dead { cause: "no".to_owned() }, TryOutcome::Reject),
            _ => settlement(it, Verdict::Delivered, TryOutcome::Delivered),
        });
        for settled in store.settle_batch(verdicts.collect()).await {
            settled.unwrap();
        }
    }
}

both_databases!(
    replays_workers_and_recorders_of_the_same_lanes_never_wait_in_a_circle,
    |db| async move {
        const ROUNDS: usize = 12;
        let store = db.store().await;
        let (ended, recorded) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..3 {
            workers.spawn(worker(store.clone(), Arc::clone(&ended)));
        }
        let mut others = tokio::task::JoinSet::new();
        for at in 0..2 {
            let (store, recorded) = (store.clone(), Arc::clone(&recorded));
            others.spawn(async move {
                // Two that are not equal, or they would be one.
                let replay =
                    Replay { kind: (at == 0).then(|| "order.*".to_owned()), ..Replay::default() };
                let plan = ReplayPlan { replay, targets: Arc::from([target("a", &["shop"])]) };
                loop {
                    let last = recorded.load(Ordering::Acquire);
                    let run = store.begin_replay(asking(&plan.replay)).await.unwrap().run;
                    drive(&store, &run, &plan, 50).await;
                    let left = store.count_replay(&plan, None).await.unwrap();
                    let open = store.backlog(vec![name("a")]).await.unwrap()[0].pending;
                    if last && left.is_empty() && open == 0 {
                        return;
                    }
                }
            });
        }
        for round in 0..ROUNDS {
            let batch: Vec<NewEvent> = (0..60)
                .map(|n| {
                    in_lane(&format!("r{round:02}_{n:02}"), &format!("l{}", n % 15), n % 2 == 0)
                })
                .collect();
            assert!(store.record_batch(batch).await.iter().all(Result::is_ok));
        }
        recorded.store(true, Ordering::Release);
        within(Duration::from_secs(120), "the end of both replayers", others.join_all()).await;
        eventually(Duration::from_secs(60), "the last of them", || async {
            let open = "SELECT count(*) FROM delivery WHERE state IN ('pending', 'leased')";
            (db.number(open).await == 0).then_some(())
        })
        .await;
        ended.store(true, Ordering::Release);
        workers.join_all().await;
        assert_eq!(db.number("SELECT count(*) FROM delivery").await, 60 * ROUNDS as i64);
        let reopened = db.number("SELECT count(*) FROM delivery WHERE attempts_before > 0").await;
        assert!(reopened > 10, "{reopened} that were reopened prove little");
    }
);
