//! Messages of a RabbitMQ queue: confirmed, none lost, and a repeat known by its id.

use std::collections::BTreeMap;

use lapin::message::BasicGetMessage;
use lapin::types::AMQPValue;

use super::{count, first_failure, repeat_after_a_lost_answer, send, send_through_kills};
use crate::both_databases;
use crate::daemon::{PATIENCE, STRIPE, stripe};
use crate::support::daemon::wait_until_settled;
use crate::support::database::Kind;
use crate::support::rabbitmq::RabbitServer;
use crate::support::{Daemon, DaemonPlan, TestDatabase, eventually};

fn plan(db: &TestDatabase, rabbit: &RabbitServer, place: &str, lines: &str) -> DaemonPlan {
    let server = rabbit.url();
    super::plan(db, &format!("amqp = {{ server = {server:?}, {place} }}"), lines)
}

/// A name that no other test of the shared server has.
pub(super) fn named(db: &TestDatabase, test: &str) -> String {
    match db.kind() {
        Kind::Postgres => format!("{test}-postgres"),
        Kind::Sqlite => format!("{test}-sqlite"),
    }
}

fn ids(messages: &[BasicGetMessage]) -> Vec<String> {
    let id = |it: &BasicGetMessage| it.properties.message_id().as_ref().unwrap().to_string();
    messages.iter().map(id).collect()
}

fn headers(message: &BasicGetMessage) -> BTreeMap<String, String> {
    let table = message.properties.headers().as_ref().unwrap();
    let text = |value: &AMQPValue| match value {
        AMQPValue::LongString(text) => text.to_string(),
        other => panic!("{other:?} is no text"),
    };
    table.inner().iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

both_databases!(an_event_is_a_message_with_its_bytes_and_its_facts, |db| async move {
    let rabbit = RabbitServer::shared().await;
    let queue = named(&db, "facts");
    rabbit.declare(&queue).await;
    let daemon = plan(&db, &rabbit, &format!("routing_key = {queue:?}"), "").start().await;
    let event = stripe().event("evt_1", "invoice.paid");
    daemon.sender().send(STRIPE, &event).await.assert_accepted();
    wait_until_settled(&db, PATIENCE).await;
    let messages = rabbit.messages(&queue).await;
    assert_eq!(messages.len(), 1);
    let message = &messages[0];
    assert_eq!(message.data, event.body);
    let properties = &message.properties;
    // Written to disk, not only held.
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
    let now = u64::try_from(chrono::Utc::now().timestamp()).unwrap();
    assert!(properties.timestamp().unwrap().abs_diff(now) < 3600, "{properties:?}");
    let headers = headers(message);
    assert_eq!(
        (headers["hookonce-event-id"].as_str(), headers["hookonce-source"].as_str()),
        ("evt_1", "stripe")
    );
    let delivery = daemon.run(&["delivery", "list", "-o", "json"]).await.json();
    let delivery = delivery["items"][0]["id"].as_str().unwrap();
    assert_eq!((ids(&messages)[0].as_str(), headers["webhook-id"].as_str()), (delivery, delivery));
    let shown = daemon.run(&["config", "show"]).await;
    assert!(!shown.text().contains("a-password-of-tests"), "{}", shown.text());
    // What would be sent, without sending it.
    let tried = daemon.run(&["handler", "test", "out", "--event", "evt_1"]).await;
    assert!(tried.code(0).text().contains("PUBLISH amqp://127.0.0.1:"), "{}", tried.text());
    // It goes back into the queue when RabbitMQ notices that the connection of the look before has ended.
    let again = eventually(PATIENCE, "the message again", || async {
        Some(rabbit.messages(&queue).await).filter(|them| !them.is_empty())
    })
    .await;
    assert_eq!(again.len(), 1);
});

both_databases!(a_repeat_after_a_lost_answer_has_the_same_id, |db| async move {
    let rabbit = RabbitServer::shared().await;
    let queue = named(&db, "repeat");
    rabbit.declare(&queue).await;
    let mut daemon = plan(&db, &rabbit, &format!("routing_key = {queue:?}"), "").start().await;
    send(&daemon, "evt_1").await;
    wait_until_settled(&db, PATIENCE).await;
    repeat_after_a_lost_answer(&db, &mut daemon).await;
    let ids = ids(&rabbit.messages(&queue).await);
    assert_eq!(ids.len(), 2, "RabbitMQ knows no repeats");
    assert_eq!(ids[0], ids[1]);
});

both_databases!(nothing_is_lost_when_rabbitmq_is_killed_again_and_again, |db| async move {
    let rabbit = RabbitServer::start().await;
    rabbit.declare("deploys").await;
    rabbit.keep_definitions().await;
    let lines = "retry = { for = \"1h\", backoff = [\"100ms\"] }\ntimeout = \"2s\"";
    let daemon = plan(&db, &rabbit, "routing_key = \"deploys\"", lines).start().await;
    let sent =
        send_through_kills(&db, &daemon, || rabbit.kill(), async || rabbit.restart().await).await;
    let counted = count(sent, &ids(&rabbit.messages("deploys").await));
    assert_eq!(counted.lost, 0);
    // Each may be one whose message was kept and whose confirm was lost.
    let mut unconfirmed = db.texts("SELECT error FROM attempt WHERE error IS NOT NULL").await;
    unconfirmed.retain(|error| !error.contains("no connection"));
    assert!(counted.twice <= unconfirmed.len(), "{counted:?}, {unconfirmed:#?}");
});

both_databases!(what_no_queue_takes_is_told_and_tried_again, |db| async move {
    let rabbit = RabbitServer::shared().await;
    let (exchange, queue) = (named(&db, "nowhere"), named(&db, "taken"));
    let lines = "retry = { for = \"1h\", backoff = [\"100ms\"] }";
    let daemon = plan(&db, &rabbit, &format!("exchange = {exchange:?}"), lines).start().await;
    send(&daemon, "evt_1").await;
    let cause = first_failure(&db).await;
    assert!(cause.contains(&format!("exchange `{exchange}`")), "{cause}");
    assert!(cause.contains(" at amqp://127.0.0.1:") && cause.contains("NOT_FOUND"), "{cause}");
    assert!(!cause.contains("a-password-of-tests"), "{cause}");
    rabbit.declare_exchange(&exchange).await;
    let cause = failure_that_says(&db, "no queue is bound").await;
    assert!(!cause.contains("a-password-of-tests"), "{cause}");
    rabbit.declare(&queue).await;
    rabbit.bind(&queue, &exchange).await;
    wait_until_settled(&db, PATIENCE).await;
    assert_eq!(rabbit.messages(&queue).await.len(), 1);
    // The client would log the message that came back, with its body.
    let log = daemon.log();
    assert!(!log.contains("returned us a message"), "{log}");
});

both_databases!(a_connection_that_fell_silent_is_given_up_whole, |db| async move {
    let rabbit = RabbitServer::start().await;
    rabbit.declare("deploys").await;
    let lines = "retry = { for = \"1h\", backoff = [\"50ms\"] }\ntimeout = \"1s\"";
    let daemon = plan(&db, &rabbit, "routing_key = \"deploys\"", lines).start().await;
    send(&daemon, "evt_1").await;
    wait_until_settled(&db, PATIENCE).await;
    // Its first connection may have been late, too.
    db.run("DELETE FROM attempt").await;
    rabbit.freeze();
    send(&daemon, "evt_2").await;
    let cause = first_failure(&db).await;
    assert!(cause.contains("no confirm in time"), "{cause}");
    // The next ones try another connection, and leave nothing of it behind.
    failure_that_says(&db, "no connection in time").await;
    let tries = "SELECT count(*) FROM attempt WHERE outcome <> 'delivered'";
    eventually(PATIENCE, "four tries", || async { (db.number(tries).await >= 4).then_some(()) })
        .await;
    eventually(PATIENCE, "the end of what was given up", || async {
        (connections(&daemon) <= 1).then_some(())
    })
    .await;
    rabbit.thaw();
    wait_until_settled(&db, PATIENCE).await;
    let mut ids = ids(&rabbit.messages("deploys").await);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2);
});

/// Threads of the daemon in which a connection to RabbitMQ lives.
fn connections(daemon: &Daemon) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let named = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
    let names = tasks.filter_map(|task| named(task.ok()?));
    names.filter(|name| name.starts_with("lapin-io-loop")).count()
}

/// The cause of a failed try that says this.
async fn failure_that_says(db: &TestDatabase, what: &str) -> String {
    eventually(PATIENCE, what, || async {
        let errors = db.texts("SELECT error FROM attempt WHERE error IS NOT NULL").await;
        errors.into_iter().find(|error| error.contains(what))
    })
    .await
}
