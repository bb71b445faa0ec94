//! `kill -9` at random instants under load: every acked event is in the database afterwards.
//!
//! The client keeps a journal of its own, and syncs it after each ack. Three rounds a kind are part of the
//! normal tests; `make torture` does thirty. A kill while nothing is in flight would prove nothing, so
//! each round says how many requests were in flight, and fails when there were none.

mod journal;
mod load;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use crate::daemon::{LEASE, PATIENCE, STRIPE, billing, stripe};
use crate::support::daemon::wait_until_settled;
use crate::support::{Daemon, Endpoint, PostgresServer, TestDatabase, eventually};

use journal::Journal;
use load::Load;

const ROUNDS: u32 = 3;

/// After the load began, in milliseconds: while connections are young, while batches are full, and later.
const KILL_AFTER_MS: std::ops::Range<u64> = 5..1500;

#[derive(Debug, Clone, Copy)]
enum Victim {
    Daemon,
    Database,
    Both,
}

fn rounds() -> u32 {
    std::env::var("HOOKONCE_TORTURE_ROUNDS")
        .map_or(ROUNDS, |text| text.parse().expect("HOOKONCE_TORTURE_ROUNDS is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn torture_the_daemon_killed_on_sqlite_loses_no_acked_event() {
    let db = TestDatabase::sqlite().await;
    torture("sqlite, daemon", Victim::Daemon, &db, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn torture_the_daemon_killed_on_postgres_loses_no_acked_event() {
    let db = TestDatabase::postgres().await;
    torture("postgres, daemon", Victim::Daemon, &db, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn torture_postgres_killed_loses_no_acked_event() {
    let server = Arc::new(PostgresServer::started().await);
    let db = TestDatabase::on(Arc::clone(&server)).await;
    torture("postgres, server", Victim::Database, &db, Some(&server)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn torture_postgres_and_the_daemon_killed_at_once_lose_no_acked_event() {
    let server = Arc::new(PostgresServer::started().await);
    let db = TestDatabase::on(Arc::clone(&server)).await;
    torture("postgres, both", Victim::Both, &db, Some(&server)).await;
}

async fn torture(name: &str, victim: Victim, db: &TestDatabase, server: Option<&PostgresServer>) {
    let endpoint = Endpoint::start().await;
    // While PostgreSQL is away each sender waits for the whole deadline; a 503 before the kill ends nobody.
    let plan = billing(db, &endpoint, LEASE).server("ack_deadline = \"2500ms\"");
    let mut daemon = plan.start().await;
    let journal = Arc::new(Journal::new());
    let mut sent = BTreeSet::new();
    for round in 1..=rounds() {
        let load = Load::start(round, daemon.public(), Arc::clone(&journal));
        let after = Duration::from_millis(rand::rng().random_range(KILL_AFTER_MS));
        tokio::time::sleep(after).await;
        // The first requests may still be on their way to their first ack.
        let in_flight = load.wait_until_busy(PATIENCE).await;
        kill(victim, &mut daemon, server).await;
        let tried = load.end(PATIENCE).await;
        let acked = journal.acked();
        println!(
            "{name}: kill {round} after {} ms: {} acks so far, {in_flight} requests in flight",
            after.as_millis(),
            acked.len()
        );
        assert!(in_flight > 0, "an idle kill proves nothing");
        restart(victim, &mut daemon, server).await;
        sent.extend(tried);
        assert_stored(name, round, db, &acked).await;
        // What got no ack may be stored or not; sent again, it is the same event.
        send_again(&daemon, &sent, &acked, &journal).await;
        let rows = usize::try_from(db.number("SELECT count(*) FROM event").await).unwrap();
        assert_eq!(rows, sent.len(), "{name}: rows and ids that were sent");
    }
    wait_until_settled(db, PATIENCE).await;
    let called: BTreeSet<String> =
        endpoint.calls().iter().map(|call| call.header("hookonce-event-id").to_owned()).collect();
    assert_eq!(called, sent, "{name}: every event reached the handler");
    println!(
        "{name}: {} events, {} handler calls, 0 acked events lost",
        sent.len(),
        endpoint.count()
    );
}

async fn kill(victim: Victim, daemon: &mut Daemon, server: Option<&PostgresServer>) {
    let server = || server.expect("a server of the test's own");
    match victim {
        Victim::Daemon => daemon.kill().await,
        Victim::Database => tokio::task::block_in_place(|| server().kill()),
        Victim::Both => {
            tokio::task::block_in_place(|| server().kill());
            daemon.kill().await;
        }
    }
}

async fn restart(victim: Victim, daemon: &mut Daemon, server: Option<&PostgresServer>) {
    if let Some(server) = server {
        tokio::task::block_in_place(|| server.restart());
    }
    match victim {
        // It heals by itself: a restart would hide that it doesn't.
        Victim::Database => daemon.wait_until_ready().await,
        Victim::Daemon | Victim::Both => daemon.start().await,
    }
}

async fn assert_stored(name: &str, round: u32, db: &TestDatabase, acked: &BTreeSet<String>) {
    let stored: BTreeSet<String> =
        db.texts("SELECT event_id FROM event").await.into_iter().collect();
    let lost: Vec<&String> = acked.difference(&stored).collect();
    assert!(lost.is_empty(), "{name}: round {round}: {} acked events lost: {lost:?}", lost.len());
}

async fn send_again(
    daemon: &Daemon,
    sent: &BTreeSet<String>,
    acked: &BTreeSet<String>,
    journal: &Journal,
) {
    let sender = daemon.sender();
    for id in sent.difference(acked) {
        eventually(PATIENCE, "an ack", || async {
            let again = sender.send(STRIPE, &stripe().event(id, "invoice.paid")).await;
            assert!(matches!(again.status, 200 | 503), "{id}: {again:?}");
            (again.status == 200).then_some(())
        })
        .await;
        journal.write(id);
    }
}
