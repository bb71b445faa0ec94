//! Challenges of providers, request and answer: status line, every header but the date, body, and that
//! nothing is recorded. A preset whose handshakes aren't all asked here fails.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use hookonce::source::catalog;

use super::events;
use crate::both_databases;
use crate::support::raw::{RawAnswer, RawRequest};
use crate::support::sender::hmac;
use crate::support::{Daemon, DaemonPlan, TestDatabase};

mod deeds;
mod posted;

const SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// A source by a preset: its name, the preset, its secret (its own when empty), further lines.
type Row = (&'static str, &'static str, &'static str, &'static str);

/// Which sources were asked as their providers ask, once a question.
type Asked = Vec<&'static str>;

/// How many handshakes a preset has.
fn handshakes_of(slug: &str) -> usize {
    let preset = catalog::get(slug).unwrap_or_else(|| panic!("{slug} is no preset"));
    preset.source.handshake.as_ref().map_or(0, |all| all.len())
}

/// Checks that each of these sources was asked everything that its provider may ask.
#[track_caller]
fn assert_all_asked<'a>(rows: impl IntoIterator<Item = &'a Row>, asked: &Asked) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in asked {
        *counts.entry(name).or_default() += 1;
    }
    for (name, slug, ..) in rows {
        let count = counts.get(name).copied().unwrap_or_default();
        assert_eq!(count, handshakes_of(slug), "{name}: questions that were asked");
    }
}

#[test]
fn every_preset_with_a_handshake_has_a_row() {
    let rows = GETS.iter().chain(&posted::POSTS).chain(&posted::DISCORD).chain(&deeds::ROWS);
    let asked: BTreeSet<&str> = rows.map(|(_, slug, ..)| *slug).collect();
    let missing: Vec<&str> =
        catalog::slugs().filter(|slug| handshakes_of(slug) > 0 && !asked.contains(slug)).collect();
    assert!(missing.is_empty(), "no test asks the daemon as these do: {missing:?}");
}

/// The secret of a source: no two share one.
fn key(name: &str) -> String {
    format!("{SECRET}-{name}")
}

/// Sources by presets.
fn sources<'a>(
    db: &TestDatabase,
    all: impl IntoIterator<Item = &'a (&'a str, &'a str, &'a str, &'a str)>,
) -> DaemonPlan {
    let plan = DaemonPlan::on(db).server("public_url = \"https://hooks.example.com\"");
    all.into_iter().fold(plan, |plan, (name, provider, secret, lines)| {
        let own = key(name);
        let secret = if secret.is_empty() { &own } else { *secret };
        plan.toml(&format!(
            "[sources.{name}]\nprovider = \"{provider}\"\nsecrets = [{{ value = {secret:?} }}]\n{lines}"
        ))
    })
}

/// What must come back, to the last byte but the date.
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
fn check(asked: &mut Asked, name: &'static str, answer: &RawAnswer, want: &Want<'_>) {
    asked.push(name);
    assert_eq!(answer.head.line.trim_end(), want.line, "{name}: {answer:?}");
    let length = want.body.len().to_string();
    // A 204 ends with its head and says no length.
    let length = (answer.status != 204).then_some(("content-length", length.as_str()));
    let kind = want.kind.map(|kind| ("content-type", kind));
    let always = [("connection", "close"), ("x-content-type-options", "nosniff")];
    let mut wanted: Vec<_> =
        always.into_iter().chain(length).chain(kind).chain(want.headers.iter().copied()).collect();
    let mut headers: Vec<_> = answer
        .head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| *name != "date")
        .collect();
    wanted.sort_unstable();
    headers.sort_unstable();
    assert_eq!(headers, wanted, "{name}");
    assert_eq!(String::from_utf8_lossy(&answer.body), want.body, "{name}");
}

const GETS: [Row; 11] = [
    ("meta", "meta", "", "params = { verify_token = \"meatyhamhock\" }"),
    ("whatsapp", "whatsapp", "", "params = { verify_token = \"another+token of 100%\" }"),
    (
        "websub",
        "websub-youtube",
        "",
        "params = { topic = \"https://www.youtube.com/xml/feeds/videos.xml?channel_id=C\" }",
    ),
    ("dropbox", "dropbox", "", ""),
    ("x", "x-twitter", "consumer-secret-of-x", ""),
    ("okta", "okta", "", ""),
    ("braintree", "braintree", "public-key:private-key-of-merchant", ""),
    ("fastly", "fastly-logging", "", "params = { service_id = \"abc\" }"),
    ("trello", "trello", "", ""),
    ("cloudevents", "cloudevents-webhook", "", ""),
    ("mailchimp", "mailchimp-marketing", "a-token-of-mailchimp", ""),
];

async fn got(daemon: &Daemon, method: &str, target: &str, headers: &[(&str, &str)]) -> RawAnswer {
    let request = headers.iter().fold(
        RawRequest::new(method, target).header("connection", "close"),
        |request, (name, value)| request.header(name, value),
    );
    request.send(daemon.public()).await
}

both_databases!(a_challenge_without_a_body_is_answered_as_its_provider_wants, |db| async move {
    let daemon = sources(&db, &GETS).start().await;
    let mut asked = Asked::new();
    let meta = "/in/meta?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=";
    let whatsapp = "/in/whatsapp?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=";
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
        (
            "whatsapp",
            "GET",
            format!("{whatsapp}another%2Btoken+of%20100%25"),
            &[],
            Want { body: "1158201444", ..OK },
        ),
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
        ("mailchimp", "GET", "/in/mailchimp?token=a-token-of-mailchimp".to_owned(), &[], EMPTY),
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
        (
            "cloudevents",
            "OPTIONS",
            "/in/cloudevents".to_owned(),
            &[
                ("webhook-request-origin", "eventemitter.example.com"),
                ("webhook-request-rate", "120"),
            ],
            Want {
                headers: &[
                    ("webhook-allowed-origin", "eventemitter.example.com"),
                    ("webhook-allowed-rate", "120"),
                ],
                ..EMPTY
            },
        ),
    ];
    for (name, method, target, headers, want) in cases {
        check(&mut asked, name, &got(&daemon, method, &target, headers).await, &want);
    }
    assert_all_asked(&GETS, &asked);
    // The same methods without a challenge, and challenges that don't show what they must.
    for (method, target, headers, status, code) in [
        ("GET", "/in/meta".to_owned(), &[][..], 405, "method_not_allowed"),
        ("GET", format!("{meta}wrong"), &[], 403, "handshake_refused"),
        ("GET", format!("{whatsapp}another+token+of+100%25"), &[], 403, "handshake_refused"),
        ("GET", format!("{whatsapp}meatyhamhock"), &[], 403, "handshake_refused"),
        ("GET", "/in/whatsapp".to_owned(), &[], 405, "method_not_allowed"),
        ("GET", format!("{websub}D"), &[], 404, "handshake_refused"),
        ("GET", "/in/trello".to_owned(), &[], 405, "method_not_allowed"),
        ("OPTIONS", "/in/cloudevents".to_owned(), &[], 405, "method_not_allowed"),
        ("GET", "/in/okta".to_owned(), &okta[..1], 401, "signature_missing"),
        ("GET", "/in/okta".to_owned(), &[], 405, "method_not_allowed"),
        ("GET", "/in/mailchimp?token=another".to_owned(), &[], 401, "signature_mismatch"),
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
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(events(&db).await, 0);
});
