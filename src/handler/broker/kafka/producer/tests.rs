//! Against librdkafka's own cluster for tests, which speaks Kafka's protocol on loopback.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures::StreamExt;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, OwnedMessage};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use super::super::KafkaServers;
use super::*;
use crate::handler::sample;

const TOPIC: &str = "deploys";
const PATIENCE: Duration = Duration::from_secs(60);

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic(TOPIC, partitions, 1).expect("a topic");
    cluster
}

fn handler(cluster: &Cluster, keyed: bool, timeout: Duration) -> KafkaHandler {
    let servers = KafkaServers::new(&cluster.bootstrap_servers()).expect("servers");
    KafkaHandler::new(&KafkaSettings { servers, topic: TOPIC.to_owned(), keyed }, timeout)
}

fn context(delivery: u128, timeout: Duration) -> Context {
    Context { delivery: Uuid::from_u128(delivery), timeout, ..sample::context() }
}

/// Every record of a topic, by partition and offset.
fn records(cluster: &Cluster, partitions: i32) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "tests")
        .create()
        .expect("a consumer");
    let mut places = TopicPartitionList::new();
    let mut kept = 0;
    for partition in 0..partitions {
        places.add_partition_offset(TOPIC, partition, Offset::Beginning).expect("a place");
        let (low, high) =
            consumer.fetch_watermarks(TOPIC, partition, PATIENCE).expect("its bounds");
        kept += high - low;
    }
    consumer.assign(&places).expect("its places");
    let mut records = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while i64::try_from(records.len()).expect("few") < kept {
        assert!(Instant::now() < deadline, "{} of {kept} records", records.len());
        if let Some(record) = consumer.poll(Duration::from_millis(100)) {
            records.push(record.expect("a record").detach());
        }
    }
    records.sort_by_key(|record| (record.partition(), record.offset()));
    records
}

fn facts(record: &OwnedMessage) -> BTreeMap<String, String> {
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into();
    let headers = record.headers().expect("headers");
    headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}

fn cause(outcome: &Outcome) -> &str {
    let Outcome::Retry { cause, .. } = outcome else { panic!("{outcome:?}") };
    cause
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_a_record_with_its_bytes_its_facts_and_its_lane_as_key() {
    let cluster = cluster(4);
    let timeout = Duration::from_secs(20);
    let handler = handler(&cluster, true, timeout);
    let event = sample::event(b"{\"n\":1}\0\xff");
    for (delivery, lane) in [(1, "b"), (2, "a"), (3, "b"), (4, "b")] {
        let context = Context { lane: Some(lane.to_owned()), ..context(delivery, timeout) };
        let outcome = handler.handle(&event, &context).await;
        let Outcome::Delivered(reply) = &outcome else { panic!("{outcome:?}") };
        assert!(reply.body.starts_with(b"partition "), "{reply:?}");
    }
    let records = records(&cluster, 4);
    assert_eq!(records.len(), 4);
    let of_b: Vec<_> = records.iter().filter(|record| record.key() == Some(b"b")).collect();
    assert_eq!(of_b.len(), 3);
    assert!(of_b.iter().all(|record| record.partition() == of_b[0].partition()));
    let ids: Vec<_> = of_b.iter().map(|record| facts(record)["webhook-id"].clone()).collect();
    assert_eq!(ids, [1, 3, 4].map(|n| Uuid::from_u128(n).to_string()), "in their order");
    let facts = facts(of_b[0]);
    assert_eq!(of_b[0].payload(), Some(&event.body[..]));
    assert_eq!(
        (facts["hookonce-event-id"].as_str(), facts["hookonce-source"].as_str()),
        ("evt_1", "stripe")
    );
    assert_eq!(facts["content-type"], event.content_type());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_a_record_has_none() {
    let cluster = cluster(1);
    let timeout = Duration::from_secs(20);
    let context = Context { lane: Some("a".to_owned()), ..context(1, timeout) };
    let outcome = handler(&cluster, false, timeout).handle(&sample::event(b"{}"), &context).await;
    assert!(matches!(outcome, Outcome::Delivered(_)), "{outcome:?}");
    assert_eq!(records(&cluster, 1)[0].key(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_while_kafka_was_away_is_never_sent_later() {
    let cluster = cluster(1);
    let timeout = Duration::from_secs(3);
    let handler = handler(&cluster, false, timeout);
    let event = sample::event(b"{}");
    until_delivered(&handler, &event, &context(1, timeout)).await;
    cluster.broker_down(-1).expect("down");
    let outcome = handler.handle(&event, &context(2, timeout)).await;
    assert!(cause(&outcome).contains("topic `deploys` at 127.0.0.1:"), "{outcome:?}");
    assert!(cause(&outcome).contains("no acknowledgement in time"), "{outcome:?}");
    cluster.broker_up(-1).expect("up");
    until_delivered(&handler, &event, &context(3, timeout)).await;
    let records = records(&cluster, 1);
    let ids: BTreeSet<_> = records.iter().map(|it| facts(it)["webhook-id"].clone()).collect();
    assert_eq!(ids, BTreeSet::from([1, 3].map(|n| Uuid::from_u128(n).to_string())));
}

/// Tries again and again, as a worker does.
async fn until_delivered(handler: &KafkaHandler, event: &Event, context: &Context) {
    let deadline = Instant::now() + PATIENCE;
    while !matches!(handler.handle(event, context).await, Outcome::Delivered(_)) {
        assert!(Instant::now() < deadline, "it never comes back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_kafka_goes_away_again_and_again() {
    const EVENTS: usize = 300;
    let cluster = cluster(1);
    let timeout = Duration::from_secs(2);
    let handler = handler(&cluster, false, timeout);
    let event = sample::event(b"{}");
    // All calls are of one task.
    let (failed, away) = (Cell::new(0), Cell::new(false));
    for round in 0..3 {
        let (before, deadline) = (failed.get(), Instant::now() + PATIENCE);
        let events = futures::stream::iter(0..EVENTS / 3);
        events
            .for_each_concurrent(8, async |n| {
                if n == 50 {
                    cluster.broker_down(-1).expect("down");
                    away.set(true);
                }
                let delivery = u128::try_from(round * EVENTS + n).expect("few");
                let context = context(delivery, timeout);
                while !matches!(handler.handle(&event, &context).await, Outcome::Delivered(_)) {
                    assert!(Instant::now() < deadline, "it never comes back");
                    failed.set(failed.get() + 1);
                    if away.take() {
                        cluster.broker_up(-1).expect("up");
                    }
                }
            })
            .await;
        assert!(failed.get() > before, "it was away");
    }
    let records = records(&cluster, 1);
    let ids: BTreeSet<_> = records.iter().map(|it| facts(it)["webhook-id"].clone()).collect();
    let twice = records.len() - ids.len();
    let lost = EVENTS - ids.len();
    assert_eq!(lost, 0, "{} in the broker, {twice} of them twice", records.len());
    assert!(twice <= failed.get(), "no more than tries that failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_kafka_never_takes_is_refused() {
    let cluster = cluster(1);
    let timeout = Duration::from_secs(20);
    let big: &'static [u8] = vec![b'x'; 1_100_000].leak();
    let outcome =
        handler(&cluster, false, timeout).handle(&sample::event(big), &context(1, timeout)).await;
    assert!(
        matches!(&outcome, Outcome::Reject { cause, .. } if cause.contains("million")),
        "{outcome:?}"
    );
}
