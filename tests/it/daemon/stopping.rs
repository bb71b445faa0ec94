//! SIGTERM: nothing acked is lost, and nothing is left half-settled.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{PATIENCE, STRIPE, billing, stripe};
use crate::both_databases;
use crate::support::daemon::{program, wait_until_settled};
use crate::support::{Answer, Endpoint, Kind, Sender, eventually};

/// Sends events of its own until the door is shut, and returns the ids that were acked.
async fn send_until_shut(sender: Arc<Sender>, name: usize) -> Vec<String> {
    let mut acked = Vec::new();
    for n in 0.. {
        let id = format!("evt_{name}_{n}");
        match sender.try_send(STRIPE, &stripe().event(&id, "invoice.paid")).await {
            Ok(sent) if sent.status == 200 => acked.push(id),
            Ok(sent) => {
                assert_eq!(sent.status, 503, "{sent:?}");
                break;
            }
            Err(_) => break,
        }
    }
    acked
}

both_databases!(sigterm_under_load_loses_no_acked_event_and_leaves_no_lease, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_otherwise(Answer::ok().delayed(Duration::from_millis(20)));
    // Nobody is killed here: the usual lease, which a machine that stalls can renew in time.
    let mut daemon = billing(&db, &endpoint, "").start().await;
    let loads: Vec<_> =
        (0..8).map(|name| tokio::spawn(send_until_shut(Arc::new(daemon.sender()), name))).collect();
    endpoint.wait_for_calls(50, PATIENCE).await;
    let status = daemon.stop().await;
    assert!(status.success(), "{status}: {}", daemon.log());
    let mut acked = BTreeSet::new();
    for load in loads {
        acked.extend(load.await.unwrap());
    }
    assert!(acked.len() >= 50, "only {} acks: that was no load", acked.len());
    let stored: BTreeSet<String> =
        db.texts("SELECT event_id FROM event").await.into_iter().collect();
    let lost: Vec<&String> = acked.difference(&stored).collect();
    assert!(lost.is_empty(), "acked and lost: {lost:?}");
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE state = 'leased'").await, 0);
    // Every call that was answered in full is settled as such: no receiver is called again for it.
    let settled = db.number("SELECT count(*) FROM delivery WHERE state = 'delivered'").await;
    let settled = usize::try_from(settled).unwrap();
    // The endpoint counts an answer after it was written, so the daemon may know of it first.
    eventually(PATIENCE, "as many answers as settled ones", || async {
        (endpoint.answered() >= settled).then_some(())
    })
    .await;
    assert_eq!(settled, endpoint.answered());

    daemon.start().await;
    wait_until_settled(&db, PATIENCE).await;
    let called: BTreeSet<String> =
        endpoint.calls().iter().map(|call| call.header("hookonce-event-id").to_owned()).collect();
    assert_eq!(called, stored, "every stored event reached the handler");
    assert_eq!(endpoint.count(), stored.len(), "and only once");
});

both_databases!(a_handler_in_the_middle_is_waited_for, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_next([Answer::ok().delayed(Duration::from_millis(1500))]);
    let mut daemon = billing(&db, &endpoint, "").start().await;
    daemon.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    endpoint.wait_for_calls(1, PATIENCE).await;
    assert!(daemon.stop().await.success());
    eventually(PATIENCE, "the whole answer", || async { (endpoint.answered() == 1).then_some(()) })
        .await;
    assert_eq!(db.texts("SELECT state FROM delivery").await, ["delivered"]);
});

both_databases!(a_second_signal_does_not_wait, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_next([Answer::ok().held()]);
    let plan = billing(&db, &endpoint, "timeout = \"90s\"").server("grace = \"80s\"");
    let mut daemon = plan.start().await;
    daemon.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    endpoint.wait_for_calls(1, PATIENCE).await;
    daemon.ask_to_stop();
    // It says that it stops before the second signal comes, or the two would be one.
    eventually(PATIENCE, "readiness to say so", || async {
        let request = crate::support::raw::RawRequest::new("GET", "/readyz");
        let answer = request.try_send(daemon.admin()).await;
        (!answer.is_ok_and(|answer| answer.status == 200)).then_some(())
    })
    .await;
    let began = std::time::Instant::now();
    daemon.ask_to_stop();
    let status = daemon.wait_for_end().await;
    assert_eq!(status.code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    // The event is safe: it will be tried again when the lease lapsed.
    assert_eq!(
        db.number("SELECT count(*) FROM delivery WHERE state IN ('leased', 'pending')").await,
        1
    );
});

both_databases!(a_second_daemon_may_join_on_postgres_only, |db| async move {
    let endpoint = Endpoint::start().await;
    let _first = billing(&db, &endpoint, "").start().await;
    let second = billing(&db, &endpoint, "").place();
    match db.kind() {
        Kind::Postgres => {
            let mut second = second;
            second.start().await;
            assert!(second.stop().await.success());
        }
        Kind::Sqlite => {
            let output = program(second.dir(), &["serve"]).output().await.unwrap();
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(text.contains("hookonce.db"), "it says which file: {text}");
        }
    }
});
