//! `kill -9` of the daemon while a handler works.

use std::collections::BTreeSet;

use super::{LEASE, PATIENCE, STRIPE, billing, stripe};
use crate::both_databases;
use crate::support::daemon::wait_until_settled;
use crate::support::{Answer, Endpoint};

both_databases!(
    a_daemon_killed_while_a_handler_works_runs_it_again_after_the_lease,
    |db| async move {
        let endpoint = Endpoint::start().await;
        endpoint.answer_next([Answer::ok().held()]);
        let mut daemon = billing(&db, &endpoint, LEASE).start().await;
        daemon
            .sender()
            .send(STRIPE, &stripe().event("evt_1", "invoice.paid"))
            .await
            .assert_accepted();
        endpoint.wait_for_calls(1, PATIENCE).await;
        assert_eq!(db.texts("SELECT state FROM delivery").await, ["leased"]);
        daemon.kill().await;
        // Nobody knows whether the handler finished: the delivery is still leased, and the try counts.
        assert_eq!(db.texts("SELECT state FROM delivery").await, ["leased"]);
        daemon.start().await;
        let calls = endpoint.wait_for_calls(2, PATIENCE).await;
        wait_until_settled(&db, PATIENCE).await;
        assert_eq!(endpoint.count(), 2);
        let ids: BTreeSet<&str> = calls.iter().map(|call| call.webhook_id()).collect();
        assert_eq!(ids.len(), 1, "the receiver can tell that it is the same delivery: {ids:?}");
        assert_eq!(calls[1].header("hookonce-attempt"), "2");
        assert_eq!(calls[0].body, calls[1].body);
        assert_eq!(db.texts("SELECT state FROM delivery").await, ["delivered"]);
        assert_eq!(db.number("SELECT CAST(attempts AS bigint) FROM delivery").await, 2);
        // A retry of the sender still finds the event.
        daemon
            .sender()
            .send(STRIPE, &stripe().event("evt_1", "invoice.paid"))
            .await
            .assert_duplicate();
    }
);

both_databases!(a_handler_that_takes_its_daemon_with_it_each_time_ends_dead, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_otherwise(Answer::ok().held());
    let lines = format!("{LEASE}\nretry = {{ attempts = 2, backoff = [\"10ms\"] }}");
    let mut daemon = billing(&db, &endpoint, &lines).start().await;
    daemon.sender().send(STRIPE, &stripe().event("evt_1", "invoice.paid")).await.assert_accepted();
    for n in 1..=2 {
        endpoint.wait_for_calls(n, PATIENCE).await;
        daemon.kill().await;
        daemon.start().await;
    }
    // Each crash consumed a try, so that a poisonous event can't kill for ever.
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(db.texts("SELECT state FROM delivery").await, ["dead"]);
    assert_eq!(endpoint.count(), 2);
});

both_databases!(the_others_are_not_delayed_by_one_that_hangs, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_next([Answer::ok().held()]);
    let lines = "concurrency = 2\ntimeout = \"50s\"";
    let daemon = billing(&db, &endpoint, lines).start().await;
    let sender = daemon.sender();
    for n in 0..20 {
        sender.send(STRIPE, &stripe().event(&format!("evt_{n}"), "x")).await.assert_accepted();
    }
    endpoint.wait_for_calls(20, PATIENCE).await;
    crate::support::eventually(PATIENCE, "nineteen settled", || async {
        let done = db.number("SELECT count(*) FROM delivery WHERE state = 'delivered'").await;
        (done == 19).then_some(())
    })
    .await;
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE state = 'leased'").await, 1);
    endpoint.release(1);
    wait_until_settled(&db, PATIENCE).await;
});
