use crate::source::tests::{KEY, NOW, request, source};
use crate::source::vectors::{at, code, source_of};
use crate::source::{Admitted, catalog};
use crate::verify::Code;

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
    let Ok(Admitted::Handshake(answer)) = source.admit(sign(&challenge("\"abc\"")), at(NOW)) else {
        panic!("not answered");
    };
    assert_eq!((answer.status, answer.body.as_ref()), (200, b"abc".as_slice()));
    assert_eq!(answer.content_type.as_deref(), Some("text/plain"));
    for bad in ["null", "{}", &format!("{:?}", "x".repeat(5000))] {
        assert_eq!(code(&source, &sign(&challenge(bad)), NOW), Err(Code::BodyMalformed), "{bad}");
    }
}

#[test]
fn an_unsigned_handshake_is_answered_where_the_settings_say_so() {
    let text = r#"
        verify = { token = "header:t" }
        event = { id = "none" }
        methods = ["GET", "POST"]
        handshake = [{ match = { method = "GET", query = { "hub.mode" = "subscribe", "hub.challenge" = "*" } }, signed = false, reply = { body = "{query.hub.challenge}", headers = { x-echo = "{{{query.hub.challenge}}}" } } }]
    "#;
    let source = source(text, &[KEY]);
    let mut get = request(&[], b"");
    get.method = "GET".to_owned();
    get.target = "/in/partner?hub.mode=subscribe&hub.challenge=a%20b".to_owned();
    let Ok(Admitted::Handshake(answer)) = source.admit(get.clone(), at(NOW)) else {
        panic!("not answered");
    };
    assert_eq!(answer.body.as_ref(), b"a b");
    assert!(answer.headers.contains(&("x-echo".to_owned(), "{a b}".to_owned())));
    get.target = "/in/partner?hub.mode=subscribe&hub.challenge=a%0Ab".to_owned();
    assert_eq!(code(&source, &get, NOW), Err(Code::BodyMalformed));
    get.target = "/in/partner?hub.mode=subscribe".to_owned();
    assert_eq!(code(&source, &get, NOW), Err(Code::SignatureMissing));
}
