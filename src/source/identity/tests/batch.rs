//! Batches: which events they are, and what each of them gets as its body.

use proptest::prelude::*;

use super::*;
use crate::source::tests::{KEY, NOW, request as signed_request, source as whole_source};
use crate::source::vectors::{at, code};

/// Id, type and body of each event.
type Parts = Vec<(String, String, String)>;

fn split(source: &Source, body: &[u8]) -> Result<Option<Parts>, Rejection> {
    match source.admit(request(&[("x", "y".as_bytes())], body), chrono::DateTime::UNIX_EPOCH) {
        Ok(Admitted::Events(events)) => {
            let part = |verified: &Verified| {
                assert_eq!(verified.received().headers.one("x"), Ok(Some(&b"y"[..])));
                let identity = verified.identity();
                let body = String::from_utf8_lossy(verified.body()).into_owned();
                (identity.event_id.clone(), identity.kind.clone(), body)
            };
            Ok(Some(events.iter().map(part).collect()))
        }
        Ok(Admitted::Empty) => Ok(None),
        Ok(other) => panic!("no batch: {other:?}"),
        Err(refused) => Err(refused.rejection),
    }
}

fn parts(event: &str, body: &str) -> Parts {
    split(&source(event), body.as_bytes()).expect("accepted").expect("events")
}

fn code_of(event: &str, body: &str) -> Result<bool, Code> {
    split(&source(event), body.as_bytes()).map(|parts| parts.is_some()).map_err(|r| r.code)
}

fn part(id: &str, kind: &str, body: &str) -> (String, String, String) {
    (id.to_owned(), kind.to_owned(), body.to_owned())
}

#[test]
fn each_part_is_an_event_with_its_own_bytes() {
    let event = r#"{ split = "/e/*", id = "item:/id", type = ["item:/t", "body:/t"] }"#;
    assert_eq!(
        parts(event, r#"{"t":"all", "e":[ {"id":1,"t":"a"}, {"id":"2"} ],"z":1}"#),
        [
            part("1", "a", r#"{"t":"all", "e":[{"id":1,"t":"a"}],"z":1}"#),
            part("2", "all", r#"{"t":"all", "e":[{"id":"2"}],"z":1}"#),
        ]
    );
    // No array at all: the whole body is one event.
    let whole = r#"{"t":"all","id":"w"}"#;
    assert_eq!(parts(event, whole), [part("w", "all", whole)]);
    let event = r#"{ split = "/*", id = "concat(header:x, item:/id)" }"#;
    assert_eq!(
        parts(event, r#" [{"id":1},{"id":2}] "#),
        [part("y:1", "", r#" [{"id":1}] "#), part("y:2", "", r#" [{"id":2}] "#)]
    );
}

#[test]
fn arrays_in_arrays_are_split_and_nothing_in_them_is_lost() {
    let event = r#"{ split = ["/e/*/c/*", "/e/*/m/*"], id = "item:/id" }"#;
    let body = r#"{"e":[{"id":"p","c":[{"id":1},{"id":2}],"m":[{"id":3}]},{"id":"q"},{"c":[]}]}"#;
    let found = parts(event, body);
    let ids: Vec<&str> = found.iter().map(|(id, ..)| id.as_str()).collect();
    // An element with neither array is an event by itself.
    assert_eq!(ids, ["1", "2", "3", "q"]);
    assert_eq!(found[0].2, r#"{"e":[{"id":"p","c":[{"id":1}],"m":[{"id":3}]}]}"#);
    assert_eq!(found[3].2, r#"{"e":[{"id":"q"}]}"#);
    assert_eq!(code_of(event, r#"{"e":[{"c":[]}]}"#), Err(Code::BodyMalformed));
    // Such an element without an id makes the whole request fail: it isn't lost without a word.
    assert_eq!(code_of(event, r#"{"e":[{"c":[{"id":1}]},{"x":1}]}"#), Err(Code::IdMissing));
}

#[test]
fn lines_are_split_whatever_ends_them() {
    let event = r#"{ split = "ndjson", id = "item:/id", type = "item:/t" }"#;
    assert_eq!(
        parts(event, "{\"id\":1,\"t\":\"a\"}\r\n\r\n \n {\"id\":2}\n"),
        [part("1", "a", "{\"id\":1,\"t\":\"a\"}"), part("2", "", " {\"id\":2}")]
    );
    assert_eq!(code_of(event, "{\"id\":1}\n{\"id\":"), Err(Code::BodyMalformed));
    assert_eq!(code_of(event, "\r\n\n"), Err(Code::BodyMalformed));
    let either = r#"{ format = ["json", "ndjson"], split = ["/*", "ndjson"], id = "item:/id", empty_ok = true }"#;
    let ids = |body: &str| parts(either, body).into_iter().map(|(id, ..)| id).collect::<Vec<_>>();
    assert_eq!(ids("[{\"id\":1},{\"id\":2}]"), ["1", "2"]);
    assert_eq!(ids("{\"id\":1}\n{\"id\":2}"), ["1", "2"]);
    assert_eq!(ids("{\"id\":1}"), ["1"]);
    assert_eq!(code_of(either, "\n"), Ok(false));
    assert_eq!(code_of(either, "[]"), Ok(false));
}

#[test]
fn json_in_a_forms_field_is_split_and_each_event_gets_only_that() {
    let event = r#"{ format = "form_field(p)", split = "/*", id = "item:/id" }"#;
    assert_eq!(
        parts(event, "a=b&p=%5B%7B%22id%22%3A1%7D,%7B%22id%22%3A2%7D%5D"),
        [part("1", "", r#"[{"id":1}]"#), part("2", "", r#"[{"id":2}]"#)]
    );
}

#[test]
fn an_empty_batch_is_acked_only_where_it_may_be_empty() {
    let event = |empty| format!(r#"{{ split = "/e/*", id = "item:/id", empty_ok = {empty} }}"#);
    assert_eq!(code_of(&event(true), r#"{"e":[]}"#), Ok(false));
    assert_eq!(code_of(&event(false), r#"{"e":[]}"#), Err(Code::BodyMalformed));
    // No array: it is no batch, and has no id.
    assert_eq!(code_of(&event(true), "{}"), Err(Code::IdMissing));
}

#[test]
fn an_id_that_all_parts_share_is_no_id() {
    let event = r#"{ split = "/e/*", id = ["item:/id", "body:/id"] }"#;
    assert_eq!(code_of(event, r#"{"id":"w","e":[{"id":1},{}]}"#), Err(Code::IdMissing));
    assert_eq!(parts(event, r#"{"id":"w"}"#)[0].0, "w");
    // What stands twice holds only its own event.
    let event = r#"{ split = "/e/*", id = "item:/id" }"#;
    let body = br#"{"e":[{"id":1,"id":2},{"id":3}]}"#;
    let Ok(Admitted::Events(events)) =
        source(event).admit(request(&[], body), chrono::DateTime::UNIX_EPOCH)
    else {
        panic!("refused")
    };
    let held: Vec<_> = events.iter().map(|verified| verified.identity().held).collect();
    assert_eq!(held, [Some(HELD_DUPLICATE_KEY), None]);
    assert_eq!(events[0].identity().event_id, hash_id(events[0].body()));
    let twice = r#"{"e":[{"id":1}],"e":[{"id":2}]}"#;
    assert_eq!(code_of(event, twice), Err(Code::BodyMalformed));
}

#[test]
fn a_batch_is_bounded() {
    let event = r#"{ split = "/e/*", id = "item:" }"#.replace("item:", "sha256(item)");
    let many = |n: usize| format!("{{\"e\":[{}]}}", vec!["1"; n].join(","));
    assert_eq!(code_of(&event, &many(10_000)), Ok(true));
    assert_eq!(code_of(&event, &many(10_001)), Err(Code::BodyMalformed));
    // A small request that would become a large one: what stands around the parts is kept with each.
    let around = "x".repeat(100_000);
    let wide = format!("{{\"a\":\"{around}\",\"e\":[{}]}}", vec!["1"; 1000].join(","));
    assert_eq!(code_of(&event, &wide), Err(Code::BodyMalformed));
    let lines = r#"{ split = "ndjson", id = "sha256(item)" }"#;
    assert_eq!(code_of(lines, &"1\n".repeat(10_001)), Err(Code::BodyMalformed));
}

#[test]
fn each_part_has_a_digest_without_what_differs_between_retries() {
    let spec: spec::SourceSpec = toml::from_str(
        "verify = \"none\"\nevent = { split = \"/*\", id = \"item:/id\" }\nconflict_ignore = [\"/0/n\"]",
    )
    .expect("a spec");
    let source = Source::compile(settings(spec, &[])).expect("compiles");
    let digests = |body: &str| -> Vec<[u8; 32]> {
        match source.admit(request(&[], body.as_bytes()), chrono::DateTime::UNIX_EPOCH) {
            Ok(Admitted::Events(events)) => events.iter().map(|v| v.identity().digest).collect(),
            other => panic!("{other:?}"),
        }
    };
    let first = digests(r#"[{"id":1,"n":1},{"id":2,"n":1,"x":1}]"#);
    let again = digests(r#"[{"id":1,"n":2},{"id":2,"n":2,"x":2}]"#);
    assert_eq!(first[0], again[0]);
    assert_ne!(first[1], again[1]);
    assert_eq!(first[0].as_slice(), Sha256::digest(br#"[{"id":1,"n":}]"#).as_slice());
}

#[test]
fn what_is_wrong_with_a_split_is_a_fault() {
    for (event, wanted) in [
        (r#"{ id = "item:/id" }"#, "needs `split`"),
        (r#"{ id = "header:x", type = "sha256(item)" }"#, "needs `split`"),
        (r#"{ id = "header:x", empty_ok = true }"#, "no effect without `split`"),
        (r#"{ id = "header:x", split = "/e/*" }"#, "the same for every event"),
        (r#"{ id = "sha256(body)", split = "/e/*" }"#, "the same for every event"),
        (r#"{ id = "item:/id", split = "/e" }"#, "names no batch"),
        (r#"{ id = "item:/id", split = [] }"#, "is empty"),
        (r#"{ id = "item:/id", split = "ndjson", format = "json" }"#, "needs `ndjson`"),
        (r#"{ id = "item:/id", split = "/*", format = "form" }"#, "needs `json`"),
        (r#"{ id = "xml:/a", format = "json" }"#, "needs `xml`"),
        (r#"{ id = "xml:a" }"#, "is not a path of elements"),
        (r#"{ id = "xml:/a//b" }"#, "empty name"),
        (r#"{ id = "dotted(header:a, header:b)" }"#, "for types only"),
        (r#"{ id = "key:*" }"#, "for types only"),
        (r#"{ id = "header:x", type = "key:!" }"#, "names nothing"),
        (r#"{ id = "concat(none, header:x)" }"#, "can't stand inside"),
    ] {
        let spec: spec::SourceSpec =
            toml::from_str(&format!("verify = \"none\"\nevent = {event}")).expect("a spec");
        let found = Source::compile(settings(spec, &[])).map(|_| ()).expect_err(event);
        assert!(found.iter().any(|fault| fault.contains(wanted)), "{wanted} in {found:?}");
    }
}

#[test]
fn ids_of_parts_are_signed_with_the_body_or_each_by_itself() {
    let signed = |verify: &str, event: &str| {
        let text = format!("verify = {verify}\nevent = {event}");
        let spec: spec::SourceSpec = toml::from_str(&text).expect("a spec");
        spec.facts().unwrap_or_else(|faults| panic!("{text}: {faults:?}")).id_signed
    };
    let full = r#"{ hmac = "sha256", signature = { from = "header:s" } }"#;
    let each = r#"{ hmac = "sha256", signature = { from = "body:/s" }, content = "{body:/id}", each = "/e/*" }"#;
    let event = r#"{ split = "/e/*", id = "item:/id" }"#;
    assert!(signed(full, event));
    assert!(signed(each, event));
    assert!(!signed(each, r#"{ split = "/e/*", id = "item:/other" }"#));
    assert!(!signed(each, r#"{ split = "/e/*", id = "sha256(item)" }"#));
    assert!(!signed(each, r#"{ split = "/f/*", id = "item:/id" }"#));
    assert!(!signed("\"none\"", event));
    assert!(signed(full, r#"{ format = "xml", id = "xml:/a/b" }"#));
}

#[test]
fn an_element_that_is_not_signed_does_not_ride_in_on_the_others() {
    let hmac = whole_source(
        "verify = { hmac = \"sha256\", signature = { from = \"body:/s\" }, content = \"{body:/id}\", each = \"/e/*/n\" }\nevent = { split = \"/e/*/n\", id = \"item:/id\" }",
        &[KEY],
    );
    let signed =
        |body: &str| hmac.sign(signed_request(&[], body.as_bytes()), at(NOW), 0).expect("signed");
    let good = signed(r#"{"e":[{"n":{"id":"a","s":""}}]}"#);
    assert_eq!(code(&hmac, &good, NOW), Ok(()));
    let body = String::from_utf8(good.body.to_vec()).expect("text");
    for forged in [r#",{"id":"b"}]}"#, r#",{"n":null}]}"#, r#",1]}"#] {
        let body = body.replace("]}", forged);
        let sent = signed_request(&[], body.as_bytes());
        assert!(code(&hmac, &sent, NOW).is_err(), "{body}");
    }
    let token = whole_source(
        "verify = { token = \"body:/t\", each = \"/e/*/n\" }\nevent = { split = \"/e/*/n\", id = \"item:/id\" }",
        &["s3cr3t-token"],
    );
    let sent = |body: &str| code(&token, &signed_request(&[], body.as_bytes()), NOW);
    assert_eq!(sent(r#"{"e":[{"n":{"id":1,"t":"s3cr3t-token"}}]}"#), Ok(()));
    let forged = sent(r#"{"e":[{"n":{"id":1,"t":"s3cr3t-token"}},{"id":2}]}"#);
    assert_eq!(forged, Err(Code::SignatureMissing));
}

#[test]
fn replays_are_seen_where_the_id_does_not_show_them() {
    let compile = |text: &str, secrets: &[&str], on_replay| {
        let spec: spec::SourceSpec = toml::from_str(text).expect("a spec");
        Source::compile(SourceSettings { on_replay, ..settings(spec, secrets) })
    };
    let hmac = "verify = { hmac = \"sha256\", signature = { from = \"header:s\" } }\n";
    let timed = "verify = { hmac = \"sha256\", signature = { from = \"header:s\" }, content = \"{ts}.{body}\", timestamp = { from = \"header:t\" } }\n";
    for (verify, event, secrets, wanted) in [
        (hmac, "{ id = \"header:x\" }", &[KEY][..], Some(OnReplay::Flag)),
        (hmac, "{ id = \"body:/id\" }", &[KEY][..], None),
        (hmac, "{ id = \"none\" }", &[KEY][..], None),
        (timed, "{ id = \"header:x\" }", &[KEY][..], Some(OnReplay::Flag)),
        ("verify = \"none\"\n", "{ id = \"header:x\" }", &[][..], None),
    ] {
        let text = format!("{verify}event = {event}");
        let source = compile(&text, secrets, None).expect(&text);
        assert_eq!(source.on_replay(), wanted, "{text}");
        match (wanted, compile(&text, secrets, Some(OnReplay::Reject))) {
            (Some(_), Ok(source)) => assert_eq!(source.on_replay(), Some(OnReplay::Reject)),
            (None, Err(faults)) => {
                assert!(faults[0].starts_with("on_replay: has no"), "{faults:?}")
            }
            (_, other) => panic!("{text}: {other:?}"),
        }
    }
    // Fields to ignore are left out of the one digest, never of the other: an attacker may choose them.
    let text = format!("{hmac}event = {{ id = \"header:x\" }}\nconflict_ignore = [\"/n\"]");
    let source = compile(&text, &[KEY], None).expect("compiles");
    let signed = source
        .sign(request(&[("x", b"1")], b"{\"n\":1}"), chrono::DateTime::UNIX_EPOCH, 0)
        .expect("signed");
    let identity = read(&source, signed).expect("read").identity().clone();
    let guard = identity.replay.expect("a guard");
    assert_eq!(guard.digest.as_slice(), Sha256::digest(b"{\"n\":1}").as_slice());
    assert_ne!(guard.digest, identity.digest);
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<i64>().prop_map(serde_json::Value::from),
        "[a-zé\"\\\\]{0,6}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_split_and_joined_again_is_the_same(items in prop::collection::vec(json(), 1..20)) {
        let source = source(r#"{ split = "/e/*", id = "sha256(item)" }"#);
        let body = serde_json::json!({ "a": [1, 2], "e": items, "z": {} });
        let parts = split(&source, body.to_string().as_bytes()).expect("accepted").expect("events");
        let mut joined = Vec::new();
        for (_, _, alone) in parts {
            let alone: serde_json::Value = serde_json::from_str(&alone).expect("JSON");
            prop_assert_eq!(&alone["a"], &body["a"]);
            prop_assert_eq!(&alone["z"], &body["z"]);
            let there = alone["e"].as_array().expect("an array");
            prop_assert_eq!(there.len(), 1);
            joined.extend(there.iter().cloned());
        }
        prop_assert_eq!(joined, items);
    }

    /// Whatever the document: each value that has no array in the way is in exactly one event.
    #[test]
    fn no_leaf_of_a_nested_batch_is_lost(document in json()) {
        let source = source(r#"{ split = ["/a/*/b/*", "/a/*/c/*"], id = "sha256(item)", empty_ok = true }"#);
        let entries: Vec<serde_json::Value> = (0..6)
            .map(|n| match n % 3 {
                0 => serde_json::json!({ "b": [{ "leaf": n }, document], "x": n }),
                1 => serde_json::json!({ "c": [], "leaf": n }),
                _ => serde_json::json!({ "leaf": n, "d": document }),
            })
            .collect();
        let body = serde_json::json!({ "a": entries });
        let parts = split(&source, body.to_string().as_bytes()).expect("accepted").expect("events");
        for n in [0, 2, 3, 5] {
            let leaf = format!("\"leaf\":{n}");
            let holding = parts.iter().filter(|(_, _, body)| body.contains(&leaf)).count();
            prop_assert_eq!(holding, 1, "{} in {:?}", leaf, parts);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        for event in [
            r#"{ split = "/a/*/b/*", id = "item:/id", type = "key:a*" }"#,
            r#"{ split = "ndjson", id = "sha256(item)", type = "dotted(item:/a, key:!b)" }"#,
            r#"{ format = "base64_xml(p)", id = "xml:/a/b" }"#,
            r#"{ format = ["form_field(p)", "xml", "text"], id = "sha256(body)", type = "body:/a" }"#,
        ] {
            let made = source(event).admit(request(&[], &bytes), chrono::DateTime::UNIX_EPOCH);
            drop(made);
        }
    }

    #[test]
    fn nothing_like_a_batch_makes_it_panic(text in "[\\[\\]{},:\"ab/ 1\\n\\\\u]{0,60}") {
        let source = source(r#"{ format = ["json", "ndjson"], split = ["/a/*/b/*", "/*", "ndjson"], id = "sha256(item)" }"#);
        drop(source.admit(request(&[], text.as_bytes()), chrono::DateTime::UNIX_EPOCH));
    }
}
