//! Answering with what a handler says, if it says it in time; the handler runs once either way.

use std::time::{Duration, Instant};

use entity::TryOutcome;
use hookonce::store::{Settled, Verdict};

use super::{PATIENCE, STRIPE, stripe};
use crate::both_databases;
use crate::store::ground::{claim_one, settlement};
use crate::support::daemon::wait_until_settled;
use crate::support::raw::{RawAnswer, RawRequest};
use crate::support::{Answer, Daemon, DaemonPlan, Endpoint, TestDatabase, eventually, within};

/// Stripe's events go to one endpoint, whose answer is the reply.
fn plan(db: &TestDatabase, endpoint: &Endpoint, deadline: &str, lines: &str) -> DaemonPlan {
    let respond = format!("respond = {{ handler = \"slash\", deadline = \"{deadline}\" }}");
    DaemonPlan::on(db).source_with(&stripe(), &respond).calls(
        "slash",
        "stripe",
        &endpoint.url("/"),
        lines,
    )
}

fn request(id: &str) -> RawRequest {
    stripe().event(id, "invoice.paid").to(STRIPE)
}

async fn ask(daemon: &Daemon, id: &str) -> RawAnswer {
    request(id).send(daemon.public()).await
}

fn hello() -> Answer {
    Answer::status(201)
        .header("content-type", "application/vnd.reply+json")
        .body("{\"text\":\"hi\"}")
}

#[track_caller]
fn assert_hello(answer: &RawAnswer) {
    assert_eq!((answer.status, &answer.body[..]), (201, &b"{\"text\":\"hi\"}"[..]));
    assert_eq!(answer.head.header("content-type"), Some("application/vnd.reply+json"));
}

#[track_caller]
fn assert_ack(answer: &RawAnswer, status: &str) {
    assert_eq!(answer.status, 200);
    let text = String::from_utf8_lossy(&answer.body);
    assert!(text.contains(&format!("\"status\":\"{status}\"")), "{text}");
}

async fn outcomes(daemon: &Daemon, outcome: &str, count: u32) {
    let line = format!("hookonce_respond_total{{source=\"stripe\",outcome=\"{outcome}\"}} {count}");
    eventually(PATIENCE, "the count", || async {
        let metrics = daemon.get("/metrics").await;
        String::from_utf8_lossy(&metrics.body).lines().any(|it| it == line).then_some(())
    })
    .await;
}

both_databases!(a_handler_that_is_in_time_answers_and_a_retry_gets_the_same, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_otherwise(hello());
    let mut daemon = plan(&db, &endpoint, "20s", "").start().await;
    assert_hello(&ask(&daemon, "evt_1").await);
    assert_hello(&ask(&daemon, "evt_1").await);
    outcomes(&daemon, "in_time", 1).await;
    outcomes(&daemon, "repeated", 1).await;
    // After a restart as well: it is in the database.
    daemon.kill().await;
    daemon.start().await;
    assert_hello(&ask(&daemon, "evt_1").await);
    assert_eq!(endpoint.count(), 1);
    assert_eq!(db.number("SELECT count(*) FROM event").await, 1);
});

both_databases!(a_slow_handler_gives_the_ack_at_the_deadline_and_runs_once, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_otherwise(hello().held());
    let daemon = plan(&db, &endpoint, "300ms", "").start().await;
    let begun = Instant::now();
    assert_ack(&ask(&daemon, "evt_1").await, "accepted");
    assert!(begun.elapsed() >= Duration::from_millis(290), "{:?}", begun.elapsed());
    outcomes(&daemon, "late", 1).await;
    endpoint.release(1);
    wait_until_settled(&db, PATIENCE).await;
    // What was said before has to be found within the deadline, too.
    let told = eventually(PATIENCE, "the handler's answer", || async {
        Some(ask(&daemon, "evt_1").await).filter(|answer| answer.status == 201)
    })
    .await;
    assert_hello(&told);
    assert_eq!(endpoint.count(), 1);
});

both_databases!(copies_that_come_while_it_runs_wait_for_the_same_answer, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_otherwise(hello().held());
    let daemon = plan(&db, &endpoint, "30s", "timeout = \"60s\"").start().await;
    let (first, copies, ()) = futures::join!(
        ask(&daemon, "evt_1"),
        async {
            endpoint.wait_for_calls(1, PATIENCE).await;
            futures::join!(ask(&daemon, "evt_1"), ask(&daemon, "evt_1"))
        },
        async {
            eventually(PATIENCE, "two copies", || async {
                (db.number("SELECT COALESCE(max(duplicates), 0) FROM event").await == 2)
                    .then_some(())
            })
            .await;
            endpoint.release(1);
        }
    );
    assert_hello(&first);
    assert_hello(&copies.0);
    assert_hello(&copies.1);
    assert_eq!(endpoint.count(), 1);
});

both_databases!(a_handler_that_fails_leaves_the_ack_and_goes_on_behind_it, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_next([Answer::status(500).body("no")]);
    endpoint.answer_otherwise(hello());
    let daemon =
        plan(&db, &endpoint, "30s", "retry = { attempts = 5, backoff = [\"4s\"] }").start().await;
    // At once: nobody waits for a retry.
    assert_ack(&ask(&daemon, "evt_1").await, "accepted");
    outcomes(&daemon, "none", 1).await;
    wait_until_settled(&db, PATIENCE).await;
    assert_hello(&ask(&daemon, "evt_1").await);
    assert_eq!(endpoint.count(), 2);
});

both_databases!(a_copy_between_two_tries_gets_the_ack_and_waits_for_none, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_otherwise(Answer::status(500));
    let lines = "retry = { attempts = 5, backoff = [\"1h\"] }";
    let daemon = plan(&db, &endpoint, "30s", lines).start().await;
    assert_ack(&ask(&daemon, "evt_1").await, "accepted");
    assert_ack(&ask(&daemon, "evt_1").await, "duplicate");
    // Neither is late.
    outcomes(&daemon, "none", 2).await;
    assert_eq!(endpoint.count(), 1);
});

both_databases!(an_empty_answer_is_passed_on_without_a_type, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = plan(&db, &endpoint, "30s", "").start().await;
    for _ in 0..2 {
        let answer = ask(&daemon, "evt_1").await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_eq!(answer.head.header("content-type"), None);
    }
    assert_eq!(endpoint.count(), 1);
});

both_databases!(what_can_not_be_passed_on_is_the_ack, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = plan(&db, &endpoint, "30s", "when = 'event.id != \"evt_skip\"'").start().await;
    assert_ack(&ask(&daemon, "evt_skip").await, "accepted");
    assert_eq!(endpoint.count(), 0);
    // As large as is passed on, and a byte more.
    for (id, bytes) in [("evt_fits", 256 * 1024), ("evt_large", 256 * 1024 + 1)] {
        endpoint.answer_otherwise(Answer::ok().body(&"x".repeat(bytes)));
        let answer = ask(&daemon, id).await;
        if id == "evt_fits" {
            assert_eq!((answer.status, answer.body.len()), (200, bytes));
            assert_eq!(answer.head.header("content-type"), Some("text/plain; charset=utf-8"));
        } else {
            assert_ack(&answer, "accepted");
            wait_until_settled(&db, PATIENCE).await;
            assert_ack(&ask(&daemon, id).await, "duplicate");
        }
    }
    // Another body under a known id is not what was answered.
    let other = stripe().event("evt_fits", "another.type").to(STRIPE);
    assert_ack(&other.send(daemon.public()).await, "duplicate");
});

both_databases!(a_sender_that_hangs_up_ends_nothing, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_otherwise(hello().held());
    let daemon = plan(&db, &endpoint, "30s", "").start().await;
    let hasty = request("evt_1");
    tokio::select! {
        answer = hasty.try_send(daemon.public()) => panic!("it is held: {answer:?}"),
        // Dropping the other branch closes its connection.
        _ = endpoint.wait_for_calls(1, PATIENCE) => {}
    }
    endpoint.release(1);
    wait_until_settled(&db, PATIENCE).await;
    assert_hello(&ask(&daemon, "evt_1").await);
    assert_eq!(endpoint.count(), 1);
});

both_databases!(a_shutdown_waits_for_the_answer_that_somebody_waits_for, |db| async move {
    let endpoint = Endpoint::start().await;
    endpoint.answer_otherwise(hello().held());
    let mut daemon = plan(&db, &endpoint, "20s", "").start().await;
    let (answer, _) = futures::join!(ask(&daemon, "evt_1"), async {
        endpoint.wait_for_calls(1, PATIENCE).await;
        daemon.ask_to_stop();
        endpoint.release(1);
    });
    assert_hello(&answer);
    assert!(daemon.wait_for_end().await.success());
});

both_databases!(a_program_answers_with_its_output, |db| async move {
    let respond = "respond = { handler = \"slash\", deadline = \"20s\" }";
    let daemon = DaemonPlan::on(&db)
        .source_with(&stripe(), respond)
        .toml("[handlers.slash]\nfrom = \"stripe\"\nexec = { command = [\"/bin/sh\", \"-c\", \"cat >/dev/null; echo '[1]'\"] }")
        .start()
        .await;
    let answer = ask(&daemon, "evt_1").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"[1]\n"[..]));
    assert_eq!(answer.head.header("content-type"), Some("application/json"));
});

/// What another replica settled is found in the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_another_replica_is_passed_on() {
    let db = TestDatabase::postgres().await;
    let endpoint = Endpoint::start().await;
    let daemon = plan(&db, &endpoint, "30s", "").start().await;
    daemon.run(&["handler", "pause", "slash"]).await.code(0);
    let line = "hookonce_handler_paused{handler=\"slash\"} 1";
    eventually(PATIENCE, "the pause", || async {
        let metrics = daemon.get("/metrics").await;
        String::from_utf8_lossy(&metrics.body).lines().any(|it| it == line).then_some(())
    })
    .await;
    let store = db.store().await;
    let (answer, ()) = futures::join!(ask(&daemon, "evt_1"), async {
        eventually(PATIENCE, "the delivery", || async {
            let pending = "SELECT count(*) FROM delivery WHERE state = 'pending'";
            (db.number(pending).await == 1).then_some(())
        })
        .await;
        let claim = claim_one(&store, "slash").await;
        let mut settled = settlement(&claim, Verdict::Delivered, TryOutcome::Delivered);
        settled.attempt.status = Some(201);
        settled.attempt.response = Some("{\"text\":\"hi\"}".into());
        settled.attempt.content_type = Some("application/vnd.reply+json".to_owned());
        let done = within(PATIENCE, "settling", store.settle_batch(vec![settled])).await;
        assert!(matches!(done[..], [Ok(Settled::Done)]), "{done:?}");
    });
    assert_hello(&answer);
    assert_eq!(endpoint.count(), 0);
}
