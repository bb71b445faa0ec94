//! Public keys that come from the provider while we run: asked for by a request, kept, and read here.
//!
//! Nothing here waits or goes to the network. A verification finds its key or says that it isn't
//! here; [`KeyWanted`] says beforehand what would have to be fetched, and takes the answer.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use url::Url;

use super::field::Field;
use super::host::{self, HostPattern, PathPattern};
use super::public::{PublicAlgorithm, PublicKey};
use super::rejection::{Code, Rejection};
use super::template::malformed;
use crate::received::Received;

mod answer;
mod certificate;
mod ring;

pub use certificate::Roots;
use ring::{Found, Keyring, Stored};

/// The longest id of a key, and the longest URL of a certificate, in bytes.
const NAME_BYTES_MAX: usize = 512;

/// Where a scheme's keys come from when the source has no secrets, and those that came.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    place: Arc<KeyPlace>,
    algorithms: Arc<[PublicAlgorithm]>,
    ring: Arc<Keyring>,
}

/// Where keys come from.
#[derive(Debug, Clone)]
pub(crate) enum KeyPlace {
    /// A JSON Web Key Set.
    Set {
        url: Url,
        /// Where it lies in the answer.
        pointer: String,
    },
    /// One JSON Web Key, asked for by its id.
    ById {
        url: Url,
        /// The JSON to post: the texts around the id.
        post: Vec<String>,
        /// Where it lies in the answer.
        pointer: String,
    },
    /// A key in PEM.
    Pem {
        url: Url,
        /// Where it lies in a JSON answer; the whole answer when `None`.
        pointer: Option<String>,
    },
    /// A certificate that the request names.
    Certificate {
        url_from: Field,
        hosts: Vec<HostPattern>,
        /// What it may be for.
        names: Vec<HostPattern>,
        /// Any path when there is none.
        paths: Vec<PathPattern>,
        /// Whether it may come without the certificates that lead to a root.
        without_chain: bool,
    },
}

/// A key that a request needs and that has to be fetched, or will have to be soon.
#[derive(Debug, Clone)]
pub struct KeyWanted {
    fetched: Fetched,
    name: String,
    url: Url,
    body: Option<String>,
    urgent: bool,
}

impl std::fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Set { url, .. } | Self::ById { url, .. } => {
                write!(f, "JSON Web Keys of {}", url.host_str().unwrap_or_default())
            }
            Self::Pem { url, .. } => {
                write!(f, "a public key of {}", url.host_str().unwrap_or_default())
            }
            Self::Certificate { url_from, hosts, .. } => {
                let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
                write!(f, "the certificate that {url_from} names, on {}", hosts.join(" or "))
            }
        }
    }
}

impl Fetched {
    /// Keys for these algorithms from this place, each good for `keep` unless the provider says less.
    pub(crate) fn new(place: KeyPlace, algorithms: Vec<PublicAlgorithm>, keep: Duration) -> Self {
        let by_request = matches!(place, KeyPlace::ById { .. } | KeyPlace::Certificate { .. });
        let ring = Arc::new(Keyring::new(keep, by_request));
        Self { place: Arc::new(place), algorithms: algorithms.into(), ring }
    }

    /// Where the keys come from, in a few words.
    pub(crate) fn place(&self) -> String {
        self.place.to_string()
    }

    /// The keys by which a request is judged, any of which may be right; `kid` is the id of the key
    /// where something names it. Never empty.
    pub(crate) fn keys(
        &self,
        received: &Received,
        kid: Option<&str>,
        algorithm: PublicAlgorithm,
        now: DateTime<Utc>,
    ) -> Result<Vec<PublicKey>, Rejection> {
        let (name, _) = self.named(received, kid)?;
        self.kept(&name, kid, algorithm, now)
    }

    /// The keys of the one place where they all are, by which a token is judged, any of which may be
    /// right. Never empty.
    pub(crate) fn published(
        &self,
        kid: Option<&str>,
        algorithm: PublicAlgorithm,
        now: DateTime<Utc>,
    ) -> Result<Vec<PublicKey>, Rejection> {
        self.kept("", kid, algorithm, now)
    }

    fn kept(
        &self,
        name: &str,
        kid: Option<&str>,
        algorithm: PublicAlgorithm,
        now: DateTime<Utc>,
    ) -> Result<Vec<PublicKey>, Rejection> {
        match self.ring.find(name, kid, algorithm, now) {
            Found::Keys { keys, .. } => Ok(keys),
            Found::None => {
                Err(Rejection::new(Code::SignatureMismatch, "the provider has no such key now"))
            }
            Found::Unknown => Err(Rejection::new(
                Code::KeyUnavailable,
                "the provider's key is not here, and could not be fetched yet",
            )),
        }
    }

    /// What to fetch for this request; `None` when nothing is to be, also because it can't be good.
    pub(crate) fn wanted(
        &self,
        received: &Received,
        kid: Option<&str>,
        algorithm: PublicAlgorithm,
        now: DateTime<Utc>,
    ) -> Option<KeyWanted> {
        let (name, url) = self.named(received, kid).ok()?;
        self.want(name, url, kid, algorithm, now)
    }

    /// What to fetch of the one place where all keys are; `None` when nothing is to be.
    pub(crate) fn wanted_of_published(
        &self,
        kid: Option<&str>,
        algorithm: PublicAlgorithm,
        now: DateTime<Utc>,
    ) -> Option<KeyWanted> {
        match &*self.place {
            KeyPlace::Set { url, .. } | KeyPlace::Pem { url, .. } => {
                self.want(String::new(), url.clone(), kid, algorithm, now)
            }
            KeyPlace::ById { .. } | KeyPlace::Certificate { .. } => None,
        }
    }

    fn want(
        &self,
        name: String,
        url: Url,
        kid: Option<&str>,
        algorithm: PublicAlgorithm,
        now: DateTime<Utc>,
    ) -> Option<KeyWanted> {
        let urgent = match self.ring.find(&name, kid, algorithm, now) {
            Found::Keys { due: false, .. } | Found::None => return None,
            Found::Keys { due: true, .. } => false,
            Found::Unknown => true,
        };
        let body = match &*self.place {
            KeyPlace::ById { post, .. } => {
                let quoted = serde_json::Value::from(name.as_str()).to_string();
                Some(post.join(quoted.trim_matches('"')))
            }
            _ => None,
        };
        Some(KeyWanted { fetched: self.clone(), name, url, body, urgent })
    }

    /// Under which name the key is kept, and the URL where it is.
    fn named(&self, received: &Received, kid: Option<&str>) -> Result<(String, Url), Rejection> {
        let malformed_kid = |why: &str| {
            Rejection::new(Code::SignatureMalformed, format!("the id of the key {why}"))
        };
        match &*self.place {
            KeyPlace::Set { url, .. } | KeyPlace::Pem { url, .. } => {
                Ok((String::new(), url.clone()))
            }
            KeyPlace::ById { url, .. } => {
                let kid = kid.filter(|kid| !kid.is_empty());
                let kid = kid.ok_or_else(|| malformed_kid("is missing"))?;
                let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
                if kid.len() > NAME_BYTES_MAX || !kid.bytes().all(plain) {
                    return Err(malformed_kid("is too long, or not plain text"));
                }
                Ok((kid.to_owned(), url.clone()))
            }
            KeyPlace::Certificate { url_from, hosts, paths, .. } => {
                let found = url_from.read(received).map_err(|why| malformed(url_from, &why))?;
                let found = found.filter(|url| !url.is_empty()).ok_or_else(|| {
                    let detail = format!("the certificate's URL in {url_from} is missing or empty");
                    Rejection::new(Code::SignatureMissing, detail)
                })?;
                let url = certificate_url(&found, hosts, paths).map_err(|why| {
                    let detail = format!("the certificate's URL in {url_from} {why}");
                    Rejection::new(Code::SignatureMalformed, detail)
                })?;
                Ok((url.as_str().to_owned(), url))
            }
        }
    }
}

/// A URL that a request names, if it may be fetched: on an allowed host, with a plain and allowed path.
fn certificate_url(
    text: &[u8],
    hosts: &[HostPattern],
    paths: &[PathPattern],
) -> Result<Url, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "is not text")?;
    if text.len() > NAME_BYTES_MAX {
        return Err("is too long");
    }
    let url = host::allowed(text, hosts)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-_.".contains(&b);
    // The text as well, because the parser has taken out some of what is unusual in it.
    let odd = text.contains("..") || text.contains(['%', '\\']) || url.path().contains("//");
    if odd || !url.path().bytes().all(plain) {
        return Err("has an unusual path");
    }
    if !paths.is_empty() && !paths.iter().any(|pattern| pattern.fits(url.path())) {
        return Err("has a path at which this source takes no certificate");
    }
    Ok(url)
}

impl KeyWanted {
    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The JSON to post, when it is not simply got.
    #[must_use]
    pub fn body(&self) -> Option<&str> {
        self.body.as_deref()
    }

    /// Whether the request can't be judged without it. If not, a key that is here is merely old.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Tells which fetches are one and the same.
    #[must_use]
    pub fn same_as(&self) -> (usize, String) {
        (Arc::as_ptr(&self.fetched.ring).addr(), self.name.clone())
    }

    /// Whether it may be asked for now, which is counted then: requests name keys before anything of
    /// them is proven, and must not make us hammer the provider.
    #[must_use]
    pub fn begin(&self, now: DateTime<Utc>) -> bool {
        self.fetched.ring.begin(&self.name, self.urgent, now)
    }

    /// Takes the provider's answer of `now`, which itself says that it is good for `max_age`. Fails,
    /// with what is wrong with it, when there is no key in it; keys that are here stay then.
    pub fn accept(
        &self,
        answer: &[u8],
        max_age: Option<Duration>,
        roots: &Roots,
        now: DateTime<Utc>,
    ) -> Result<(), String> {
        let stored = self.read(answer, roots, now)?;
        self.fetched.ring.store(&self.name, stored, max_age, now);
        Ok(())
    }

    /// Whether the request itself names where the key is: what is wrong there is its own fault then.
    #[must_use]
    pub fn is_named_by_request(&self) -> bool {
        matches!(*self.fetched.place, KeyPlace::Certificate { .. })
    }

    /// Takes note that the provider has no such key.
    pub fn refused(&self, now: DateTime<Utc>) {
        self.fetched.ring.absent(&self.name, now);
    }

    fn read(
        &self,
        answer: &[u8],
        roots: &Roots,
        now: DateTime<Utc>,
    ) -> Result<Vec<Stored>, String> {
        let algorithms = &self.fetched.algorithms;
        match &*self.fetched.place {
            KeyPlace::Set { pointer, .. } => answer::set(answer, pointer, None, algorithms),
            KeyPlace::ById { pointer, .. } => {
                answer::set(answer, pointer, Some(&self.name), algorithms)
            }
            KeyPlace::Pem { pointer, .. } => answer::pem(answer, pointer.as_deref(), algorithms),
            KeyPlace::Certificate { names, without_chain, .. } => {
                let pem = std::str::from_utf8(answer).map_err(|_| "the answer is not PEM")?;
                certificate::read(pem, names, *without_chain, algorithms, roots, now)
            }
        }
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests;
