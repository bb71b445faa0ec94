//! HTTP: the public listener and the admin listener. The framework is known only in this room.
//!
//! ```text
//! public   GET  /livez  /readyz
//!          *    a source's path (default /in/<name>)          ingest
//!          *    a gateway's path and below                    gateway
//! admin    GET  /livez  /readyz  /metrics
//!          *    /api/v1/…                                     see `admin`
//! ```
//!
//! Workers of the framework are single-threaded runtimes of their own, and drop a request's future
//! when its client hangs up. So nothing that must outlive a request runs here: recording happens in
//! the recorder's task, statements in the store's.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use actix_web::web;
use ipnet::IpNet;

use crate::secret::Secret;

#[cfg(test)]
mod abuse_tests;
pub mod admin;
mod auth;
mod body;
mod budget;
pub mod gateway;
mod ingest;
mod listen;
mod peer;
mod probe;
mod problem;
mod public;
mod readiness;
mod reply;
#[cfg(test)]
mod wire_tests;

pub use admin::AdminState;
pub use gateway::{GatewaySettings, Gateways};
pub use listen::{Listener, Stopper};
pub use public::PublicParts;
pub use readiness::{ClockSkew, Readiness};

/// The public listener.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Proxies whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Bytes of bodies held at once.
    pub max_inflight: usize,
    /// For the whole body to arrive.
    pub body_timeout: Duration,
    /// From the whole body to the answer.
    pub ack_deadline: Duration,
    /// Between readiness turning 503 and the listener closing.
    pub drain: Duration,
    /// At shutdown: how long running handlers may take before they are cut off.
    pub grace: Duration,
}

/// The admin listener.
#[derive(Debug, Clone)]
pub struct AdminSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Required unless loopback.
    pub token: Option<Secret>,
    /// Host names that a request may name, beside loopback's and the listener's own.
    pub hosts: Vec<String>,
}

/// Binds the public listener. It serves once [`Listener::run`] is awaited.
///
/// When it is stopped gracefully, requests get as long as one may take: the body's time-out and the
/// ack's deadline.
pub fn serve_public(settings: &ServerSettings, parts: PublicParts) -> io::Result<Listener> {
    let readiness = web::Data::new(parts.readiness.clone());
    let longest = parts.gateways.longest();
    let state = web::Data::new(public::PublicState::new(settings, parts));
    let grace = settings.body_timeout + settings.ack_deadline + Duration::from_secs(1);
    let grace = grace.max(longest.min(settings.grace));
    listen::bind(settings.listen, listen::cores(), grace, move |config| {
        // One a worker: this is called in each worker's thread.
        let (desk, hand_out) = state.recorder.desk();
        actix_web::rt::spawn(hand_out);
        config
            .app_data(readiness.clone())
            .app_data(state.clone())
            .app_data(web::Data::new(desk))
            .configure(probe::routes)
            .default_service(web::to(ingest::receive));
    })
}

/// Binds the admin listener. It serves once [`Listener::run`] is awaited.
///
/// Refuses an address that isn't loopback when there is no token: anybody who can reach it could
/// read every event.
pub fn serve_admin(settings: &AdminSettings, state: AdminState) -> io::Result<Listener> {
    if settings.token.is_none() && !settings.listen.ip().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("admin.listen is {}, which others can reach: set admin.token", settings.listen),
        ));
    }
    let door = web::Data::new(auth::Door::new(settings));
    let readiness = web::Data::new(state.readiness.clone());
    let budget = web::Data::new(budget::Budget::new(ADMIN_BODIES, state.metrics.clone()));
    let state = web::Data::new(state);
    // A few operators and a scraper: one worker is enough, and the store's pool is the real limit.
    listen::bind(settings.listen, NonZeroUsize::MIN, ADMIN_GRACE, move |config| {
        config
            .app_data(door.clone())
            .app_data(readiness.clone())
            .app_data(budget.clone())
            .app_data(state.clone())
            .configure(admin::routes);
    })
}

/// For admin requests that are being served at shutdown.
const ADMIN_GRACE: Duration = Duration::from_secs(5);

/// Bytes of bodies of admin requests that are held at once.
const ADMIN_BODIES: usize = 16 * 1024 * 1024;
