use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::*;

fn find(document: &str, pointer: &str) -> Option<String> {
    let pointer = Pointer::parse(pointer).expect("a pointer");
    let found = scan(document.as_bytes(), &[&pointer]).expect("JSON");
    found.hits[0].clone().map(|hit| document[hit.span].to_owned())
}

#[test]
fn a_pointer_finds_the_raw_bytes_of_its_value() {
    let document =
        r#" {"a":{"b/c":[1.50, 12345678901234567890123, "x\u00e9"],"":{"~":null}},"n":-0.0e+1} "#;
    for (pointer, raw) in [
        ("/a/b~1c/0", Some("1.50")),
        ("/a/b~1c/1", Some("12345678901234567890123")),
        ("/a/b~1c/2", Some(r#""x\u00e9""#)),
        ("/a/b~1c/3", None),
        ("/a/b~1c/01", None),
        ("/a/b~1c/-", None),
        ("/a//~0", Some("null")),
        ("/n", Some("-0.0e+1")),
        ("/n/x", None),
        ("/missing", None),
    ] {
        assert_eq!(find(document, pointer).as_deref(), raw, "{pointer}");
    }
}

#[test]
fn a_key_that_stands_twice_on_the_path_is_reported() {
    let pointers = ["/a/b", "/x"].map(|text| Pointer::parse(text).expect("a pointer"));
    let both: Vec<&Pointer> = pointers.iter().collect();
    for (document, first, second) in [
        (r#"{"a":{"b":1},"x":1}"#, false, false),
        (r#"{"a":{"b":1,"b":2},"x":1}"#, true, false),
        (r#"{"a":{"b":1},"x":1,"a":{}}"#, true, false),
        (r#"{"a":{"b":1,"\u0062":1},"x":1,"x":1}"#, true, true),
        (r#"{"a":{"b":1,"c":1,"c":2},"y":1,"y":2}"#, false, false),
        (r#"{"q":{"a":1,"a":2}}"#, false, false),
    ] {
        let found = scan(document.as_bytes(), &both).expect("JSON");
        assert_eq!(found.is_ambiguous(0), first, "{document}");
        assert_eq!(found.is_ambiguous(1), second, "{document}");
    }
}

#[test]
fn what_is_not_one_whole_json_value_is_refused() {
    for bad in [
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "-",
        "nul",
        "truee",
        "\"\t\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"",
        "1 2",
        "{} x",
        "\u{feff}{}",
        "[1 2]",
        "{\"a\" 1}",
        "NaN",
    ] {
        assert!(scan(bad.as_bytes(), &[]).is_err(), "{bad:?}");
    }
    assert!(scan(b"\"\xff\"", &[]).is_err());
    assert!(scan(b"{\"a\":\"\xc3\"}", &[]).is_err());
}

#[test]
fn nul_escapes_and_lone_surrogates_are_json() {
    let pointer = Pointer::parse("/a").expect("a pointer");
    let text = |document: &str| {
        let found = scan(document.as_bytes(), &[&pointer]).expect("JSON");
        let hit = found.hits[0].clone().expect("found");
        hit.text(document.as_bytes()).map(Cow::into_owned)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(text(r#"{"a":"x\u0000"}"#), some("x\0"));
    assert_eq!(text(r#"{"a":"\ud83d\ude00"}"#), some("😀"));
    assert_eq!(text(r#"{"a":"\ud83d."}"#), None);
    assert_eq!(text(r#"{"a":"\ud83d\ud83d\ude00"}"#), None);
    assert_eq!(text(r#"{"a":"\ude00"}"#), None);
    assert_eq!(text(r#"{"a":"\"\\\/\b"}"#), some("\"\\/\u{8}"));
    assert_eq!(text(r#"{"a":true}"#), some("true"));
    assert_eq!(text(r#"{"a":[]}"#), None);
}

#[test]
fn nesting_has_an_end() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(scan(nested(DEPTH_MAX).as_bytes(), &[]).is_ok());
    assert!(scan(nested(DEPTH_MAX + 1).as_bytes(), &[]).is_err());
    assert!(scan("[".repeat(1_000_000).as_bytes(), &[]).is_err());
}

/// Every pointer into `value`, with what stands there.
fn pointers(value: &Value, at: &str, out: &mut Vec<(String, Value)>) {
    if !at.is_empty() {
        out.push((at.to_owned(), value.clone()));
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let token = key.replace('~', "~0").replace('/', "~1");
                pointers(value, &format!("{at}/{token}"), out);
            }
        }
        Value::Array(list) => {
            for (i, value) in list.iter().enumerate() {
                pointers(value, &format!("{at}/{i}"), out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(Value::from("\0\u{1f}\\\"/😀\u{7f}")),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[a-c~/0-2é\"]{0,3}", inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_scanner_agrees_with_serde_json(value in any_json(), pretty: bool) {
        let document = if pretty {
            serde_json::to_vec_pretty(&value).expect("JSON")
        } else {
            serde_json::to_vec(&value).expect("JSON")
        };
        let mut wanted = Vec::new();
        pointers(&value, "", &mut wanted);
        for chunk in wanted.chunks(POINTERS_MAX) {
            let parsed: Vec<Pointer> =
                chunk.iter().map(|(text, _)| Pointer::parse(text).expect("a pointer")).collect();
            let found = scan(&document, &parsed.iter().collect::<Vec<_>>()).expect("JSON");
            for (i, (text, value)) in chunk.iter().enumerate() {
                let hit = found.hits[i].clone().expect("found");
                let raw: Value = serde_json::from_slice(&document[hit.span.clone()]).expect("JSON");
                prop_assert_eq!(&raw, value, "{}", text);
                prop_assert!(!found.is_ambiguous(i));
                if let Value::String(text) = value {
                    let unescaped = hit.text(&document);
                    prop_assert_eq!(unescaped.as_deref(), Some(text.as_str()));
                }
            }
        }
    }

    #[test]
    fn random_bytes_never_panic_and_are_judged_like_serde_json(
        bytes in prop::collection::vec(prop_oneof![
            any::<u8>(),
            prop::sample::select(b"{}[]\",:\\u0019eE+-.truefalsn \n\xc3\xa9".to_vec()),
        ], 0..40)
    ) {
        let pointer = Pointer::parse("/a/0").expect("a pointer");
        let ours = scan(&bytes, &[&pointer]);
        match std::str::from_utf8(&bytes) {
            Ok(text) => {
                prop_assert_eq!(ours.is_ok(), serde_json::from_str::<IgnoredAny>(text).is_ok(), "{}", text);
            }
            Err(_) => prop_assert!(ours.is_err()),
        }
        if let Ok(found) = ours
            && let Some(hit) = &found.hits[0]
        {
            let text = hit.text(&bytes);
            prop_assert!(text.is_some() || !matches!(hit.kind, Kind::Number | Kind::Bool));
        }
    }

    #[test]
    fn a_cut_document_is_refused(value in any_json(), cut in any::<prop::sample::Index>()) {
        let document = serde_json::to_vec(&serde_json::json!({ "a": value })).expect("JSON");
        prop_assert!(scan(&document[..cut.index(document.len())], &[]).is_err());
    }
}
