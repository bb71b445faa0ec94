//! Brokers over TLS: only one whose certificate is believed gets an event.

use super::{first_failure, plan, queues, send, streams, subjects};
use crate::both_databases;
use crate::daemon::PATIENCE;
use crate::support::TestDatabase;
use crate::support::daemon::wait_until_settled;
use crate::support::nats::NatsServer;
use crate::support::rabbitmq::{self, RabbitServer};
use crate::support::redis::RedisServer;
use crate::support::tls::Authority;

/// Sends one event to a broker: a daemon that doesn't know the authority fails, and says why without the
/// password; one that is told to believe it gets the event through.
async fn only_when_believed(db: &TestDatabase, authority: &Authority, kind: &str) {
    let plan = plan(db, kind, "");
    let mut stranger = plan.start().await;
    send(&stranger, "evt_1").await;
    let failure = first_failure(db).await;
    assert!(failure.contains("certificate"), "{failure}");
    assert!(!failure.contains(rabbitmq::PASSWORD), "{failure}");
    let delivered = "SELECT count(*) FROM delivery WHERE state = 'delivered'";
    assert_eq!(db.number(delivered).await, 0, "{failure}");
    stranger.stop().await;
    let root = authority.root();
    let _daemon = plan.environment("SSL_CERT_FILE", root.to_str().unwrap()).start().await;
    wait_until_settled(db, PATIENCE).await;
    assert_eq!(db.number(delivered).await, 1);
}

both_databases!(rabbitmq_over_tls, |db| async move {
    let (authority, rabbit) = (Authority::new(), RabbitServer::shared().await);
    let front = authority.before(rabbit.address()).await;
    let queue = queues::named(&db, "encrypted");
    rabbit.declare(&queue).await;
    let server = format!("amqps://tests:{}@localhost:{}", rabbitmq::PASSWORD, front.address.port());
    let kind = format!("amqp = {{ server = {server:?}, routing_key = {queue:?} }}");
    only_when_believed(&db, &authority, &kind).await;
    assert_eq!(rabbit.messages(&queue).await.len(), 1);
});

both_databases!(nats_over_tls, |db| async move {
    let authority = Authority::new();
    let nats = NatsServer::start_tls(&authority).await;
    let mut stream = subjects::stream(&nats).await;
    let kind = format!("nats = {{ server = {:?}, subject = \"events.stripe\" }}", nats.url());
    only_when_believed(&db, &authority, &kind).await;
    assert_eq!(stream.info().await.expect("its state").state.messages, 1);
});

both_databases!(redis_over_tls, |db| async move {
    let authority = Authority::new();
    let redis = RedisServer::start_tls(&authority).await;
    let kind = format!("redis = {{ server = {:?}, stream = \"events\" }}", redis.tls_url());
    only_when_believed(&db, &authority, &kind).await;
    assert_eq!(streams::entries(&redis).await.len(), 1);
});
