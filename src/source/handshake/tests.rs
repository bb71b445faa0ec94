use crate::source::handshake::Deed;
use crate::source::tests::{KEY, NOW, faults, request, settings, source, spec};
use crate::source::vectors::{at, code, source_of};
use crate::source::{Admitted, Answer, Source, catalog};
use crate::verify::{Code, Rejection};

mod closed;
mod words;

/// A source by a token, with one handshake.
fn shaking(handshake: &str) -> Source {
    with(handshake, &[KEY], &[])
}

fn text_of(handshake: &str) -> String {
    format!(
        "verify = {{ token = \"header:t\" }}\nevent = {{ id = \"none\" }}\nhandshake = [{handshake}]"
    )
}

fn with(handshake: &str, secrets: &[&str], params: &[(&str, &str)]) -> Source {
    let mut settings = settings(spec(&text_of(handshake)), secrets);
    for (name, value) in params {
        let value = crate::secret::Secret::new((*value).to_owned());
        settings.params.insert((*name).to_owned(), value);
    }
    Source::compile(settings).unwrap_or_else(|faults| panic!("{handshake}: {faults:?}"))
}

fn of(
    method: &str,
    query: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> crate::received::Received {
    let mut request = request(headers, body.as_bytes());
    request.method = method.to_owned();
    request.target = format!("/in/partner{query}");
    request
}

fn get(query: &str) -> crate::received::Received {
    of("GET", query, &[], "")
}

/// What a request is answered, or why not.
fn answer(source: &Source, request: &crate::received::Received) -> Result<Answer, Rejection> {
    match source.admit(request.clone(), at(NOW)) {
        Ok(Admitted::Handshake(answer)) => Ok(answer),
        Ok(other) => panic!("no handshake: {other:?}"),
        Err(refused) => Err(refused.rejection),
    }
}

fn body(source: &Source, request: &crate::received::Received) -> String {
    let answer = answer(source, request).unwrap_or_else(|why| panic!("{why}"));
    String::from_utf8(answer.body.to_vec()).expect("text")
}

#[test]
fn a_handshake_needs_its_proof_first() {
    let slack = catalog::get("slack").expect("a preset");
    let source = source_of(slack, &[KEY.to_owned()], None);
    let challenge = |challenge: &str| {
        format!(r#"{{"type":"url_verification","challenge":{challenge}}}"#).into_bytes()
    };
    let unsigned = request(&[], &challenge("\"abc\""));
    assert_eq!(code(&source, &unsigned, NOW), Err(Code::SignatureMissing));
    let sign = |body: &[u8]| source.sign(request(&[], body), at(NOW), 0).expect("signed");
    let answer = answer(&source, &sign(&challenge("\"abc\""))).expect("an answer");
    assert_eq!((answer.status, answer.body.as_ref()), (200, b"abc".as_slice()));
    assert_eq!(answer.content_type.as_deref(), Some("text/plain"));
    for bad in ["null", "{}", &format!("{:?}", "x".repeat(5000))] {
        assert_eq!(code(&source, &sign(&challenge(bad)), NOW), Err(Code::BodyMalformed), "{bad}");
    }
}

#[test]
fn an_unsigned_handshake_is_answered_where_the_settings_say_so() {
    let source = shaking(
        r#"{ match = { method = "GET", query = { "hub.mode" = "subscribe", "hub.challenge" = "*" } }, signed = false, reply = { body = "{query.hub.challenge}", headers = { x-echo = "{{{query.hub.challenge}}}" } } }"#,
    );
    let good = get("?hub.mode=subscribe&hub.challenge=a%20b");
    let answered = answer(&source, &good).expect("an answer");
    assert_eq!(answered.body.as_ref(), b"a b");
    assert!(answered.headers.contains(&("x-echo".to_owned(), "{a b}".to_owned())));
    assert!(answered.headers.contains(&("x-content-type-options".into(), "nosniff".into())));
    for (query, wanted) in [
        ("?hub.mode=subscribe&hub.challenge=a%0Ab", Code::BodyMalformed),
        ("?hub.mode=subscribe&hub.challenge=a%0D%0Ab", Code::BodyMalformed),
        ("?hub.mode=subscribe&hub.challenge=%1b[2J", Code::BodyMalformed),
        ("?hub.mode=subscribe&hub.challenge=a&hub.challenge=b", Code::MethodNotAllowed),
        ("?hub.mode=subscribe", Code::MethodNotAllowed),
        ("?hub.mode=unsubscribe&hub.challenge=a", Code::MethodNotAllowed),
    ] {
        assert_eq!(code(&source, &get(query), NOW), Err(wanted), "{query}");
    }
    // The method is taken for the handshake only, whatever else such a request proves.
    assert_eq!(code(&source, &of("GET", "", &[("t", KEY)], ""), NOW), Err(Code::MethodNotAllowed));
    assert_eq!(code(&source, &of("POST", "", &[("t", KEY)], ""), NOW), Ok(()));
    assert_eq!(code(&source, &of("POST", "", &[], ""), NOW), Err(Code::SignatureMissing));
}

#[test]
fn a_method_alone_may_be_a_handshake_unless_events_come_by_it() {
    let head = r#"{ match = { method = "HEAD" }, signed = false, reply = {} }"#;
    let source = shaking(head);
    let answered = answer(&source, &of("HEAD", "", &[], "")).expect("an answer");
    assert_eq!((answered.status, answered.content_type), (200, None));
    assert_eq!(code(&source, &get(""), NOW), Err(Code::MethodNotAllowed));
    let unsigned = shaking(
        r#"{ match = { absent = ["header:t"] }, signed = false, reply = { body = "hello" } }"#,
    );
    assert_eq!(body(&unsigned, &of("POST", "", &[], "")), "hello");
    assert_eq!(code(&unsigned, &of("POST", "", &[("t", KEY)], ""), NOW), Ok(()));
    for swallowing in [
        r#"{ match = { method = "POST" }, reply = {} }"#,
        r#"{ match = {}, signed = false, reply = {} }"#,
        r#"{ match = { absent = ["header:x"] }, signed = false, reply = {} }"#,
    ] {
        let found = faults(&text_of(swallowing), &[KEY]).join("\n");
        assert!(found.contains("would swallow every request"), "{found}");
    }
    let found = faults(&format!("methods = [\"HEAD\", \"POST\"]\n{}", text_of(head)), &[KEY]);
    assert!(found.join("\n").contains("would swallow"), "{found:?}");
}

#[test]
fn a_signed_handshake_by_a_method_of_its_own_is_refused_as_unsigned() {
    let source = shaking(
        r#"{ match = { method = "GET", header = { x-challenge = "*" } }, reply = { content_type = "application/json", body = '{{"v":{json:header.x-challenge}}}' } }"#,
    );
    let headers = [("x-challenge", "a \"b\" </script>\\"), ("t", KEY)];
    assert_eq!(body(&source, &of("GET", "", &headers, "")), r#"{"v":"a \"b\" </script>\\"}"#);
    let unsigned = of("GET", "", &headers[..1], "");
    assert_eq!(code(&source, &unsigned, NOW), Err(Code::SignatureMissing));
    let wrong = of("GET", "", &[headers[0], ("t", "another-token")], "");
    assert_eq!(code(&source, &wrong, NOW), Err(Code::SignatureMismatch));
    assert_eq!(code(&source, &get(""), NOW), Err(Code::MethodNotAllowed));
}

#[test]
fn the_first_of_the_list_that_a_request_is_answers() {
    let source = shaking(
        r#"
        { match = { header = { a = "1" } }, signed = false, reply = { body = "first" } },
        { match = { header = { a = "*" } }, signed = false, reply = { body = "second" } },
        { match = { header = { b = "*" } }, reply = { body = "signed" } },
        { match = { header = { b = "*" } }, signed = false, reply = { body = "unsigned" } }"#,
    );
    let post = |headers: &[(&str, &str)]| of("POST", "", headers, "");
    assert_eq!(body(&source, &post(&[("a", "1")])), "first");
    assert_eq!(body(&source, &post(&[("a", "2")])), "second");
    assert_eq!(body(&source, &post(&[("a", "1"), ("b", "1"), ("t", KEY)])), "first");
    assert_eq!(body(&source, &post(&[("b", "1"), ("t", KEY)])), "signed");
    assert_eq!(body(&source, &post(&[("b", "1")])), "unsigned");
}

#[test]
fn a_path_of_its_own_takes_nothing_but_its_handshake() {
    let text = r#"{ match = { method = "GET", path = "/.well-known/x" }, signed = false, reply = { body = "{sha256:hex:param.service}\n" } }"#;
    let source = with(text, &[KEY], &[("service", "abc")]);
    let at_path = |method: &str, headers: &[(&str, &str)]| {
        let mut request = of(method, "", headers, "");
        request.target = "/.well-known/x?y".to_owned();
        request
    };
    assert_eq!(
        body(&source, &at_path("GET", &[])),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"
    );
    assert_eq!(code(&source, &at_path("POST", &[("t", KEY)]), NOW), Err(Code::UnknownSource));
    assert_eq!(code(&source, &get(""), NOW), Err(Code::MethodNotAllowed));
    assert_eq!(source.methods("/.well-known/x"), ["GET"]);
    assert_eq!(source.methods("/in/partner"), ["POST"]);
    for bad in ["x", "/in/partner", "/livez", "/a b", "/a/../b"] {
        let text = text.replace("/.well-known/x", bad).replace("{sha256:hex:param.service}", "");
        let found = faults(&text_of(&text), &[KEY]).join("\n");
        assert!(found.contains("handshake[0].match.path: "), "{bad}: {found}");
    }
}

#[test]
fn a_value_that_may_not_stand_there_and_one_that_must_be_hex() {
    let source = shaking(
        r#"
        { match = { query = { c = "*hex{2,4}" }, absent = ["header:x-sig", "body:/a"] }, signed = false, reply = { body = "yes" } }"#,
    );
    let post = |query: &str, headers: &[(&str, &str)], body: &str| of("POST", query, headers, body);
    for good in [post("?c=0f", &[], "{}"), post("?c=0f0f", &[("x-sig", "")], r#"{"a":null}"#)] {
        assert_eq!(body(&source, &good), "yes");
    }
    for (query, headers, body) in [
        ("?c=0f", &[("x-sig", "x")][..], "{}"),
        ("?c=0f", &[("x-sig", "x"), ("x-sig", "y")], "{}"),
        ("?c=0f", &[], r#"{"a":1}"#),
        ("?c=0f", &[], r#"{"a":[]}"#),
        ("?c=0f", &[], "not JSON"),
        ("?c=0", &[], "{}"),
        ("?c=0f0f0", &[], "{}"),
        ("?c=0F", &[], "{}"),
        ("?c=0g", &[], "{}"),
        ("", &[], "{}"),
    ] {
        let request = post(query, headers, body);
        assert_eq!(code(&source, &request, NOW), Err(Code::SignatureMissing), "{query} {body}");
    }
    let found = faults(
        &text_of(r#"{ match = { query = { a = "*hex{4,2}", b = "*x" } }, reply = {} }"#),
        &[KEY],
    );
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn a_form_is_matched_by_its_fields() {
    let source = shaking(
        r#"{ match = { form = { webhook_id = "*" }, absent = ["header:t"] }, signed = false, reply = { body = "{form.webhook_id}" } }"#,
    );
    assert_eq!(body(&source, &of("POST", "", &[], "webhook_id=7")), "7");
    assert_eq!(code(&source, &of("POST", "", &[("t", KEY)], "webhook_id=7"), NOW), Ok(()));
    let twice = of("POST", "", &[], "webhook_id=7&webhook_id=8");
    assert_eq!(code(&source, &twice, NOW), Err(Code::SignatureMissing));
}

#[test]
fn what_a_handshake_must_show_is_checked_and_refused_as_the_settings_say() {
    let text = r#"{ match = { method = "GET", query = { c = "*" } }, signed = false, check = { "query:token" = "{param:token}" }, REFUSE reply = { body = "{query.c}" } }"#;
    let params = [("token", "meatyhamhock")];
    for (refuse, status) in [("", 403), ("refuse = 404,", 404)] {
        let source = with(&text.replace("REFUSE", refuse), &[KEY], &params);
        assert_eq!(body(&source, &get("?c=1158201444&token=meatyhamhock")), "1158201444");
        for query in ["?c=1", "?c=1&token=", "?c=1&token=meaty", "?c=1&token=a&token=meatyhamhock"]
        {
            let refused = answer(&source, &get(query)).expect_err(query);
            assert_eq!((refused.code, refused.status), (Code::HandshakeRefused, Some(status)));
            assert!(!refused.detail.contains("meaty"), "{refused}");
        }
    }
    for (text, fault) in [
        (text.replace("REFUSE", "refuse = 200,"), "200 is not between 400 and 499"),
        (text.replace("{param:token}", "{param:none}"), "needs `params.none` to be set"),
        (text.replace("{param:token}", ""), "an empty value checks nothing"),
        (text.replace("{param:token}", "{query:x}"), "is not known here"),
        (text.replace("query:token", "cookie:token"), "is not a place"),
    ] {
        let mut settings = settings(spec(&text_of(&text.replace("REFUSE", ""))), &[KEY]);
        let token = crate::secret::Secret::new("meatyhamhock".to_owned());
        settings.params.insert("token".to_owned(), token);
        let found = Source::compile(settings).expect_err(fault).join("\n");
        assert!(found.contains(fault), "{found}");
    }
}
