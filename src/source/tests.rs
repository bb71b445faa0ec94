//! What compiling refuses, and what admitting decides beyond the vectors.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::vectors::{at, code};
use super::*;
use crate::received::Headers;

mod kept;
mod once;

pub(super) const KEY: &str = "a-key-of-more-than-sixteen-bytes";
pub(super) const NOW: i64 = 1_767_225_600;

/// Settings of a source with this spec.
pub(super) fn settings(spec: spec::SourceSpec, secrets: &[&str]) -> SourceSettings {
    SourceSettings {
        secrets: secrets.iter().map(|text| Secret::new((*text).to_owned())).collect(),
        max_body: 1 << 20,
        ..SourceSettings::new(Name::new("partner").expect("a name"), spec)
    }
}

pub(super) fn spec(text: &str) -> spec::SourceSpec {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(super) fn faults(text: &str, secrets: &[&str]) -> Vec<String> {
    match Source::compile(settings(spec(text), secrets)) {
        Ok(_) => panic!("accepted: {text}"),
        Err(faults) => faults,
    }
}

pub(super) fn source(text: &str, secrets: &[&str]) -> Source {
    Source::compile(settings(spec(text), secrets)).unwrap_or_else(|f| panic!("{text}: {f:?}"))
}

pub(super) fn request(headers: &[(&str, &str)], body: &[u8]) -> Received {
    let mut lines = Headers::new();
    for (name, value) in headers {
        lines.push(name, Bytes::copy_from_slice(value.as_bytes()));
    }
    Received {
        method: "POST".to_owned(),
        target: "/in/partner".to_owned(),
        headers: lines,
        body: Bytes::copy_from_slice(body),
        peer: None,
        arrived_at: at(NOW),
    }
}

fn event(source: &Source, request: Received) -> Verified {
    match source.admit(request, at(NOW)) {
        Ok(Admitted::Event(verified)) => verified,
        Ok(other) => panic!("not one event: {other:?}"),
        Err(refused) => panic!("refused: {}", refused.rejection),
    }
}

const PARTNER: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-partner-signature", encoding = "base64" }, content = "{header:x-partner-time}.{body}", timestamp = { from = "header:x-partner-time", unit = "s" } }
event  = { id = "header:x-partner-id", type = "body:/kind" }
"#;

/// A secret that is refused is not said to be unused besides.
#[test]
fn a_weak_secret_is_one_fault() {
    for secrets in [&["short"][..], &[KEY, "changeme"]] {
        let found = faults(PARTNER, secrets);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

#[test]
fn the_contracts_example_works_as_it_stands() {
    let partner = source(PARTNER, &[KEY]);
    let unsigned = request(&[("x-partner-id", "p1")], br#"{"kind":"order.paid"}"#);
    let signed = partner.sign(unsigned, at(NOW), 0).expect("signed");
    let verified = event(&partner, signed.clone());
    assert_eq!(verified.identity().event_id, "p1");
    assert_eq!(verified.identity().kind, "order.paid");
    assert_eq!(code(&partner, &signed, NOW + 300), Ok(()));
    assert_eq!(code(&partner, &signed, NOW + 301), Err(Code::TimestampStale));
    assert_eq!(code(&partner, &signed, NOW - 61), Err(Code::TimestampFuture));
    // A type never makes a request fail: this event has its id, whatever its body is.
    let text = request(&[("x-partner-id", "p2")], b"not JSON");
    let verified = event(&partner, partner.sign(text, at(NOW), 0).expect("signed"));
    assert_eq!(verified.identity().kind, "");
}

#[test]
fn every_fault_is_told_with_its_path() {
    let text = r#"
        verify = { hmac = "sha256", key = { decode = "pem" }, signature = { from = "cookie:x", grammar = { list = { sep = "" } } }, content = "{bodi}", timestamp = { from = "nowhere" }, each = "/x" }
        event = { id = ["nowhere", "body:id"], format = "yaml", split = "/x" }
        reply = { ok = { status = 500 }, overload = 429 }
        methods = ["post"]
        conflict_ignore = ["x"]
        handshake = [{ match = {}, reply = { body = "{query}" } }]
    "#;
    let found = faults(text, &[KEY]);
    for path in [
        "verify.each: ",
        "verify.key.decode: ",
        "verify.content: ",
        "verify.signature.from: ",
        "verify.signature.grammar.list.sep: ",
        "event.split: ",
        "event.format: ",
        "conflict_ignore: ",
        "reply.ok.status: ",
        "reply.overload: ",
        "methods: ",
        "handshake[0].match: ",
        "handshake[0].reply.body: ",
    ] {
        assert!(found.iter().any(|fault| fault.starts_with(path)), "{path} in {found:#?}");
    }
    assert_eq!(found.iter().filter(|fault| fault.starts_with("event.id: ")).count(), 2);
}

#[test]
fn what_would_be_accepted_and_inert_is_a_fault() {
    let event = "event = { id = \"sha256(body)\" }\n";
    let hmac = |rest: &str| {
        format!(
            "{event}verify = {{ hmac = \"sha256\", signature = {{ from = \"header:s\" }}{rest} }}"
        )
    };
    let any =
        |rest: &str| format!("{event}verify = {{ any = [{{ token = \"header:x\" }}{rest}] }}");
    for (text, secrets, wanted) in [
        (
            format!("{event}verify = {{ jwt = {{ algs = [\"ES256\"] }} }}"),
            &[KEY][..],
            "secrets[0]: is not a public key in PEM",
        ),
        (
            format!("{event}verify = {{ ed25519 = true, signature = {{ from = \"header:s\" }} }}"),
            &[KEY][..],
            "secrets[0]: is not a public key in PEM",
        ),
        (
            format!(
                "{event}verify = {{ digest = \"sha1\", signature = {{ from = \"header:s\" }} }}"
            ),
            &[KEY][..],
            "put {secret} into it",
        ),
        (hmac(", content = \"{secret}{body}\""), &[KEY][..], "{secret} stands in the content of"),
        (
            hmac(", key = { by_id = \"header:k\" }"),
            &["0123456789abcdef"][..],
            "write it as \"id:key\"",
        ),
        (hmac(", key = { by_id = \"sig\" }"), &["a:0123456789abcdef"][..], "needs the grammar"),
        (hmac(", content = \"{param:a}{body}\""), &[KEY][..], "needs `params.a`"),
        (hmac(", body_digest = { from = \"query:d\" }"), &[KEY][..], "it proves nothing"),
        (
            format!("{event}verify = {{ hmac = \"sha256\", token = \"header:x\" }}"),
            &[KEY][..],
            "different schemes",
        ),
        (format!("{event}verify = {{}}"), &[KEY][..], "names no scheme"),
        (event.to_owned(), &[KEY][..], "verify: is missing"),
        ("verify = \"none\"".to_owned(), &[][..], "event: is missing"),
        (format!("{event}verify = \"none\""), &[KEY][..], "uses no secret"),
        (
            format!("{event}verify = {{ token = \"header:x\", content = \"{{body}}\" }}"),
            &[KEY][..],
            "has no meaning for this scheme",
        ),
        (hmac(", timestamp = { from = \"header:t\" }"), &[KEY][..], "would prove nothing"),
        (hmac(", content = \"{ts}.{body}\""), &[KEY][..], "verify.timestamp: is missing"),
        (hmac(", content = \"{id}.{body}\""), &[KEY][..], "{id} needs `id`"),
        (hmac(", id = \"header:i\""), &[KEY][..], "is not in the signed content"),
        (hmac(""), &[][..], "secrets: at least one is needed"),
        (hmac(""), &["short"][..], "secrets[0]: is a key of 5 bytes"),
        (hmac(""), &[KEY, "changeme"][..], "secrets[1]: is a placeholder"),
        (hmac(", key = { decode = \"hex\" }"), &[KEY][..], "secrets[0]: is not hex"),
        (hmac(", key = { decode = \"whsec\" }"), &["whsec_AAAA"][..], "is a key of 3 bytes"),
        (hmac(", key = { secrets = [0] }"), &[KEY, KEY][..], "secrets[1]: is used by no part"),
        (hmac(", key = { secrets = [1] }"), &[KEY][..], "no secret number 1"),
        (hmac(", content = \"{url}{body}\""), &[KEY][..], "public_url"),
        (any(", { none = true }"), &[KEY][..], "would accept everything"),
        (any(""), &[KEY][..], "at least two"),
        ("verify = \"none\"\nevent = { id = \"signed\" }".to_owned(), &[][..], "verify.id"),
        (
            "verify = \"none\"\nevent = { id = [\"none\", \"header:x\"] }".to_owned(),
            &[][..],
            "nothing after it",
        ),
        (
            "verify = \"none\"\nevent = { id = \"body:/id\", format = \"raw\" }".to_owned(),
            &[][..],
            "needs `json`",
        ),
        (
            format!("{event}verify = {{ hmac = \"sha256\", signature = {{ from = \"form:s\" }} }}"),
            &[KEY][..],
            "can't sign itself",
        ),
    ] {
        let found = faults(&text, secrets);
        assert!(found.iter().any(|fault| fault.contains(wanted)), "{wanted} in {found:#?}");
    }
    let strict = SourceSettings {
        tolerance: Some(Duration::from_secs(1)),
        ..settings(spec(&hmac("")), &[KEY])
    };
    let found = Source::compile(strict).map(|_| ()).expect_err("no clock");
    assert!(found.iter().any(|fault| fault.starts_with("tolerance: has no effect")), "{found:?}");
}

#[test]
fn an_unknown_word_is_an_error() {
    for text in [
        "verify = { hmac = \"md5\" }",
        "verify = { hmax = \"sha256\" }",
        "verify = \"nothing\"",
        "event = { ids = \"x\" }",
        "verify = { hmac = \"sha256\", signature = { form = \"header:x\" } }",
    ] {
        assert!(toml::from_str::<spec::SourceSpec>(text).is_err(), "{text}");
    }
}

#[test]
fn a_spec_survives_being_written_and_read() {
    for preset in &catalog::on_disk() {
        let written = toml::to_string(&preset.source).expect("written");
        let read = spec(&written);
        assert_eq!(format!("{read:?}"), format!("{:?}", preset.source), "{}", preset.slug);
    }
    let schema = serde_json::to_string(&schemars::schema_for!(spec::SourceSpec)).expect("JSON");
    assert!(schema.contains("conflict_ignore") && !schema.contains("tenant"));
}

#[test]
fn an_operators_id_keeps_the_presets_type() {
    let preset = catalog::get("github").expect("a preset").source.clone();
    let over = spec("event = { id = \"sha256(body)\" }");
    let merged = preset.overlay(over).event.expect("an event");
    assert_eq!(merged.id, Some("sha256(body)".into()));
    assert_eq!(merged.kind, Some("header:x-github-event".into()));
}

#[test]
fn a_way_that_was_not_taken_gives_no_id() {
    let preset = catalog::get("svix").expect("a preset");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
    let svix = vectors::source_of(preset, std::slice::from_ref(&secret), None);
    let standard = catalog::get("standard-webhooks").expect("a preset");
    let other = vectors::source_of(standard, &[secret], None);
    let mut signed =
        other.sign(request(&[("webhook-id", "real")], b"{}"), at(NOW), 0).expect("signed");
    signed.headers.push("svix-id", "forged");
    assert_eq!(event(&svix, signed.clone()).identity().event_id, "real");
    // Some headers of each trio prove nothing.
    let mut mixed = request(&[("svix-id", "real")], b"{}");
    for name in ["webhook-timestamp", "webhook-signature"] {
        let value = signed.headers.one(name).expect("once").expect("there");
        mixed.headers.push(name, value);
    }
    assert!(code(&svix, &mixed, NOW).is_err());
}

#[test]
fn several_lines_of_a_signature_count_only_where_it_says_so() {
    let text = |lines: &str| {
        format!(
            "verify = {{ hmac = \"sha256\", signature = {{ from = \"header:s\", lines = \"{lines}\" }} }}\nevent = {{ id = \"sha256(body)\" }}"
        )
    };
    let all = source(&text("all"), &[KEY]);
    let one = source(&text("one"), &[KEY]);
    let mut twice = all.sign(request(&[], b"x"), at(NOW), 0).expect("signed");
    twice.headers.push("s", "00".repeat(32));
    assert_eq!(code(&all, &twice, NOW), Ok(()));
    assert_eq!(code(&one, &twice, NOW), Err(Code::SignatureMalformed));
    (0..15).for_each(|_| twice.headers.push("s", "00".repeat(32)));
    assert_eq!(code(&all, &twice, NOW), Err(Code::SignatureMalformed));
}

#[test]
fn a_refused_request_is_given_back() {
    let partner = source(PARTNER, &[KEY]);
    let refused = partner.admit(request(&[], b"kept"), at(NOW)).map(|_| ()).expect_err("unsigned");
    assert_eq!(refused.received.body.as_ref(), b"kept");
    assert_eq!(refused.rejection.code, Code::SignatureMissing);
}

#[test]
fn an_address_list_and_media_types_are_kept() {
    let text =
        "verify = \"none\"\nevent = { id = \"none\" }\ncontent_types = [\"application/json\"]";
    let limited = SourceSettings {
        allow_ips: vec!["203.0.113.0/24".parse().expect("a net")],
        ..settings(spec(text), &[])
    };
    let source = Source::compile(limited).expect("compiles");
    for (peer, wanted) in [
        (Some("203.0.113.7"), true),
        (Some("::ffff:203.0.113.7"), true),
        (Some("203.0.114.7"), false),
        (Some("::1"), false),
        (None, false),
    ] {
        let peer = peer.map(|text| text.parse::<IpAddr>().expect("an address"));
        assert_eq!(source.allows(peer), wanted, "{peer:?}");
    }
    assert!(source.allows_content_type(Some("Application/JSON; charset=utf-8")));
    assert!(!source.allows_content_type(Some("text/plain")));
    assert!(!source.allows_content_type(None));
    assert_eq!(code(&source, &request(&[], b""), NOW), Err(Code::ContentType));
    assert_eq!(source.methods("/in/partner"), ["POST"]);
}

/// The reader of the contract's whole example is the config's; here only that TOML's way of nesting
/// reaches the vocabulary.
#[test]
fn a_spec_may_stand_inside_of_other_tables() {
    #[derive(Deserialize)]
    struct File {
        sources: std::collections::BTreeMap<String, spec::SourceSpec>,
    }
    let text = format!("[sources.partner]\n{PARTNER}\n[sources.open]\nverify = \"none\"\n");
    let file: File = toml::from_str(&text).expect("TOML");
    assert_eq!(file.sources["open"].verify.as_ref().and_then(|v| v.none), Some(true));
    assert!(file.sources["partner"].event.is_some());
}

#[test]
fn values_of_a_form_that_are_no_text_are_no_id() {
    let form = source(
        "verify = { token = \"header:x-token\" }\nevent = { id = \"form:id\" }",
        &["s3cr3t-token"],
    );
    for (body, wanted) in [
        ("id=%FF", Err(Code::IdMissing)),
        ("id=a%C3", Err(Code::IdMissing)),
        ("id=%C3%A9", Ok(())),
        ("id=a&other=%FF", Ok(())),
    ] {
        let sent = request(&[("x-token", "s3cr3t-token")], body.as_bytes());
        let got = form.admit(sent, at(NOW)).map(|_| ()).map_err(|refused| refused.rejection.code);
        assert_eq!(got, wanted, "{body}");
    }
}
