//! Several daemons on one PostgreSQL.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream;

use crate::daemon::{LEASE, PATIENCE, STRIPE, billing, stripe};
use crate::support::daemon::wait_until_settled;
use crate::support::leash::signal;
use crate::support::{Answer, Endpoint, Sender, TestDatabase, eventually};

/// Requests under way at once.
const AT_ONCE: usize = 96;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_that_get_each_of_a_thousand_events_ten_times_run_each_once() {
    let (events, copies) = (1000, 10);
    let endpoint = Endpoint::start().await;
    // They start at once on an empty database: one migrates, the others wait for it.
    let db = TestDatabase::postgres_without_tables().await;
    let plan = billing(&db, &endpoint, "");
    let daemons = join_all((0..3).map(|_| plan.start())).await;
    let senders: Vec<Arc<Sender>> =
        daemons.iter().map(|daemon| Arc::new(daemon.sender())).collect();

    // The copies of an event go out close together, to all replicas.
    let requests = (0..events * copies).map(|n| {
        let (event, copy) = (n / copies, n % copies);
        let sender = Arc::clone(&senders[(event + copy) % senders.len()]);
        async move {
            let signed = stripe().event(&format!("evt_{event}"), "invoice.paid");
            let sent = sender.send(STRIPE, &signed).await;
            assert_eq!(sent.status, 200, "{sent:?}");
            (event, sent.event(), sent.code() == "accepted")
        }
    });
    let answers: Vec<_> = stream::iter(requests).buffer_unordered(AT_ONCE).collect().await;
    assert_eq!(answers.iter().filter(|(_, _, accepted)| *accepted).count(), events);
    let named: BTreeSet<(usize, &str)> =
        answers.iter().map(|(n, id, _)| (*n, id.as_str())).collect();
    assert_eq!(named.len(), events, "all copies of an event are answered with the same id");

    endpoint.wait_for_calls(events, PATIENCE).await;
    wait_until_settled(&db, PATIENCE).await;
    let rows = db.number("SELECT count(*) FROM event").await;
    let duplicates = db.number("SELECT sum(duplicates)::bigint FROM event").await;
    println!("{rows} rows, {} handler calls, {duplicates} duplicates", endpoint.count());
    assert_eq!((rows, duplicates), (1000, 9000));
    assert_eq!(endpoint.count(), events);
    let ids: BTreeSet<String> =
        endpoint.calls().iter().map(|call| call.webhook_id().to_owned()).collect();
    assert_eq!(ids.len(), events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_slept_past_its_lease_changes_nothing_when_it_wakes() {
    let endpoint = Endpoint::start().await;
    endpoint.answer_next([Answer::ok().held()]);
    let db = TestDatabase::postgres().await;
    let plan = billing(&db, &endpoint, &format!("{LEASE}\ntimeout = \"50s\""));
    let sleeper = plan.start().await;
    sleeper.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    endpoint.wait_for_calls(1, PATIENCE).await;
    signal("STOP", &[sleeper.pid()]);
    // Another replica takes over when the lease lapsed, and finishes.
    let _other = plan.start().await;
    endpoint.wait_for_calls(2, PATIENCE).await;
    wait_until_settled(&db, PATIENCE).await;
    let settled =
        "SELECT state || ' ' || lease_epoch || ' ' || attempts || ' ' || settled_at FROM delivery";
    let before = db.texts(settled).await;
    assert!(before[0].starts_with("delivered "), "{before:?}");
    // The sleeper wakes, its handler answers, and it wants to settle.
    endpoint.release(1);
    signal("CONT", &[sleeper.pid()]);
    eventually(PATIENCE, "the sleeper to notice", || async {
        let metrics = String::from_utf8(sleeper.get("/metrics").await.body).ok()?;
        let fenced =
            metrics.lines().find(|line| line.starts_with("hookonce_lease_fenced_total "))?;
        (!fenced.ends_with(" 0")).then_some(())
    })
    .await;
    assert_eq!(db.texts(settled).await, before);
    assert_eq!(endpoint.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replicas_work_is_taken_over_by_the_others() {
    let endpoint = Endpoint::start().await;
    endpoint.answer_otherwise(Answer::ok().delayed(Duration::from_millis(50)));
    let db = TestDatabase::postgres().await;
    let plan = billing(&db, &endpoint, LEASE);
    let (mut victim, _other) = tokio::join!(plan.start(), plan.start());
    let sender = victim.sender();
    let sends = (0..200).map(|n| {
        let sender = &sender;
        async move { sender.send(STRIPE, &stripe().event(&format!("evt_{n}"), "x")).await }
    });
    for sent in join_all(sends).await {
        sent.assert_accepted();
    }
    endpoint.wait_for_calls(20, PATIENCE).await;
    victim.kill().await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE state = 'delivered'").await, 200);
    let called: BTreeSet<String> =
        endpoint.calls().iter().map(|call| call.header("hookonce-event-id").to_owned()).collect();
    assert_eq!(called.len(), 200);
}
