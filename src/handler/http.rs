//! The `http` handler: the provider's exact body, posted to an endpoint of the operator's.
//!
//! 2xx is done, a status in `dead_on` is dead at once, everything else is tried again, redirects
//! too: they aren't followed, because event data and signatures must not go where a response says.
//! The receiver dedupes by `webhook-id` (= `Idempotency-Key`), which is the same on every try.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use reqwest::header::HeaderMap;
use url::Url;

use super::trial::Draft;
use super::{Context, Handler, HttpSettings, Outcome, Reply};
use crate::address::{self, PublicOnly};
use crate::event::Event;

mod headers;
mod retry_after;
mod sign;

/// The worker drops the call at its deadline and records a time-out. This comes later and only cuts
/// a call off that nobody watches.
const BACKSTOP: Duration = Duration::from_secs(1);

/// Many servers close idle connections after a minute; a request that meets the closing fails.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(30);

/// An HTTP endpoint of the operator's.
pub struct HttpHandler {
    client: reqwest::Client,
    url: Url,
    /// The URL without what may be secret in it.
    shown: String,
    configured: HeaderMap,
    signer: Option<sign::Signer>,
    dead_on: Vec<u16>,
}

impl HttpHandler {
    /// Makes the client, which keeps up to `concurrency` idle connections of its own.
    ///
    /// Fails with a sentence when the URL can't be called, a header is not allowed, the signing
    /// secret isn't one, `deny_private` refuses the URL's own address, or no certificates are found.
    pub fn new(settings: &HttpSettings, concurrency: u16) -> Result<Self, String> {
        let url = settings.url.clone();
        let shown = shown(&url);
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(format!(
                "`http.url`: {shown} must begin with http:// or https:// and a host"
            ));
        }
        let mut client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("hookonce/", env!("CARGO_PKG_VERSION")))
            .pool_idle_timeout(IDLE_CONNECTION_MAX)
            .pool_max_idle_per_host(usize::from(concurrency));
        if settings.deny_private {
            address::check_literal(&url).map_err(|reason| {
                format!("`http.url`: {shown} is refused by `deny_private`: {reason}")
            })?;
            client = client.dns_resolver(Arc::new(PublicOnly { rule: "`deny_private`" }));
        }
        if url.scheme() == "http" {
            // Without TLS no certificates are needed, and a small container may have none to load.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| {
            format!("`http.url`: no client for {shown} can be made: {}", causes(&error))
        })?;
        let signer = settings
            .sign
            .as_ref()
            .map(sign::Signer::new)
            .transpose()
            .map_err(|reason| format!("`http.sign`: {reason}"))?;
        let configured = headers::configured(&settings.headers)?;
        Ok(Self { client, url, shown, configured, signer, dead_on: settings.dead_on.clone() })
    }

    fn request(&self, event: &Event, context: &Context) -> Result<reqwest::Request, String> {
        let mut headers = headers::facts(event, context)?;
        let now = Utc::now().timestamp();
        headers::put(&mut headers, "webhook-timestamp", &now.to_string())?;
        if let Some(signer) = &self.signer {
            let id = context.delivery.to_string();
            headers::put(&mut headers, "webhook-signature", &signer.sign(&id, now, &event.body))?;
        }
        headers::overlay(&mut headers, &self.configured);
        self.client
            .post(self.url.clone())
            .headers(headers)
            .body(event.body.clone())
            .timeout(context.timeout + BACKSTOP)
            .build()
            .map_err(|error| causes(&error))
    }

    fn failed(&self, error: reqwest::Error, reply: Reply) -> Outcome {
        let what = if error.is_timeout() {
            "did not answer in time"
        } else if error.is_connect() {
            "could not be reached"
        } else if reply.status.is_some() {
            "broke off its answer"
        } else {
            "did not answer"
        };
        let cause = format!("{} {what}: {}", self.shown, causes(&error));
        Outcome::Retry { cause, after: None, reply }
    }
}

#[async_trait::async_trait]
impl Handler for HttpHandler {
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        let request = match self.request(event, context) {
            Ok(request) => request,
            Err(reason) => {
                return Outcome::retry(format!(
                    "no request to {} could be made: {reason}",
                    self.shown
                ));
            }
        };
        let mut response = match self.client.execute(request).await {
            Ok(response) => response,
            Err(error) => return self.failed(error, Reply::default()),
        };
        let status = response.status();
        let after = retry_after::wait(response.headers(), Utc::now());
        let kind = response.headers().get(reqwest::header::CONTENT_TYPE);
        let mut reply = Reply {
            status: Some(i32::from(status.as_u16())),
            content_type: kind.and_then(|kind| kind.to_str().ok()).map(str::to_owned),
            ..Reply::default()
        };
        let read = read_some(&mut response, &mut reply, context.keep).await;
        // What wasn't read is dropped with the connection: a huge or endless answer costs nothing.
        drop(response);
        if let Err(error) = read {
            return self.failed(error, reply);
        }
        if status.is_success() {
            return Outcome::Delivered(reply);
        }
        let cause = format!("{} answered {}", self.shown, status.as_u16());
        if self.dead_on.contains(&status.as_u16()) {
            return Outcome::Reject { cause: format!("{cause}, which `dead_on` names"), reply };
        }
        let cause = if status.is_redirection() {
            format!("{cause}; redirects aren't followed, give the final URL")
        } else {
            cause
        };
        Outcome::Retry { cause, after, reply }
    }

    fn draft(&self, event: &Event, context: &Context) -> Option<Result<Draft, String>> {
        Some(self.request(event, context).map(|request| Draft {
            method: Some(request.method().to_string()),
            url: Some(self.shown.clone()),
            headers: headers::shown(request.headers()),
            body: event.body.clone(),
            ..Draft::default()
        }))
    }
}

/// Reads at most `keep` bytes of the answer into `reply`; what came before an error is kept.
async fn read_some(
    response: &mut reqwest::Response,
    reply: &mut Reply,
    keep: usize,
) -> reqwest::Result<()> {
    let mut kept = Vec::new();
    let mut read = Ok(());
    while !reply.cut {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = keep - kept.len();
                reply.cut = chunk.len() > room;
                kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            Ok(None) => break,
            Err(error) => {
                read = Err(error);
                break;
            }
        }
    }
    reply.body = Bytes::from(kept);
    read
}

/// Scheme, host, port and path: user, password and query may be secrets.
fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or("");
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

/// The innermost reasons, without the URL, which reqwest puts into its own text.
fn causes(error: &reqwest::Error) -> String {
    let mut reasons: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // Many wrappers repeat the text of what they wrap.
        if !reasons.iter().any(|before| before.contains(&text)) {
            reasons.retain(|before| !text.contains(before.as_str()));
            reasons.push(text);
        }
        source = cause.source();
    }
    if reasons.is_empty() { "no reason is given".to_owned() } else { reasons.join(": ") }
}

#[cfg(test)]
mod tests;
