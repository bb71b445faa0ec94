//! One event is one, however it is wrapped; two are two, however alike they look.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::super::vectors::{request_of, source_of};
use super::*;
use crate::verify::mac;

fn preset(slug: &str, secret: &str) -> Source {
    source_of(catalog::get(slug).expect(slug), &[secret.to_owned()], None)
}

fn hmac256(key: &str, bytes: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("a key");
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

/// The id of an event, and the digest by which a replay of it is seen.
type Mark = (String, Option<[u8; 32]>);

fn seen(source: &Source, request: Received) -> Result<Vec<Mark>, Code> {
    let now = request.arrived_at;
    let of = |verified: &Verified| {
        let identity = verified.identity();
        (identity.event_id.clone(), identity.replay.map(|guard| guard.digest))
    };
    match source.admit(request, now) {
        Ok(Admitted::Event(verified)) => Ok(vec![of(&verified)]),
        Ok(Admitted::Events(events)) => Ok(events.iter().map(of).collect()),
        Ok(_) => Ok(Vec::new()),
        Err(refused) => Err(refused.rejection.code),
    }
}

#[test]
fn a_stranger_gets_no_signature_of_anything_that_is_an_event() {
    let source = preset("x-twitter", KEY);
    for token in ["424242", "true", "null", "-1e5", "0"] {
        let mut asked = request(&[], b"");
        asked.method = "GET".to_owned();
        asked.target = format!("/in/x?crc_token={token}");
        let now = asked.arrived_at;
        assert!(source.admit(asked, now).is_err(), "{token} is signed for anybody");
    }
    let text = r#"verify = { hmac = "sha256", signature = { from = "header:s" } }
event = { format = "text", id = "sha256(body)" }
[[handshake]]
match = { method = "GET", query = { c = "*" } }
signed = false
reply = { status = 200, body = "{hmac:sha256:hex:query.c}" }"#;
    let found = faults(text, &[KEY]);
    assert!(found.iter().any(|fault| fault.contains("answers anybody with an HMAC")), "{found:?}");
    assert!(Source::compile(settings(spec(&text.replace("\"text\"", "\"json\"")), &[KEY])).is_ok());
}

#[test]
fn the_same_signed_bytes_are_known_in_another_wrapping() {
    let source = preset("gitea", KEY);
    let body = br#"{"ref":"refs/heads/main"}"#;
    let signature = hex::encode(hmac256(KEY, body));
    let head = |id| [("x-gitea-signature", signature.as_str()), ("x-gitea-delivery", id)];
    let plain = seen(&source, request(&head("a"), body)).expect("JSON");
    let pairs = [("payload", std::str::from_utf8(body).expect("text"))];
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    for form in [form.clone(), format!("x=1&{form}"), format!("{form}&ref=evil")] {
        let wrapped = seen(&source, request(&head("b"), form.as_bytes())).expect(&form);
        assert_ne!(wrapped[0].0, plain[0].0);
        assert!(wrapped[0].1.is_some() && wrapped[0].1 == plain[0].1, "{form}");
    }
}

#[test]
fn a_signed_time_does_not_hide_a_replay_within_its_tolerance() {
    let source = preset("zendesk", KEY);
    let time = at(NOW).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let signature = BASE64_STANDARD.encode(hmac256(KEY, format!("{time}{{}}").as_bytes()));
    let send = |id: Option<&str>| {
        let mut head = vec![
            ("x-zendesk-webhook-signature", signature.as_str()),
            ("x-zendesk-webhook-signature-timestamp", time.as_str()),
        ];
        head.extend(id.map(|id| ("x-zendesk-webhook-invocation-id", id)));
        seen(&source, request(&head, b"{}")).expect("authentic").remove(0)
    };
    let (one, other, bare) = (send(Some("aaa")), send(Some("bbb")), send(None));
    assert!(one.0 != other.0 && one.1.is_some() && one.1 == other.1 && one.1 == bare.1);
    assert_eq!(bare, send(None), "without an id what is signed is the id");
}

#[test]
fn a_braintree_form_with_another_pair_is_the_same_event() {
    let preset = catalog::get("braintree").expect("a preset");
    let vector = preset.vector.iter().find(|it| it.id.is_some()).expect("an event");
    let source = source_of(preset, &vector.secrets, Some(vector));
    let genuine = super::super::vectors::request_of(vector);
    let mut longer = genuine.clone();
    longer.body = [&genuine.body[..], b"&x=1"].concat().into();
    let (genuine, longer) = (seen(&source, genuine), seen(&source, longer));
    assert_eq!(genuine.expect("authentic"), longer.expect("authentic"));
}

#[test]
fn an_adyen_item_can_not_be_cut_elsewhere() {
    let key = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056";
    let source = preset("adyen", key);
    let signed = "PSP1::Acct:shop:77:100:EUR:AUTHORISATION:true";
    let mut mac = Hmac::<Sha256>::new_from_slice(&hex::decode(key).expect("hex")).expect("a key");
    mac.update(signed.as_bytes());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let item = |psp: &str, account: &str, reference: &str| {
        let body = serde_json::json!({ "live": "false", "notificationItems": [{ "NotificationRequestItem": {
            "pspReference": psp, "merchantAccountCode": account, "merchantReference": reference,
            "amount": { "value": 100, "currency": "EUR" }, "eventCode": "AUTHORISATION", "success": "true",
            "additionalData": { "hmacSignature": signature } } }] });
        seen(&source, request(&[], body.to_string().as_bytes()))
    };
    assert!(item("PSP1", "Acct", "shop:77").is_ok());
    assert_eq!(item("PSP1:", "Acct:shop", "77"), Err(Code::SignatureMalformed));
    assert_eq!(item("PSP1:", "", "Acct:shop:77"), Err(Code::SignatureMalformed));
}

#[test]
fn a_form_is_not_sorted_before_it_is_counted() {
    let source = source(
        r#"verify = { hmac = "sha1", signature = { from = "header:s", encoding = "hex" }, content = "{sorted_form}" }
event = { format = "form", id = "sha256(signed)" }"#,
        &[KEY],
    );
    let send = |pairs: usize| {
        let body = vec!["a=1"; pairs].join("&");
        let mut mac = Hmac::<Sha1>::new_from_slice(KEY.as_bytes()).expect("a key");
        mac.update(b"a1");
        let signature = hex::encode(mac.finalize().into_bytes());
        seen(&source, request(&[("s", &signature)], body.as_bytes())).map(|_| ())
    };
    assert_eq!((send(1_000), send(1_001)), (Ok(()), Err(Code::SignatureMalformed)));
}

#[test]
fn hubspots_digest_can_not_be_extended_into_an_event() {
    // What an extension adds holds the hash's padding, a byte that is no JSON.
    let source = preset("hubspot-v1", KEY);
    let body = b"[{\"eventId\":1}]\x80\x00[{\"eventId\":666}]";
    let signature = hex::encode(Sha256::digest([KEY.as_bytes(), body].concat()));
    let head = [("x-hubspot-signature", signature.as_str()), ("x-hubspot-signature-version", "v1")];
    assert_eq!(seen(&source, request(&head, body)), Err(Code::BodyMalformed));
}

#[test]
fn what_happens_to_one_thing_twice_is_two_events() {
    let meta = catalog::get("meta").expect("a preset");
    let params = meta.vector.iter().find(|it| !it.params.is_empty()).expect("one with params");
    let meta = source_of(meta, &[KEY.to_owned()], Some(params));
    let send = |messages: &str| {
        let body = format!(
            r#"{{"object":"page","entry":[{{"id":"1","time":1,"messaging":[{messages}]}}]}}"#
        );
        let signature = format!("sha256={}", hex::encode(hmac256(KEY, body.as_bytes())));
        let request = request(&[("x-hub-signature-256", &signature)], body.as_bytes());
        seen(&meta, request).expect("authentic").into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    let (one, gone, two) = (
        r#"{"message":{"mid":"m1","text":"a"}}"#,
        r#"{"message":{"mid":"m1","is_deleted":true}}"#,
        r#"{"message":{"mid":"m2","text":"b"}}"#,
    );
    let (first, deleted, both) = (send(one), send(gone), send(&format!("{one},{two}")));
    assert_ne!(first, deleted);
    assert!(both.len() == 2 && both[0] == first[0] && both[1] != first[0], "{both:?}");

    let shopify = preset("shopify", KEY);
    let signature = BASE64_STANDARD.encode(hmac256(KEY, b"{}"));
    let topic = |topic| {
        let head = [
            ("x-shopify-hmac-sha256", signature.as_str()),
            ("x-shopify-event-id", "e1"),
            ("x-shopify-topic", topic),
        ];
        seen(&shopify, request(&head, b"{}")).expect("authentic").remove(0).0
    };
    assert_ne!(topic("orders/create"), topic("orders/paid"));

    let shop = preset("woocommerce", KEY);
    let order = |status: &str| {
        let body = format!(r#"{{"id":7,"status":"{status}"}}"#);
        let signature = BASE64_STANDARD.encode(hmac256(KEY, body.as_bytes()));
        let head = [
            ("x-wc-webhook-signature", signature.as_str()),
            ("x-wc-webhook-delivery-id", "d1"),
            ("x-wc-webhook-topic", "order.updated"),
        ];
        seen(&shop, request(&head, body.as_bytes())).expect("authentic").remove(0).0
    };
    assert_ne!(order("paid"), order("refunded"));
}

/// By counting MACs that were compared: asking what a signature covers costs no second verification,
/// whichever of several ways in it was.
#[test]
fn what_is_covered_is_known_from_the_one_verification() {
    let mut asked = 0;
    let mut faults = Vec::new();
    let compared = |verify: &dyn Fn() -> Result<Proof, Rejection>| {
        let before = mac::count::compared();
        let proof = verify();
        proof.is_ok().then(|| mac::count::compared() - before).filter(|count| *count > 0)
    };
    for preset in &catalog::on_disk() {
        for vector in &preset.vector {
            let source = source_of(preset, &vector.secrets, Some(vector));
            let (request, now) = (request_of(vector), at(vector.now));
            let plain = compared(&|| source.scheme.verify(&request, now));
            let Some(plain) = plain.filter(|_| source.reader.asks_what_is_covered) else {
                continue;
            };
            asked += 1;
            let covering = compared(&|| source.verify(&request, now));
            if covering != Some(plain) {
                faults.push(format!("{}: {covering:?} MACs, {plain} would do", preset.slug));
            }
        }
    }
    assert!(faults.is_empty() && asked >= 8, "{asked} vectors, {faults:#?}");
}

/// A request that names a certificate elsewhere than its provider keeps them is never followed.
#[test]
fn a_certificate_is_fetched_from_the_providers_own_path_only() {
    for (slug, genuine, others) in [
        (
            "aws-sns",
            "/SimpleNotificationService-56e67fcb41f6fec09b0196692625d385.pem",
            &[
                "/x.pem",
                "/bucket/SimpleNotificationService-1.pem",
                "/SimpleNotificationService-1.pem/x",
                "/",
            ][..],
        ),
        (
            "paypal",
            "/v1/notifications/certs/CERT-test",
            &[
                "/v1/notifications/certs/",
                "/v1/notifications/CERT-test",
                "/x/v1/notifications/certs/CERT-test",
                "/CERT-test",
            ],
        ),
    ] {
        let preset = catalog::get(slug).expect(slug);
        let vector = preset.vector.iter().find(|it| it.refused.is_none()).expect("a vector");
        let source = source_of(preset, &[], Some(vector));
        let wanted = |path: &str| {
            let mut request = request_of(vector);
            let body = String::from_utf8(request.body.to_vec()).expect("a text");
            request.body = Bytes::from(body.replace(genuine, path));
            if let Ok(Some(url)) = request.headers.one("paypal-cert-url") {
                let url = String::from_utf8(url.to_vec()).expect("a text");
                request.headers.replace("paypal-cert-url", url.replace(genuine, path).as_bytes());
            }
            source.key_wanted(&request, at(vector.now)).map(|wanted| wanted.url().path().to_owned())
        };
        assert_eq!(wanted(genuine).as_deref(), Some(genuine), "{slug}");
        for other in others {
            assert_eq!(wanted(other), None, "{slug}: {other}");
        }
    }
}
