//! Idempotency keys under concurrent retries: what the pages quote of the gateway, its cache, and two naive recipes.
//!
//! Small in the normal tests, where the counts have to be right; `make bench-idempotency` runs it at full size.
//! Times are printed, and never asserted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;

use super::setting;
use crate::idempotency::backdate;
use crate::idempotency::gateway::{gateway, pay, payment};
use crate::support::redis::RedisServer;
use crate::support::{Answer, Daemon, Endpoint, TestDatabase, within};

mod peers;

use peers::{NaiveRedis, NaiveTable, Peer};

/// Requests for one key at once.
const RETRIES: usize = 50;
/// Keys under way at once.
const KEYS_AT_ONCE: usize = 2;
/// For all of them.
const PATIENCE: Duration = Duration::from_secs(1800);

/// How long answers took, in milliseconds.
struct Times(Vec<f64>);

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return f.write_str("none") };
        let at = |part: f64| sorted[(last as f64 * part).round() as usize];
        write!(f, "p50/p99 {:.2}/{:.2} ms of {}", at(0.5), at(0.99), sorted.len())
    }
}

/// One request's status, body, whether it was a replay, and its time.
async fn timed(daemon: &Daemon, key: &str) -> (u16, Vec<u8>, bool, f64) {
    let began = Instant::now();
    let answer = pay(daemon, key).await;
    let took = began.elapsed().as_secs_f64() * 1e3;
    let replayed = answer.head.header("idempotent-replayed") == Some("true");
    (answer.status, answer.body, replayed, took)
}

/// A service that answers each call otherwise: two runs of a key could not have one answer.
async fn service(calls: usize) -> Endpoint {
    let service = Endpoint::start().await;
    let answer = |n| Answer::status(201).body(&format!("{{\"payment\":{n}}}"));
    service.answer_next((0..calls * 2).map(answer));
    service
}

/// Each key once, one after the other.
async fn replays(daemon: &Daemon, keys: usize) -> Times {
    let mut times = Vec::with_capacity(keys);
    for n in 0..keys {
        let (status, _, replayed, took) = timed(daemon, &format!("k{n}")).await;
        assert!(status == 201 && replayed);
        times.push(took);
    }
    Times(times)
}

async fn hits(daemon: &Daemon) -> String {
    let text = daemon.get("/metrics").await.body;
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines = text.lines().filter_map(|it| it.strip_prefix("hookonce_idempotency_cache_total"));
    lines.collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measure_many_keys_with_many_retries_each_at_once() {
    let keys = usize::try_from(setting("HOOKONCE_BENCH_KEYS", 20)).unwrap();
    let (db, redis) = (TestDatabase::postgres().await, RedisServer::start().await);
    let service = service(keys).await;
    let lines = format!("wait = \"30s\"\ncache = {:?}", redis.url());
    let mut cached = gateway(&db, &service, &lines).await;
    let began = Instant::now();
    let all = futures::stream::iter(0..keys).map(|n| {
        let (daemon, key) = (&cached, format!("k{n}"));
        async move { join_all((0..RETRIES).map(|_| timed(daemon, &key))).await }
    });
    let all = all.buffer_unordered(KEYS_AT_ONCE).collect::<Vec<_>>();
    let all = within(PATIENCE, "all answers", all).await;
    let took = began.elapsed().as_secs_f64();
    let mut firsts = Vec::new();
    for answers in &all {
        let bodies: BTreeSet<_> = answers.iter().map(|(status, body, ..)| (status, body)).collect();
        assert_eq!(bodies.len(), 1, "one answer for a key: {bodies:?}");
        assert_eq!(answers[0].0, 201);
        let first: Vec<_> = answers.iter().filter(|it| !it.2).map(|it| it.3).collect();
        assert_eq!(first.len(), 1, "one request is the run, the others are replays");
        firsts.extend(first);
    }
    assert_eq!(service.count(), keys, "the service ran once a key");
    println!("{keys} keys with {RETRIES} requests each, at once: {keys} runs, in {took:.1} s");
    println!("the run's own request, among the others: {}", Times(firsts));
    let before = hits(&cached).await;
    println!("replays from Redis, one by one: {}", replays(&cached, keys).await);
    println!("  counted before: {before}; after: {}", hits(&cached).await);
    let mut fresh = Vec::new();
    for n in 0..keys {
        fresh.push(timed(&cached, &format!("new{n}")).await.3);
    }
    println!("first requests, one by one: {}", Times(fresh));
    cached.stop().await;
    let mut plain = gateway(&db, &service, "").await;
    println!("replays from PostgreSQL, one by one: {}", replays(&plain, keys).await);
    plain.stop().await;
    let mut cached = gateway(&db, &service, &lines).await;
    redis.freeze();
    println!("replays with Redis frozen, one by one: {}", replays(&cached, keys).await);
    redis.thaw();
    cached.stop().await;
    assert_eq!(service.count(), 2 * keys);
}

/// Runs beyond the first of each key, under concurrent retries.
async fn doubles(peer: &impl Peer, service: &Endpoint, keys: usize) -> usize {
    let before = service.count();
    for n in 0..keys {
        let key = format!("c{n}");
        join_all((0..RETRIES).map(|_| peer.serve(&key, false))).await;
    }
    service.count() - before - keys
}

/// The same when the first request's server dies between the run and its being written down; and how many
/// keys have no answer for the retry.
async fn crashes(peer: &impl Peer, service: &Endpoint, keys: usize) -> (usize, usize) {
    let before = service.count();
    let mut stuck = 0;
    for n in 0..keys {
        let key = format!("d{n}");
        peer.serve(&key, true).await;
        stuck += usize::from(peer.serve(&key, false).await.is_none());
    }
    (service.count() - before - keys, stuck)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measure_the_naive_recipes_run_twice_and_ours_does_not() {
    let keys = usize::try_from(setting("HOOKONCE_BENCH_KEYS", 20)).unwrap() / 10;
    let (db, redis) = (TestDatabase::postgres().await, RedisServer::start().await);
    let service = Arc::new(Endpoint::start().await);
    let work = Answer::status(201).body("paid").delayed(Duration::from_millis(20));
    service.answer_otherwise(work);

    let naive = NaiveRedis::new(&redis, Arc::clone(&service)).await;
    let (double, crash) =
        (doubles(&naive, &service, keys).await, crashes(&naive, &service, keys).await);
    println!(
        "GET, run, SETEX: of {keys} keys {double} double runs; after a crash {} double runs, {} without an answer",
        crash.0, crash.1
    );
    assert!(double > 0 && crash.0 == keys, "as the recipe is written");

    let naive = NaiveTable::new(&db, Arc::clone(&service)).await;
    let (double, crash) =
        (doubles(&naive, &service, keys).await, crashes(&naive, &service, keys).await);
    println!(
        "INSERT, run, UPDATE: of {keys} keys {double} double runs; after a crash {} double runs, {} without an answer for ever",
        crash.0, crash.1
    );
    assert_eq!((double, crash), (0, (0, keys)), "as the recipe is written");

    let mut ours = gateway(&db, &service, &format!("cache = {:?}", redis.url())).await;
    let before = service.count();
    for n in 0..keys {
        let key = format!("o{n}");
        join_all((0..RETRIES).map(|_| pay(&ours, &key))).await;
    }
    let double = service.count() - before - keys;
    // kill -9 while the service works for all of them.
    service.answer_next((0..keys).map(|_| Answer::status(201).held()));
    let before = service.count();
    let names: Vec<String> = (0..keys).map(|n| format!("x{n}")).collect();
    let to = ours.public();
    let asking: Vec<_> = names
        .iter()
        .map(|key| {
            let request = payment(key);
            tokio::spawn(async move { request.try_send(to).await.is_ok() })
        })
        .collect();
    service.wait_for_calls(before + keys, PATIENCE).await;
    ours.kill().await;
    join_all(asking).await;
    ours.start().await;
    let mut codes = BTreeSet::new();
    for key in &names {
        codes.insert(pay(&ours, key).await.code());
        backdate(&db, "lease_until", key).await;
        codes.insert(pay(&ours, key).await.code());
    }
    let crash = service.count() - before - keys;
    println!(
        "ours: of {keys} keys {double} double runs; after kill -9 {crash} double runs, {codes:?}"
    );
    assert_eq!((double, crash), (0, 0));
    ours.stop().await;
}
