//! What handshakes ask of us: secrets to keep, URLs to call; and secrets that everybody knows.

use super::*;
use crate::secret::Secret;

const SECRET: &str = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81";
const OTHER: &str = "00000000000000000000000000000000000000000000000000000000000000ff";

const ASANA: &str = r#"
    verify = { hmac = "sha256", signature = { from = "header:x-hook-signature", encoding = "hex" }, content = "{body}" }
    event = { id = "none" }
    handshake = [{ match = { method = "POST", header = { x-hook-secret = "*" } }, signed = false, capture_secret = "header:x-hook-secret", only_while = "pending", reply = { headers = { x-hook-secret = "{header.x-hook-secret}" } } }]
"#;

fn brings(secret: &str) -> crate::received::Received {
    of("POST", "", &[("x-hook-secret", secret)], "")
}

fn captured(source: &Source, request: &crate::received::Received) -> Secret {
    match answer(source, request).expect("an answer").first {
        Some(Deed::Capture(secret)) => secret,
        other => panic!("no capture: {other:?}"),
    }
}

#[test]
fn a_source_without_a_secret_waits_for_one_and_then_takes_no_other() {
    let asana = source(ASANA, &[]);
    assert!(asana.captures() && asana.is_pending() && !asana.is_configured());
    let signed_by = |secret: &str| {
        source(ASANA, &[secret]).sign(of("POST", "", &[], "{}"), at(NOW), 0).expect("signed")
    };
    assert_eq!(code(&asana, &signed_by(SECRET), NOW), Err(Code::SignatureMismatch));
    assert_eq!(code(&asana, &of("POST", "", &[], "{}"), NOW), Err(Code::SignatureMissing));

    let answered = answer(&asana, &brings(SECRET)).expect("an answer");
    assert_eq!((answered.status, answered.content_type, answered.body.len()), (200, None, 0));
    assert!(answered.headers.contains(&("x-hook-secret".to_owned(), SECRET.to_owned())));
    let secret = captured(&asana, &brings(SECRET));
    // Asking changes nothing: only what is durable counts.
    assert!(asana.is_pending());
    assert_eq!(asana.learn(&[secret]), Ok(true));
    assert!(!asana.is_pending());
    assert_eq!(code(&asana, &signed_by(SECRET), NOW), Ok(()));

    // An attacker can neither replace nor add one.
    let refused = answer(&asana, &brings(OTHER)).expect_err("a refusal");
    assert_eq!(refused.code, Code::HandshakeClosed);
    assert_eq!(code(&asana, &signed_by(OTHER), NOW), Err(Code::SignatureMismatch));
    // The provider whose first answer was lost may ask again.
    assert_eq!(captured(&asana, &brings(SECRET)).expose(), SECRET);
    // An event that looks like the handshake as well is an event.
    let mut both = signed_by(SECRET);
    both.headers.push("x-hook-secret", OTHER.as_bytes());
    assert!(matches!(asana.admit(both, at(NOW)), Ok(Admitted::Event(_))));

    assert_eq!(asana.learn(&[Secret::new(SECRET.to_owned())]), Ok(false));
    assert_eq!(asana.learn(&[]), Ok(true));
    assert!(asana.is_pending());
    assert_eq!(code(&asana, &signed_by(SECRET), NOW), Err(Code::SignatureMismatch));
}

#[test]
fn a_captured_secret_is_checked_as_a_configured_one() {
    let asana = source(ASANA, &[]);
    for bad in ["", "short", "changeme", "${SECRET}", " b537207f20cbfa02357cf448134da559e8bd3"] {
        let refused = answer(&asana, &brings(bad)).expect_err(bad);
        assert!(
            matches!(refused.code, Code::HandshakeRefused | Code::BodyMalformed),
            "{bad}: {refused}"
        );
        assert!(bad.is_empty() || !refused.detail.contains(bad), "{refused}");
    }
    assert!(asana.learn(&[Secret::new("short".to_owned())]).is_err());
    assert!(asana.is_pending());
}

#[test]
fn a_source_with_a_secret_of_its_own_never_waits() {
    let asana = source(ASANA, &[KEY]);
    assert!(asana.captures() && !asana.is_pending() && asana.is_configured());
    assert_eq!(code(&asana, &brings(SECRET), NOW), Err(Code::HandshakeClosed));
    assert_eq!(asana.learn(&[Secret::new(SECRET.to_owned())]), Ok(true));
    for secret in [KEY, SECRET] {
        let signer = source(ASANA, &[secret]);
        let signed = signer.sign(of("POST", "", &[], "{}"), at(NOW), 0).expect("signed");
        assert_eq!(code(&asana, &signed, NOW), Ok(()));
    }
}

#[test]
fn capturing_without_a_guard_is_a_fault() {
    for (from, to, fault) in [
        ("only_while = \"pending\", ", "", "could replace the secret"),
        ("capture_secret = \"header:x-hook-secret\", ", "", "is ever pending"),
        ("signed = false, ", "", "nothing can be signed"),
    ] {
        assert!(ASANA.contains(from));
        let found = faults(&ASANA.replace(from, to), &[KEY]).join("\n");
        assert!(found.contains(fault), "{found}");
    }
}

#[test]
fn only_a_signed_request_makes_us_call_and_only_where_the_settings_allow() {
    let text = r#"{ match = { body = { "/Type" = "SubscriptionConfirmation" } }, callout = { url_from = "body:/SubscribeURL", hosts = ["sns.us-*.amazonaws.com"] }, reply = {} }"#;
    let sns = shaking(text);
    let asks = |url: &str| {
        let body = format!(r#"{{"Type":"SubscriptionConfirmation","SubscribeURL":"{url}"}}"#);
        of("POST", "", &[("t", KEY)], &body)
    };
    let url = "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&Token=1";
    match answer(&sns, &asks(url)).expect("an answer").first {
        Some(Deed::Fetch(wanted)) => assert_eq!(wanted.as_str(), url),
        other => panic!("no call: {other:?}"),
    }
    for bad in [
        "http://sns.us-east-1.amazonaws.com/",
        "https://sns.us-east-1.amazonaws.com:8443/",
        "https://sns.us-east-1.amazonaws.com@evil.org/",
        "https://evil.org/",
        "https://169.254.169.254/latest/meta-data/",
        "nothing",
    ] {
        let refused = answer(&sns, &asks(bad)).expect_err(bad);
        assert_eq!((refused.code, refused.status), (Code::HandshakeRefused, Some(403)), "{bad}");
        assert!(!refused.detail.contains("evil"), "{refused}");
    }
    let none = of("POST", "", &[("t", KEY)], r#"{"Type":"SubscriptionConfirmation"}"#);
    assert_eq!(code(&sns, &none, NOW), Err(Code::BodyMalformed));
    let mut unsigned = asks(url);
    unsigned.headers = crate::received::Headers::new();
    assert_eq!(code(&sns, &unsigned, NOW), Err(Code::SignatureMissing));
    for (from, to, fault) in [
        ("callout", "signed = false, callout", "only for what is signed"),
        ("sns.us-*.amazonaws.com", "*.com", "too wide"),
        ("[\"sns.us-*.amazonaws.com\"]", "[]", "nothing could be called"),
        ("body:/SubscribeURL", "SubscribeURL", "is not a place"),
    ] {
        let found = faults(&text_of(&text.replacen(from, to, 1)), &[KEY]).join("\n");
        assert!(found.contains(fault), "{found}");
    }
}

#[test]
fn a_request_by_a_published_secret_proves_nothing_and_is_answered() {
    let text = r#"
        verify = { hmac = "sha256", signature = { from = "header:s", encoding = "hex" }, content = "{body}" }
        event = { id = "none" }
        handshake = [{ match = { method = "POST", header = { s = "*" } }, signed_by = "test-webhook", reply = { body = "tested" } }]
    "#;
    let real = source(text, &[KEY]);
    let published = Source::compile_weak(settings(
        spec(text.split("handshake").next().expect("a part")),
        &["test-webhook"],
    ))
    .expect("a source");
    let by = |source: &Source, body: &str| {
        source.sign(of("POST", "", &[], body), at(NOW), 0).expect("signed")
    };
    assert_eq!(body(&real, &by(&published, "[]")), "tested");
    assert!(matches!(real.admit(by(&real, "[]"), at(NOW)), Ok(Admitted::Event(_))));
    let mut changed = by(&published, "[]");
    changed.body = bytes::Bytes::from_static(b"{}");
    assert_eq!(code(&real, &changed, NOW), Err(Code::SignatureMismatch));
    let found = Source::compile_weak(settings(spec(text), &["test-webhook"]))
        .expect_err("a fault")
        .join("\n");
    assert!(found.contains("secrets[0]: is the one that the provider publishes"), "{found}");
    let found = faults(&text.replace("signed_by", "signed = false, signed_by"), &[KEY]).join("\n");
    assert!(found.contains("contradict each other"), "{found}");
}
