//! Refusals and acks over real sockets, with the real source, recorder and a SQLite store below. What
//! depends on a database's kind is tested on both, elsewhere; here it is the door's own decisions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use entity::Name;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::fetch::Fetcher;
use crate::handler::Routes;
use crate::http::{ClockSkew, PublicParts, Readiness, ServerSettings, Stopper, serve_public};
use crate::intake::{Captures, IntakeSettings, Recorder, RecorderParts, RejectionKeeper};
use crate::metric::Metrics;
use crate::received::{Headers, Received};
use crate::secret::Secret;
use crate::source::{OnIdConflict, Source, SourceSettings, Sources, catalog};
use crate::store::{Migrate, RejectionFilter, Retention, Store, StoreSettings};

mod confirmed;

const DAY: Duration = Duration::from_secs(86_400);
const PATIENCE: Duration = Duration::from_secs(20);

/// A source whose provider wants a URL to be fetched before it sends.
fn confirming() -> SourceSettings {
    let spec = r#"
        verify = { hmac = "sha256", signature = { from = "header:s", encoding = "hex" }, content = "{body}" }
        event = { id = "none" }
        reply = { overload = 500 }
        handshake = [{ match = { body = { "/Type" = "SubscriptionConfirmation" } }, callout = { url_from = "body:/SubscribeURL", hosts = ["sns.us-*.amazonaws.com"] }, reply = {} }]
    "#;
    let spec = toml::from_str(spec).expect("a spec");
    SourceSettings { spec, ..settings("topic", "github") }
}

struct Door {
    address: SocketAddr,
    sources: Arc<Sources>,
    store: Store,
    metrics: Metrics,
    skew: ClockSkew,
    stopper: Stopper,
    tasks: TaskTracker,
    closing: CancellationToken,
    _folder: tempfile::TempDir,
}

fn settings(name: &str, provider: &str) -> SourceSettings {
    let preset = catalog::get(provider).expect("a preset");
    SourceSettings {
        provider: Some(provider.to_owned()),
        secrets: vec![Secret::new("0123456789abcdef0123456789abcdef".to_owned())],
        max_body: 1000,
        ..SourceSettings::new(Name::new(name).expect("a name"), preset.source.clone())
    }
}

impl Door {
    async fn open() -> Self {
        Self::calling(Fetcher::unguarded()).await
    }

    /// With what gets the URLs that handshakes name.
    async fn calling(fetcher: Fetcher) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&StoreSettings {
            url: format!("sqlite://{}", folder.path().join("hookonce.db").display()),
            migrate: Migrate::Auto,
            connections: 2,
            statement_timeout: PATIENCE,
            partition_bodies: false,
        })
        .await
        .expect("a store");
        let sources = Arc::new(Sources::new(
            [
                settings("github", "github"),
                settings("stripe", "stripe"),
                SourceSettings { rate_limit: Some(1), ..settings("limited", "github") },
                confirming(),
                confirmed::topic(),
                SourceSettings {
                    on_id_conflict: OnIdConflict::Reject,
                    ..settings("strict", "github")
                },
                SourceSettings {
                    allow_ips: vec!["203.0.113.0/24".parse().expect("a net")],
                    ..settings("fenced", "github")
                },
            ]
            .map(|settings| Source::compile(settings).expect("a source")),
        ));
        let metrics = Metrics::new();
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let intake =
            IntakeSettings { queue_events: 100, queue_bytes: 1_000_000, ack_deadline: PATIENCE };
        let parts = RecorderParts {
            store: store.clone(),
            routes: Arc::new(Routes::default()),
            retention: Retention { keys: DAY, bodies: DAY, dead: DAY, rejections: DAY },
            births: None,
            wake: Arc::default(),
            metrics: metrics.clone(),
        };
        let skew = ClockSkew::new();
        let public = PublicParts {
            gateways: crate::http::Gateways::default(),
            sources: Arc::clone(&sources),
            recorder: Recorder::start(&intake, parts, &tasks, closing.clone()),
            keeper: RejectionKeeper::start(store.clone(), metrics.clone(), &tasks, closing.clone()),
            captures: Arc::new(Captures::new(store.clone(), Arc::clone(&sources))),
            fetcher,
            store: store.clone(),
            answers: crate::handler::answers::Answers::default(),
            metrics: metrics.clone(),
            skew: skew.clone(),
            readiness: Readiness::new(),
        };
        let server = ServerSettings {
            listen: ([127, 0, 0, 1], 0).into(),
            trusted_proxies: vec!["127.0.0.0/8".parse().expect("a net")],
            max_inflight: 1_000_000,
            body_timeout: PATIENCE,
            ack_deadline: PATIENCE,
            drain: Duration::ZERO,
            grace: Duration::ZERO,
        };
        let listener = serve_public(&server, public).expect("a listener");
        let (address, stopper) = (listener.address(), listener.stopper());
        tokio::spawn(listener.run());
        Self { address, sources, store, metrics, skew, stopper, tasks, closing, _folder: folder }
    }

    /// A request that `source` accepts as of `now`.
    fn signed(
        &self,
        source: &str,
        headers: &[(&str, &str)],
        body: &str,
        now: DateTime<Utc>,
    ) -> Received {
        let source = self.sources.named(source).expect("a source");
        let mut lines = Headers::new();
        for (name, value) in headers {
            lines.push(name, value.as_bytes());
        }
        let unsigned = Received {
            method: "POST".to_owned(),
            target: source.path().to_owned(),
            headers: lines,
            body: Bytes::copy_from_slice(body.as_bytes()),
            peer: None,
            arrived_at: now,
        };
        source.sign(unsigned, now, 0).expect("a signature")
    }

    fn push(&self, source: &str, id: &str, body: &str) -> Received {
        let headers = [("x-github-delivery", id), ("x-github-event", "push")];
        self.signed(source, &headers, body, Utc::now())
    }

    async fn send(&self, request: &Received) -> (u16, String) {
        let head = format!(
            "{} {} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {}\r\n",
            request.method,
            request.target,
            request.body.len(),
        );
        let bytes = [head.as_bytes(), request.headers.as_bytes(), b"\r\n", &request.body].concat();
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.write_all(&bytes).await.expect("a write");
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
        read.expect("an answer in time").expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (status, answer)
    }

    /// Sends and returns the status and the problem's code.
    async fn refusal(&self, request: &Received) -> (u16, String) {
        let (status, answer) = self.send(request).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains("content-type: application/problem+json"), "{answer}");
        assert_eq!(status == 503, head.contains("retry-after: "), "{answer}");
        let problem: serde_json::Value = serde_json::from_str(body).expect("a problem");
        (status, problem["code"].as_str().expect("a code").to_owned())
    }

    /// The codes of what was kept, oldest first, once everything is written.
    async fn close(self) -> Vec<(String, String)> {
        self.stopper.stop(true).await;
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let page = self.store.rejections(&RejectionFilter::default()).await.expect("a page");
        self.store.close().await;
        page.items.into_iter().rev().map(|kept| (kept.source, kept.code)).collect()
    }
}

fn want(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_request_is_accepted_once_and_then_a_duplicate() {
    let door = Door::open().await;
    let push = door.push("github", "one", "{}");
    let (status, first) = door.send(&push).await;
    assert_eq!(status, 200, "{first}");
    assert!(first.contains(r#"{"status":"accepted","event":""#), "{first}");
    let (status, second) = door.send(&push).await;
    assert_eq!(status, 200, "{second}");
    let event = |answer: &str| answer.rsplit(r#""event":""#).next().map(str::to_owned);
    assert!(second.contains(r#"{"status":"duplicate","event":""#), "{second}");
    assert_eq!(event(&first), event(&second));
    let metrics = door.metrics.render();
    for line in [
        r#"hookonce_intake_total{source="github",outcome="accepted"} 1"#,
        r#"hookonce_intake_total{source="github",outcome="duplicate"} 1"#,
        r#"hookonce_verified_total{source="github",secret="0"} 2"#,
        "hookonce_inflight_bytes 0",
    ] {
        assert!(metrics.lines().any(|there| there == line), "{line} in\n{metrics}");
    }
    assert!(door.close().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_with_another_body_is_flagged_or_refused_as_the_source_says() {
    let door = Door::open().await;
    for (source, status) in [("github", 200), ("strict", 409)] {
        assert_eq!(door.send(&door.push(source, "one", "{}")).await.0, 200);
        let (got, answer) = door.send(&door.push(source, "one", "{\"x\":1}")).await;
        assert_eq!(got, status, "{answer}");
    }
    assert_eq!(door.close().await, [("strict".to_owned(), "id_conflict".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_their_codes_and_are_kept_unless_nothing_could_come_of_them() {
    let door = Door::open().await;
    let good = door.push("github", "one", "{}");
    let mut unsigned = good.clone();
    unsigned.headers = Headers::new();
    let tampered = Received { body: Bytes::from_static(b"{ }"), ..good.clone() };
    let large = Received { body: vec![b'x'; 1001].into(), ..good.clone() };
    let fenced = door.push("fenced", "one", "{}");
    let lost = Received { target: "/in/nobody".to_owned(), ..good.clone() };
    let slash = Received { target: "/in/github/".to_owned(), ..good.clone() };
    let got = Received { method: "GET".to_owned(), ..good.clone() };
    for (request, status, code) in [
        (&unsigned, 401, "signature_missing"),
        (&tampered, 401, "signature_mismatch"),
        (&large, 413, "body_too_large"),
        (&fenced, 403, "ip_denied"),
        (&lost, 404, "unknown_source"),
        (&slash, 404, "unknown_source"),
        (&got, 405, "method_not_allowed"),
    ] {
        assert_eq!(door.refusal(request).await, want(status, code));
    }
    // The test's own address is a trusted proxy, so it may say who sent it.
    let mut allowed = fenced.clone();
    allowed.headers.push("x-forwarded-for", "203.0.113.9");
    assert_eq!(door.send(&allowed).await.0, 200);
    let kept: Vec<String> = door.close().await.into_iter().map(|(_, code)| code).collect();
    assert_eq!(kept, ["signature_missing", "signature_mismatch", "body_too_large", "ip_denied"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_failing_requests_are_put_off_and_good_ones_never() {
    let door = Door::open().await;
    let good = door.push("limited", "one", "{}");
    let bad = Received { body: Bytes::from_static(b"{ }"), ..good.clone() };
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(door.refusal(&bad).await);
        assert_eq!(door.send(&good).await.0, 200);
    }
    assert_eq!(codes[0], want(401, "signature_mismatch"));
    assert!(codes.contains(&want(503, "rate_limited")), "{codes:?}");
    let refused = codes.iter().filter(|(status, _)| *status == 401).count();
    assert_eq!(door.close().await.len(), refused, "only what was within the limit is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_stale_only_by_our_wrong_clock_may_come_again() {
    let door = Door::open().await;
    let body = r#"{"id":"evt_1","type":"invoice.paid"}"#;
    let hour = TimeDelta::hours(1);
    // Signed an hour ahead of our clock; the database's clock agrees with the sender.
    let ahead = door.signed("stripe", &[], body, Utc::now() + hour);
    assert_eq!(door.refusal(&ahead).await, want(401, "timestamp_future"));
    door.skew.set(hour);
    assert_eq!(door.refusal(&ahead).await, want(503, "clock_skew"));
    let behind = door.signed("stripe", &[], body, Utc::now() - hour);
    assert_eq!(door.refusal(&behind).await, want(401, "timestamp_stale"));
    let forged = Received { body: Bytes::from_static(b"{}"), ..ahead.clone() };
    assert_eq!(door.refusal(&forged).await, want(401, "signature_mismatch"));
    let kept: Vec<String> = door.close().await.into_iter().map(|(_, code)| code).collect();
    assert_eq!(kept, ["timestamp_future", "clock_skew", "timestamp_stale", "signature_mismatch"]);
}

/// A server that notes the heads of requests and answers each with `status`.
async fn confirmer(status: &'static str) -> (url::Url, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let asked: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut peer, _) = listener.accept().await.expect("a peer");
            let mut head = vec![0; 4096];
            let n = peer.read(&mut head).await.expect("a request");
            let line = String::from_utf8_lossy(&head[..n]).lines().next().map(str::to_owned);
            noted.lock().expect("not poisoned").extend(line);
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            peer.write_all(answer.as_bytes()).await.expect("an answer");
        }
    });
    (url.parse().expect("a URL"), asked)
}

#[actix_web::test]
async fn a_subscription_is_confirmed_before_it_is_answered() {
    let body = r#"{"Type":"SubscriptionConfirmation","SubscribeURL":"https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&Token=1"}"#;
    let (server, asked) = confirmer("200 OK").await;
    let door = Door::calling(Fetcher::towards(server)).await;
    let request = door.signed("topic", &[], body, Utc::now());
    let (status, answer) = door.send(&request).await;
    assert_eq!(status, 200, "{answer}");
    assert!(
        answer.contains("content-length: 0\r\n") && !answer.contains("\ncontent-type"),
        "{answer}"
    );
    assert_eq!(
        *asked.lock().expect("not poisoned"),
        ["GET /?Action=ConfirmSubscription&Token=1 HTTP/1.1"]
    );
    // Elsewhere nobody is asked, nor for a stranger.
    let elsewhere =
        door.signed("topic", &[], &body.replace("amazonaws.com", "evil.org"), Utc::now());
    assert_eq!(door.refusal(&elsewhere).await, (403, "handshake_refused".to_owned()));
    let mut forged = request.clone();
    forged.headers = Headers::new();
    assert_eq!(door.refusal(&forged).await, (401, "signature_missing".to_owned()));
    assert_eq!(asked.lock().expect("not poisoned").len(), 1);
    // Only so often: then the provider has to come again.
    let mut answered = Vec::new();
    for _ in 0..10 {
        answered.push(door.send(&request).await.0);
    }
    assert_eq!(answered, [200, 200, 200, 200, 200, 200, 200, 200, 200, 500]);
    assert_eq!(asked.lock().expect("not poisoned").len(), 10);
    door.close().await;
}

#[actix_web::test]
async fn what_can_not_be_confirmed_now_is_our_fault() {
    let body = r#"{"Type":"SubscriptionConfirmation","SubscribeURL":"https://sns.us-east-1.amazonaws.com/"}"#;
    for status in ["500 No", "302 Found", "404 Not Found"] {
        let (server, _) = confirmer(status).await;
        let door = Door::calling(Fetcher::towards(server)).await;
        let (status, answer) = door.send(&door.signed("topic", &[], body, Utc::now())).await;
        // The source's own word for 503.
        assert_eq!(status, 500, "{answer}");
        assert!(answer.contains("handshake_unavailable") && !answer.contains("sns."), "{answer}");
        door.close().await;
    }
}
