//! A handler that commits its key's transaction itself: its work stands without its answer, and is not done again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use entity::Name;
use futures::FutureExt;
use hookonce::idempotency::middleware::{Current, Idempotency};
use hookonce::idempotency::{Engine, Rules};
use hookonce::metric::Metrics;
use hookonce::received::Headers;
use hookonce::store::StoreError;
use hookonce::store::idempotency::{KeyAnswer, KeySettled, KeyState, KeyVerdict};
use sqlx::{Connection, Executor, PgConnection};

use super::middleware::request;
use super::{PATIENCE, backdate, claim, id};
use crate::support::TestDatabase;
use crate::support::raw::RawAnswer;

const PAY: &str = "INSERT INTO payment (amount) VALUES (100)";
const PAYMENTS: &str = "SELECT count(*) FROM payment";

/// Pays, and commits what it holds for a savepoint. The driver has undone two levels by then.
async fn pay_apart(connection: &mut PgConnection) {
    connection.execute(PAY).await.unwrap();
    let mut one = connection.begin().await.unwrap();
    let mut two = one.begin().await.unwrap();
    // Whatever is answered at once was not dropped while it began.
    while two.begin().now_or_never().is_some() {}
    two.commit().await.unwrap();
}

async fn pay(
    body: String,
    current: web::ReqData<Current>,
    calls: web::Data<AtomicU32>,
    db: web::Data<TestDatabase>,
) -> HttpResponse {
    calls.fetch_add(1, Ordering::SeqCst);
    let mut guard = current.transaction().await.expect("single_tx");
    pay_apart(guard.as_mut().and_then(|it| it.postgres()).expect("a transaction")).await;
    drop(guard);
    match body.as_str() {
        "fail" => HttpResponse::InternalServerError().body("failed"),
        "lose" => {
            db.run("DELETE FROM idempotency_key WHERE key = 'lose'").await;
            HttpResponse::Created().body("paid")
        }
        "refuse" => HttpResponse::BadRequest().body("refused"),
        "hang" => std::future::pending().await,
        _ => HttpResponse::Created().body("paid"),
    }
}

async fn service(db: &TestDatabase) -> (SocketAddr, Arc<AtomicU32>) {
    db.run("CREATE TABLE payment (id BIGSERIAL PRIMARY KEY, amount BIGINT NOT NULL)").await;
    let engine = Engine::new(db.store().await, Metrics::new()).patient(PATIENCE);
    let name = Name::new("pay").unwrap();
    let rules = Rules { lease: Duration::from_secs(3), ..Rules::new(name.clone()) };
    let guard = Idempotency::new(engine, name).rules(rules).single_tx();
    let calls = Arc::new(AtomicU32::new(0));
    let data = web::Data::from(Arc::clone(&calls));
    let database = web::Data::new(db.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .app_data(database.clone())
            .service(web::resource("/pay").wrap(guard.clone()).route(web::post().to(pay)))
    })
    .workers(2)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .unwrap();
    let address = server.addrs()[0];
    tokio::spawn(server.run());
    (address, calls)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_apart_is_uncertain_and_not_done_again() {
    let db = TestDatabase::postgres().await;
    let (to, calls) = service(&db).await;
    let uncertain = |answer: &RawAnswer, what: &str| {
        let got = (answer.status, answer.code());
        assert_eq!(got, (409, "idempotency_outcome_uncertain".to_owned()), "{what}: {answer:?}");
    };
    for (at, body) in (1..).zip(["{}", "fail", "refuse", "hang"]) {
        let first = request("/pay", body, body).send(to).await;
        uncertain(&first, body);
        let status = format!("SELECT status FROM idempotency_key WHERE key = '{body}'");
        assert_eq!(db.texts(&status).await, ["uncertain"], "{body}");
        uncertain(&request("/pay", body, body).send(to).await, body);
        assert_eq!(calls.load(Ordering::SeqCst), at, "{body}");
        assert_eq!(db.number(PAYMENTS).await, i64::from(at), "{body}");
    }
}

/// It is committed with the work: whoever doesn't find it can't say that the key is kept from now on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_is_gone_is_not_told_as_uncertain() {
    let db = TestDatabase::postgres().await;
    let (to, _) = service(&db).await;
    let answer = request("/pay", "lose", "lose").send(to).await;
    assert_eq!((answer.status, answer.code()), (503, "store_unavailable".to_owned()), "{answer:?}");
    assert!(String::from_utf8_lossy(&answer.body).contains("is not known now"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_committed_apart_is_not_free_once_its_lease_is_over() {
    let db = TestDatabase::postgres().await;
    db.run("CREATE TABLE payment (id BIGSERIAL PRIMARY KEY, amount BIGINT NOT NULL)").await;
    let store = db.store().await;
    let answer = KeyAnswer { status: 201, headers: Headers::new(), body: None, note: None };
    let verdicts = [KeyVerdict::Completed(answer), KeyVerdict::Released("failed".to_owned())];
    for (key, verdict) in ["completed", "released"].into_iter().zip(verdicts) {
        let mut transaction = store.begin_with_key(claim(key, 1)).await.unwrap().unwrap();
        pay_apart(transaction.postgres().unwrap()).await;
        let ended = transaction.settle(verdict).await;
        assert!(matches!(ended, Err(StoreError::Apart)), "{key}: {ended:?}");
        // Its caller dies before he says so.
        backdate(&db, "lease_until", key).await;
        assert!(store.begin_with_key(claim(key, 1)).await.unwrap().is_none(), "{key}");
        let row = store.find_key(id(key)).await.unwrap().unwrap();
        assert_eq!(row.state, KeyState::Lapsed, "{key}");
    }
    // What was rolled back is.
    let transaction = store.begin_with_key(claim("free", 1)).await.unwrap().unwrap();
    let released = KeyVerdict::Released("failed".to_owned());
    assert_eq!(transaction.settle(released).await.unwrap(), KeySettled::Done);
    assert!(store.begin_with_key(claim("free", 1)).await.unwrap().is_some());
    assert_eq!(db.number(PAYMENTS).await, 2);
}
