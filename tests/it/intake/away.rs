//! While the database is away: no ack, a 503 in time, and everything again afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, Connection, Executor};

use super::{GITHUB, events, github, logged};
use crate::support::{PostgresServer, Sender, TestDatabase, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

/// The contract's, from the whole body to the answer.
const DEADLINE: &str = "ack_deadline = \"2500ms\"";

/// [`DEADLINE`], and room for a busy machine; an answer that nobody bounds doesn't come at all.
const ANSWER_MAX: Duration = Duration::from_secs(15);

async fn assert_put_off(sender: &Sender, id: &str) {
    let began = Instant::now();
    let answer = sender.send(GITHUB, &github().event(id, "push")).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"), "{answer:?}");
    let wait: u32 = answer.answer.head.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!(wait > 0);
    assert!(began.elapsed() < ANSWER_MAX, "answered after {:?}", began.elapsed());
}

/// At once, or when the database is back, or when a machine that stalled goes on.
async fn assert_recorded(sender: &Sender, id: &str) {
    eventually(PATIENCE, "an ack", || async {
        let answer = sender.send(GITHUB, &github().event(id, "push")).await;
        match answer.status {
            200 => Some(()),
            status => {
                assert_eq!(status, 503, "{answer:?}");
                None
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_away_is_503_in_time_and_heals_without_a_restart() {
    let server = Arc::new(PostgresServer::started().await);
    let db = TestDatabase::on(Arc::clone(&server)).await;
    let daemon = logged(&db, &["github"]).server(DEADLINE).start().await;
    let sender = daemon.sender();
    assert_recorded(&sender, "d-0").await;
    tokio::task::block_in_place(|| server.kill());
    for n in 1..4 {
        assert_put_off(&sender, &format!("d-{n}")).await;
    }
    eventually(PATIENCE, "readiness to say so", || async {
        (daemon.get("/readyz").await.status == 503).then_some(())
    })
    .await;
    assert_eq!(daemon.get("/livez").await.status, 200, "alive, though not ready");
    tokio::task::block_in_place(|| server.restart());
    for n in 1..4 {
        assert_recorded(&sender, &format!("d-{n}")).await;
    }
    assert_eq!(events(&db).await, 4);
    eventually(PATIENCE, "readiness", || async {
        (daemon.get("/readyz").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_file_that_another_program_holds_is_503_in_time_and_heals() {
    let db = TestDatabase::sqlite().await;
    let daemon = logged(&db, &["github"]).server(DEADLINE).start().await;
    let sender = daemon.sender();
    assert_recorded(&sender, "d-0").await;
    let mut other = db.sqlite_options().connect().await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    assert_put_off(&sender, "d-1").await;
    other.execute("ROLLBACK").await.unwrap();
    other.close().await.unwrap();
    // The one that was put off may have been stored: it is the same event when it comes again.
    assert_recorded(&sender, "d-1").await;
    assert_eq!(events(&db).await, 2);
}
