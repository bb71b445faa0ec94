//! Providers as the outside sees them: they sign with code of their own.
//!
//! Nothing of the daemon's `verify` is used here, so that the two are judged by each other.

use std::net::SocketAddr;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::raw::{ANSWER_PATIENCE, RawAnswer, RawRequest, read_answer};
use super::wait::within;

/// The presets that the daemon ships, by slug.
pub const PROVIDERS: [&str; 8] = [
    "stripe",
    "github",
    "shopify",
    "slack",
    "gitlab-token",
    "gitlab-signing-token",
    "standard-webhooks",
    "svix",
];

/// Signs as one provider does.
#[derive(Debug, Clone)]
pub struct Signer {
    provider: &'static str,
    secret: String,
    /// Seconds since 1970; the wall clock's when `None`.
    at: Option<i64>,
}

/// A request, signed and ready to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Signer {
    /// A provider of [`PROVIDERS`], with a secret of the form that it hands out.
    pub fn of(provider: &'static str) -> Self {
        let secret = match provider {
            "stripe" => "whsec_0f3a6c1d9b2e4758a1c6d3e2f4b5a697".to_owned(),
            "gitlab-token" => "glwt-5f2d8a1c7e3b".to_owned(),
            "gitlab-signing-token" | "standard-webhooks" | "svix" => {
                // One key each: the daemon refuses the same secret on two sources.
                let first = u8::try_from(provider.len()).unwrap();
                let key: Vec<u8> = (0..32).map(|n| first.wrapping_mul(7).wrapping_add(n)).collect();
                format!("whsec_{}", STANDARD.encode(key))
            }
            other => format!("{other}-6e1f0c3b5a7d9e2f4c8b1a6d"),
        };
        Self { provider, secret, at: None }
    }

    /// With another secret.
    pub fn with_secret(mut self, secret: &str) -> Self {
        self.secret = secret.to_owned();
        self
    }

    /// As of this second.
    pub fn at(mut self, second: i64) -> Self {
        self.at = Some(second);
        self
    }

    /// The preset's slug.
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// What the operator pastes into the config.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// An event with this id and type, after the provider's documented shape.
    pub fn event(&self, id: &str, kind: &str) -> Signed {
        let body = self.body(id, kind);
        self.sign(id, kind, body.to_string().into_bytes())
    }

    /// The shape of a body; ids and types that travel in headers aren't in it.
    pub fn body(&self, id: &str, kind: &str) -> Value {
        match self.provider {
            "stripe" => json!({
                "id": id, "object": "event", "api_version": "2026-01-28.preview", "created": 1_790_000_000,
                "data": { "object": { "id": "in_1", "object": "invoice", "amount_paid": 4200, "currency": "eur" } },
                "livemode": false, "pending_webhooks": 1, "type": kind
            }),
            "slack" => json!({
                "token": "unused", "team_id": "T1", "api_app_id": "A1", "type": "event_callback",
                "event": { "type": kind, "user": "U1", "text": "hi", "channel": "C1", "ts": "1790000000.000100" },
                "event_id": id, "event_time": 1_790_000_000
            }),
            // The id is in the body too, so that bodies of two events differ.
            _ => json!({ "type": kind, "subject": id, "amount": 1.50, "note": "zażółć 🦀" }),
        }
    }

    /// Signs exact bytes. `id` and `kind` go into headers where the provider has them there.
    pub fn sign(&self, id: &str, kind: &str, body: impl Into<Vec<u8>>) -> Signed {
        let body = body.into();
        let at = self.at.unwrap_or_else(|| chrono::Utc::now().timestamp());
        let headers = match self.provider {
            "stripe" => {
                let mac = hmac(self.secret.as_bytes(), &[format!("{at}.").as_bytes(), &body]);
                vec![("stripe-signature", format!("t={at},v1={}", hex::encode(mac)))]
            }
            "github" => vec![
                ("x-hub-signature-256", self.body_mac_hex("sha256=", &body)),
                ("x-github-delivery", id.to_owned()),
                ("x-github-event", kind.to_owned()),
                ("user-agent", "GitHub-Hookshot/0a1b2c3".to_owned()),
            ],
            "shopify" => vec![
                ("x-shopify-hmac-sha256", STANDARD.encode(hmac(self.secret.as_bytes(), &[&body]))),
                ("x-shopify-event-id", id.to_owned()),
                ("x-shopify-webhook-id", format!("w-{id}")),
                ("x-shopify-topic", kind.to_owned()),
                ("x-shopify-shop-domain", "example.myshopify.com".to_owned()),
            ],
            "slack" => {
                let mac = hmac(self.secret.as_bytes(), &[format!("v0:{at}:").as_bytes(), &body]);
                vec![
                    ("x-slack-request-timestamp", at.to_string()),
                    ("x-slack-signature", format!("v0={}", hex::encode(mac))),
                ]
            }
            "gitlab-token" => vec![
                ("x-gitlab-token", self.secret.clone()),
                ("x-gitlab-event", kind.to_owned()),
                ("idempotency-key", id.to_owned()),
            ],
            "gitlab-signing-token" => {
                let mut headers = self.standard("webhook", id, at, &body);
                headers.push(("x-gitlab-event", kind.to_owned()));
                headers.push(("idempotency-key", id.to_owned()));
                headers
            }
            "standard-webhooks" => self.standard("webhook", id, at, &body),
            "svix" => self.standard("svix", id, at, &body),
            other => panic!("no signer for {other}"),
        };
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Signed { headers, body }
    }

    fn body_mac_hex(&self, prefix: &str, body: &[u8]) -> String {
        format!("{prefix}{}", hex::encode(hmac(self.secret.as_bytes(), &[body])))
    }

    fn standard(
        &self,
        prefix: &str,
        id: &str,
        at: i64,
        body: &[u8],
    ) -> Vec<(&'static str, String)> {
        let key = STANDARD.decode(self.secret.trim_start_matches("whsec_")).unwrap();
        let mac = hmac(&key, &[format!("{id}.{at}.").as_bytes(), body]);
        let [id_name, at_name, signature_name] = match prefix {
            "svix" => ["svix-id", "svix-timestamp", "svix-signature"],
            _ => ["webhook-id", "webhook-timestamp", "webhook-signature"],
        };
        vec![
            (id_name, id.to_owned()),
            (at_name, at.to_string()),
            (signature_name, format!("v1,{}", STANDARD.encode(mac))),
        ]
    }
}

/// HMAC-SHA256 over the parts in order.
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

impl Signed {
    /// As a request to a path, such as `/in/stripe`.
    pub fn to(&self, path: &str) -> RawRequest {
        let mut request = RawRequest::post(path, self.body.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }

    /// With the value of one header replaced.
    ///
    /// # Panics
    /// When it has no such header.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let header = self.headers.iter_mut().find(|(n, _)| n == name);
        header.unwrap_or_else(|| panic!("no header {name}")).1 = value.to_owned();
        self
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Sent {
    pub status: u16,
    pub answer: RawAnswer,
}

impl Sent {
    /// `accepted` or `duplicate`, or a refusal's code.
    pub fn code(&self) -> String {
        if self.status != 200 {
            return self.answer.code();
        }
        self.answer.json()["status"].as_str().unwrap_or_default().to_owned()
    }

    /// Our id of the event.
    ///
    /// # Panics
    /// When it wasn't acked.
    pub fn event(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.answer.json()["event"].as_str().expect("an ack names the event").to_owned()
    }

    #[track_caller]
    pub fn assert_accepted(&self) -> &Self {
        assert_eq!((self.status, self.code().as_str()), (200, "accepted"), "{self:?}");
        self
    }

    #[track_caller]
    pub fn assert_duplicate(&self) -> &Self {
        assert_eq!((self.status, self.code().as_str()), (200, "duplicate"), "{self:?}");
        self
    }

    #[track_caller]
    pub fn assert_refused(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self:?}");
        self
    }
}

/// Sends to one listener over kept connections.
#[derive(Debug)]
pub struct Sender {
    to: SocketAddr,
    idle: Mutex<Vec<TcpStream>>,
}

impl Sender {
    /// Sends to a public listener.
    pub fn new(to: SocketAddr) -> Self {
        Self { to, idle: Mutex::default() }
    }

    /// Sends, and waits for the whole answer.
    ///
    /// # Panics
    /// When there is none in time, or the connection breaks.
    pub async fn send(&self, path: &str, signed: &Signed) -> Sent {
        within(ANSWER_PATIENCE, "an answer", self.try_send(path, signed)).await.unwrap()
    }

    /// Sends; an answer that did not come whole is an error.
    pub async fn try_send(&self, path: &str, signed: &Signed) -> std::io::Result<Sent> {
        let mut stream = match self.take_idle() {
            Some(stream) => stream,
            None => TcpStream::connect(self.to).await?,
        };
        stream.set_nodelay(true)?;
        stream.write_all(&signed.to(path).bytes()).await?;
        let mut buffer = Vec::new();
        let answer = read_answer(&mut stream, &mut buffer).await?;
        let answer = answer.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        if buffer.is_empty() && answer.head.header("connection") != Some("close") {
            self.idle.lock().unwrap().push(stream);
        }
        Ok(Sent { status: answer.status, answer })
    }

    /// A kept connection that the other side has not closed meanwhile.
    fn take_idle(&self) -> Option<TcpStream> {
        let mut idle = self.idle.lock().unwrap();
        while let Some(stream) = idle.pop() {
            let mut byte = [0];
            let is_open = stream
                .try_read(&mut byte)
                .is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
            if is_open {
                return Some(stream);
            }
        }
        None
    }
}
