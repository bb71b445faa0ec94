//! `/livez` and `/readyz`, the same on both listeners but for the detail, which is for operators.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, HttpResponseBuilder, Route, web};
use bytes::Bytes;

use super::body::Held;
use super::problem::Problem;
use super::readiness::Readiness;

#[cfg(test)]
mod tests;

/// The process serves requests. Never asks the database: a restart would not bring it back.
pub(super) async fn livez(payload: web::Payload) -> HttpResponse {
    plain(HttpResponse::Ok(), Bytes::from_static(b"ok\n"), payload)
}

/// New requests are welcome: the store takes writes and we don't shut down.
pub(super) async fn readyz(readiness: web::Data<Readiness>, payload: web::Payload) -> HttpResponse {
    match readiness.fault() {
        None => plain(HttpResponse::Ok(), Bytes::from_static(b"ok\n"), payload),
        Some(fault) => {
            plain(HttpResponse::ServiceUnavailable(), Bytes::from_static(fault.as_bytes()), payload)
        }
    }
}

/// [`readyz`] with what an operator should know, though requests are welcome.
async fn readyz_in_detail(readiness: web::Data<Readiness>, payload: web::Payload) -> HttpResponse {
    match (readiness.fault(), readiness.detail()) {
        (None, Some(detail)) => {
            plain(HttpResponse::Ok(), Bytes::from(format!("ok\n{detail}\n")), payload)
        }
        _ => readyz(readiness, payload).await,
    }
}

/// Holds the body that no prober sends: dropped, an endless one would be read for ever.
fn plain(mut response: HttpResponseBuilder, text: Bytes, payload: web::Payload) -> HttpResponse {
    response
        .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(Held::new(text, Some(payload)))
}

/// Adds both probes to the public listener.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    probes(config, web::get().to(readyz));
}

/// Adds both probes to the admin listener.
pub(super) fn detailed_routes(config: &mut web::ServiceConfig) {
    probes(config, web::get().to(readyz_in_detail));
}

fn probes(config: &mut web::ServiceConfig, ready: Route) {
    let resource = |path: &str| {
        web::resource(path.to_owned()).default_service(web::to(|payload| async {
            Problem::method("GET, HEAD".to_owned()).holding(Some(payload))
        }))
    };
    config
        .service(resource("/livez").route(web::get().to(livez)).route(web::head().to(livez)))
        .service(resource("/readyz").route(ready).route(web::head().to(readyz)));
}
