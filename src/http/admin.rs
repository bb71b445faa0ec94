//! The admin API: what people and the command line see of the store, and the few things they may do.
//!
//! ```text
//! GET  /metrics
//! GET  /api/v1/events  events/{id}  events/{id}/body     POST events/{id}/replay
//! GET  /api/v1/deliveries  deliveries/{id}               POST deliveries/{id}/retry|cancel|discard
//! GET  /api/v1/rejections  rejections/{id}               POST rejections/readmit
//! GET  /api/v1/replays  replays/{id}                     POST replays  replays/{id}/resume   DELETE replays/{id}
//! GET  /api/v1/cleanup                                   POST cleanup
//! GET  /api/v1/sources  sources/{name}[?reveal=true]     POST sources/{name}/reopen
//! GET  /api/v1/handlers  handlers/{name}                 POST handlers/{name}/test
//! ```
//!
//! Everything but the probes is behind a token (`http::auth`). Lists are `{"items": […], "next_cursor": …}`,
//! errors are problem documents. Whatever a parameter or a body says that isn't understood is a 400
//! that names it: a filter that is silently dropped would show, or replay, too much.

use std::sync::Arc;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::middleware::from_fn;
use actix_web::{HttpResponse, Resource, web};
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde::Serialize;
use tokio::sync::Notify;

use super::problem::Problem;
use super::readiness::Readiness;
use super::{auth, probe};
use crate::handler::trial::Trial;
use crate::intake::Captures;
use crate::intake::readmit::{ReadmitFilter, Readmitted};
use crate::metric::Metrics;
use crate::replay::Replayer;
use crate::source::Sources;
use crate::store::{Retention, Store, StoreError, Swept};
use crate::upkeep::CleanupSettings;

mod cleanup;
pub mod convert;
mod deliveries;
mod events;
mod handlers;
mod keys;
pub mod pauses;
mod query;
mod rejections;
mod replays;
mod request;
pub mod shape;
mod sources;
pub mod stats;

/// Something that takes a while. The future must go on, or stop cleanly, when it is dropped: that
/// happens when the client hangs up.
pub type Doing<T> = BoxFuture<'static, Result<T, StoreError>>;

/// Judges kept rejections again; with `true` it only says what it would do.
pub type Readmit = Arc<dyn Fn(ReadmitFilter, bool) -> Doing<Vec<Readmitted>> + Send + Sync>;

/// What the admin listener is made of. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    /// The tables.
    pub store: Store,
    /// The sources, for their list.
    pub sources: Arc<Sources>,
    /// What handshakes handed the sources.
    pub captures: Arc<Captures>,
    /// The handlers: from the config, and those that an embedder added.
    pub handlers: Arc<[shape::HandlerItem]>,
    /// The same handlers, to be asked what they would do.
    pub trials: Arc<[Trial]>,
    /// Where the figures are.
    pub metrics: Metrics,
    /// What the probes say.
    pub readiness: Readiness,
    /// Tells the workers that something became due.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// Judges kept rejections again.
    pub readmit: Readmit,
    /// Counts and begins replays of many deliveries.
    pub replayer: Replayer,
    /// Told when there is a replay to carry on.
    pub replays: Arc<Notify>,
    /// The cleanup.
    pub cleanup: CleanupDoor,
}

/// What the admin API may ask of the cleanup.
#[derive(Clone)]
pub struct CleanupDoor {
    /// When and how it runs.
    pub settings: CleanupSettings,
    /// What it deletes.
    pub retention: Retention,
    /// The first time after this at which the schedule strikes.
    pub next_run: Arc<dyn Fn(DateTime<Utc>) -> Option<DateTime<Utc>> + Send + Sync>,
    /// Runs it now, whatever the schedule and the window say.
    pub run: Arc<dyn Fn() -> Doing<Cleaned> + Send + Sync>,
}

/// How a cleanup that was asked for ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleaned {
    /// It ran.
    Ran {
        /// What it deleted.
        swept: Swept,
        /// False when its time was up and more is left.
        complete: bool,
    },
    /// Another one is running.
    Busy,
}

/// What a handler of this listener answers.
type Answered = Result<HttpResponse, Problem>;

/// The route table. A scope with the guard around it; the probes stand outside of it.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.configure(probe::detailed_routes).service(
        web::scope("")
            .wrap(from_fn(auth::guard))
            .service(get("/metrics").route(web::get().to(metrics)))
            .service(get("/api/v1/events").route(web::get().to(events::list)))
            .service(get("/api/v1/events/{id}").route(web::get().to(events::show)))
            .service(get("/api/v1/events/{id}/body").route(web::get().to(events::body)))
            .service(post("/api/v1/events/{id}/replay").route(web::post().to(events::replay)))
            .service(get("/api/v1/deliveries").route(web::get().to(deliveries::list)))
            .service(get("/api/v1/deliveries/{id}").route(web::get().to(deliveries::show)))
            .service(post("/api/v1/deliveries/{id}/retry").route(web::post().to(deliveries::retry)))
            .service(
                post("/api/v1/deliveries/{id}/cancel").route(web::post().to(deliveries::cancel)),
            )
            .service(
                post("/api/v1/deliveries/{id}/discard").route(web::post().to(deliveries::discard)),
            )
            .service(get("/api/v1/rejections").route(web::get().to(rejections::list)))
            .service(post("/api/v1/rejections/readmit").route(web::post().to(rejections::readmit)))
            .service(get("/api/v1/rejections/{id}").route(web::get().to(rejections::show)))
            .service(
                resource("/api/v1/replays", "GET, POST")
                    .route(web::get().to(replays::list))
                    .route(web::post().to(replays::begin)),
            )
            .service(
                resource("/api/v1/replays/{id}", "GET, DELETE")
                    .route(web::get().to(replays::show))
                    .route(web::delete().to(replays::cancel)),
            )
            .service(post("/api/v1/replays/{id}/resume").route(web::post().to(replays::resume)))
            .service(
                resource("/api/v1/cleanup", "GET, POST")
                    .route(web::get().to(cleanup::show))
                    .route(web::post().to(cleanup::run)),
            )
            .service(get("/api/v1/stats").route(web::get().to(stats::show)))
            .service(get("/api/v1/sources").route(web::get().to(sources::list)))
            .service(get("/api/v1/sources/{name}").route(web::get().to(sources::show)))
            .service(post("/api/v1/sources/{name}/reopen").route(web::post().to(sources::reopen)))
            .service(get("/api/v1/idempotency-keys").route(web::get().to(keys::list)))
            .service(post("/api/v1/idempotency-keys/release").route(web::post().to(keys::release)))
            .service(get("/api/v1/handlers").route(web::get().to(handlers::list)))
            .service(get("/api/v1/handlers/{name}").route(web::get().to(handlers::show)))
            .service(post("/api/v1/handlers/{name}/pause").route(web::post().to(pauses::pause)))
            .service(post("/api/v1/handlers/{name}/resume").route(web::post().to(pauses::resume)))
            .service(post("/api/v1/handlers/{name}/test").route(web::post().to(handlers::test)))
            .default_service(web::to(|| async { Problem::not_found("route").response() })),
    );
}

fn get(path: &str) -> Resource {
    resource(path, "GET")
}

fn post(path: &str) -> Resource {
    resource(path, "POST")
}

/// A path whose other methods are answered 405.
fn resource(path: &str, allowed: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move || async move {
        Problem::method(allowed.to_owned()).response()
    }))
}

fn json(value: &impl Serialize) -> Answered {
    match serde_json::to_vec(value) {
        Ok(body) => {
            Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/json")).body(body))
        }
        Err(error) => {
            tracing::error!(error = %error, "an answer of the admin API can't be written: this is a bug");
            Err(Problem::new(500, "internal", "the answer can't be written; the log says why"))
        }
    }
}

async fn metrics(state: web::Data<AdminState>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(state.metrics.render())
}

#[cfg(test)]
mod tests;
