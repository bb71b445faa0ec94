//! What we get from a provider over the network because a request or a preset names it: a public
//! key, or nothing but the fact that we asked.
//!
//! Over https only, from public addresses only, without redirects, without a proxy, no more than
//! [`ANSWER_BYTES_MAX`], within [`TIMEOUT`]. Which hosts is the caller's to check, by
//! [`crate::verify::host::allowed`].

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
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
#[error("{0}")]
pub struct FetchError(String);

impl Default for Fetcher {
    fn default() -> Self {
        Self::new()
    }
}

impl Fetcher {
    /// Makes the client. Where the system has no certificates to trust, every fetch fails.
    #[must_use]
    pub fn new() -> Self {
        let client = Self::builder()
            .https_only(true)
            .dns_resolver(Arc::new(PublicOnly { rule: "a fetch from a provider" }));
        Self {
            client: client.build().map_err(|error| causes(&error)),
            public_only: true,
            #[cfg(test)]
            towards: None,
        }
    }

    /// One that sends everything to this server, whatever host is asked for.
    #[cfg(test)]
    pub(crate) fn towards(server: Url) -> Self {
        Self { towards: Some(server), ..Self::unguarded() }
    }

    /// One that also fetches over plain HTTP and from this machine.
    #[cfg(test)]
    pub(crate) fn unguarded() -> Self {
        let client = Self::builder().tls_certs_only([]).build();
        Self { client: client.map_err(|error| causes(&error)), public_only: false, towards: None }
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
        #[cfg(test)]
        if let Some(mut there) = self.towards.clone() {
            there.set_path(url.path());
            there.set_query(url.query());
            return self.run(&there, self.client()?.get(there.clone())).await;
        }
        self.run(url, self.client()?.get(url.clone())).await
    }

    /// Posts JSON. Anything but a 2xx is an error. Dropping the future gives the request up.
    pub async fn post_json(&self, url: &Url, body: String) -> Result<Vec<u8>, FetchError> {
        let request = self.client()?.post(url.clone()).header(CONTENT_TYPE, "application/json");
        self.run(url, request.body(body)).await
    }

    fn client(&self) -> Result<&reqwest::Client, FetchError> {
        self.client.as_ref().map_err(|why| FetchError(format!("no client can be made: {why}")))
    }

    async fn run(
        &self,
        url: &Url,
        request: reqwest::RequestBuilder,
    ) -> Result<Vec<u8>, FetchError> {
        let host = url.host_str().unwrap_or("the URL").to_owned();
        if self.public_only {
            address::check_literal(url).map_err(|why| FetchError(format!("{host} is {why}")))?;
        }
        let failed = |error: reqwest::Error| FetchError(format!("{host}: {}", causes(&error)));
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            return Err(FetchError(format!("{host} answered {}", status.as_u16())));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(FetchError(format!(
                    "{host} answered more than {ANSWER_BYTES_MAX} bytes"
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
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
            peer.read(&mut head).await.expect("a request");
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
