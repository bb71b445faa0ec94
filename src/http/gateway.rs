//! Idempotency-Key in front of any API: a reverse proxy on the public listener.
//!
//! A request of a protected method with a key is run on a task of its own, on the runtime that outlives
//! this listener's workers: a client that hangs up doesn't end it. Everything else is streamed through,
//! WebSockets among it.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use entity::Name;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::body::{self, Limits};
use super::problem::Problem;
use super::public::PublicState;
use crate::idempotency::cache::Caches;
use crate::idempotency::fingerprint::{self, fingerprint};
use crate::idempotency::middleware::replayed;
use crate::idempotency::{Begun, Compare, Engine, RedisAddress, Refusal, Rules, key};
use crate::metric::Metrics;
use crate::store::Store;
use crate::store::idempotency::{KeyClaim, KeyId};

mod answer;
mod frames;
mod headers;
mod protected;
mod relay;
mod scope;
mod tunnel;
mod upstream;

use scope::Scope;
pub use scope::ScopeSettings;
use upstream::Upstream;

/// One `[gateways.*]`.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// Its name: a label of metrics, and the first part of its keys' scopes.
    pub name: Name,
    /// What it serves: this path and everything below it.
    pub path: String,
    /// Scheme, host and port of the service; path and query pass unchanged.
    pub upstream: Url,
    /// The methods that are protected, in upper case.
    pub methods: Vec<String>,
    /// Whether a protected method without a key is refused; else it is passed on unguarded.
    pub key_required: bool,
    /// What says whose key it is.
    pub scope: ScopeSettings,
    /// The largest body of a protected request, in bytes.
    pub max_body: usize,
    /// For the whole answer of a protected request, or for the head and each piece of another.
    pub timeout: Duration,
    /// What of a body is compared.
    pub compare: Compare,
    /// How its keys are treated.
    pub rules: Rules,
    /// Where completed answers are looked for before the database.
    pub cache: Option<RedisAddress>,
}

/// Headers that are credentials: whoever shows one is who it says. Any other says who somebody is
/// only when a proxy that we trust wrote it.
pub const CREDENTIAL_HEADERS: [&str; 5] =
    ["authorization", "x-api-key", "api-key", "x-auth-token", "cookie"];

/// The gateways of one app, by path. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Gateways(Arc<Vec<Gateway>>);

/// One gateway, ready to serve.
#[derive(Debug)]
pub(super) struct Gateway {
    settings: GatewaySettings,
    rules: Arc<Rules>,
    engine: Engine,
    scope: Scope,
    upstream: Arc<Upstream>,
    runtime: Handle,
    tracker: TaskTracker,
    closing: CancellationToken,
}

impl Gateways {
    /// Makes the clients. Must be called on the runtime that outlives every run; runs are counted by
    /// `tracker`, and `closing` ends WebSockets, which never end by themselves. Fails with a sentence when no
    /// client can be made.
    pub fn new(
        settings: &[GatewaySettings],
        store: &Store,
        metrics: &Metrics,
        tracker: &TaskTracker,
        closing: &CancellationToken,
    ) -> Result<Self, String> {
        let mut gateways = Vec::with_capacity(settings.len());
        let mut caches = Caches::default();
        // One for all: they share the database's connections for it, and fill each other's batches.
        let shared = Engine::new(store.clone(), metrics.clone());
        for settings in settings {
            let upstream = Upstream::new(&settings.upstream, settings.timeout)
                .map_err(|why| format!("gateways.{}: `upstream`: {why}", settings.name))?;
            let mut engine = shared.clone();
            if let Some(address) = &settings.cache {
                engine = engine.cached(caches.at(address, store));
            }
            gateways.push(Gateway {
                rules: Arc::new(settings.rules.clone()),
                engine,
                scope: Scope::new(&settings.name, &settings.scope, metrics),
                upstream: Arc::new(upstream),
                runtime: Handle::current(),
                tracker: tracker.clone(),
                closing: closing.clone(),
                settings: settings.clone(),
            });
        }
        // The longest path first: the nearest gateway serves.
        gateways.sort_by_key(|gateway| std::cmp::Reverse(gateway.settings.path.len()));
        Ok(Self(Arc::new(gateways)))
    }

    /// How long the slowest of their requests may take.
    pub(super) fn longest(&self) -> Duration {
        self.0.iter().map(|gateway| gateway.settings.timeout).max().unwrap_or_default()
    }

    /// The gateway that serves a path.
    pub(super) fn at(&self, path: &str) -> Option<&Gateway> {
        self.0.iter().find(|gateway| is_below(path, &gateway.settings.path))
    }
}

/// Whether a path is this one, or below it: `/pay/1` is below `/pay`, and `/payments` isn't.
#[must_use]
pub fn is_below(path: &str, base: &str) -> bool {
    match path.strip_prefix(base) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || base.ends_with('/'),
        None => false,
    }
}

impl Gateway {
    /// Serves one request.
    pub(super) async fn serve(
        &self,
        request: &HttpRequest,
        mut payload: web::Payload,
        state: &PublicState,
    ) -> HttpResponse {
        let is_protected =
            self.settings.methods.iter().any(|method| method == request.method().as_str());
        let wants_tunnel = body::is_endless(request.headers());
        if wants_tunnel && is_protected {
            let detail = "a request of a protected method can't become a WebSocket: ask by GET";
            return Problem::new(501, "upgrade_not_supported", detail).holding(Some(payload));
        }
        let outward = match headers::outward(request, &state.trusted_proxies, self.scope.header()) {
            Ok(outward) => outward,
            Err(problem) => return problem.holding(Some(payload)),
        };
        let Some(url) = self.upstream.url(request) else {
            let detail = "write the path without `.` and `..` and with its characters escaped";
            return Problem::new(400, "path_ambiguous", detail).holding(Some(payload));
        };
        let mut head = reqwest::Request::new(outward.method, url);
        *head.headers_mut() = outward.headers;
        if wants_tunnel {
            return self.tunnel(request, payload, head).await;
        }
        if !is_protected {
            return self.relay(request, payload, head).await;
        }
        let id = match self.key_of(request, state).await {
            Ok(Some(id)) => id,
            Ok(None) => return self.relay(request, payload, head).await,
            Err(refusal) => {
                self.engine.refused(&self.rules, &refusal);
                return answer::refusal(&refusal).holding(Some(payload));
            }
        };
        let mut share = state.budget.share();
        let limits = Limits { bytes: self.settings.max_body, timeout: state.body_timeout };
        let body = match body::read(request.headers(), &mut payload, limits, &mut share).await {
            Ok(body) => body,
            Err(fault) => return Problem::body(fault, limits.bytes).holding(Some(payload)),
        };
        let hashed = fingerprint::Request {
            method: request.method().as_str(),
            path: request.path(),
            query: request.uri().query(),
            content_type: request.headers().get(CONTENT_TYPE).map(|kind| kind.as_bytes()),
            body: &body,
        };
        let claim = KeyClaim {
            id,
            request_hash: fingerprint(&hashed, &self.settings.compare),
            lease: self.rules.lease,
            ttl: self.rules.ttl,
        };
        *head.body_mut() = Some(body.into());
        match self.engine.begin(claim, &self.rules).await {
            Begun::Replay(kept) => replayed(*kept),
            Begun::Refused(refusal) => answer::refusal(&refusal).response(),
            Begun::Run(run) => self.run(Some(run), head, share).await,
            Begun::Unguarded => self.run(None, head, share).await,
        }
    }

    /// Which key a protected request has; `None` when it needs none and has none.
    async fn key_of(
        &self,
        request: &HttpRequest,
        state: &PublicState,
    ) -> Result<Option<KeyId>, Refusal> {
        let lines = request.headers().get_all("idempotency-key").map(|line| line.as_bytes());
        let Some(key) = key::parse(lines)? else {
            return if self.settings.key_required { Err(Refusal::Missing) } else { Ok(None) };
        };
        Ok(Some(KeyId { scope: self.scope.of(request, state).await?, key }))
    }
}

#[cfg(test)]
mod tests {
    use super::is_below;

    #[test]
    fn a_path_is_served_with_all_below_it() {
        for (path, base, want) in [
            ("/payments", "/payments", true),
            ("/payments/1/refunds", "/payments", true),
            ("/payments2", "/payments", false),
            ("/pay", "/payments", false),
            ("/anything", "/", true),
        ] {
            assert_eq!(is_below(path, base), want, "{path} {base}");
        }
    }
}
