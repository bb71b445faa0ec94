//! The middleware in a service of one's own, on both databases.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::{App, HttpResponse, HttpServer, web};
use bytes::Bytes;
use entity::Name;
use futures::future::join_all;
use hookonce::idempotency::middleware::{Current, Idempotency};
use hookonce::idempotency::{Engine, OnUnknown, Rules};
use hookonce::metric::Metrics;
use sqlx::Executor;

use super::{PATIENCE, backdate};
use crate::both_databases;
use crate::support::raw::{RawAnswer, RawRequest};
use crate::support::{TestDatabase, eventually};

const INSERT: &str = "INSERT INTO payment (amount) VALUES (100)";

/// What the service was asked, and how it is to behave.
#[derive(Default)]
struct Book {
    calls: AtomicUsize,
    panics: AtomicUsize,
}

fn body_says(body: &Bytes, word: &str) -> bool {
    String::from_utf8_lossy(body).contains(word)
}

/// Writes a row in the key's transaction; fails afterwards when the body says so.
async fn pay(
    body: Bytes,
    current: web::ReqData<Current>,
    book: web::Data<Book>,
) -> Result<HttpResponse, actix_web::Error> {
    book.calls.fetch_add(1, Ordering::SeqCst);
    let mut guard = current.transaction().await.expect("single_tx");
    let transaction = guard.as_mut().expect("a transaction");
    if let Some(connection) = transaction.postgres() {
        connection.execute(INSERT).await.expect("a row");
    } else if let Some(connection) = transaction.sqlite() {
        connection.execute(INSERT).await.expect("a row");
    }
    if body_says(&body, "fail") && book.calls.load(Ordering::SeqCst) == 1 {
        return Ok(HttpResponse::InternalServerError().finish());
    }
    Ok(HttpResponse::Created().body("paid"))
}

/// Charges, notes it, and panics the first time when the body says so.
async fn charge(
    body: Bytes,
    current: web::ReqData<Current>,
    book: web::Data<Book>,
) -> HttpResponse {
    if current.recovery_point().is_none() {
        book.calls.fetch_add(1, Ordering::SeqCst);
        assert!(current.reached("charged").await.expect("the store"));
    }
    if body_says(&body, "panic") && book.panics.fetch_add(1, Ordering::SeqCst) == 0 {
        panic!("on purpose, behind the phase");
    }
    HttpResponse::Created().body("charged")
}

async fn service(db: &TestDatabase) -> (SocketAddr, Arc<Book>) {
    let serial = match db.kind() {
        crate::support::Kind::Postgres => "BIGSERIAL",
        crate::support::Kind::Sqlite => "INTEGER",
    };
    db.run(&format!("CREATE TABLE payment (id {serial} PRIMARY KEY, amount BIGINT NOT NULL)"))
        .await;
    let engine = Engine::new(db.store().await, Metrics::new());
    let named = |name| Name::new(name).unwrap();
    let single = Idempotency::new(engine.clone(), named("pay")).single_tx();
    let rules = Rules { on_unknown: OnUnknown::Rerun, ..Rules::new(named("charge")) };
    let steps = Idempotency::new(engine, named("charge")).rules(rules).two_step();
    let book = Arc::new(Book::default());
    let data = web::Data::from(Arc::clone(&book));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .service(web::resource("/pay").wrap(single.clone()).route(web::post().to(pay)))
            .service(web::resource("/charge").wrap(steps.clone()).route(web::post().to(charge)))
    })
    .workers(2)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .unwrap();
    let address = server.addrs()[0];
    tokio::spawn(server.run());
    (address, book)
}

fn request(path: &str, key: &str, body: &str) -> RawRequest {
    RawRequest::post(path, body)
        .header("authorization", "Bearer alice")
        .header("idempotency-key", key)
}

async fn ask(to: SocketAddr, path: &str, key: &str, body: &str) -> RawAnswer {
    request(path, key, body).send(to).await
}

both_databases!(one_transaction_holds_the_work_and_the_answer, |db| async move {
    let (to, book) = service(&db).await;
    let answers = join_all((0..20).map(|_| ask(to, "/pay", "k", "{}"))).await;
    let mut paid = 0;
    for answer in &answers {
        match answer.status {
            201 => {
                assert_eq!(answer.body, b"paid");
                paid += usize::from(answer.head.header("idempotent-replayed").is_none());
            }
            409 => assert_eq!(answer.code(), "idempotency_in_progress"),
            other => panic!("{other}: {answer:?}"),
        }
    }
    assert_eq!((paid, book.calls.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(db.number("SELECT count(*) FROM payment").await, 1);
    assert_eq!(ask(to, "/pay", "k", "{\"other\":1}").await.code(), "idempotency_key_reused");
    assert_eq!(request("/pay", "k", "").without("idempotency-key").send(to).await.status, 400);
});

both_databases!(a_failure_in_the_transaction_leaves_nothing_behind, |db| async move {
    let (to, book) = service(&db).await;
    assert_eq!(ask(to, "/pay", "k", "fail").await.status, 500);
    assert_eq!(db.number("SELECT count(*) FROM payment").await, 0);
    assert_eq!(db.number("SELECT count(*) FROM idempotency_key").await, 0);
    assert_eq!(ask(to, "/pay", "k", "fail").await.status, 201, "so it runs again");
    assert_eq!(db.number("SELECT count(*) FROM payment").await, 1);
    assert_eq!(book.calls.load(Ordering::SeqCst), 2);
});

both_databases!(a_second_run_goes_on_behind_the_phase_that_was_noted, |db| async move {
    let (to, book) = service(&db).await;
    assert_eq!(ask(to, "/charge", "k", "panic").await.status, 500);
    let early = ask(to, "/charge", "k", "panic").await;
    assert_eq!((early.status, early.code().as_str()), (409, "idempotency_in_progress"));
    backdate(&db, "lease_until", "k").await;
    let late = ask(to, "/charge", "k", "panic").await;
    assert_eq!((late.status, &late.body[..]), (201, &b"charged"[..]));
    assert_eq!(book.calls.load(Ordering::SeqCst), 1, "charged once");
    let replay = ask(to, "/charge", "k", "panic").await;
    assert_eq!(replay.head.header("idempotent-replayed"), Some("true"));
});

both_databases!(a_client_that_hangs_up_ends_no_handler, |db| async move {
    let (to, _) = service(&db).await;
    for at in 0..10 {
        // Dropped as soon as it was sent.
        let key = format!("k{at}");
        let hasty = request("/charge", &key, "{}");
        drop(tokio::time::timeout(std::time::Duration::from_millis(3), hasty.try_send(to)).await);
    }
    eventually(PATIENCE, "no key to be left half-way", || async {
        let open = "SELECT count(*) FROM idempotency_key WHERE status <> 'completed' AND status <> 'failed'";
        (db.number(open).await == 0).then_some(())
    })
    .await;
});
