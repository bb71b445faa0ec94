//! What both Rust peers share: settings from the command line, and the check of Stripe's signature.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::HttpRequest;
use actix_web::web::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// How old or how far ahead a signature's time may be, in seconds: Stripe's own default.
const TOLERANCE: u64 = 300;

/// What a peer is told: `PORT SECRET [DATABASE_URL]`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The port on loopback to listen on.
    pub port: u16,
    /// The key of the signatures.
    pub secret: String,
    /// The database, for the peer that has one.
    pub database: Option<String>,
}

impl Settings {
    /// From the command line; `None` when it says too little.
    #[must_use]
    pub fn from_arguments() -> Option<Self> {
        let mut arguments = std::env::args().skip(1);
        let port = arguments.next()?.parse().ok()?;
        let secret = arguments.next()?;
        Some(Self { port, secret, database: arguments.next() })
    }
}

/// The one field that a receiver needs of an event.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

/// The event's id, when the signature is right and fresh and the body is JSON with an `id`.
#[must_use]
pub fn verified_id<'a>(
    request: &HttpRequest,
    body: &'a Bytes,
    secret: &str,
) -> Option<Cow<'a, str>> {
    let header = request.headers().get("stripe-signature")?.to_str().ok()?;
    verify(header, body, secret)?;
    serde_json::from_slice::<Event<'a>>(body).ok().map(|event| event.id)
}

/// `t=…,v1=…`: HMAC-SHA256 over the time, a dot and the body.
fn verify(header: &str, body: &[u8], secret: &str) -> Option<()> {
    let mut time = None;
    let mut signatures = Vec::with_capacity(1);
    for part in header.split(',') {
        match part.split_once('=')? {
            ("t", value) => time = Some(value),
            ("v1", value) => signatures.push(hex::decode(value).ok()?),
            _ => {}
        }
    }
    let time = time?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    if now.abs_diff(time.parse().ok()?) > TOLERANCE {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    let wanted = mac.finalize().into_bytes();
    signatures.iter().any(|it| bool::from(it.as_slice().ct_eq(wanted.as_slice()))).then_some(())
}
