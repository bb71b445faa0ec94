//! Lanes under several recorders and workers that fail, die and are mended at random: the rows say
//! afterwards whether any delivery began before the one before it in its lane was final.
//!
//! `HOOKONCE_LANE_DELIVERIES` and `HOOKONCE_LANES` set the size of the storm.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use entity::TryOutcome;
use hookonce::retry::{Backoff, Limit, OnUnknown, RetryPolicy};
use hookonce::store::{NewEvent, Settlement, Store, Verdict};
use hookonce::upkeep::rescue::rescue_once;
use rand::RngExt;
use uuid::Uuid;

use super::ground::{claim, name, settlement};
use super::lane::in_lane;
use crate::both_databases;
use crate::support::{Kind, TestDatabase};

const RECORDERS: usize = 3;
const WORKERS: usize = 4;

fn size(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

/// Deliveries that began before the one before them in their lane was final, by the database's clock.
const TOO_SOON: &str = "SELECT count(*) FROM (
    SELECT (SELECT min(started_at) FROM attempt WHERE delivery_id = d.id) AS began,
           lag(settled_at) OVER (PARTITION BY handler, lane ORDER BY lane_order) AS final
      FROM delivery d WHERE lane IS NOT NULL) AS pair
     WHERE began < final";

/// Pairs of one recorder, which submits one batch after the other, that stand in the wrong order.
const OUT_OF_LINE: &str = "SELECT count(*) FROM (
    SELECT e.event_id AS id, lag(e.event_id) OVER (
               PARTITION BY d.lane, substr(e.event_id, 1, 2) ORDER BY d.lane_order) AS before
      FROM delivery d JOIN event e ON e.id = d.event_id) AS pair
     WHERE before > id";

async fn recorder(store: Store, number: usize, deliveries: usize, lanes: usize) {
    let mut at = 0;
    while at < deliveries {
        let batch: Vec<NewEvent> = (at..deliveries.min(at + rand::rng().random_range(1..64)))
            .map(|at| {
                let lane = rand::rng().random_range(0..lanes);
                // In half of the lanes a dead one stops the others.
                in_lane(&format!("r{number}_{at:09}"), &format!("lane {lane}"), lane % 2 == 0)
            })
            .collect();
        at += batch.len();
        for recorded in store.record_batch(batch).await {
            recorded.unwrap();
        }
    }
}

async fn worker(store: Store, ended: Arc<AtomicBool>) -> u64 {
    let mut claims_made = 0;
    while !ended.load(Ordering::Acquire) {
        let claims = claim(&store, "a", 64).await;
        if claims.is_empty() {
            tokio::task::yield_now().await;
            continue;
        }
        claims_made += claims.len() as u64;
        let mut settlements: Vec<Settlement> = Vec::new();
        for claim in &claims {
            let (verdict, outcome) = match rand::rng().random_range(0..100) {
                // The worker dies: its lease lapses.
                0..2 => continue,
                2..12 => {
                    let after = Duration::from_millis(rand::rng().random_range(0..5));
                    (Verdict::Pending { after, cause: "again".to_owned() }, TryOutcome::Retry)
                }
                12..16 => (Verdict::Dead { cause: "no".to_owned() }, TryOutcome::Reject),
                _ => (Verdict::Delivered, TryOutcome::Delivered),
            };
            settlements.push(settlement(claim, verdict, outcome));
        }
        if settlements.is_empty() {
            continue;
        }
        for settled in store.settle_batch(settlements).await {
            settled.unwrap();
        }
    }
    claims_made
}

async fn ids(db: &TestDatabase, condition: &str) -> Vec<Uuid> {
    let text = match db.kind() {
        Kind::Postgres => "id::text",
        Kind::Sqlite => "hex(id)",
    };
    let found = db.texts(&format!("SELECT {text} FROM delivery WHERE {condition}")).await;
    found.iter().map(|id| id.parse().unwrap()).collect()
}

/// Lets leases lapse and frees them; retries, discards and cancels. Ends when everything is final and no
/// lane is stopped.
async fn mend(db: &TestDatabase, store: &Store, recorded: &AtomicBool, patience: Duration) {
    let policy = RetryPolicy {
        limit: Limit::Attempts(1_000),
        backoff: Backoff::List(vec![Duration::ZERO]),
        on_unknown: OnUnknown::Retry,
    };
    let until = Instant::now() + patience;
    loop {
        assert!(Instant::now() < until, "not settled within {patience:?}");
        crate::store::rescue::let_leases_lapse(db).await;
        rescue_once(store, &[(name("a"), policy.clone())], 0.5).await.unwrap();
        for id in ids(db, "state = 'dead' AND lane_head LIMIT 200").await {
            if rand::rng().random_bool(0.5) {
                store.discard(id).await.unwrap();
            } else {
                store.retry(id).await.unwrap();
            }
        }
        for id in ids(db, "state = 'pending' LIMIT 2").await {
            store.cancel(id).await.unwrap();
        }
        if recorded.load(Ordering::Acquire)
            && db.number("SELECT count(*) FROM delivery WHERE state IN ('pending', 'leased') OR lane_head").await == 0
        {
            return;
        }
    }
}

both_databases!(
    no_delivery_begins_before_the_one_before_it_in_its_lane_is_final,
    |db| async move {
        let deliveries = size("HOOKONCE_LANE_DELIVERIES", 900);
        let lanes = size("HOOKONCE_LANES", 40);
        let store = db.store().await;
        // Another replica, with connections of its own, where there may be one.
        let other = if store.is_postgres() { db.store().await } else { store.clone() };
        let begun = Instant::now();
        let (ended, recorded) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let mut workers = tokio::task::JoinSet::new();
        for at in 0..WORKERS {
            let store = if at % 2 == 0 { store.clone() } else { other.clone() };
            workers.spawn(worker(store, Arc::clone(&ended)));
        }
        let mut recorders = tokio::task::JoinSet::new();
        for at in 0..RECORDERS {
            let store = if at % 2 == 0 { store.clone() } else { other.clone() };
            recorders.spawn(recorder(store, at, deliveries / RECORDERS, lanes));
        }
        let all_recorded = Arc::clone(&recorded);
        let recording = tokio::spawn(async move {
            recorders.join_all().await;
            all_recorded.store(true, Ordering::Release);
        });
        let patience = Duration::from_secs(60 + deliveries as u64 / 50);
        mend(&db, &store, &recorded, patience).await;
        recording.await.unwrap();
        ended.store(true, Ordering::Release);
        let claims: u64 = workers.join_all().await.into_iter().sum();
        println!(
            "{deliveries} deliveries in {lanes} lanes: {claims} claims in {:.1?}, {:.0} a second",
            begun.elapsed(),
            claims as f64 / begun.elapsed().as_secs_f64()
        );
        assert_eq!(db.number(TOO_SOON).await, 0, "began too soon");
        assert_eq!(db.number(OUT_OF_LINE).await, 0, "not in the order of recording");
        assert_eq!(db.number("SELECT count(*) FROM delivery WHERE lane_waits").await, 0);
        let tries = db.number("SELECT count(*) FROM attempt").await;
        assert!(tries >= i64::try_from(deliveries / 2).unwrap(), "{tries} tries prove little");
    }
);
