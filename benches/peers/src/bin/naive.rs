//! What one would write first: one INSERT a request, through a pool of 32 connections.
//!
//! Usage: `naive PORT SECRET DATABASE_URL`.

use std::io::{Error, Result};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use hookonce_peers::{Settings, verified_id};
use sqlx::postgres::{PgPool, PgPoolOptions};

/// As many as pgbench has clients.
const CONNECTIONS: u32 = 32;

/// sqlx prepares it once a connection and keeps it.
const INSERT: &str =
    "INSERT INTO event (id, body, received_at) VALUES ($1, $2, now()) ON CONFLICT DO NOTHING";

async fn receive(
    request: HttpRequest,
    body: web::Bytes,
    secret: web::Data<String>,
    pool: web::Data<PgPool>,
) -> HttpResponse {
    let Some(id) = verified_id(&request, &body, &secret) else {
        return HttpResponse::BadRequest().finish();
    };
    let inserted = sqlx::query(INSERT).bind(&*id).bind(body.as_ref()).execute(pool.get_ref()).await;
    match inserted {
        Ok(_) => HttpResponse::Ok().finish(),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

#[actix_web::main]
async fn main() -> Result<()> {
    let usage = || Error::other("usage: naive PORT SECRET DATABASE_URL");
    let settings = Settings::from_arguments().ok_or_else(usage)?;
    let url = settings.database.ok_or_else(usage)?;
    // Its housekeeping may spin for ever, see src/store/pool.rs: that is no fault of the recipe.
    #[expect(clippy::disallowed_methods, reason = "without housekeeping")]
    let pool = PgPoolOptions::new()
        .idle_timeout(None)
        .max_lifetime(None)
        .min_connections(CONNECTIONS)
        .max_connections(CONNECTIONS)
        // A test before each use would be one more round trip a request.
        .test_before_acquire(false)
        .connect(&url)
        .await
        .map_err(Error::other)?;
    let pool = web::Data::new(pool);
    let secret = web::Data::new(settings.secret);
    HttpServer::new(move || {
        App::new()
            .app_data(secret.clone())
            .app_data(pool.clone())
            .route("/in/stripe", web::post().to(receive))
    })
    .tcp_nodelay(true)
    .bind(("127.0.0.1", settings.port))?
    .run()
    .await
}
