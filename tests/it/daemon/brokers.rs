//! Handlers that are brokers: real ones, which die on the way.

use std::collections::BTreeSet;

use super::{PATIENCE, STRIPE, stripe};
use crate::support::daemon::wait_until_settled;
use crate::support::{Daemon, DaemonPlan, TestDatabase, eventually};

mod encrypted;
mod queues;
mod streams;
mod subjects;

/// Stripe's events go to one broker: `kind` is its line in the handler's table.
fn plan(db: &TestDatabase, kind: &str, lines: &str) -> DaemonPlan {
    DaemonPlan::on(db)
        .source(&stripe())
        .toml(&format!("[handlers.out]\nfrom = \"stripe\"\n{kind}\n{lines}\n"))
}

async fn send(daemon: &Daemon, id: &str) {
    daemon.sender().send(STRIPE, &stripe().event(id, "x")).await.assert_accepted();
}

/// What the first try that failed failed with.
async fn first_failure(db: &TestDatabase) -> String {
    eventually(PATIENCE, "a failed try", || async {
        let errors = db.texts("SELECT error FROM attempt WHERE error IS NOT NULL").await;
        errors.into_iter().next()
    })
    .await
}

/// Delivers again what was delivered, as if the answer had been lost: nobody knows of it.
async fn repeat_after_a_lost_answer(db: &TestDatabase, daemon: &mut Daemon) {
    daemon.stop().await;
    db.run("DELETE FROM attempt").await;
    db.run("UPDATE delivery SET state = 'pending', settled_at = NULL, attempts = 0, attempts_before = 0").await;
    daemon.start().await;
    wait_until_settled(db, PATIENCE).await;
}

/// What was kept of a broker's answer.
async fn kept_answer(db: &TestDatabase) -> String {
    let response = db.bytes("SELECT response FROM attempt").await;
    String::from_utf8_lossy(&response[0]).into_owned()
}

/// Sends 300 events, in which the broker is killed three times and comes back when a try has failed; one
/// more event is sent while it is away. Gives how many were sent, once all are settled.
async fn send_through_kills(
    db: &TestDatabase,
    daemon: &Daemon,
    kill: impl Fn(),
    restart: impl AsyncFn(),
) -> usize {
    let (events, kills) = (300, 3);
    for n in 0..events {
        send(daemon, &format!("evt_{n}")).await;
        if n % 100 == 50 {
            kill();
            // Some of what comes now fails first.
            let failed = "SELECT count(*) FROM attempt WHERE outcome <> 'delivered'";
            let before = db.number(failed).await;
            send(daemon, &format!("more_{n}")).await;
            eventually(PATIENCE, "a failed try", || async {
                (db.number(failed).await > before).then_some(())
            })
            .await;
            restart().await;
        }
    }
    wait_until_settled(db, PATIENCE).await;
    events + kills
}

/// What a broker has of the events that were sent.
#[derive(Debug)]
struct Counted {
    lost: usize,
    twice: usize,
}

/// Counts by the ids of what the broker has, and says it.
fn count(sent: usize, ids: &[String]) -> Counted {
    let distinct = ids.iter().collect::<BTreeSet<_>>().len();
    let counted = Counted { lost: sent - distinct, twice: ids.len() - distinct };
    println!(
        "{sent} events: {} in the broker, {} of them twice, {} lost",
        ids.len(),
        counted.twice,
        counted.lost
    );
    counted
}

/// Fails when the broker has not each of so many events once.
#[track_caller]
fn assert_each_once(sent: usize, ids: &[String]) {
    let counted = count(sent, ids);
    assert_eq!((counted.lost, counted.twice), (0, 0));
}
