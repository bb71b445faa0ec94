//! Messages of a NATS subject: each event once in its stream, whatever dies meanwhile.

use std::collections::BTreeSet;

use async_nats::jetstream::stream::{Config, StorageType, Stream};

use super::{LEASE, PATIENCE, STRIPE, stripe};
use crate::both_databases;
use crate::support::daemon::wait_until_settled;
use crate::support::nats::NatsServer;
use crate::support::{DaemonPlan, TestDatabase, eventually};

fn plan(db: &TestDatabase, nats: &NatsServer, lines: &str) -> DaemonPlan {
    let server = nats.url();
    DaemonPlan::on(db).source(&stripe()).toml(&format!(
        "[handlers.out]\nfrom = \"stripe\"\nnats = {{ server = {server:?}, subject = \"events.stripe\" }}\n{LEASE}\n{lines}\n"
    ))
}

async fn stream(nats: &NatsServer) -> Stream {
    let config = Config {
        name: "events".to_owned(),
        subjects: vec!["events.>".to_owned()],
        storage: StorageType::File,
        ..Config::default()
    };
    nats.context().await.get_or_create_stream(config).await.expect("a stream")
}

/// The values of a header, message by message.
async fn all(nats: &NatsServer, header: &str) -> Vec<String> {
    let mut stream = stream(nats).await;
    let state = stream.info().await.expect("its state").state.clone();
    let mut values = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.expect("a message");
        values.push(message.headers.get(header).map_or(String::new(), |it| it.to_string()));
    }
    values
}

both_databases!(an_event_is_a_message_with_its_bytes_and_its_facts, |db| async move {
    let nats = NatsServer::start().await;
    let stream = stream(&nats).await;
    let daemon = plan(&db, &nats, "").start().await;
    let event = stripe().event("evt_1", "invoice.paid");
    daemon.sender().send(STRIPE, &event).await.assert_accepted();
    wait_until_settled(&db, PATIENCE).await;
    let message = stream.get_raw_message(1).await.expect("a message");
    assert_eq!(
        (message.subject.as_str(), &message.payload[..]),
        ("events.stripe", &event.body[..])
    );
    let header =
        |name: &str| message.headers.get(name).map(|it| it.to_string()).unwrap_or_default();
    assert_eq!(
        (header("hookonce-event-id"), header("hookonce-source")),
        ("evt_1".into(), "stripe".into())
    );
    assert_eq!(header("Nats-Msg-Id"), header("webhook-id"));
    let shown = daemon.run(&["config", "show"]).await;
    assert!(!shown.text().contains("a-password-of-tests"), "{}", shown.text());
    let tried = daemon.run(&["handler", "test", "out", "--event", "evt_1"]).await;
    assert!(tried.code(0).text().contains("PUB nats://127.0.0.1:"), "{}", tried.text());
    assert_eq!(all(&nats, "webhook-id").await.len(), 1);
});

both_databases!(a_repeat_after_a_lost_answer_is_known_by_the_stream, |db| async move {
    let nats = NatsServer::start().await;
    stream(&nats).await;
    let mut daemon = plan(&db, &nats, "").start().await;
    daemon.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    wait_until_settled(&db, PATIENCE).await;
    daemon.stop().await;
    // As if the answer had been lost: nobody knows that it was delivered.
    db.run("DELETE FROM attempt").await;
    db.run("UPDATE delivery SET state = 'pending', settled_at = NULL, attempts = 0, attempts_before = 0").await;
    daemon.start().await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(all(&nats, "webhook-id").await.len(), 1);
    let response = db.bytes("SELECT response FROM attempt").await;
    assert_eq!(String::from_utf8_lossy(&response[0]), "events 1, there before");
});

both_databases!(nothing_is_lost_or_doubled_when_nats_is_killed_again_and_again, |db| async move {
    let nats = NatsServer::start().await;
    stream(&nats).await;
    let lines = "retry = { for = \"1h\", backoff = [\"100ms\"] }\ntimeout = \"2s\"";
    let daemon = plan(&db, &nats, lines).start().await;
    let (events, kills) = (300, 3);
    for n in 0..events {
        daemon
            .sender()
            .send(STRIPE, &stripe().event(&format!("evt_{n}"), "x"))
            .await
            .assert_accepted();
        if n % 100 == 50 {
            nats.kill();
            // Some of what comes now fails first.
            let failed = "SELECT count(*) FROM attempt WHERE outcome <> 'delivered'";
            let before = db.number(failed).await;
            daemon
                .sender()
                .send(STRIPE, &stripe().event(&format!("more_{n}"), "x"))
                .await
                .assert_accepted();
            eventually(PATIENCE, "a failed try", || async {
                (db.number(failed).await > before).then_some(())
            })
            .await;
            nats.restart().await;
        }
    }
    wait_until_settled(&db, PATIENCE).await;
    let messages = all(&nats, "webhook-id").await;
    let ids: BTreeSet<&String> = messages.iter().collect();
    println!(
        "{} events, {kills} kills: {} messages, {} of them twice, {} lost",
        events + kills,
        messages.len(),
        messages.len() - ids.len(),
        events + kills - ids.len()
    );
    assert_eq!((messages.len(), ids.len()), (events + kills, events + kills));
});

both_databases!(a_subject_without_a_stream_is_told_and_tried_again, |db| async move {
    let nats = NatsServer::start().await;
    let daemon = plan(&db, &nats, "retry = { for = \"1h\", backoff = [\"100ms\"] }").start().await;
    daemon.sender().send(STRIPE, &stripe().event("evt_1", "x")).await.assert_accepted();
    let cause = eventually(PATIENCE, "a failed try", || async {
        let errors = db.texts("SELECT error FROM attempt WHERE error IS NOT NULL").await;
        errors.into_iter().next()
    })
    .await;
    assert!(cause.contains("subject `events.stripe` at nats://127.0.0.1:"), "{cause}");
    assert!(cause.contains("no stream takes this subject"), "{cause}");
    assert!(!cause.contains("a-password-of-tests"), "{cause}");
    stream(&nats).await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(all(&nats, "webhook-id").await.len(), 1);
});
