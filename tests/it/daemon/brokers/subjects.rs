//! Messages of a NATS subject: each event once in its stream, whatever dies meanwhile.

use async_nats::jetstream::stream::{Config, StorageType, Stream};

use super::{
    assert_each_once, first_failure, kept_answer, repeat_after_a_lost_answer, send,
    send_through_kills,
};
use crate::both_databases;
use crate::daemon::{PATIENCE, STRIPE, stripe};
use crate::support::daemon::wait_until_settled;
use crate::support::nats::NatsServer;
use crate::support::{DaemonPlan, TestDatabase};

fn plan(db: &TestDatabase, nats: &NatsServer, lines: &str) -> DaemonPlan {
    let server = nats.url();
    super::plan(
        db,
        &format!("nats = {{ server = {server:?}, subject = \"events.stripe\" }}"),
        lines,
    )
}

pub(super) async fn stream(nats: &NatsServer) -> Stream {
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
    send(&daemon, "evt_1").await;
    wait_until_settled(&db, PATIENCE).await;
    repeat_after_a_lost_answer(&db, &mut daemon).await;
    let told = kept_answer(&db).await;
    assert_eq!(told, "events 1, there before");
    assert_eq!(all(&nats, "webhook-id").await.len(), 1);
});

both_databases!(nothing_is_lost_or_doubled_when_nats_is_killed_again_and_again, |db| async move {
    let nats = NatsServer::start().await;
    stream(&nats).await;
    let lines = "retry = { for = \"1h\", backoff = [\"100ms\"] }\ntimeout = \"2s\"";
    let daemon = plan(&db, &nats, lines).start().await;
    let sent =
        send_through_kills(&db, &daemon, || nats.kill(), async || nats.restart().await).await;
    assert_each_once(sent, &all(&nats, "webhook-id").await);
});

both_databases!(a_subject_without_a_stream_is_told_and_tried_again, |db| async move {
    let nats = NatsServer::start().await;
    let daemon = plan(&db, &nats, "retry = { for = \"1h\", backoff = [\"100ms\"] }").start().await;
    send(&daemon, "evt_1").await;
    let cause = first_failure(&db).await;
    assert!(cause.contains("subject `events.stripe` at nats://127.0.0.1:"), "{cause}");
    assert!(cause.contains("no stream takes this subject"), "{cause}");
    assert!(!cause.contains("a-password-of-tests"), "{cause}");
    stream(&nats).await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(all(&nats, "webhook-id").await.len(), 1);
});
