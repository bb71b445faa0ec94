//! An event that comes alone is committed by the thread that received it; the next one doesn't wait for it.

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection};
use tokio::task::JoinHandle;

use super::{STRIPE, events, logged, stripe};
use crate::support::sender::Sent;
use crate::support::{Daemon, TestDatabase, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that has recorded one event, a session that keeps it from recording another, and who waits for that.
async fn held(db: &TestDatabase, ack_deadline: &str) -> (Daemon, PgConnection, JoinHandle<Sent>) {
    let settings = format!("ack_deadline = {ack_deadline:?}");
    let daemon = logged(db, &["stripe"]).server(&settings).start().await;
    // The first one opens connections, for which a short deadline may not be enough.
    eventually(PATIENCE, "the first event", || async {
        (send(&daemon, "evt_0").await.unwrap().status == 200).then_some(())
    })
    .await;
    let mut holder = PgConnection::connect(&db.url()).await.unwrap();
    holder.execute("BEGIN; LOCK TABLE event IN EXCLUSIVE MODE").await.unwrap();
    let alone = send(&daemon, "evt_1");
    recording(db, 1).await;
    (daemon, holder, alone)
}

fn send(daemon: &Daemon, id: &'static str) -> JoinHandle<Sent> {
    let sender = daemon.sender();
    tokio::spawn(async move { sender.send(STRIPE, &stripe().event(id, "invoice.paid")).await })
}

/// Returns when so many sessions wait in the statement that records.
async fn recording(db: &TestDatabase, sessions: i64) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'WITH fresh%'";
    eventually(PATIENCE, "the commits that wait", || async {
        (db.number(waiting).await == sessions).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_beside_a_slow_commit_has_a_commit_of_its_own() {
    let db = TestDatabase::postgres().await;
    let (daemon, mut holder, alone) = held(&db, "30s").await;
    // By the recorder, while the other one is still being committed.
    let beside = send(&daemon, "evt_2");
    recording(&db, 2).await;
    // It waits for the recorder. Which of the two is recorded first is the server's to choose, once the lock is gone.
    let copy = send(&daemon, "evt_1");
    holder.execute("COMMIT").await.unwrap();
    let mut both = [alone.await.unwrap(), copy.await.unwrap()];
    both.sort_by_key(Sent::code);
    both[0].assert_accepted();
    assert_eq!(both[1].assert_duplicate().event(), both[0].event());
    beside.await.unwrap().assert_accepted();
    assert_eq!(events(&db).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_came_alone_is_recorded_though_its_sender_left() {
    let db = TestDatabase::postgres().await;
    let (mut daemon, mut holder, left) = held(&db, "30s").await;
    left.abort();
    assert!(left.await.is_err(), "it had no answer");
    holder.execute("COMMIT").await.unwrap();
    eventually(PATIENCE, "the event", || async { (events(&db).await == 2).then_some(()) }).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_outlives_its_answer_is_waited_for_at_the_end() {
    let db = TestDatabase::postgres().await;
    let (mut daemon, mut holder, late) = held(&db, "500ms").await;
    assert_eq!(late.await.unwrap().status, 503, "nobody knows yet");
    daemon.ask_to_stop();
    eventually(PATIENCE, "it to say so", || async {
        daemon.log().contains("shutting down").then_some(())
    })
    .await;
    // Time enough for a thread without a request to end, and not for the statement, which has five seconds.
    tokio::time::sleep(Duration::from_secs(1)).await;
    holder.execute("COMMIT").await.unwrap();
    assert!(daemon.wait_for_end().await.success());
    assert_eq!(events(&db).await, 2);
}
