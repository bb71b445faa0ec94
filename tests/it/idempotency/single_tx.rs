//! One transaction for key, work and answer, when the database or the other requests make trouble.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use entity::Name;
use futures::future::join_all;
use hookonce::idempotency::middleware::{Current, Idempotency};
use hookonce::idempotency::{Engine, Rules};
use hookonce::metric::Metrics;
use hookonce::store::Store;
use sqlx::{Connection, Executor};
use tokio::sync::Semaphore;

use super::PATIENCE;
use super::middleware::request;
use super::unclaimed::{HELD_UP, behind, held_up, holder};
use crate::support::raw::RawAnswer;
use crate::support::{TestDatabase, eventually, within};

/// How many handlers were called, in permits that are gone, and how many may go on.
struct Gate {
    called: Semaphore,
    go_on: Semaphore,
}

/// Pays; first waits, when its body is `wait`.
async fn pay(body: String, current: web::ReqData<Current>, gate: web::Data<Gate>) -> HttpResponse {
    gate.called.add_permits(1);
    if body == "wait" {
        gate.go_on.acquire().await.unwrap().forget();
    }
    let mut guard = current.transaction().await.expect("single_tx");
    let connection = guard.as_mut().and_then(|it| it.postgres()).expect("a transaction");
    connection.execute("INSERT INTO payment (amount) VALUES (100)").await.expect("a row");
    if body == "panic" {
        panic!("a secret of the handler's");
    }
    HttpResponse::Created().body("paid")
}

async fn service(db: &TestDatabase, store: Store, wait: Duration) -> (SocketAddr, Arc<Gate>) {
    db.run("CREATE TABLE payment (id BIGSERIAL PRIMARY KEY, amount BIGINT NOT NULL)").await;
    let engine = Engine::new(store, Metrics::new()).patient(PATIENCE);
    let name = Name::new("pay").unwrap();
    let rules = Rules { wait, ..Rules::new(name.clone()) };
    let guard = Idempotency::new(engine, name).rules(rules).single_tx();
    let gate = Arc::new(Gate { called: Semaphore::new(0), go_on: Semaphore::new(0) });
    let data = web::Data::from(Arc::clone(&gate));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .service(web::resource("/pay").wrap(guard.clone()).route(web::post().to(pay)))
    })
    .workers(2)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .unwrap();
    let address = server.addrs()[0];
    tokio::spawn(server.run());
    (address, gate)
}

async fn ask(to: SocketAddr, key: &str, body: &str) -> RawAnswer {
    request("/pay", key, body).send(to).await
}

const PAYMENTS: &str = "SELECT count(*) FROM payment";

/// A payment whose COMMIT is under way.
async fn committing(
    db: &TestDatabase,
) -> (crate::support::Link, SocketAddr, sqlx::PgConnection, tokio::task::JoinHandle<RawAnswer>) {
    let (link, store) = behind(db).await;
    let (to, _) = service(db, store, Duration::ZERO).await;
    db.run(&held_up("payment")).await;
    let holder = holder(db).await;
    let asked = tokio::spawn(async move { ask(to, "k", "{}").await });
    eventually(PATIENCE, "its COMMIT", || async { (db.number(HELD_UP).await == 1).then_some(()) })
        .await;
    (link, to, holder, asked)
}

async fn once(db: &TestDatabase, to: SocketAddr) {
    let retry = ask(to, "k", "{}").await;
    assert_eq!((retry.status, &retry.body[..]), (201, &b"paid"[..]));
    assert_eq!(retry.head.header("idempotent-replayed"), Some("true"));
    assert_eq!(db.number(PAYMENTS).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_not_called_undone() {
    let db = TestDatabase::postgres().await;
    let (link, to, holder, asked) = committing(&db).await;
    link.cut().await;
    holder.close().await.unwrap();
    let answer = within(2 * PATIENCE, "an answer", asked).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"));
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(!text.contains("not run") && text.contains("the same key"), "{text}");
    link.take_over().await;
    once(&db, to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_seen_a_moment_later_is_answered_as_what_it_is() {
    let db = TestDatabase::postgres().await;
    let (link, to, holder, asked) = committing(&db).await;
    link.cut().await;
    let since = db.texts("SELECT clock_timestamp()::text").await.remove(0);
    link.take_over().await;
    // It is looked for while it is still under way.
    let looked = format!(
        "SELECT count(*) FROM pg_stat_activity
          WHERE datname = current_database() AND query LIKE '%FROM idempotency_key%'
            AND application_name = 'hookonce' AND backend_start > '{since}'"
    );
    eventually(PATIENCE, "a look", || async { (db.number(&looked).await > 0).then_some(()) }).await;
    holder.close().await.unwrap();
    let answer = within(2 * PATIENCE, "an answer", asked).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (201, &b"paid"[..]));
    once(&db, to).await;
}

/// Ten connections are kept for transactions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_of_one_key_take_no_connection_from_the_others() {
    let db = TestDatabase::postgres().await;
    let (to, gate) = service(&db, db.store().await, Duration::ZERO).await;
    let first = tokio::spawn(async move { ask(to, "k", "wait").await });
    gate.called.acquire().await.unwrap().forget();
    let retries = (0..30).map(|_| ask(to, "k", "wait"));
    let (retries, other) = tokio::join!(join_all(retries), ask(to, "other", "{}"));
    assert_eq!(other.status, 201, "{other:?}");
    for retry in retries {
        assert_eq!((retry.status, retry.code().as_str()), (409, "idempotency_in_progress"));
    }
    assert_eq!(ask(to, "k", "{}").await.code(), "idempotency_key_reused", "also while it runs");
    gate.go_on.add_permits(1);
    assert_eq!(first.await.unwrap().status, 201);
    once_of(&db, to).await;
}

async fn once_of(db: &TestDatabase, to: SocketAddr) {
    let retry = ask(to, "k", "wait").await;
    assert_eq!((retry.status, retry.head.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(db.number(PAYMENTS).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_waits_for_the_run_as_the_rules_say() {
    let db = TestDatabase::postgres().await;
    let (to, gate) = service(&db, db.store().await, PATIENCE).await;
    let first = tokio::spawn(async move { ask(to, "k", "wait").await });
    gate.called.acquire().await.unwrap().forget();
    let retry = tokio::spawn(async move { ask(to, "k", "wait").await });
    gate.go_on.add_permits(1);
    assert_eq!(first.await.unwrap().status, 201);
    assert_eq!(within(PATIENCE, "its answer", retry).await.unwrap().status, 201);
    assert_eq!(db.number(PAYMENTS).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_handler_said_when_it_panicked_is_not_for_the_client() {
    let db = TestDatabase::postgres().await;
    let (to, _) = service(&db, db.store().await, Duration::ZERO).await;
    let answer = ask(to, "k", "panic").await;
    assert_eq!(answer.status, 500);
    assert!(!String::from_utf8_lossy(&answer.body).contains("secret"), "{answer:?}");
    // Its key is free at once, as nothing of it is there.
    assert_eq!(ask(to, "k", "{}").await.status, 201);
    assert_eq!(db.number(PAYMENTS).await, 1);
}
