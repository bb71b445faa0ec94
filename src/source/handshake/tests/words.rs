//! What answers may say.

use super::*;

/// The body of a reply over a request, in an answer of this type.
fn said(signed: bool, kind: &str, reply: &str, request: &crate::received::Received) -> String {
    let text = format!(
        r#"{{ match = {{ header = {{ x = "*" }} }}, signed = {signed}, reply = {{ content_type = "{kind}", body = '{reply}' }} }}"#
    );
    let source = with(&text, &[KEY], &[("p", "v\"1")]);
    match answer(&source, request) {
        Ok(answer) => String::from_utf8(answer.body.to_vec()).expect("text"),
        Err(why) => why.code.to_string(),
    }
}

#[test]
fn every_word_says_what_it_names() {
    let form = of("POST", "?q=a%2Bb", &[("x", "h"), ("t", KEY)], "f=1+2");
    let json = of("POST", "?q=a", &[("x", "h"), ("t", KEY)], r#"{"a":{"b":"c\"d"},"n":1.50}"#);
    for (reply, request, wanted) in [
        ("{query.q} {header.x} {form.f} {{}}", &form, "a+b h 1 2 {}"),
        ("{body./a/b} {body./n} {body}", &json, r#"c"d 1.50 {"a":{"b":"c\"d"},"n":1.50}"#),
        ("{json:body./a/b}{json:form.f}", &json, "body_malformed"),
        (
            "{json:body./a/b} {json:body} {json:param.p}",
            &json,
            r#""c\"d" "{\"a\":{\"b\":\"c\\\"d\"},\"n\":1.50}" "v\"1""#,
        ),
        ("{param.p}", &json, "v\"1"),
        (
            "{sha256:hex:header.x}",
            &json,
            "aaa9402664f1a41f40ebbc52c9993eb66aeb366602958fdfaa283b71e64db123",
        ),
        ("{sha256:base64:header.x}", &json, "qqlAJmTxpB9A67xSyZk+tmrrNmYClY/fqig7ceZNsSM="),
        ("{query.none}", &json, "body_malformed"),
        ("{body./a}", &json, "body_malformed"),
    ] {
        assert_eq!(said(true, "text/plain", reply, request), wanted, "{reply}");
    }
}

#[test]
fn what_is_signed_is_signed_by_the_first_secret_as_the_scheme_reads_it() {
    let text = r#"
        verify = { hmac = "sha256", key = { decode = "DECODE" BYID }, signature = { from = "header:s", encoding = "hex", grammar = GRAMMAR }, content = "{body}" }
        event = { id = "none" }
        handshake = [{ match = { method = "GET" }, signed = false, reply = { body = "REPLY" } }]
    "#;
    let said = |decode: &str, by_id: bool, secret: &str, reply: &str, query: &str| {
        let (by_id, grammar) = match by_id {
            true => (", by_id = \"sig\"", "{ keyed = { sep = \"&\", by = \"|\" } }"),
            false => ("", "{ plain = {} }"),
        };
        let text = text
            .replace("DECODE", decode)
            .replace("BYID", by_id)
            .replace("GRAMMAR", grammar)
            .replace("REPLY", reply);
        let source = Source::compile_weak(settings(spec(&text), &[secret]))
            .unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
        body(&source, &get(query))
    };
    let sha256 = "{hmac:sha256:hex:query.c}";
    // Computed with Python 3's hmac module.
    let jefe = "3feef4f42d837116c54e37f8c0b7af4405ba0204f905506473d9a597883a7da1";
    let plain = said("utf8", false, "Jefe", sha256, "?c=challenge_string");
    assert_eq!(plain, said("hex", false, "4a656665", sha256, "?c=challenge_string"));
    assert_eq!(plain, said("base64", false, "SmVmZQ==", sha256, "?c=challenge_string"));
    assert_eq!(plain, jefe);
    // X's documentation.
    assert_eq!(
        said(
            "utf8",
            false,
            "consumer-secret",
            "sha256={hmac:sha256:base64:query.crc_token}",
            "?crc_token=challenge_string"
        ),
        "sha256=S/mG8E9n5SjoGuCqHguvP8K8uuu5ogCPF0dOpIdyZlk="
    );
    let with_id =
        said("sha1_of", true, "public:private", "{key_id}|{hmac:sha1:hex:query.c}", "?c=abc");
    // Computed with Python 3: hmac.new(hashlib.sha1(b"private").digest(), b"abc", "sha1").
    assert_eq!(with_id, "public|1e07fcb6b286f6c3bd5b4c2740a4f380aa6f08d4");
}

#[test]
fn a_stranger_gets_no_event_signed() {
    let text = r#"{ match = { method = "GET" }, signed = false, reply = { body = "{hmac:sha256:hex:query.c}" } }"#;
    let source = shaking(text);
    assert_eq!(body(&source, &get("?c=OGQ2ZDM2ODgtNDUzMi00Y2IwLTk0Y2Q_-.=%2B/")).len(), 64);
    for bad in ["", "{}", "{\"id\":1}", "[1]", "a b", "a&b", "<a/>", "\"a\"", "é", &"a".repeat(65)]
    {
        let encoded: String = form_urlencoded::byte_serialize(bad.as_bytes()).collect();
        let request = get(&format!("?c={encoded}"));
        assert_eq!(code(&source, &request, NOW), Err(Code::BodyMalformed), "{bad}");
    }
}

#[test]
fn what_a_browser_would_run_is_never_repeated_to_a_stranger() {
    let fault = |signed: bool, reply: &str| {
        let text = format!(
            r#"{{ match = {{ method = "GET" }}, signed = {signed}, reply = {{ {reply} }} }}"#
        );
        match Source::compile(settings(spec(&text_of(&text)), &[KEY])) {
            Ok(_) => String::new(),
            Err(faults) => faults.join("\n"),
        }
    };
    for kind in ["text/html", "image/svg+xml", "text/xml", "application/xhtml+xml; charset=utf-8"] {
        let reply = format!("content_type = \"{kind}\", body = \"{{query.c}}\"");
        assert!(fault(false, &reply).contains("must be text/plain"), "{kind}");
        let fixed = format!("content_type = \"{kind}\", body = \"<ok/>\"");
        assert_eq!(fault(false, &fixed), "", "{kind}");
    }
    for body in ["{query.c}", "{{\\\"a\\\":\\\"{query.c}\\\"}}", "{body}{body}", "{param.x}"] {
        let reply = format!("content_type = \"application/json\", body = \"{body}\"");
        let found = fault(true, &reply);
        assert!(found.contains("json:") || found.contains("params.x"), "{body}: {found}");
    }
    assert_eq!(fault(false, "content_type = \"application/json\", body = \"{body}\""), "");
    for header in ["set-cookie", "Location", "content-length", "transfer-encoding", "content-type"]
    {
        let found = fault(true, &format!("headers = {{ {header} = \"x\" }}"));
        assert!(found.contains("is not for a handshake to set"), "{header}: {found}");
    }
    for (reply, wanted) in [
        ("body = \"{nonsense}\"", "is not known here"),
        ("body = \"{cookie.x}\"", "is not known here"),
        ("body = \"{hmac:md5:hex:query.c}\"", "is not known here"),
        ("body = \"{hmac:sha256:query.c}\"", "is not known here"),
        ("body = \"{sha256:hex}\"", "is not known here"),
        ("body = \"{json:}\"", "is not known here"),
        ("body = \"{key_id}\"", "have no id"),
        ("body = \"{query.c\"", "without its partner"),
        ("body = \"a}\"", "without its partner"),
        ("status = 302", "302 is not between 200 and 299"),
        ("content_type = \"a\\nb\", body = \"x\"", "can't stand in a header"),
        ("headers = { \"a b\" = \"x\" }", "can't be the name of a header"),
    ] {
        let found = fault(true, reply);
        assert!(
            found.contains("handshake[0].reply.") && found.contains(wanted),
            "{reply}: {found}"
        );
    }
}

#[test]
fn a_whole_body_is_repeated_up_to_a_limit_and_only_as_text() {
    let text = r#"{ match = { header = { x = "*" } }, signed = false, reply = { content_type = "application/json", body = "{body}" } }"#;
    let source = shaking(text);
    let post = |body: &str| of("POST", "", &[("x", "1")], body);
    let challenge = "{\r\n  \"challenge\": \"\\u00e9\"\n}";
    assert_eq!(body(&source, &post(challenge)), challenge);
    for bad in ["not JSON", "{\"a\":1}x", "", &format!("\"{}\"", "x".repeat(65_536)), "\"\u{1b}\""]
    {
        assert_eq!(code(&source, &post(bad), NOW), Err(Code::BodyMalformed), "{bad:.20}");
    }
}
