use bytes::Bytes;

use super::*;
use crate::received::Headers;
use crate::source::tests::settings;
use crate::source::{Admitted, Source, SourceSettings, spec};
use crate::verify::Verified;

mod batch;

fn source(event: &str) -> Source {
    let spec: spec::SourceSpec =
        toml::from_str(&format!("verify = \"none\"\nevent = {event}")).expect("a spec");
    Source::compile(settings(spec, &[])).unwrap_or_else(|faults| panic!("{event}: {faults:?}"))
}

fn request(headers: &[(&str, &[u8])], body: &[u8]) -> Received {
    let mut lines = Headers::new();
    for (name, value) in headers {
        lines.push(name, Bytes::copy_from_slice(value));
    }
    Received {
        method: "POST".to_owned(),
        target: "/in/s?q=1&r=1&r=2".to_owned(),
        headers: lines,
        body: Bytes::copy_from_slice(body),
        peer: None,
        arrived_at: chrono::DateTime::UNIX_EPOCH,
    }
}

fn read(source: &Source, request: Received) -> Result<Verified, Rejection> {
    match source.admit(request, chrono::DateTime::UNIX_EPOCH) {
        Ok(Admitted::Event(verified)) => Ok(verified),
        Ok(other) => panic!("not one event: {other:?}"),
        Err(refused) => Err(refused.rejection),
    }
}

fn id(event: &str, body: &[u8]) -> Result<String, Code> {
    read(&source(event), request(&[], body))
        .map(|v| v.identity().event_id.clone())
        .map_err(|r| r.code)
}

/// A text that only begins like a multipart form isn't lost for it.
#[test]
fn a_body_that_is_no_form_goes_on_to_the_next_place() {
    let event = r#"{ format = ["form", "raw"], id = ["form:a", "sha256(body)"] }"#;
    for body in ["--a=1", "--b\r\nx", "a=%zz"] {
        let wanted = hash_id(&Bytes::from(body));
        assert_eq!(id(event, body.as_bytes()), Ok(wanted), "{body}");
    }
    assert_eq!(id(event, b"a=1").as_deref(), Ok("1"));
}

#[test]
fn an_id_in_the_body_is_text_or_number_as_it_stands() {
    let event = "{ id = \"body:/a/id\" }";
    for (body, wanted) in [
        (r#"{"a":{"id":"evt_1"}}"#, Ok("evt_1")),
        (r#"{"a":{"id":12345678901234567890}}"#, Ok("12345678901234567890")),
        (r#"{"a":{"id":1.0}}"#, Ok("1.0")),
        (r#"{"a":{"id":"\u00e9\ud83d\ude00"},"b":"\u0000\ud800"}"#, Ok("é😀")),
        (r#"{"a":{"id":""}}"#, Err(Code::IdMissing)),
        (r#"{"a":{"id":null}}"#, Err(Code::IdMissing)),
        (r#"{"a":{"id":true}}"#, Err(Code::IdMissing)),
        (r#"{"a":{"id":["x"]}}"#, Err(Code::IdMissing)),
        (r#"{"a":{"id":"a\u0000"}}"#, Err(Code::IdMissing)),
        (r#"{"a":{"id":"a\n"}}"#, Err(Code::IdMissing)),
        (r#"{"a":{"id":"\ud800"}}"#, Err(Code::IdMissing)),
        (r#"{"a":{}}"#, Err(Code::IdMissing)),
        (r#"[]"#, Err(Code::IdMissing)),
        (r#"{"a":{"id":"x"}"#, Err(Code::BodyMalformed)),
        (r#"{"a":{"id":"x"}} {}"#, Err(Code::BodyMalformed)),
        ("", Err(Code::BodyMalformed)),
    ] {
        assert_eq!(id(event, body.as_bytes()), wanted.map(str::to_owned), "{body}");
    }
    let body = |length: usize| format!(r#"{{"a":{{"id":"{}"}}}}"#, "x".repeat(length));
    assert!(id(event, body(512).as_bytes()).is_ok());
    assert_eq!(id(event, body(513).as_bytes()), Err(Code::IdMissing));
    assert_eq!(id(event, b"{\"a\":{\"id\":\"x\xff\"}}"), Err(Code::BodyMalformed));
}

#[test]
fn a_header_id_stands_once_and_is_text() {
    let source = source("{ id = [\"header:a\", \"header:b\"] }");
    let with = |headers: &[(&str, &[u8])]| {
        read(&source, request(headers, b"\xff\0")).map(|v| v.identity().event_id.clone())
    };
    assert_eq!(with(&[("a", b"1"), ("b", b"2")]), Ok("1".to_owned()));
    assert_eq!(with(&[("b", b"2")]), Ok("2".to_owned()));
    for bad in [
        &[][..],
        &[("a", b"" as &[u8]), ("b", b"2")],
        &[("a", b"\xff")],
        &[("a", b"1"), ("a", b"1")],
        &[("a", b"x\0y")],
    ] {
        assert_eq!(with(bad).map_err(|r| r.code), Err(Code::IdMissing), "{bad:?}");
    }
    let refusal = with(&[("a", b"")]).expect_err("empty");
    assert!(refusal.detail.contains("header:a"), "{refusal}");
}

#[test]
fn every_place_gives_its_id() {
    for (event, body, wanted) in [
        ("{ id = \"query:q\" }", "", Ok("1")),
        ("{ id = \"query:r\" }", "", Err(Code::IdMissing)),
        ("{ id = \"form:a\" }", "a=x+y&b=", Ok("x y")),
        ("{ id = \"form:b\" }", "a=x&b=", Err(Code::IdMissing)),
        ("{ id = \"form:a\" }", "a=%zz", Err(Code::BodyMalformed)),
        ("{ id = \"form:p:/id\", format = \"form\" }", "p=%7B%22id%22%3A7%7D", Ok("7")),
        ("{ id = \"body:/id\", format = \"form_field(p)\" }", "p=%7B%22id%22%3A7%7D", Ok("7")),
        ("{ id = \"body:/id\", format = \"form_field(p)\" }", "q=%7B%7D", Err(Code::BodyMalformed)),
        ("{ id = \"body:/id\", format = \"form_field(p)\" }", "p=%7B", Err(Code::BodyMalformed)),
        ("{ id = \"concat(body:/a, body:/b)\" }", r#"{"a":"x:y","b":1}"#, Ok("x%3Ay:1")),
        ("{ id = \"concat(body:/a, body:/b)\" }", r#"{"a":"x"}"#, Err(Code::IdMissing)),
        ("{ id = [\"concat(body:/a, query:q)\", \"body:/a\"] }", r#"{"a":"x"}"#, Ok("x:1")),
        (
            "{ id = \"sha256(body)\", format = \"text\" }",
            "é",
            Ok("sha256:4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c"),
        ),
    ] {
        assert_eq!(id(event, body.as_bytes()), wanted.map(str::to_owned), "{event} {body}");
    }
    let xml = "{ format = \"xml\", id = \"xml:/n/s/id\" }";
    let coded = "{ format = \"base64_xml(p)\", id = \"concat(xml:/n/k, xml:/n/s/id)\" }";
    for (event, body, wanted) in [
        (xml, "<n><s><id>7</id></s></n>", Ok("7")),
        (xml, "<n><s><id/></s></n>", Err(Code::IdMissing)),
        (xml, "<n><s><id>7</id></s>", Err(Code::BodyMalformed)),
        (coded, "p=PG4%2BPGs%2BYTwvaz48\ncz48aWQ%2BNzwvaWQ%2BPC9zPjwvbj4%3D%0A", Ok("a:7")),
        (coded, "p=%25", Err(Code::BodyMalformed)),
        (coded, "q=", Err(Code::BodyMalformed)),
        ("{ id = \"query:q\", format = \"empty\" }", "", Ok("1")),
        ("{ id = \"query:q\", format = \"empty\" }", " ", Err(Code::BodyMalformed)),
        ("{ id = \"query:q\", format = \"ndjson\" }", "{}\n[]\n", Ok("1")),
        ("{ id = \"query:q\", format = \"ndjson\" }", "{}\n[", Err(Code::BodyMalformed)),
    ] {
        assert_eq!(id(event, body.as_bytes()), wanted.map(str::to_owned), "{event} {body}");
    }
    let twice = request(&[], b"<n><s><id>7</id><id>8</id></s></n>");
    let held = read(&source(xml), twice).expect("read").identity().held;
    assert_eq!(held, Some(HELD_DUPLICATE_KEY));
    assert_eq!(
        id("{ id = \"sha256(body)\", format = \"text\" }", b"\xff"),
        Err(Code::BodyMalformed)
    );
}

#[test]
fn without_ids_the_same_body_is_always_new() {
    let source = source("{ id = \"none\" }");
    let key = || read(&source, request(&[], b"same")).expect("read").identity().dedupe_key;
    assert_ne!(key(), key());
}

#[test]
fn a_key_that_stands_twice_holds_the_event_under_its_bodys_hash() {
    let source = source("{ id = [\"body:/id\", \"header:x\"], type = \"body:/type\" }");
    let identity = |body: &str| {
        read(&source, request(&[("x", b"h")], body.as_bytes())).expect("read").identity().clone()
    };
    let plain = identity(r#"{"id":"a","type":"t"}"#);
    assert_eq!((plain.held, plain.kind.as_str()), (None, "t"));
    for body in [r#"{"id":"a","id":"b"}"#, r#"{"id":"a","i\u0064":"a"}"#, r#"{"id":null,"id":"b"}"#]
    {
        let held = identity(body);
        assert_eq!(held.held, Some(HELD_DUPLICATE_KEY), "{body}");
        assert_eq!(held.event_id, hash_id(body.as_bytes()));
        assert_ne!(held.dedupe_key, plain.dedupe_key);
    }
    // Two types make nobody else's id.
    let held = identity(r#"{"id":"a","type":"t","type":"u"}"#);
    assert_eq!((held.held, held.event_id.as_str()), (Some(HELD_DUPLICATE_KEY), "a"));
    // Elsewhere two keys are the sender's own business.
    assert_eq!(identity(r#"{"id":"a","z":1,"z":2}"#).held, None);
}

#[test]
fn a_type_never_makes_a_request_fail() {
    let source = source("{ id = \"sha256(body)\", type = [\"header:t\", \"body:/t\"] }");
    let kind = |headers: &[(&str, &[u8])], body: &[u8]| {
        read(&source, request(headers, body)).expect("read").identity().kind.clone()
    };
    assert_eq!(kind(&[], br#"{"t":"x"}"#), "x");
    assert_eq!(kind(&[], br#"{"t":7}"#), "7");
    assert_eq!(kind(&[], br#"{"t":{}}"#), "");
    assert_eq!(kind(&[], br#"{"t":"\ud800"}"#), "");
    assert_eq!(kind(&[], b"\xff"), "");
    assert_eq!(kind(&[("t", b"\xff")], b""), "");
    assert_eq!(kind(&[("t", b"a"), ("t", b"b")], b""), "");
    assert_eq!(kind(&[("t", b"a\x1b[1m")], b""), "a\\u{1b}[1m");
    let kind_of = |kind: &str, body: &[u8]| {
        let source = super::tests::source(&format!("{{ id = \"query:q\", type = \"{kind}\" }}"));
        read(&source, request(&[], body)).expect("read").identity().kind.clone()
    };
    let dotted = "dotted(body:/a, body:/b, body:/c)";
    assert_eq!(kind_of(dotted, br#"{"a":"x","b":null,"c":"y"}"#), "x.y");
    assert_eq!(kind_of(dotted, br#"{"b":""}"#), "");
    assert_eq!(
        kind_of("key:*_events", br#"{"a":1,"tweet_create_events":[]}"#),
        "tweet_create_events"
    );
    assert_eq!(kind_of("key:!update_id", br#"{"update_id":1,"message":{}}"#), "message");
    assert_eq!(kind_of("key:!update_id", b"no JSON"), "");
    let long = kind(&[("t", "é".repeat(300).as_bytes())], b"");
    assert_eq!(long, "é".repeat(127));
}

#[test]
fn what_differs_between_retries_is_left_out_of_the_digest() {
    let spec: spec::SourceSpec = toml::from_str(
        "verify = \"none\"\nevent = { id = \"body:/id\" }\nconflict_ignore = [\"/n\"]",
    )
    .expect("a spec");
    let settings = SourceSettings {
        conflict_ignore: vec!["/d/e".to_owned(), "/d".to_owned()],
        ..settings(spec, &[])
    };
    let source = Source::compile(settings).expect("compiles");
    let digest =
        |body: &str| read(&source, request(&[], body.as_bytes())).expect("read").identity().digest;
    let first = digest(r#"{"id":1,"n":1,"d":{"e":1,"f":2},"x":"y"}"#);
    assert_eq!(first, digest(r#"{"id":1,"n":[2,{}],"d":{"e":3},"x":"y"}"#));
    assert_ne!(first, digest(r#"{"id":1,"n":1,"d":{"e":1,"f":2},"x":"z"}"#));
    let rest = Sha256::digest(br#"{"id":1,"n":,"d":,"x":"y"}"#);
    assert_eq!(first.as_slice(), rest.as_slice());
}

#[test]
fn a_group_shares_ids_and_a_name_does_not() {
    assert_eq!(dedupe_key("stripe", "evt_1"), dedupe_key("stripe", "evt_1"));
    assert_ne!(dedupe_key("stripe", "evt_1"), dedupe_key("stripe2", "evt_1"));
    assert_ne!(dedupe_key("a", "bc"), dedupe_key("ab", "c"));
    // Stored in tables: it must never change.
    let wanted = "7dda8361-1f9c-e0df-05e5-38a051403dbd";
    assert_eq!(dedupe_key("stripe", "evt_1").to_string(), wanted);
}
