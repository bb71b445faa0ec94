//! Both doors with a cache: the gateway of the real program, and the middleware.

use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::{App, HttpResponse, HttpServer, web};
use hookonce::idempotency::middleware::Idempotency;

use super::*;
use crate::idempotency::gateway::{gateway, payment, table};
use crate::support::raw::{RawAnswer, RawRequest};
use crate::support::redis::PASSWORD;
use crate::support::{Answer as Said, Authority, Daemon, DaemonPlan, Endpoint};

/// All that a client sees, but for the time.
fn seen(answer: &RawAnswer) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let mut lines = answer.head.headers.clone();
    lines.retain(|(name, _)| !name.eq_ignore_ascii_case("date"));
    lines.sort();
    (answer.status, lines, answer.body.clone())
}

async fn count(daemon: &Daemon, outcome: &str) -> u64 {
    counted(&String::from_utf8_lossy(&daemon.get("/metrics").await.body), outcome)
}

async fn replay_as(daemon: &Daemon, key: &str, outcome: &str) -> RawAnswer {
    eventually(PATIENCE, outcome, || async {
        let before = count(daemon, outcome).await;
        let answer = payment(key).send(daemon.public()).await;
        (count(daemon, outcome).await > before).then_some(answer)
    })
    .await
}

/// An answer that Redis didn't have. Emptied anew each time: a Redis that was too slow to say so is passed over, and
/// then it is filled.
async fn replay_missed(daemon: &Daemon, redis: &RedisServer, key: &str) -> RawAnswer {
    eventually(PATIENCE, "a miss", || async {
        redis.flush().await;
        let before = count(daemon, "miss").await;
        let answer = payment(key).send(daemon.public()).await;
        (count(daemon, "miss").await > before).then_some(answer)
    })
    .await
}

both_databases!(a_gateway_answers_the_same_from_redis_as_from_the_database, |db| async move {
    let redis = RedisServer::start().await;
    let service = Endpoint::start().await;
    let answer = Said::status(201).header("content-type", "application/json");
    service.answer_otherwise(answer.header("location", "/payments/1").body("{\"id\":\"pay_1\"}"));
    let daemon = gateway(&db, &service, &format!("cache = {:?}", redis.url())).await;
    let first = payment("k").send(daemon.public()).await;
    assert_eq!((first.status, first.head.header("idempotent-replayed")), (201, None));
    replay_as(&daemon, "k", "hit").await;
    let from_row = replay_missed(&daemon, &redis, "k").await;
    let from_redis = replay_as(&daemon, "k", "hit").await;
    assert_eq!(from_redis.head.header("idempotent-replayed"), Some("true"));
    assert_eq!(seen(&from_redis), seen(&from_row));
    let other = RawRequest::post("/payments", "{}").header("authorization", "Bearer alice");
    let other = other.header("idempotency-key", "k").send(daemon.public()).await;
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_key_reused"));
    redis.kill();
    assert_eq!(seen(&replay_as(&daemon, "k", "skipped").await), seen(&from_row));
    assert_eq!(service.count(), 1);
    assert!(!daemon.log().contains(PASSWORD));
    let shown = daemon.command(&["config", "show"]).output().await.unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("cache = \"redis://127.0.0.1:"), "{shown}");
    assert!(!shown.contains(PASSWORD));
});

both_databases!(the_middleware_answers_from_it_in_both_modes, |db| async move {
    let redis = RedisServer::start().await;
    let (store, metrics) = (db.store().await, Metrics::new());
    let address = RedisAddress::new(Secret::new(redis.url())).unwrap();
    let cache = Cache::new(&address, store.clone());
    let engine = Engine::new(store, metrics.clone());
    let guard = Idempotency::new(engine, Name::new("pay").unwrap()).cache(cache);
    let (steps, single) = (guard.clone().two_step(), guard.single_tx());
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = web::Data::from(Arc::clone(&runs));
    let handler = |runs: web::Data<AtomicUsize>| async move {
        HttpResponse::Created().body(format!("run {}", runs.fetch_add(1, Ordering::SeqCst)))
    };
    let server = HttpServer::new(move || {
        App::new()
            .app_data(counter.clone())
            .service(web::resource("/steps").wrap(steps.clone()).route(web::post().to(handler)))
            .service(web::resource("/single").wrap(single.clone()).route(web::post().to(handler)))
    })
    .workers(1)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .unwrap();
    let to = server.addrs()[0];
    tokio::spawn(server.run());
    for (n, path) in ["/steps", "/single"].into_iter().enumerate() {
        let ask = || async move {
            let request = RawRequest::post(path, "{}").header("authorization", "Bearer alice");
            request.header("idempotency-key", path).send(to).await
        };
        let first = ask().await;
        assert_eq!(first.body, format!("run {n}").into_bytes());
        let hit = eventually(PATIENCE, path, || async {
            let before = counted(&metrics.render(), "hit");
            let answer = ask().await;
            (counted(&metrics.render(), "hit") > before).then_some(answer)
        })
        .await;
        assert_eq!(hit.head.header("idempotent-replayed"), Some("true"));
        assert_eq!((hit.status, &hit.body), (201, &first.body));
    }
    assert_eq!(runs.load(Ordering::SeqCst), 2);
});

both_databases!(a_gateway_asks_redis_over_tls_if_its_certificate_is_believed, |db| async move {
    let authority = Authority::new();
    let redis = RedisServer::start_tls(&authority).await;
    let service = Endpoint::start().await;
    let plan =
        DaemonPlan::on(&db).toml(&table(&service, &format!("cache = {:?}", redis.tls_url())));
    let mut stranger = plan.start().await;
    // Nobody said that this authority is to be believed: the database answers.
    assert_eq!(payment("k").send(stranger.public()).await.status, 200);
    eventually(PATIENCE, "the reason in the log", || async {
        assert_eq!(payment("k").send(stranger.public()).await.status, 200);
        stranger.log().contains("certificate").then_some(())
    })
    .await;
    assert_eq!(count(&stranger, "hit").await, 0);
    assert!(!stranger.log().contains(PASSWORD), "{}", stranger.log());
    stranger.stop().await;
    let root = authority.root();
    let daemon = plan.environment("SSL_CERT_FILE", root.to_str().unwrap()).start().await;
    assert!(redis.names().await.is_empty(), "nothing was put there");
    replay_as(&daemon, "k", "hit").await;
    assert_eq!(service.count(), 1);
});
