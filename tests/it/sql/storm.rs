//! While replicas and PostgreSQL are killed, every event comes five times: an effect in a database happens
//! exactly once, a call at least once.
//!
//! 300 events are part of the normal tests. `HOOKONCE_STORM_EVENTS=10000` makes it the big one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::RngExt;
use tokio::sync::Mutex;

use super::{account, handler};
use crate::daemon::{STRIPE, stripe};
use crate::support::daemon::wait_until_settled;
use crate::support::{
    Daemon, DaemonPlan, Endpoint, PostgresServer, Sender, TestDatabase, eventually,
};

const EVENTS: usize = 300;
const COPIES: usize = 5;
const REPLICAS: usize = 3;
const SENDERS: usize = 24;
const ADD: &str = "update acct set n = n + 1";
/// The shortest that the config allows, so that what a killed replica held is soon taken over.
const LINES: &str =
    "lease = \"4s\"\ntimeout = \"2s\"\nretry = { for = \"1h\", backoff = \"50ms..1s\" }";
/// Of the whole storm; the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(1200);

fn events() -> usize {
    std::env::var("HOOKONCE_STORM_EVENTS")
        .map_or(EVENTS, |text| text.parse().expect("HOOKONCE_STORM_EVENTS is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storm_a_sql_effect_is_applied_once_for_each_event() {
    let server = Arc::new(PostgresServer::started().await);
    let db = TestDatabase::on(Arc::clone(&server)).await;
    account(&db).await;
    let plan = plan(&db).toml(&handler("", &[ADD], LINES));
    storm("own database", &plan, &db, &server).await;
    assert_once_each("own database", &db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storm_a_fence_makes_an_effect_elsewhere_happen_once() {
    let server = Arc::new(PostgresServer::started().await);
    let db = TestDatabase::on(Arc::clone(&server)).await;
    let app = TestDatabase::on(Arc::clone(&server)).await;
    account(&app).await;
    let plan = plan(&db)
        .toml(&handler("database = \"app\", ", &[ADD], LINES))
        .toml(&format!("[databases.app]\nurl = {:?}\n", app.url()));
    storm("another database", &plan, &db, &server).await;
    assert_once_each("another database", &app).await;
    let fences = app.number("SELECT count(*) FROM hookonce_fence").await;
    assert_eq!(fences, i64::try_from(events()).unwrap());
}

/// A call can't be in our transaction: it may come twice, but never under another id, and never not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storm_a_call_for_each_event_is_made_under_one_id() {
    let server = Arc::new(PostgresServer::started().await);
    let db = TestDatabase::on(Arc::clone(&server)).await;
    let endpoint = Endpoint::start().await;
    let plan = plan(&db).calls("billing", "stripe", &endpoint.url("/stripe"), LINES);
    storm("http", &plan, &db, &server).await;
    let calls = endpoint.calls();
    let mut ids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for call in &calls {
        ids.entry(call.header("hookonce-event-id")).or_default().insert(call.webhook_id());
    }
    println!("http: {} events called in {} calls", ids.len(), calls.len());
    assert_eq!(ids.len(), events(), "every event is called for");
    let several: Vec<_> = ids.iter().filter(|(_, ids)| ids.len() != 1).collect();
    assert!(several.is_empty(), "under more than one id: {several:?}");
    let distinct: BTreeSet<_> = ids.values().flatten().collect();
    assert_eq!(distinct.len(), events(), "no id stands for two events");
}

/// The effect happened once for each event.
async fn assert_once_each(name: &str, counts: &TestDatabase) {
    let n = counts.number("SELECT n FROM acct").await;
    println!("{name}: n = {n}");
    assert_eq!(n, i64::try_from(events()).unwrap(), "{name}: each event counts once");
}

fn plan(db: &TestDatabase) -> DaemonPlan {
    DaemonPlan::on(db).source(&stripe())
}

async fn storm(name: &str, plan: &DaemonPlan, db: &TestDatabase, server: &Arc<PostgresServer>) {
    let events = events();
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(Arc::new(Mutex::new(plan.start().await)));
    }
    let mut doors = Vec::new();
    for replica in &replicas {
        doors.push(replica.lock().await.public());
    }
    let acks = Arc::new(AtomicUsize::new(0));
    let next = Arc::new(AtomicUsize::new(0));
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..SENDERS {
        let (acks, next, doors) = (Arc::clone(&acks), Arc::clone(&next), doors.clone());
        senders.spawn(async move {
            let senders: Vec<Sender> = doors.iter().map(|door| Sender::new(*door)).collect();
            loop {
                let n = next.fetch_add(1, Ordering::SeqCst);
                if n >= events * COPIES {
                    return;
                }
                // The copies of an event go out close together, to all replicas.
                let (event, copy) = (n / COPIES, n % COPIES);
                let signed = stripe().event(&format!("evt_{event}"), "charge.succeeded");
                // As a provider does: again, until it is acked.
                for attempt in 0.. {
                    let sender = &senders[(event + copy + attempt) % senders.len()];
                    match sender.try_send(STRIPE, &signed).await {
                        Ok(sent) if sent.status == 200 => break,
                        Ok(sent) => assert_eq!(sent.status, 503, "{sent:?}"),
                        Err(_) => {}
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                acks.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let over = Arc::new(AtomicBool::new(false));
    let killer = tokio::spawn(kill_on(replicas.clone(), Arc::clone(server), Arc::clone(&over)));
    while let Some(done) = senders.join_next().await {
        done.unwrap();
    }
    // Kills go on while what was acked is worked off, but for the last of it.
    let open = "SELECT count(*) FROM delivery WHERE state IN ('pending', 'leased')";
    eventually(PATIENCE, "few deliveries to be left", || async {
        let left = usize::try_from(db.try_number(open).await.ok()?).unwrap();
        (left <= events / 10).then_some(())
    })
    .await;
    over.store(true, Ordering::SeqCst);
    let (of_replicas, of_postgres) = killer.await.unwrap();
    wait_until_settled(db, PATIENCE).await;
    let rows = db.number("SELECT count(*) FROM event").await;
    let delivered = db.number("SELECT count(*) FROM delivery WHERE state = 'delivered'").await;
    let tries = db.number("SELECT CAST(sum(attempts) AS bigint) FROM delivery").await;
    println!(
        "{name}: {events} events x {COPIES}, {REPLICAS} replicas: {} acks, {rows} rows, {delivered} delivered in {tries} tries, {of_replicas} kills of a replica, {of_postgres} of PostgreSQL",
        acks.load(Ordering::SeqCst)
    );
    assert!(of_replicas > 0 && of_postgres > 0, "a storm without kills proves nothing");
    assert_eq!((rows, delivered), (i64::try_from(events).unwrap(), i64::try_from(events).unwrap()));
}

/// Kills replicas and PostgreSQL in turn, and starts them again, until it is over; at least once each.
async fn kill_on(
    replicas: Vec<Arc<Mutex<Daemon>>>,
    server: Arc<PostgresServer>,
    over: Arc<AtomicBool>,
) -> (u32, u32) {
    let mut kills = (0, 0);
    for round in 0.. {
        if kills.0 > 0 && kills.1 > 0 && over.load(Ordering::SeqCst) {
            break;
        }
        let pause = rand::rng().random_range(50..1000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if round % 3 == 1 {
            let server = Arc::clone(&server);
            tokio::task::spawn_blocking(move || {
                server.kill();
                server.restart();
            })
            .await
            .unwrap();
            kills.1 += 1;
        } else {
            let at = rand::rng().random_range(0..replicas.len());
            let mut replica = replicas[at].lock().await;
            replica.kill().await;
            replica.start().await;
            kills.0 += 1;
        }
    }
    kills
}
