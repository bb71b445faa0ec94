//! A small payment service with a real table, behind the middleware.
//!
//! ```console
//! $ cargo run --example payments                 # or with a database URL, such as postgres://…
//! $ curl -i http://127.0.0.1:4000/payments -H 'Authorization: Bearer alice' -H 'Idempotency-Key: k-1' -d '{"amount":100}'
//! ```
//!
//! `docs/idempotency.md` walks through it, and says what happens at each point where it can crash.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::error::{ErrorBadRequest, ErrorInternalServerError};
use actix_web::{App, Error, HttpResponse, HttpServer, web};
use bytes::Bytes;
use entity::Name;
use hookonce::idempotency::middleware::{Current, Idempotency};
use hookonce::idempotency::{Engine, OnUnknown, Rules};
use hookonce::metric::Metrics;
use hookonce::store::{Migrate, Store, StoreSettings};
use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS payment (id TEXT PRIMARY KEY, amount BIGINT NOT NULL)";

/// A card network that we call: what was charged there can't be rolled back.
#[derive(Default)]
struct Network {
    charged: Mutex<HashSet<String>>,
}

impl Network {
    /// Charges once for a reference, however often it is asked. A network that can't promise that must
    /// not be called from a handler that may run again: leave `on_unknown` at `Keep` then.
    fn charge(&self, reference: &str) -> bool {
        let mut charged = self.charged.lock().unwrap_or_else(PoisonError::into_inner);
        charged.insert(reference.to_owned())
    }
}

/// `single_tx`: the payment's row, the key and the answer are one transaction.
async fn pay(body: Bytes, current: web::ReqData<Current>) -> Result<HttpResponse, Error> {
    let amount = amount(&body)?;
    let id = uuid::Uuid::now_v7().to_string();
    let row = AssertSqlSafe(format!("INSERT INTO payment (id, amount) VALUES ('{id}', {amount})"));
    let mut guard = current.transaction().await;
    let transaction = guard.as_mut().and_then(|it| it.as_mut());
    let transaction = transaction.ok_or_else(|| ErrorInternalServerError("no transaction"))?;
    // The money's row is written where the key is.
    if let Some(connection) = transaction.postgres() {
        connection.execute(row).await.map_err(ErrorInternalServerError)?;
    } else if let Some(connection) = transaction.sqlite() {
        connection.execute(row).await.map_err(ErrorInternalServerError)?;
    }
    Ok(HttpResponse::Created().json(serde_json::json!({ "id": id, "amount": amount })))
}

/// `two_step` with phases: the network is called between two steps of our own. A second run goes on
/// behind the last phase that was noted.
async fn charge(
    body: Bytes,
    current: web::ReqData<Current>,
    network: web::Data<Network>,
) -> Result<HttpResponse, Error> {
    let amount = amount(&body)?;
    if current.recovery_point().is_none() {
        // The same for every run of this key: a crash before `reached` asks for it again.
        network.charge(&current.reference());
        if !current.reached("charged").await.map_err(ErrorInternalServerError)? {
            return Ok(HttpResponse::Conflict().finish());
        }
    }
    Ok(HttpResponse::Created().json(serde_json::json!({ "charged": amount })))
}

fn amount(body: &[u8]) -> Result<i64, Error> {
    let body: serde_json::Value = serde_json::from_slice(body).map_err(ErrorBadRequest)?;
    body["amount"].as_i64().ok_or_else(|| ErrorBadRequest("`amount` is missing"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "sqlite://payments.db".to_owned());
    let settings = StoreSettings {
        url,
        migrate: Migrate::Auto,
        connections: 10,
        statement_timeout: Duration::from_secs(10),
        partition_bodies: false,
    };
    let store = Store::open(&settings).await?;
    let engine = Engine::new(store.clone(), Metrics::new());
    match store.postgres() {
        Some(pool) => pool.execute(TABLE).await.map(drop)?,
        None => SqliteConnection::connect(&settings.url).await?.execute(TABLE).await.map(drop)?,
    }
    let single = Idempotency::new(engine.clone(), Name::new("payments")?).single_tx();
    let name = Name::new("charges")?;
    let rules = Rules { on_unknown: OnUnknown::Rerun, ..Rules::new(name.clone()) };
    let stepwise = Idempotency::new(engine, name).rules(rules).two_step();
    let network = web::Data::from(Arc::new(Network::default()));
    HttpServer::new(move || {
        App::new()
            .app_data(network.clone())
            .service(web::resource("/payments").wrap(single.clone()).route(web::post().to(pay)))
            .service(web::resource("/charges").wrap(stepwise.clone()).route(web::post().to(charge)))
    })
    .bind(("127.0.0.1", 4000))?
    .run()
    .await?;
    store.close().await;
    Ok(())
}
