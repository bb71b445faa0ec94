//! What we get from a provider over the network because a request or a preset names it: a public
//! key, or nothing but the fact that we asked.
//!
//! Over https only, from public addresses only, without redirects, without a proxy, no more than
//! [`ANSWER_BYTES_MAX`], within [`TIMEOUT`]. Which hosts is the caller's to check, by
//! [`crate::verify::host::allowed`]. What an operator's own URL names may be private, and is as bounded
//! ([`Fetcher::of_operator`]).

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use url::Url;

use crate::address::{self, PublicOnly};

/// The largest answer that is taken, in bytes.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// How long all of it may take.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);

/// Asks providers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    /// Or why there is none: a system without certificates can't ask anybody, and need not.
    client: Result<reqwest::Client, String>,
    public_only: bool,
    /// Where tests send what is meant for others.
    #[cfg(test)]
    towards: Option<Url>,
}

/// Why there is no answer; in a sentence that holds no more of the URL than its host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct FetchError {
    why: String,
    status: Option<u16>,
}

/// What a provider answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// All of it.
    pub body: Vec<u8>,
    /// For how long it says that the answer is good; zero when it says not to keep it.
    pub max_age: Option<Duration>,
}

/// Whom a fetcher of tests believes, and where it finds hosts.
#[cfg(test)]
#[derive(Debug, Clone, Default)]
pub(crate) struct FetchSettings {
    /// The only roots, in DER.
    pub(crate) roots: Vec<Vec<u8>>,
    /// Hosts that are somewhere else than the name server says. Others must still be public.
    pub(crate) resolve: std::collections::BTreeMap<String, std::net::SocketAddr>,
}

impl FetchError {
    fn new(why: String) -> Self {
        Self { why, status: None }
    }

    /// The status of the answer, when there was one that isn't a 2xx.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
    }
}

impl Default for Fetcher {
    fn default() -> Self {
        Self::new()
    }
}

impl Fetcher {
    /// Makes the client. Where the system has no certificates to trust, every fetch fails.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Self::guarded(), true)
    }

    /// One for a URL that an operator wrote: its host may have a private address. Plain HTTP is for the
    /// config to refuse where it isn't this machine's.
    #[must_use]
    pub fn of_operator(url: &Url) -> Self {
        let client = Self::builder();
        let client = match url.scheme() {
            // Without TLS no certificates are needed, and a small container may have none to load.
            "http" => client.tls_certs_only([]),
            _ => client.https_only(true),
        };
        Self::of(client, false)
    }

    fn of(client: reqwest::ClientBuilder, public_only: bool) -> Self {
        Self {
            client: client.build().map_err(|error| causes(&error)),
            public_only,
            #[cfg(test)]
            towards: None,
        }
    }

    /// One that sends everything to this server, whatever host is asked for.
    #[cfg(test)]
    pub(crate) fn towards(server: Url) -> Self {
        Self { towards: Some(server), ..Self::unguarded() }
    }

    /// One as careful as any, which knows some hosts and roots beforehand.
    #[cfg(test)]
    pub(crate) fn with(settings: &FetchSettings) -> Self {
        let roots = settings.roots.iter();
        let roots = roots.map(|der| reqwest::Certificate::from_der(der).expect("a certificate"));
        let mut client = Self::guarded().tls_certs_only(roots);
        for (host, address) in &settings.resolve {
            client = client.resolve(host, *address);
        }
        Self::of(client, true)
    }

    fn guarded() -> reqwest::ClientBuilder {
        Self::builder()
            .https_only(true)
            .dns_resolver(Arc::new(PublicOnly { rule: "a fetch from a provider" }))
    }

    /// One that also fetches over plain HTTP and from this machine.
    #[cfg(test)]
    pub(crate) fn unguarded() -> Self {
        Self::of(Self::builder().tls_certs_only([]), false)
    }

    fn builder() -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("hookonce/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(0)
    }

    /// Gets a URL. Anything but a 2xx is an error. Dropping the future gives the request up.
    pub async fn get(&self, url: &Url) -> Result<Vec<u8>, FetchError> {
        self.ask(url, None).await.map(|answer| answer.body)
    }

    /// Gets a URL, or posts JSON to it. Anything but a 2xx is an error. Dropping the future gives the
    /// request up.
    pub async fn ask(&self, url: &Url, json: Option<&str>) -> Result<Answer, FetchError> {
        #[cfg(test)]
        let there = self.towards.clone().map(|mut there| {
            there.set_path(url.path());
            there.set_query(url.query());
            there
        });
        #[cfg(test)]
        let url = there.as_ref().unwrap_or(url);
        let client = self.client.as_ref();
        let client =
            client.map_err(|why| FetchError::new(format!("no client can be made: {why}")))?;
        let request = match json {
            None => client.get(url.clone()),
            Some(json) => {
                let request = client.post(url.clone()).header(CONTENT_TYPE, "application/json");
                request.body(json.to_owned())
            }
        };
        self.run(url, request).await
    }

    async fn run(&self, url: &Url, request: reqwest::RequestBuilder) -> Result<Answer, FetchError> {
        let host = url.host_str().unwrap_or("the URL").to_owned();
        if self.public_only {
            address::check_literal(url)
                .map_err(|why| FetchError::new(format!("{host} is {why}")))?;
        }
        let failed = |error: reqwest::Error| FetchError::new(format!("{host}: {}", causes(&error)));
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            let status = status.as_u16();
            let why = format!("{host} answered {status}");
            return Err(FetchError { why, status: Some(status) });
        }
        let max_age = max_age(response.headers());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                let why = format!("{host} answered more than {ANSWER_BYTES_MAX} bytes");
                return Err(FetchError::new(why));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { body, max_age })
    }
}

/// For how long `Cache-Control` says that an answer is good.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(CACHE_CONTROL).into_iter().filter_map(|line| line.to_str().ok());
    let words = lines.flat_map(|line| line.split(','));
    let times = words.filter_map(|word| match word.trim().split_once('=') {
        Some((name, seconds)) if name.eq_ignore_ascii_case("max-age") => {
            seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
        }
        None if matches!(word.trim(), "no-store" | "no-cache") => Some(Duration::ZERO),
        _ => None,
    });
    times.min()
}

/// The innermost reason: the outer ones hold the URL.
fn causes(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut reason = if error.is_timeout() { "it took too long" } else { "no answer" }.to_owned();
    while let Some(inner) = cause {
        reason = inner.to_string();
        cause = inner.source();
    }
    reason
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A server that answers once, and the URL of it.
    async fn answering(answer: Vec<u8>) -> Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/x", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            let (mut peer, _) = listener.accept().await.expect("a peer");
            let mut head = [0; 4096];
            assert_ne!(peer.read(&mut head).await.expect("a request"), 0);
            // It may have hung up already: then there is nothing to send.
            drop(peer.write_all(&answer).await);
        });
        url.parse().expect("a URL")
    }

    #[tokio::test]
    async fn an_answer_is_taken_whole_or_not_at_all() {
        let fetcher = Fetcher::unguarded();
        let url = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc".to_vec()).await;
        assert_eq!(fetcher.get(&url).await, Ok(b"abc".to_vec()));
        for (answer, why) in [
            (b"HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n".to_vec(), "302"),
            (b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n".to_vec(), "404"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc".to_vec(), ""),
            (
                [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b'x'; ANSWER_BYTES_MAX + 1]].concat(),
                "more than",
            ),
        ] {
            let url = answering(answer).await;
            let error = fetcher.get(&url).await.expect_err("no answer").to_string();
            assert!(error.contains(why) && !error.contains("/x"), "{error}");
        }
    }

    #[tokio::test]
    async fn neither_plain_http_nor_this_machine_is_asked() {
        let fetcher = Fetcher::new();
        for url in ["https://127.0.0.1:9/", "https://localhost:9/", "http://example.com/"] {
            let error = fetcher.get(&url.parse().expect("a URL")).await.expect_err(url);
            assert!(!error.to_string().contains("refused"), "{error}");
        }
    }
}
