//! What the ring knows, asks for and forgets; without a network.

use serde_json::{Value, json};

use super::*;
use crate::received::Headers;
use crate::verify::encoding::Encoding;
use crate::verify::generate::private_key;

mod certificates;

const EC: PublicAlgorithm = PublicAlgorithm::EcdsaP256Fixed;
const NOW: i64 = 1_767_225_600;
const HOUR: Duration = Duration::from_secs(3600);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(NOW + seconds, 0).expect("a time")
}

fn request(header: &str) -> Received {
    let mut headers = Headers::new();
    headers.push("x-url", header.as_bytes());
    Received {
        method: "POST".to_owned(),
        target: "/in/a".to_owned(),
        headers,
        body: bytes::Bytes::new(),
        peer: None,
        arrived_at: at(0),
    }
}

fn url(text: &str) -> Url {
    text.parse().expect("a URL")
}

/// A pair, and its public half as a JSON Web Key.
fn pair(kid: &str) -> (PublicKey, Value) {
    let pem = private_key(PublicAlgorithm::EcdsaP256).expect("a key");
    let key = PublicKey::from_pem(EC, &pem).expect("a key");
    let point = key.raw();
    let number = |bytes: &[u8]| Encoding::Base64Url.encode(bytes);
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "alg": "ES256",
        "x": number(&point[1..33]), "y": number(&point[33..]),
    });
    (key, jwk)
}

fn set_of(keys: &[&Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn a_set() -> Fetched {
    let place = KeyPlace::Set { url: url("https://keys.example.com/"), pointer: String::new() };
    Fetched::new(place, vec![EC], HOUR)
}

fn by_id() -> Fetched {
    let place = KeyPlace::ById {
        url: url("https://keys.example.com/get"),
        post: vec!["{\"key_id\":\"".to_owned(), "\"}".to_owned()],
        pointer: "/key".to_owned(),
    };
    Fetched::new(place, vec![EC], HOUR)
}

fn code(fetched: &Fetched, kid: &str, now: i64) -> Result<usize, Code> {
    let found = fetched.keys(&request(""), Some(kid), EC, at(now));
    found.map(|keys| keys.len()).map_err(|rejection| rejection.code)
}

fn wanted(fetched: &Fetched, kid: &str, now: i64) -> Option<KeyWanted> {
    fetched.wanted(&request(""), Some(kid), EC, at(now))
}

fn take(fetched: &Fetched, kid: &str, answer: &[u8], now: i64) -> Result<(), String> {
    let wanted = wanted(fetched, kid, now).expect("something to fetch");
    assert!(wanted.begin(at(now)), "it may be asked for");
    wanted.accept(answer, None, &Roots::of(Vec::new()), at(now))
}

#[test]
fn a_set_is_asked_for_once_and_again_before_it_is_old() {
    let fetched = a_set();
    let (key, jwk) = pair("one");
    assert_eq!(code(&fetched, "one", 0), Err(Code::KeyUnavailable));
    assert!(wanted(&fetched, "one", 0).expect("to fetch").is_urgent());
    take(&fetched, "one", &set_of(&[&jwk]), 0).expect("keys");
    let found = fetched.keys(&request(""), Some("one"), EC, at(1)).expect("a key");
    let signature = key.sign(b"x").expect("signed");
    assert!(found[0].verifies(b"x", &signature) && !found[0].verifies(b"y", &signature));
    assert!(wanted(&fetched, "one", 2879).is_none());
    let due = wanted(&fetched, "one", 2880).expect("old soon");
    assert!(!due.is_urgent(), "no request waits for it");
    // It can't be had: what is here stays in use for a day, and not longer.
    assert_eq!(code(&fetched, "one", 3600 + 86_399), Ok(1));
    assert_eq!(code(&fetched, "one", 3600 + 86_400), Err(Code::KeyUnavailable));
}

#[test]
fn a_key_that_was_withdrawn_or_added_is_noticed() {
    let fetched = a_set();
    let ((_, one), (_, two)) = (pair("one"), pair("two"));
    take(&fetched, "one", &set_of(&[&one]), 0).expect("keys");
    // Fetched as of now, so it is known not to be there; a second later it may be.
    assert_eq!(code(&fetched, "two", 0), Err(Code::SignatureMismatch));
    assert!(wanted(&fetched, "two", 0).is_none());
    assert_eq!(code(&fetched, "two", 1), Err(Code::KeyUnavailable));
    take(&fetched, "two", &set_of(&[&two]), 1).expect("keys");
    assert_eq!(
        (code(&fetched, "two", 2), code(&fetched, "one", 1)),
        (Ok(1), Err(Code::SignatureMismatch))
    );
    // It was looked for a moment ago, and that is known for a minute.
    assert_eq!(code(&fetched, "one", 60), Err(Code::SignatureMismatch));
    assert!(wanted(&fetched, "one", 60).is_none());
    assert_eq!(code(&fetched, "one", 61), Err(Code::KeyUnavailable));
    take(&fetched, "one", &set_of(&[&one]), 61).expect("keys");
    assert_eq!(code(&fetched, "one", 62), Ok(1));
}

#[test]
fn an_answer_without_a_key_changes_nothing() {
    let fetched = a_set();
    let (_, jwk) = pair("one");
    take(&fetched, "one", &set_of(&[&jwk]), 0).expect("keys");
    let due = wanted(&fetched, "one", 3000).expect("old soon");
    let with = |name: &str, value: Value| {
        let mut changed = jwk.clone();
        changed[name] = value;
        set_of(&[&changed])
    };
    for answer in [
        b"".to_vec(),
        b"<html>".to_vec(),
        b"{}".to_vec(),
        b"null".to_vec(),
        set_of(&[]),
        with("use", json!("enc")),
        with("alg", json!("RS256")),
        with("alg", json!("HS256")),
        with("kty", json!("oct")),
        with("kty", json!("RSA")),
        with("crv", json!("P-384")),
        with("x", json!("AAAA")),
        with("x", jwk["y"].clone()),
        with("y", json!(null)),
        br#"{"keys":[{"kty":"RSA","n":"","e":""}]}"#.to_vec(),
    ] {
        let refused = due.accept(&answer, None, &Roots::of(Vec::new()), at(3000));
        assert!(refused.is_err(), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(code(&fetched, "one", 3000), Ok(1));
}

#[test]
fn an_rsa_key_of_a_set_verifies() {
    let algorithm = PublicAlgorithm::RsaSha256;
    let pem = private_key(algorithm).expect("a key");
    let key = PublicKey::from_pem(algorithm, &pem).expect("a key");
    let der = key.raw();
    // SEQUENCE { INTEGER of 257 bytes, INTEGER 65537 }
    let jwk = json!({
        "kty": "RSA", "n": Encoding::Base64Url.encode(&der[9..265]), "e": "AQAB",
    });
    let place = KeyPlace::Set { url: url("https://k.example.com/"), pointer: String::new() };
    let fetched = Fetched::new(place, vec![EC, algorithm], HOUR);
    take(&fetched, "any", &set_of(&[&jwk]), 0).expect("keys");
    let found = fetched.keys(&request(""), Some("any"), algorithm, at(0)).expect("a key");
    assert!(found[0].verifies(b"x", &key.sign(b"x").expect("signed")));
    assert_eq!(code(&fetched, "any", 0), Err(Code::SignatureMismatch), "it is of another kind");
}

#[test]
fn forged_ids_neither_hammer_the_provider_nor_fill_the_memory() {
    let fetched = by_id();
    let mut asked = 0;
    for i in 0..50_000 {
        let wanted = wanted(&fetched, &format!("forged-{i}"), i / 1000).expect("to fetch");
        if wanted.begin(at(i / 1000)) {
            asked += 1;
            wanted.refused(at(i / 1000));
        }
    }
    assert_eq!(asked, 60, "within a minute");
    let (slots, absent, seen) = fetched.ring.sizes();
    assert!(slots == 0 && absent <= 60 && seen <= 60, "{slots} {absent} {seen}");
    let set = a_set();
    let (_, jwk) = pair("one");
    take(&set, "one", &set_of(&[&jwk]), 0).expect("keys");
    let storm = (60..660).filter(|second| {
        wanted(&set, &format!("forged-{second}"), *second).is_some_and(|it| it.begin(at(*second)))
    });
    assert_eq!(storm.count(), 10, "one a minute");
}

#[test]
fn a_key_is_asked_for_by_its_id_and_must_be_that_one() {
    let fetched = by_id();
    let (_, jwk) = pair("one");
    let asked = wanted(&fetched, "one", 0).expect("to fetch");
    assert_eq!(asked.body(), Some("{\"key_id\":\"one\"}"));
    let answer = |jwk: &Value| json!({ "key": jwk }).to_string().into_bytes();
    take(&fetched, "one", &answer(&jwk), 0).expect("a key");
    assert_eq!(code(&fetched, "one", 1), Ok(1));
    assert!(take(&fetched, "two", &answer(&jwk), 0).is_err(), "another one's key");
    let absent = wanted(&fetched, "three", 0).expect("to fetch");
    absent.refused(at(0));
    assert_eq!(code(&fetched, "three", 59), Err(Code::SignatureMismatch));
    assert_eq!(code(&fetched, "three", 60), Err(Code::KeyUnavailable));
    for bad in ["", "a\"b", "a b", "a\\b", "é", &"x".repeat(513)] {
        assert_eq!(code(&fetched, bad, 0), Err(Code::SignatureMalformed), "{bad}");
        assert!(wanted(&fetched, bad, 0).is_none(), "{bad}");
    }
    let mut expired = jwk;
    expired["kid"] = json!("four");
    expired["expired_at"] = json!(NOW + 10);
    take(&fetched, "four", &answer(&expired), 0).expect("a key");
    assert_eq!(
        (code(&fetched, "four", 9), code(&fetched, "four", 10)),
        (Ok(1), Err(Code::SignatureMismatch))
    );
}

#[test]
fn a_provider_may_say_less_time_and_never_more_nor_none() {
    for (max_age, due) in [(Some(600), 480), (Some(0), 48), (Some(1_000_000), 2880), (None, 2880)] {
        let fetched = a_set();
        let (_, jwk) = pair("one");
        let asked = wanted(&fetched, "one", 0).expect("to fetch");
        let max_age = max_age.map(Duration::from_secs);
        asked.accept(&set_of(&[&jwk]), max_age, &Roots::of(Vec::new()), at(0)).expect("keys");
        assert!(wanted(&fetched, "one", due - 1).is_none(), "{max_age:?}");
        assert!(wanted(&fetched, "one", due).is_some(), "{max_age:?}");
    }
}
