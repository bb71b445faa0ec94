//! A service behind a proxy: reads the request and answers at once, with a short JSON.
//!
//! Usage: `upstream PORT SECRET` (the secret is read and ignored, as all peers have one).

use std::io::{Error, Result};

use actix_web::{App, HttpResponse, HttpServer, web};
use hookonce_peers::Settings;

async fn pay(_body: web::Bytes) -> HttpResponse {
    HttpResponse::Created()
        .content_type("application/json")
        .body(r#"{"id":"pay_0000000000000001","object":"payment","amount":4200,"currency":"eur","status":"succeeded"}"#)
}

#[actix_web::main]
async fn main() -> Result<()> {
    let settings =
        Settings::from_arguments().ok_or_else(|| Error::other("usage: upstream PORT SECRET"))?;
    HttpServer::new(|| App::new().default_service(web::to(pay)))
        .tcp_nodelay(true)
        .bind(("127.0.0.1", settings.port))?
        .run()
        .await
}
