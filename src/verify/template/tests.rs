use bytes::Bytes;

use super::*;
use crate::received::{Headers, Received};

fn request(body: &'static [u8]) -> Received {
    let mut headers = Headers::new();
    headers.push("x-a", Bytes::from_static(b"\xff"));
    headers.push("x-time", "7");
    headers.push("x-list", "X-Time, x-list");
    Received {
        method: "PUT".to_owned(),
        target: "/in/x?q=1".to_owned(),
        headers,
        body: Bytes::from_static(body),
        peer: None,
        arrived_at: chrono::DateTime::UNIX_EPOCH,
    }
}

fn words() -> Words<'static> {
    Words { url: Some("https://x/p"), params: None }
}

fn resolved(text: &str, body: &'static [u8]) -> Result<Vec<u8>, Code> {
    let received = request(body);
    let context = Context {
        part: &received.body,
        ts: Some(b"7"),
        id: Some(b"i"),
        secret: b"s",
        beside: &[("h", b"x-time X-List"), ("n", b"v")],
        time_header: Some("x-time"),
    };
    let template = Template::parse(text, &words()).expect("a template");
    template.resolve(&received, &context).map(|content| content.concat()).map_err(|r| r.code)
}

fn text(template: &str, body: &'static [u8]) -> String {
    String::from_utf8(resolved(template, body).expect("resolves")).expect("text")
}

#[test]
fn a_template_gives_the_signed_bytes() {
    let body = br#"{"n":1.0}"#;
    assert_eq!(
        resolved("v0:{ts}{{{id}}}{method}{url}{header:X-A}{query:q}{body:/n}|{body}", body),
        Ok(b"v0:7{i}PUThttps://x/p?q=1\xff11.0|{\"n\":1.0}".to_vec())
    );
    assert_eq!(text("{secret}{sig:n}{crc32:body}", body), "sv3731279987");
    assert_eq!(
        text("{url:with_port}{url:without_port}", body),
        "https://x:443/p?q=1https://x/p?q=1"
    );
    assert_eq!(text("{param:a}{body}", b"b"), "(a)b");
    assert_eq!(text("{raw:/a}", br#"{"a": {"b" : 1} }"#), r#"{"b" : 1}"#);
    assert_eq!(text("{signed_headers:h}", body), "7.X-Time, x-list");
    assert_eq!(text("{header_lines:x-list}", body), "x-list:X-Time, x-list;x-time:7");
    assert_eq!(text("{target:contentful}{body}", b""), "/p?q%253D1");
}

#[test]
fn what_may_be_missing_is_left_out() {
    let template = "{?id:{body:/id};?}{?r:{query:q};?}{body:/x|}.";
    assert_eq!(text(template, br#"{"id":"a"}"#), "id:a;r:1;.");
    assert_eq!(text(template, br#"{"x":"?"}"#), "r:1;?.");
    assert_eq!(resolved("{body:/x}", b"{}"), Err(Code::SignatureMalformed));
    assert_eq!(resolved("{body:/x|}", b"{"), Err(Code::SignatureMalformed));
    assert_eq!(resolved("{sig:none}", b"{}"), Err(Code::SignatureMalformed));
}

#[test]
fn a_form_is_sorted_by_name_and_value() {
    assert_eq!(text("{sorted_form}", b"b=2&a=x+y&b=1&b=2&c=&%61b=3"), "ax yab3b1b2c");
    assert_eq!(resolved("{sorted_form}", b"a=%zz"), Err(Code::SignatureMalformed));
}

#[test]
fn a_template_that_says_nothing_is_refused() {
    for (bad, part) in [
        ("{body", "partner"),
        ("body}", "partner"),
        ("{bodi}", "not a part"),
        ("{header:}", "not a part"),
        ("{url}{body}", "public_url"),
        ("", "signs nothing"),
        ("constant", "signs nothing"),
        ("{secret}", "signs nothing"),
        ("{?{body:/a}", "without its"),
        ("{?a?}{body}", "a value must stand"),
        ("{param:x}{body}", "params.x"),
    ] {
        let none = std::collections::BTreeMap::new();
        let error = Template::parse(bad, &Words { url: None, params: Some(&none) }).expect_err(bad);
        assert!(error.contains(part), "{bad}: {error}");
    }
}

#[test]
fn a_value_may_not_hold_what_ends_it() {
    let template = "{body:/a!\n}\n{body:/b|!:}:";
    assert_eq!(text(template, br#"{"a":"x:!","b":"y\n"}"#), "x:!\ny\n:");
    assert_eq!(text(template, br#"{"a":"x"}"#), "x\n:");
    for body in [&br#"{"a":"x\ny"}"#[..], br#"{"a":"x","b":"y:z"}"#] {
        assert_eq!(resolved(template, body), Err(Code::SignatureMalformed));
    }
}

#[test]
fn what_is_covered_is_derived() {
    let template = |text| Template::parse(text, &words()).expect("a template");
    let field = |text| Field::parse(text).expect("a place");
    let form = template("{url}{sorted_form}");
    assert!(form.has_field(&field("query:a")));
    // Names and values stand side by side: `a=bc` and `ab=c` are signed alike.
    assert!(!form.has_field(&field("form:a")));
    assert!(!form.has_body() && form.has_part_of_body());
    let own = Words { url: Some("https://x/p?own=1"), params: None };
    let own = Template::parse("{url}{body}", &own).expect("a template");
    assert!(!own.has_field(&field("query:a")), "the request's query is not signed then");
    assert!(template("{form:p}").has_field(&field("form:p:/x")));
    assert!(!template("{form:p}").has_field(&field("form:q")));
    assert!(template("{?a{query:q}?}{body}").has_field(&field("query:q")));
    assert!(!template("{?{body:/x}?}{ts}").has_body());
    assert!(template("{crc32:body}").has_part_of_body());
}
