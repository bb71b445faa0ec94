//! The service behind a gateway.

use std::time::Duration;

use actix_web::HttpRequest;
use url::Url;

/// For a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle connections are closed after this: many services close theirs after five seconds.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// A client for it.
#[derive(Debug)]
pub(super) struct Upstream {
    origin: String,
    /// For protected requests: a fresh connection each. One that rested may be closed by the service
    /// just as we send, and then nobody knows whether the request was run.
    pub(super) fresh: reqwest::Client,
    /// For all others.
    pub(super) pooled: reqwest::Client,
    /// For WebSockets, which only HTTP/1.1 hands over.
    pub(super) upgrading: reqwest::Client,
    pub(super) timeout: Duration,
}

impl Upstream {
    pub(super) fn new(url: &Url, timeout: Duration) -> Result<Self, String> {
        let begin = |idle: usize| {
            let mut client = reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                // Never by itself: what was sent may have been run.
                .retry(reqwest::retry::never())
                .no_proxy()
                .referer(false)
                .connect_timeout(CONNECT_TIMEOUT.min(timeout / 2))
                .pool_idle_timeout(IDLE_MAX)
                .pool_max_idle_per_host(idle);
            if url.scheme() == "http" {
                // Without TLS no certificates are needed, and a small container may have none to load.
                client = client.tls_certs_only([]);
            }
            client
        };
        let build = |client: reqwest::ClientBuilder| {
            client.build().map_err(|error| format!("no client can be made: {error}"))
        };
        Ok(Self {
            origin: url.origin().ascii_serialization(),
            fresh: build(begin(0))?,
            pooled: build(begin(64))?,
            upgrading: build(begin(0).http1_only())?,
            timeout,
        })
    }

    /// Where a request goes: its own path and query, unchanged. `None` when they would not stay so, as
    /// with `..`, which could lead out of the gateway's path.
    pub(super) fn url(&self, request: &HttpRequest) -> Option<Url> {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let url = Url::parse(&format!("{}{target}", self.origin)).ok()?;
        let same = match url.query() {
            Some(query) => target == format!("{}?{query}", url.path()),
            None => target == url.path(),
        };
        same.then_some(url)
    }
}
