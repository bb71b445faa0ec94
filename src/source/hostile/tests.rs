//! Arbitrary and nearly right bytes. `PROPTEST_CASES=20000 cargo test --lib hostile` runs so many of each
//! kind; 256 when it isn't set.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::source::tests::{KEY, NOW, settings, spec};
use crate::source::vectors::at;

/// Values as signatures, times and documents are written, and some that are nothing.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..80),
        "[0-9a-f]{64}".prop_map(String::into_bytes),
        "sha256=[0-9a-fA-F]{0,70}".prop_map(String::into_bytes),
        "t=[0-9]{0,14},v[01]=[0-9a-f]{64}(,v1=[0-9a-z=]{0,70}){0,3}".prop_map(String::into_bytes),
        "(v[01],[A-Za-z0-9+/]{43}= ?){0,18}".prop_map(String::into_bytes),
        "(Bearer|Basic|HMAC) [A-Za-z0-9+/=:]{0,60}".prop_map(String::into_bytes),
        "[0-9]{10}([0-9]{3})?".prop_map(String::into_bytes),
        "20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-9]{2}:[0-9]{2}:[0-9]{2}Z".prop_map(String::into_bytes),
    ]
}

fn document() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        r#"[\[\]{}:,"0-9a-z\\.eE+ -]{0,60}"#.prop_map(String::into_bytes),
        r#"\{("[a-c]":(1|"x"|\[\]|\{\}|null|-0\.1e5),){0,5}"id":"[a-z0-9]{1,8}"\}"#
            .prop_map(String::into_bytes),
        "([a-c]=[a-z0-9%+]{0,9}&?){0,6}".prop_map(String::into_bytes),
        r#"(--b\r\n(Content-Disposition: form-data; name="?(json|a|b)"?(; filename=x)?\r\n)?\r\n([a-z]{0,5}|\{"id":"[a-z]{0,3}","sig":"[0-9a-f]{0,3}"\})\r\n){0,4}--b(--)?"#
            .prop_map(String::into_bytes),
        // Templates and pointers are read from the same bytes.
        r"(\{(body|ts|id|method|url|header:x-sig|query:a|form:b|part:b|body:/a|raw:/b|sorted_form|\?)\}?|[.:?}]|/[a-c~01*]){0,8}"
            .prop_map(String::into_bytes),
    ]
}

fn content_type() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"multipart/form-data; boundary=b".to_vec()),
        r#"(multipart/form-data)?(; ?(x?boundary\*?|charset|x)=("?b"?|"?(b/b|=b|b')"?|utf-8|utf-16|"x;boundary=b")?){0,3};?"#
            .prop_map(String::into_bytes),
    ]
}

fn request_bytes() -> impl Strategy<Value = Vec<u8>> {
    let header = (any::<u8>(), value()).prop_map(|(name, value)| [vec![name], value].concat());
    let headers = proptest::collection::vec(header, 0..6);
    let typed = proptest::option::of(content_type());
    (any::<u8>(), "[a-z=&%0-9]{0,20}", headers, typed, document()).prop_map(
        |(method, query, headers, typed, body)| {
            let mut bytes = vec![method];
            bytes.extend_from_slice(query.as_bytes());
            bytes.push(b'\n');
            let name = NAMES.iter().position(|name| name == "content-type").unwrap_or_default();
            let name = u8::try_from(name).expect("few names");
            let typed = typed.map(|value| [vec![name], value].concat());
            for header in headers.into_iter().chain(typed) {
                bytes.extend(header.into_iter().filter(|byte| *byte != b'\n'));
                bytes.push(b'\n');
            }
            bytes.push(b'\n');
            bytes.extend(body);
            bytes
        },
    )
}

/// Runs a property as often as `PROPTEST_CASES` says, and not less.
fn run<S: Strategy>(name: &str, strategy: &S, test: impl Fn(S::Value) -> Result<(), String>) {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let wanted = u64::from(config.cases);
    let count = AtomicU64::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(strategy, |value| {
        count.fetch_add(1, Ordering::Relaxed);
        test(value).map_err(TestCaseError::fail)
    });
    if let Err(failed) = result {
        panic!("{name}: {failed}");
    }
    let count = count.into_inner();
    assert!(count >= wanted, "{name}: only {count} of {wanted} cases ran");
}

#[test]
fn no_bytes_are_accepted_and_none_panics() {
    assert!(sources() > SPECS.len() + 5, "only {} sources", sources());
    for text in SPECS {
        assert!(source(&toml::from_str(text).expect("a spec")).is_some(), "{text}");
    }
    run("requests", &request_bytes(), |bytes| requests(&bytes, at(NOW)));
    run("bytes", &proptest::collection::vec(any::<u8>(), 0..300), |bytes| {
        requests(&bytes, at(NOW))
    });
}

/// Bodies of one event and of many, nearly as the rules of [`EVENTS`] want them.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let item = r#"\{("id":"?[a-c0-9]{0,3}"?,)?("t":("x"|1|null),)?"n":[0-9]\}"#;
    let items = proptest::collection::vec(item, 0..4);
    prop_oneof![
        document(),
        items.clone().prop_map(|items| items.join("\n").into_bytes()),
        items.prop_map(|items| {
            format!(r#"{{"a":[{{"b":[{}]}},{{"c":[]}}],"id":"1"}}"#, items.join(",")).into_bytes()
        }),
        "<a>(<b>[a-z&;]{0,5}</b>|<c/>|<!-- x -->|<b ){0,3}</a>".prop_map(String::into_bytes),
        "payload=[A-Za-z0-9+/=%]{0,40}(&id=[a-z%0-9]{0,5}){0,2}".prop_map(String::into_bytes),
    ]
}

#[test]
fn what_is_read_of_any_accepted_body_can_be_recorded() {
    for text in EVENTS {
        let spec = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(source(&spec).is_some(), "{text}");
    }
    assert!(OPEN.len() > 80, "only {} rules", OPEN.len());
    run("bodies", &body(), |bytes| events(&bytes, at(NOW)));
}

#[test]
fn documents_and_templates_of_any_bytes_are_read_without_a_panic() {
    run("documents", &document(), |bytes| readers(&bytes, at(NOW)));
    run("values", &value(), |bytes| readers(&bytes, at(NOW)));
    run("content types", &content_type(), |bytes| readers(&bytes, at(NOW)));
    // Found by fuzzing: a header is kept without CR and LF, and names a boundary then.
    assert_eq!(readers(b"\r\rbounda\r\rry=\"b/b\"", at(NOW)), Ok(()));
}

const SIGNED: &str = r#"
verify = { hmac = "sha256", signature = { from = "header:x-sig", encoding = ["hex", "base64"], grammar = { kv = { sep = ",", sig = ["v1"], ts = "t" } } }, content = "{ts}.{header:x-topic|}.{body}", timestamp = { unit = "s" } }
event = { id = "sha256(body)", format = "raw" }
"#;

/// Whatever is done to a signed request: when it is still accepted, every signed byte is as it was.
#[test]
fn what_is_accepted_is_what_was_signed() {
    let source = Source::compile(settings(spec(SIGNED), &[KEY])).expect("compiles");
    let edit = (any::<bool>(), any::<proptest::sample::Index>(), any::<u8>(), 0..3u8);
    let edits = proptest::collection::vec(edit, 0..4);
    run("edits", &(document(), edits), |(body, edits)| {
        let mut unsigned = request(b"", at(NOW));
        unsigned.target = "/in/hostile".to_owned();
        unsigned.body = Bytes::from(body.clone());
        let signed = source.sign(unsigned, at(NOW), 0)?;
        let line = signed.headers.one("x-sig").ok().flatten().unwrap_or_default().to_vec();
        let (mut other, mut line_edited) = (body.clone(), line.clone());
        for (in_body, index, byte, kind) in edits {
            let place = if in_body { &mut other } else { &mut line_edited };
            let at = index.index(place.len() + 1);
            match kind {
                0 => place.insert(at, byte),
                1 if at < place.len() => drop(place.remove(at)),
                _ if at < place.len() => place[at] = byte,
                _ => {}
            }
        }
        let mut changed = signed;
        changed.headers.replace("x-sig", &line_edited);
        changed.body = Bytes::from(other.clone());
        let accepted = source.admit(changed, at(NOW)).is_ok();
        if accepted && other != body {
            return Err(format!("{body:?} was signed, and {other:?} accepted"));
        }
        if !accepted && other == body && line_edited == line {
            return Err("what was not touched is refused".to_owned());
        }
        Ok(())
    });
}
