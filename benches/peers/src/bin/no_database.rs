//! The ceiling: the same framework and the same check of the signature, and no database at all.
//!
//! Usage: `no_database PORT SECRET`.

use std::io::{Error, Result};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use hookonce_peers::{Settings, verified_id};

async fn receive(
    request: HttpRequest,
    body: web::Bytes,
    secret: web::Data<String>,
) -> HttpResponse {
    match verified_id(&request, &body, &secret) {
        Some(_) => HttpResponse::Ok().finish(),
        None => HttpResponse::BadRequest().finish(),
    }
}

#[actix_web::main]
async fn main() -> Result<()> {
    let settings =
        Settings::from_arguments().ok_or_else(|| Error::other("usage: no_database PORT SECRET"))?;
    let secret = web::Data::new(settings.secret);
    HttpServer::new(move || {
        App::new().app_data(secret.clone()).route("/in/stripe", web::post().to(receive))
    })
    .tcp_nodelay(true)
    .bind(("127.0.0.1", settings.port))?
    .run()
    .await
}
