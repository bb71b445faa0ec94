use bytes::Bytes;

use super::*;
use crate::received::Headers;
use crate::source::tests::{KEY, NOW, request, source};
use crate::source::vectors::{at, code, request_of, source_of};
use crate::source::{Admitted, catalog};
use crate::verify::Code;

/// But a multipart form is none without its content type.
fn without_headers(request: Received) -> Received {
    let mut headers = Headers::new();
    if request.body.starts_with(b"--") {
        let content_type = request.headers.all("content-type").next().expect("a content type");
        headers.push("content-type", content_type);
    }
    Received { headers, ..request }
}

#[test]
fn every_preset_signs_what_it_accepts() {
    for preset in &catalog::on_disk() {
        for vector in preset.vector.iter().filter(|vector| vector.refused.is_none()) {
            let source = source_of(preset, &vector.secrets, Some(vector));
            for secret in 0..vector.secrets.len() {
                let whole = request_of(vector);
                let is_bare = whole.headers.is_empty();
                for (unsigned, bare) in [(whole.clone(), is_bare), (without_headers(whole), true)] {
                    let now = at(vector.now + 1_000_000);
                    let signed = match source.sign(unsigned, now, secret) {
                        // What only the provider knows went away with the headers.
                        Err(why)
                            if bare
                                && (why.contains("beside its signature")
                                    || why.contains("which the signature covers")) =>
                        {
                            continue;
                        }
                        // A handshake that needs no signature may have nothing that could be signed.
                        Err(_) if vector.answer.is_some() => continue,
                        // The provider alone has the private key.
                        Err(why) if why.starts_with("only the public key is known") => continue,
                        signed => signed.unwrap_or_else(|why| panic!("{}: {why}", preset.slug)),
                    };
                    match source.admit(signed, now) {
                        Ok(Admitted::Event(verified)) => {
                            assert_eq!(verified.proof().secret, Some(secret), "{}", preset.slug);
                        }
                        Ok(Admitted::Events(events)) => {
                            let used = events.iter().map(|verified| verified.proof().secret);
                            assert!(
                                used.into_iter().all(|it| it == Some(secret)),
                                "{}",
                                preset.slug
                            );
                        }
                        Ok(Admitted::Empty) => {}
                        Ok(Admitted::Handshake(_)) => assert!(vector.answer.is_some()),
                        // So did the id; and signed a handshake may be one no longer.
                        Err(refused)
                            if (bare && refused.rejection.code == Code::IdMissing)
                                || vector.answer.is_some() => {}
                        Err(refused) => panic!("{}: {}", preset.slug, refused.rejection),
                    }
                }
            }
        }
    }
}

#[test]
fn schemes_of_every_kind_sign_and_verify() {
    let event = "event = { id = \"header:x-id\" }\n";
    for (verify, secrets) in [
        ("\"none\"", &[][..]),
        ("\"basic\"", &["user:pass-word"][..]),
        ("{ token = { from = \"header:authorization\", prefix = \"Bearer \" } }", &[KEY]),
        ("{ token = \"query:token\" }", &[KEY]),
        ("{ token = \"form:token\" }", &[KEY]),
        (
            "{ hmac = \"sha1\", signature = { from = \"header:s\", grammar = { plain = { prefix = \"sha1=\" } } } }",
            &[KEY],
        ),
        (
            "{ hmac = \"sha384\", signature = { from = \"query:s\", encoding = \"base64url\" } }",
            &[KEY],
        ),
        (
            "{ hmac = \"sha512\", key = { decode = \"hex\" }, signature = { from = \"header:s\", lines = \"all\", encoding = \"base64\" }, content = \"{method}{query:q}{header:x-id}{body}\" }",
            &["000102030405060708090a0b0c0d0e0f10"],
        ),
        (
            "{ hmac = \"sha256\", signature = { from = \"form:s\" }, content = \"{form:a}{ts}\", timestamp = { from = \"form:t\", unit = \"ms\" } }",
            &[KEY],
        ),
        (
            "{ all = [{ token = \"header:t\", key = { secrets = [0] } }, { hmac = \"sha256\", key = { secrets = [1] }, signature = { from = \"header:s\" } }] }",
            &["the-token", KEY],
        ),
        (
            "{ any = [{ token = \"header:t\" }, { hmac = \"sha256\", signature = { from = \"header:s\" } }] }",
            &[KEY],
        ),
    ] {
        let source = source(&format!("{event}verify = {verify}"), secrets);
        let mut unsigned = request(&[("x-id", "1")], b"a=1");
        unsigned.target.push_str("?q=2");
        assert_eq!(code(&source, &unsigned, NOW).is_ok(), verify == "\"none\"", "{verify}");
        let signed = source.sign(unsigned, at(NOW), 0).expect("signed");
        assert_eq!(code(&source, &signed, NOW), Ok(()), "{verify}");
    }
}

#[test]
fn the_reference_library_agrees() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
    let theirs = standardwebhooks::Webhook::new(&secret).expect("a secret");
    let preset = catalog::get("standard-webhooks").expect("a preset");
    let ours = source_of(preset, &[secret], None);
    let now = 1_767_225_600;
    for body in ["", "{}", "\u{0}\u{7f}é", r#"{"type":"a"}"#] {
        let signature = theirs.sign("msg_1", now, body.as_bytes()).expect("signed");
        let mut headers = Headers::new();
        headers.push("webhook-id", "msg_1");
        let unsigned = Received {
            method: "POST".to_owned(),
            target: "/in/s".to_owned(),
            headers,
            body: Bytes::copy_from_slice(body.as_bytes()),
            peer: None,
            arrived_at: at(now),
        };
        let signed = ours.sign(unsigned, at(now), 0).expect("signed");
        let line = signed.headers.one("webhook-signature").expect("once").expect("there");
        assert_eq!(line, signature.as_bytes());
        assert_eq!(code(&ours, &signed, now), Ok(()));
    }
}
