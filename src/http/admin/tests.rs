//! The admin API over real sockets, on a SQLite store that holds a few events.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use entity::Name;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{AdminState, Cleaned, CleanupDoor, shape};
use crate::http::{AdminSettings, Readiness, Stopper, serve_admin};
use crate::metric::Metrics;
use crate::received::{Headers, Received};
use crate::secret::Secret;
use crate::source::{Admitted, Source, SourceSettings, Sources, catalog};
use crate::store::{
    Migrate, NewDelivery, NewEvent, NewRejection, Recorded, Retention, Store, StoreSettings, Swept,
};
use crate::upkeep::CleanupSettings;

const DAY: Duration = Duration::from_secs(86_400);
const PATIENCE: Duration = Duration::from_secs(20);

/// Not UTF-8, so that nothing on the way may treat it as text.
const BODY: &[u8] = b"{\"x\":\"\xff\0<script>\"}";

struct Admin {
    address: SocketAddr,
    stopper: Stopper,
    store: Store,
    source: Arc<Source>,
    woken: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

fn github(name: &str) -> Source {
    Source::compile(SourceSettings {
        provider: Some("github".to_owned()),
        secrets: vec![Secret::new("0123456789abcdef0123456789abcdef".to_owned())],
        max_body: 1000,
        ..SourceSettings::new(
            Name::new(name).expect("a name"),
            catalog::get("github").expect("a preset").source.clone(),
        )
    })
    .expect("a source")
}

fn state(store: &Store, sources: Sources, woken: &Arc<AtomicUsize>) -> AdminState {
    let sources = Arc::new(sources);
    let woken = Arc::clone(woken);
    let handler = |name: &str| shape::HandlerItem {
        name: name.to_owned(),
        kind: "log".to_owned(),
        from: vec!["github".to_owned()],
        events: vec!["*".to_owned()],
        settings: None,
        paused: None,
    };
    AdminState {
        store: store.clone(),
        captures: Arc::new(crate::intake::Captures::new(store.clone(), Arc::clone(&sources))),
        sources,
        handlers: Arc::from([handler("log"), handler("late")]),
        trials: Arc::from([]),
        metrics: Metrics::new(),
        readiness: Readiness::new(),
        wake: Arc::new(move || {
            woken.fetch_add(1, Ordering::SeqCst);
        }),
        readmit: Arc::new(|_, _| Box::pin(async { Ok(Vec::new()) })),
        replayer: crate::replay::Replayer {
            store: store.clone(),
            targets: Arc::from(["log", "late"].map(|handler| crate::store::replay_run::Target {
                handler: Name::new(handler).expect("a name"),
                takes: Arc::new(|_, _| true),
                lane: None,
            })),
            worker: "admin".to_owned(),
            wake: Arc::default(),
        },
        replays: Arc::default(),
        cleanup: CleanupDoor {
            settings: CleanupSettings {
                schedule: "0 */5 * * * *".to_owned(),
                batch: 1000,
                pause: Duration::from_millis(50),
                max_run: Duration::from_secs(300),
                window: None,
            },
            retention: Retention { keys: DAY, bodies: DAY, dead: DAY, rejections: DAY },
            next_run: Arc::new(Some),
            run: Arc::new(|| {
                let swept = Swept { events: 3, bodies: 2, rejections: 1, idempotency_keys: 0 };
                Box::pin(async move { Ok(Cleaned::Ran { swept, complete: true }) })
            }),
        },
    }
}

impl Admin {
    async fn open() -> Self {
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
        let woken = Arc::new(AtomicUsize::new(0));
        let sources = Sources::new([github("github")]);
        let source = Arc::clone(sources.named("github").expect("a source"));
        let settings =
            AdminSettings { listen: ([127, 0, 0, 1], 0).into(), token: None, hosts: Vec::new() };
        let listener = serve_admin(&settings, state(&store, sources, &woken)).expect("a listener");
        let (address, stopper) = (listener.address(), listener.stopper());
        tokio::spawn(listener.run());
        Self { address, stopper, store, source, woken, _folder: folder }
    }

    fn received(&self, id: &str) -> Received {
        let mut headers = Headers::new();
        headers.push("x-github-delivery", id.as_bytes());
        headers.push("x-github-event", "push");
        headers.push("x-raw", Bytes::from_static(b"\xfe"));
        let now = Utc::now();
        let unsigned = Received {
            method: "POST".to_owned(),
            target: "/in/github".to_owned(),
            headers,
            body: Bytes::from_static(BODY),
            peer: None,
            arrived_at: now,
        };
        self.source.sign(unsigned, now, 0).expect("a signature")
    }

    /// Records an event with a delivery for `log`; returns our id.
    async fn record(&self, id: &str) -> String {
        let admitted = self.source.admit(self.received(id), Utc::now()).expect("admitted");
        let Admitted::Event(verified) = admitted else { panic!("a handshake") };
        let new = NewEvent {
            id: uuid::Uuid::now_v7(),
            verified,
            deliveries: vec![NewDelivery::pending(Name::new("log").expect("a name"))],
            keys: DAY,
            bodies: DAY,
        };
        match self.store.record_batch(vec![new]).await.pop().expect("an answer").expect("a row") {
            recorded @ (Recorded::Fresh { .. } | Recorded::Duplicate { .. }) => {
                recorded.event().to_string()
            }
            Recorded::Replay { of } => panic!("a replay of {of}"),
        }
    }

    async fn raw(&self, method: &str, path: &str, body: &str) -> (u16, String, Vec<u8>) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len(),
        );
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("a write");
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        read.expect("an answer in time").expect("an answer");
        let at = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&answer[..at]).into_owned();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (status, head, answer.split_off(at + 4))
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, _, body) = self.raw(method, path, body).await;
        (status, serde_json::from_slice(&body).expect("json"))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask("GET", path, "").await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    async fn close(self) {
        self.stopper.stop(true).await;
        self.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_found_by_our_id_and_by_the_providers() {
    let admin = Admin::open().await;
    let event = admin.record("a/b c").await;
    let list = admin.get("/api/v1/events?source=github&type=pu*&state=pending&since=1h").await;
    assert_eq!(list["items"][0]["id"], json!(event));
    assert_eq!(list["items"][0]["deliveries"][0]["handler"], "log");
    assert_eq!(list["next_cursor"], Value::Null);
    assert_eq!(admin.get("/api/v1/events?source=other").await["items"], json!([]));
    for id in [event.as_str(), "a%2Fb%20c"] {
        let full = admin.get(&format!("/api/v1/events/{id}")).await;
        assert_eq!((&full["event_id"], &full["size"]), (&json!("a/b c"), &json!(BODY.len())));
        assert_eq!(full["deliveries"][0]["tries"], json!([]));
        let headers = full["headers"].as_array().expect("headers");
        assert!(headers.contains(&json!(["x-raw", "\u{fffd}"])), "{headers:?}");
    }
    let (status, head, body) = admin.raw("GET", &format!("/api/v1/events/{event}/body"), "").await;
    assert_eq!((status, body.as_slice()), (200, BODY));
    for header in
        ["content-type: application/octet-stream", "content-disposition: attachment", "nosniff"]
    {
        assert!(head.contains(header), "{header} in {head}");
    }
    admin.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_does_to_deliveries_says_what_it_did() {
    let admin = Admin::open().await;
    let event = admin.record("one").await;
    let list = admin.get("/api/v1/deliveries?handler=log").await;
    let delivery = list["items"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(admin.get(&format!("/api/v1/deliveries/{delivery}")).await["event"], json!(event));
    let act = async |verb: &str| {
        admin.ask("POST", &format!("/api/v1/deliveries/{delivery}/{verb}"), "").await
    };
    assert_eq!(act("discard").await.1["state"], "pending", "only a dead one can be discarded");
    assert_eq!(act("retry").await.1["action"], "reopened");
    assert_eq!(act("cancel").await.1["action"], "cancelled");
    assert_eq!(act("cancel").await.1["action"], "skipped");
    let replay = format!("/api/v1/events/{event}/replay");
    let (status, late) = admin.ask("POST", &replay, r#"{"to_handler":"late"}"#).await;
    assert_eq!((status, &late["items"][0]["action"]), (200, &json!("new")), "{late}");
    let (status, again) = admin.ask("POST", &replay, r#"{"again":true}"#).await;
    assert_eq!((status, again["items"].as_array().map(Vec::len)), (200, Some(2)), "{again}");
    let (status, refused) = admin.ask("POST", &replay, r#"{"to_handler":"nobody"}"#).await;
    assert_eq!((status, &refused["code"]), (400, &json!("bad_request")));
    assert_eq!(admin.woken.load(Ordering::SeqCst), 3, "a retry and two replays");
    admin.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejections_are_listed_without_and_shown_with_their_bytes() {
    let admin = Admin::open().await;
    let rejection = NewRejection {
        source: Name::new("github").expect("a name"),
        code: "signature_mismatch",
        detail: "no secret makes this signature".to_owned(),
        received: admin.received("one"),
    };
    admin.store.keep_rejections(vec![rejection]).await.expect("kept");
    let list = admin.get("/api/v1/rejections?code=signature_mismatch").await;
    let item = &list["items"][0];
    assert_eq!((&item["size"], item.get("body")), (&json!(BODY.len()), None));
    let id = item["id"].as_str().expect("an id");
    let full = admin.get(&format!("/api/v1/rejections/{id}")).await;
    assert!(full["body"].as_str().expect("a body").contains("<script>"));
    let (status, done) =
        admin.ask("POST", "/api/v1/rejections/readmit", r#"{"since":"2h","dry_run":true}"#).await;
    assert_eq!((status, &done["items"]), (200, &json!([])));
    admin.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cleanup_shows_its_policy_and_runs_on_demand() {
    let admin = Admin::open().await;
    let shown = admin.get("/api/v1/cleanup").await;
    assert_eq!((&shown["policy"]["keys"], &shown["runs"]), (&json!("1day"), &json!([])));
    assert!(shown["next_run"].is_string());
    let (_, dry) = admin.ask("POST", "/api/v1/cleanup", r#"{"dry_run":true}"#).await;
    assert_eq!((&dry["dry_run"], &dry["swept"]["events"]), (&json!(true), &json!(0)));
    let (_, ran) = admin.ask("POST", "/api/v1/cleanup", "").await;
    assert_eq!((&ran["dry_run"], &ran["swept"]["events"]), (&json!(false), &json!(3)));
    let sources = admin.get("/api/v1/sources").await;
    assert_eq!(sources["items"][0]["path"], "/in/github");
    assert_eq!(sources["items"][0]["integrity"], "full");
    assert_eq!(admin.get("/api/v1/handlers").await["items"][1]["name"], "late");
    let (status, head, text) = admin.raw("GET", "/metrics", "").await;
    assert!(status == 200 && head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(String::from_utf8_lossy(&text).contains("hookonce_build_info"));
    admin.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_refused_by_name() {
    let admin = Admin::open().await;
    let id = uuid::Uuid::nil();
    for (method, path, body, status, code) in [
        ("GET", "/api/v1/events?sorce=x", "", 400, "bad_request"),
        ("GET", "/api/v1/events?cursor=garbage", "", 400, "bad_request"),
        ("GET", "/api/v1/events/none", "", 404, "not_found"),
        ("GET", "/api/v1/events/none?x=1", "", 400, "bad_request"),
        ("GET", &format!("/api/v1/deliveries/{id}"), "", 404, "not_found"),
        ("POST", &format!("/api/v1/deliveries/{id}/retry"), "", 404, "not_found"),
        ("POST", "/api/v1/deliveries/x/cancel", "", 404, "not_found"),
        ("GET", "/api/v1/rejections/x", "", 404, "not_found"),
        ("POST", "/api/v1/cleanup", r#"{"dryrun":true}"#, 400, "bad_request"),
        ("POST", "/api/v1/cleanup", "{", 400, "bad_request"),
        ("DELETE", "/api/v1/cleanup", "", 405, "method_not_allowed"),
        ("GET", "/api/v1/events/none/replay", "", 405, "method_not_allowed"),
        ("GET", "/api/v2/events", "", 404, "not_found"),
        ("GET", "/", "", 404, "not_found"),
    ] {
        let (got, problem) = admin.ask(method, path, body).await;
        assert_eq!((got, &problem["code"]), (status, &json!(code)), "{method} {path}: {problem}");
    }
    admin.close().await;
}

#[tokio::test]
async fn without_a_token_only_loopback_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&StoreSettings {
        url: format!("sqlite://{}", folder.path().join("hookonce.db").display()),
        migrate: Migrate::Auto,
        connections: 1,
        statement_timeout: PATIENCE,
        partition_bodies: false,
    })
    .await
    .expect("a store");
    let settings =
        AdminSettings { listen: ([0, 0, 0, 0], 0).into(), token: None, hosts: Vec::new() };
    let refused = serve_admin(&settings, state(&store, Sources::default(), &Arc::default()));
    assert!(refused.err().expect("a refusal").to_string().contains("admin.token"));
    store.close().await;
}
