//! Challenges of providers, request and answer: status line, headers that matter, body, and that
//! nothing is recorded.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{events, now};
use crate::both_databases;
use crate::support::raw::{RawAnswer, RawRequest};
use crate::support::sender::hmac;
use crate::support::{Daemon, DaemonPlan, TestDatabase};

mod posts;

const SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// The secret of a source: no two share one.
fn key(name: &str) -> String {
    format!("{SECRET}-{name}")
}

/// A source with one secret and these lines.
fn source(plan: DaemonPlan, name: &str, secret: &str, lines: &str) -> DaemonPlan {
    let own = key(name);
    let secret = if secret == SECRET { &own } else { secret };
    plan.toml(&format!("[sources.{name}]\nsecrets = [{{ value = {secret:?} }}]\n{lines}"))
}

fn sha256(header: &str) -> String {
    format!(
        "verify = {{ hmac = \"sha256\", signature = {{ from = \"header:{header}\", encoding = \"hex\" }}, content = \"{{body}}\" }}\nevent = {{ id = \"none\" }}\n"
    )
}

fn token(place: &str) -> String {
    format!("verify = {{ token = \"{place}\" }}\nevent = {{ id = \"none\" }}\n")
}

/// What must come back.
struct Want<'a> {
    line: &'a str,
    kind: Option<&'a str>,
    headers: &'a [(&'a str, &'a str)],
    body: &'a str,
}

const OK: Want<'static> =
    Want { line: "HTTP/1.1 200 OK", kind: Some("text/plain"), headers: &[], body: "" };
const EMPTY: Want<'static> = Want { kind: None, ..OK };
const JSON: Want<'static> = Want { kind: Some("application/json"), ..OK };

#[track_caller]
fn check(name: &str, answer: &RawAnswer, want: &Want<'_>) {
    assert_eq!(answer.head.line.trim_end(), want.line, "{name}: {answer:?}");
    assert_eq!(answer.head.header("content-type"), want.kind, "{name}: {answer:?}");
    assert_eq!(String::from_utf8_lossy(&answer.body), want.body, "{name}");
    assert_eq!(answer.head.header("x-content-type-options"), Some("nosniff"), "{name}");
    assert_eq!(answer.head.header("set-cookie"), None, "{name}");
    for (header, value) in want.headers {
        assert_eq!(answer.head.header(header), Some(*value), "{name}: {answer:?}");
    }
}

fn gets(db: &TestDatabase) -> DaemonPlan {
    let plan = DaemonPlan::on(db);
    let plan = source(
        plan,
        "meta",
        SECRET,
        &format!(
            "params = {{ verify_token = \"meatyhamhock\" }}\n{}handshake = [{{ match = {{ method = \"GET\", query = {{ \"hub.mode\" = \"subscribe\", \"hub.challenge\" = \"*\" }} }}, signed = false, check = {{ \"query:hub.verify_token\" = \"{{param:verify_token}}\" }}, reply = {{ body = \"{{query.hub.challenge}}\" }} }}]\n",
            sha256("x-hub-signature-256")
        ),
    );
    let plan = source(
        plan,
        "websub",
        SECRET,
        &format!(
            "params = {{ topic = \"https://www.youtube.com/xml/feeds/videos.xml?channel_id=C\" }}\n{}handshake = [{{ match = {{ method = \"GET\", query = {{ \"hub.mode\" = \"*\", \"hub.challenge\" = \"*\" }} }}, signed = false, check = {{ \"query:hub.topic\" = \"{{param:topic}}\" }}, refuse = 404, reply = {{ body = \"{{query.hub.challenge}}\" }} }}]\n",
            sha256("x-hub-signature")
        ),
    );
    let plan = source(
        plan,
        "dropbox",
        SECRET,
        &format!(
            "{}handshake = [{{ match = {{ method = \"GET\", query = {{ challenge = \"*\" }} }}, signed = false, reply = {{ body = \"{{query.challenge}}\" }} }}]\n",
            sha256("x-dropbox-signature")
        ),
    );
    let plan = source(
        plan,
        "x",
        "consumer-secret-of-x",
        &format!(
            "{}handshake = [{{ match = {{ method = \"GET\", query = {{ crc_token = \"*\" }} }}, signed = false, reply = {{ content_type = \"application/json\", body = '{{{{\"response_token\":\"sha256={{hmac:sha256:base64:query.crc_token}}\"}}}}' }} }}]\n",
            sha256("x-twitter-webhooks-signature")
        ),
    );
    let plan = source(
        plan,
        "okta",
        SECRET,
        &format!(
            "{}handshake = [{{ match = {{ method = \"GET\", header = {{ x-okta-verification-challenge = \"*\" }} }}, reply = {{ content_type = \"application/json\", body = '{{{{\"verification\":{{json:header.x-okta-verification-challenge}}}}}}' }} }}]\n",
            token("header:authorization")
        ),
    );
    let plan = source(
        plan,
        "braintree",
        "public-key:private-key-of-merchant",
        "verify = { hmac = \"sha1\", key = { decode = \"sha1_of\", by_id = \"sig\" }, signature = { from = \"form:bt_signature\", encoding = \"hex\", grammar = { keyed = { sep = \"&\", by = \"|\" } } }, content = \"{form:bt_payload}\" }\nevent = { id = \"sha256(body)\" }\nhandshake = [{ match = { method = \"GET\", query = { bt_challenge = \"*hex{20,32}\" } }, signed = false, reply = { body = \"{key_id}|{hmac:sha1:hex:query.bt_challenge}\" } }]\n",
    );
    let plan = source(
        plan,
        "fastly",
        SECRET,
        &format!(
            "params = {{ service = \"abc\" }}\n{}handshake = [{{ match = {{ method = \"GET\", path = \"/.well-known/fastly/logging/challenge\" }}, signed = false, reply = {{ body = \"{{sha256:hex:param.service}}\\n\" }} }}]\n",
            token("header:authorization")
        ),
    );
    let plan = source(
        plan,
        "trello",
        SECRET,
        &format!(
            "{}handshake = [{{ match = {{ method = \"HEAD\" }}, signed = false, reply = {{}} }}]\n",
            sha256("x-trello-webhook")
        ),
    );
    source(
        plan,
        "cloudevents",
        SECRET,
        &format!(
            "{}handshake = [{{ match = {{ method = \"OPTIONS\", header = {{ webhook-request-origin = \"*\" }} }}, signed = false, reply = {{ headers = {{ webhook-allowed-origin = \"{{header.webhook-request-origin}}\", webhook-allowed-rate = \"*\" }} }} }}]\n",
            token("header:authorization")
        ),
    )
}

async fn got(daemon: &Daemon, method: &str, target: &str, headers: &[(&str, &str)]) -> RawAnswer {
    let request = headers.iter().fold(
        RawRequest::new(method, target).header("connection", "close"),
        |request, (name, value)| request.header(name, value),
    );
    request.send(daemon.public()).await
}

both_databases!(a_challenge_without_a_body_is_answered_as_its_provider_wants, |db| async move {
    let daemon = gets(&db).start().await;
    let meta = "/in/meta?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=";
    let websub = "/in/websub?hub.mode=subscribe&hub.challenge=14205081840183&hub.lease_seconds=432000&hub.topic=https%3A%2F%2Fwww.youtube.com%2Fxml%2Ffeeds%2Fvideos.xml%3Fchannel_id%3D";
    let crc = BASE64_STANDARD.encode(hmac(b"consumer-secret-of-x", &[b"challenge_string"]));
    let crc = format!("{{\"response_token\":\"sha256={crc}\"}}");
    let okta_key = key("okta");
    let okta = [
        ("x-okta-verification-challenge", "my \"verification\" challenge"),
        ("authorization", okta_key.as_str()),
    ];
    let cases = [
        ("meta", "GET", format!("{meta}meatyhamhock"), &[][..], Want { body: "1158201444", ..OK }),
        ("websub", "GET", format!("{websub}C"), &[], Want { body: "14205081840183", ..OK }),
        (
            "dropbox",
            "GET",
            "/in/dropbox?challenge=abc123".to_owned(),
            &[],
            Want { body: "abc123", ..OK },
        ),
        (
            "x",
            "GET",
            "/in/x?crc_token=challenge_string".to_owned(),
            &[],
            Want { body: &crc, ..JSON },
        ),
        (
            "okta",
            "GET",
            "/in/okta".to_owned(),
            &okta,
            Want { body: r#"{"verification":"my \"verification\" challenge"}"#, ..JSON },
        ),
        // Computed with Python 3: hmac.new(sha1(b"private-key-of-merchant").digest(), …, "sha1").
        (
            "braintree",
            "GET",
            "/in/braintree?bt_challenge=0123456789abcdef0123".to_owned(),
            &[],
            Want { body: "public-key|e439cd5b6a475079329a09733336750e0be23d86", ..OK },
        ),
        (
            "fastly",
            "GET",
            "/.well-known/fastly/logging/challenge".to_owned(),
            &[],
            Want {
                body: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n",
                ..OK
            },
        ),
        ("trello", "HEAD", "/in/trello?tenant=1".to_owned(), &[], EMPTY),
        (
            "cloudevents",
            "OPTIONS",
            "/in/cloudevents".to_owned(),
            &[("webhook-request-origin", "eventemitter.example.com")],
            Want {
                headers: &[
                    ("webhook-allowed-origin", "eventemitter.example.com"),
                    ("webhook-allowed-rate", "*"),
                ],
                ..EMPTY
            },
        ),
    ];
    for (name, method, target, headers, want) in cases {
        check(name, &got(&daemon, method, &target, headers).await, &want);
    }
    // The same methods without a challenge, and challenges that don't show what they must.
    for (method, target, headers, status, code) in [
        ("GET", "/in/meta".to_owned(), &[][..], 405, "method_not_allowed"),
        ("GET", format!("{meta}wrong"), &[], 403, "handshake_refused"),
        ("GET", format!("{websub}D"), &[], 404, "handshake_refused"),
        ("GET", "/in/trello".to_owned(), &[], 405, "method_not_allowed"),
        ("OPTIONS", "/in/cloudevents".to_owned(), &[], 405, "method_not_allowed"),
        ("GET", "/in/okta".to_owned(), &okta[..1], 401, "signature_missing"),
        ("GET", "/in/okta".to_owned(), &[], 405, "method_not_allowed"),
        (
            "GET",
            "/in/braintree?bt_challenge=PG5vdGlmaWNhdGlvbi8%2B".to_owned(),
            &[],
            405,
            "method_not_allowed",
        ),
        ("GET", "/in/x?crc_token=%7B%22forged%22%3A1%7D".to_owned(), &[], 400, "body_malformed"),
        ("GET", "/in/dropbox?challenge=a%0D%0Ab".to_owned(), &[], 400, "body_malformed"),
        ("GET", "/.well-known/fastly".to_owned(), &[], 404, "unknown_source"),
        ("PUT", "/.well-known/fastly/logging/challenge".to_owned(), &[], 405, "method_not_allowed"),
    ] {
        let answer = got(&daemon, method, &target, headers).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {target}");
        if status == 405 {
            let allow = if target.starts_with("/.well") { "GET" } else { "POST" };
            assert_eq!(answer.head.header("allow"), Some(allow), "{method} {target}");
        }
    }
    let head = got(&daemon, "HEAD", "/in/meta", &[]).await;
    assert_eq!((head.status, head.body.len()), (405, 0));
    assert_eq!(events(&db).await, 0);
});
