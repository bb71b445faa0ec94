//! `/livez` and `/readyz`, the same on both listeners.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;

use super::body::Held;
use super::problem::Problem;
use super::readiness::Readiness;

/// The process serves requests. Never asks the database: a restart would not bring it back.
pub(super) async fn livez(payload: web::Payload) -> HttpResponse {
    plain(HttpResponse::Ok(), "ok\n", payload)
}

/// New requests are welcome: the store takes writes and we don't shut down.
pub(super) async fn readyz(readiness: web::Data<Readiness>, payload: web::Payload) -> HttpResponse {
    match readiness.fault() {
        None => plain(HttpResponse::Ok(), "ok\n", payload),
        Some(fault) => plain(HttpResponse::ServiceUnavailable(), fault, payload),
    }
}

/// Holds the body that no prober sends: dropped, an endless one would be read for ever.
fn plain(
    mut response: HttpResponseBuilder,
    text: &'static str,
    payload: web::Payload,
) -> HttpResponse {
    response
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(Held::new(Bytes::from_static(text.as_bytes()), Some(payload)))
}

/// Adds both probes to a listener.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    let resource = |path: &str| {
        web::resource(path.to_owned()).default_service(web::to(|payload| async {
            Problem::method("GET, HEAD".to_owned()).holding(Some(payload))
        }))
    };
    config
        .service(resource("/livez").route(web::get().to(livez)).route(web::head().to(livez)))
        .service(resource("/readyz").route(web::get().to(readyz)).route(web::head().to(readyz)));
}
