//! The middleware in a service of one's own, on both databases.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::middleware::Condition;
use actix_web::{App, HttpResponse, HttpServer, web};
use bytes::Bytes;
use entity::Name;
use futures::future::join_all;
use hookonce::idempotency::middleware::{Current, Idempotency};
use hookonce::idempotency::{Engine, OnUnknown, Rules};
use hookonce::metric::Metrics;
use sqlx::{Connection, Executor};

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
    if body_says(&body, "refuse") {
        return Err(actix_web::error::ErrorUnprocessableEntity("no"));
    }
    if body_says(&body, "nested") {
        // What a handler begins is its own: undoing it must not undo the key.
        if let Some(connection) = transaction.postgres() {
            let mut inner = connection.begin().await.expect("a savepoint");
            inner.execute(INSERT).await.expect("a row");
            inner.rollback().await.expect("undone");
        } else if let Some(connection) = transaction.sqlite() {
            let mut inner = connection.begin().await.expect("a savepoint");
            inner.execute(INSERT).await.expect("a row");
            inner.rollback().await.expect("undone");
        }
    }
    if body_says(&body, "broken") {
        if let Some(connection) = transaction.postgres() {
            assert!(connection.execute("SELECT nothing").await.is_err());
        } else if let Some(connection) = transaction.sqlite() {
            assert!(connection.execute("SELECT nothing").await.is_err());
        }
        return Ok(HttpResponse::NotFound().body("not that one"));
    }
    if body_says(&body, "slow") {
        std::future::pending::<()>().await;
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
    service_of(db, false).await
}

/// With the middleware around the whole app, or around its parts.
async fn service_of(db: &TestDatabase, whole_app: bool) -> (SocketAddr, Arc<Book>) {
    let serial = match db.kind() {
        crate::support::Kind::Postgres => "BIGSERIAL",
        crate::support::Kind::Sqlite => "INTEGER",
    };
    db.run(&format!("CREATE TABLE payment (id {serial} PRIMARY KEY, amount BIGINT NOT NULL)"))
        .await;
    let engine = Engine::new(db.store().await, Metrics::new()).patient(PATIENCE);
    let named = |name| Name::new(name).unwrap();
    let single = Idempotency::new(engine.clone(), named("pay")).single_tx();
    // Long enough for the work and the answer of one that doesn't hang, on a busy machine too.
    let hasty = Rules { lease: Duration::from_secs(6), ..Rules::new(named("hasty")) };
    // In this order, too, a failure is rolled back.
    let hasty = Idempotency::new(engine.clone(), named("hasty")).single_tx().rules(hasty);
    let whole = Idempotency::new(engine.clone(), named("whole"));
    let rules = Rules { on_unknown: OnUnknown::Rerun, ..Rules::new(named("charge")) };
    let steps = Idempotency::new(engine, named("charge")).rules(rules).two_step();
    let book = Arc::new(Book::default());
    let data = web::Data::from(Arc::clone(&book));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .service(web::resource("/pay").wrap(single.clone()).route(web::post().to(pay)))
            .service(web::resource("/charge").wrap(steps.clone()).route(web::post().to(charge)))
            .service(web::resource("/hasty").wrap(hasty.clone()).route(web::post().to(pay)))
            .service(
                web::scope("/scope")
                    .app_data(web::Data::new(1_u8))
                    .wrap(whole.clone())
                    .route("/charge", web::post().to(charge)),
            )
            .wrap(Condition::new(whole_app, whole.clone()))
            .route("/whole", web::post().to(charge))
    })
    .workers(2)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .unwrap();
    let address = server.addrs()[0];
    tokio::spawn(server.run());
    (address, book)
}

pub fn request(path: &str, key: &str, body: &str) -> RawRequest {
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

both_databases!(it_may_be_around_a_scope, |db| async move {
    let (to, book) = service(&db).await;
    for again in [None, Some("true")] {
        let answer = ask(to, "/scope/charge", "k", "{}").await;
        assert_eq!((answer.status, &answer.body[..]), (201, &b"charged"[..]));
        assert_eq!(answer.head.header("idempotent-replayed"), again);
    }
    assert_eq!(book.calls.load(Ordering::SeqCst), 1);
});

both_databases!(around_the_whole_app_a_request_runs_once, |db| async move {
    let (to, book) = service_of(&db, true).await;
    for again in [None, Some("true")] {
        let answer = ask(to, "/whole", "k", "{}").await;
        assert_eq!((answer.status, &answer.body[..]), (201, &b"charged"[..]));
        assert_eq!(answer.head.header("idempotent-replayed"), again);
    }
    assert_eq!(book.calls.load(Ordering::SeqCst), 1);
});

both_databases!(what_a_handler_begins_in_the_transaction_is_a_savepoint, |db| async move {
    let (to, _) = service(&db).await;
    assert_eq!(ask(to, "/pay", "k", "nested").await.status, 201);
    assert_eq!(db.number("SELECT count(*) FROM payment").await, 1);
    let replay = ask(to, "/pay", "k", "nested").await;
    assert_eq!((replay.status, replay.head.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(db.number("SELECT count(*) FROM payment").await, 1);
});

both_databases!(
    of_an_answer_that_refuses_the_work_is_undone_and_the_answer_kept,
    |db| async move {
        let (to, book) = service(&db).await;
        for (key, body, status) in [("a", "refuse", 422), ("b", "broken", 404)] {
            for again in [None, Some("true")] {
                let answer = ask(to, "/pay", key, body).await;
                assert_eq!(answer.status, status, "{body}");
                assert_eq!(answer.head.header("idempotent-replayed"), again, "{body}");
            }
        }
        assert_eq!(book.calls.load(Ordering::SeqCst), 2);
        assert_eq!(db.number("SELECT count(*) FROM payment").await, 0);
    }
);

both_databases!(a_handler_that_never_ends_lets_the_transaction_go, |db| async move {
    let (to, _) = service(&db).await;
    assert_eq!(ask(to, "/hasty", "k", "fail").await.status, 500);
    assert_eq!(db.number("SELECT count(*) FROM idempotency_key").await, 0, "rolled back");
    assert_eq!(db.number("SELECT count(*) FROM payment").await, 0);
    assert_eq!(ask(to, "/hasty", "k", "fail").await.status, 201);
    assert_eq!(ask(to, "/hasty", "k2", "slow").await.status, 504);
    assert_eq!(db.number("SELECT count(*) FROM idempotency_key").await, 1, "the one before");
    assert_eq!(ask(to, "/hasty", "k2", "{}").await.status, 201, "so it runs again");
    assert_eq!(db.number("SELECT count(*) FROM payment").await, 2);
});
