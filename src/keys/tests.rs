//! A provider on TLS in this process, and everything that it may do wrong.

use std::cell::Cell;
use std::time::Instant;

use bytes::Bytes;
use chrono::TimeDelta;
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

use super::*;
use crate::fetch::FetchSettings;
use crate::received::Headers;
use crate::secret::Secret;
use crate::source::SourceSettings;
use crate::verify::Code;
use crate::verify::encoding::Encoding;
use crate::verify::generate::private_key;
use crate::verify::public::{PublicAlgorithm, PublicKey};

mod provider;
use provider::Provider;

fn source(verify: &str) -> Source {
    let spec = format!("verify = {verify}\nevent = {{ id = \"sha256(body)\" }}");
    let settings = SourceSettings {
        secrets: Vec::new(),
        max_body: 1 << 20,
        params: [("client".to_owned(), Secret::new("c\"1".to_owned()))].into(),

        ..SourceSettings::new(
            Name::new("partner").expect("a name"),
            toml::from_str(&spec).expect("a spec"),
        )
    };
    Source::compile(settings).expect("a source")
}

const BY_SET: &str = r#"{ jwt = { algs = ["ES256"], from = "header:x-token" }, key = { jwks = { url = "https://keys.example.com/set" } } }"#;
const BY_ID: &str = r#"{ jwt = { algs = ["ES256"], from = "header:x-token" }, key = { jwks = { url = "https://keys.example.com/get", post = '{"client":"{param:client}","key_id":"{kid}"}', pointer = "/key" } } }"#;
const BY_URL: &str = r#"{ ecdsa = "p256", signature = { from = "header:x-sig", encoding = "base64" }, key = { x509 = { url_from = "header:x-cert", hosts = ["*.example.com"] } } }"#;
const BY_PEM: &str = r#"{ ecdsa = "p256", signature = { from = "header:x-sig", encoding = "base64" }, key = { pem_url = { url = "https://keys.example.com/config", pointer = "/a/key" } } }"#;

struct Signer {
    kid: String,
    key: PublicKey,
}

impl Signer {
    fn new(kid: &str) -> Self {
        let pem = private_key(PublicAlgorithm::EcdsaP256Fixed).expect("a key");
        let key = PublicKey::from_pem(PublicAlgorithm::EcdsaP256Fixed, &pem).expect("a key");
        Self { kid: kid.to_owned(), key }
    }

    fn jwk(&self) -> serde_json::Value {
        let point = self.key.raw();
        let number = |bytes: &[u8]| Encoding::Base64Url.encode(bytes);
        json!({
            "kty": "EC", "crv": "P-256", "kid": self.kid,
            "x": number(&point[1..33]), "y": number(&point[33..]),
        })
    }

    fn request(&self) -> Received {
        let part = |text: String| Encoding::Base64Url.encode(text.as_bytes());
        let header = part(json!({ "alg": "ES256", "kid": self.kid }).to_string());
        let signed = format!("{header}.{}", part("{\"jti\":\"1\"}".to_owned()));
        let signature = self.key.sign(signed.as_bytes()).expect("signed");
        request(&[("x-token", &format!("{signed}.{}", Encoding::Base64Url.encode(&signature)))])
    }
}

fn request(headers: &[(&str, &str)]) -> Received {
    let mut lines = Headers::new();
    for (name, value) in headers {
        lines.push(name, value.as_bytes());
    }
    Received {
        method: "POST".to_owned(),
        target: "/in/partner".to_owned(),
        headers: lines,
        body: Bytes::from_static(b"{}"),
        peer: None,
        arrived_at: Utc::now(),
    }
}

fn set(signers: &[&Signer]) -> String {
    json!({ "keys": signers.iter().map(|it| it.jwk()).collect::<Vec<_>>() }).to_string()
}

/// As the listener does it.
async fn judge(keys: &Keys, source: &Source, received: Received) -> Result<(), Code> {
    keys.see_to(source, &received).await;
    let now = received.arrived_at;
    source.admit(received, now).map(|_| ()).map_err(|refused| refused.rejection.code)
}

/// How long a machine may be too busy for a key to come within [`WAIT`].
const PATIENCE: Duration = Duration::from_secs(60);

/// The same again while the key is on its way, as the sender of a request does. It asks the provider no second
/// time: it joins the fetch that runs.
async fn judge_with_key(keys: &Keys, source: &Source, received: Received) -> Result<(), Code> {
    let began = Instant::now();
    loop {
        let judged = judge(keys, source, received.clone()).await;
        if judged != Err(Code::KeyUnavailable) || began.elapsed() > PATIENCE {
            return judged;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_set_is_fetched_once_for_everybody_and_kept() {
    let provider = Provider::start().await;
    let signer = Signer::new("one");
    provider.says("200 OK", set(&[&signer]));
    provider.waits(Duration::from_millis(200));
    let source = source(BY_SET);
    let many = (0..50).map(|_| judge_with_key(&provider.keys, &source, signer.request()));
    assert!(futures::future::join_all(many).await.iter().all(Result::is_ok));
    assert_eq!(provider.asked(), 1);
    for _ in 0..50 {
        assert_eq!(judge_with_key(&provider.keys, &source, signer.request()).await, Ok(()));
    }
    assert_eq!(provider.asked(), 1);
    let forged = Signer::new("one");
    let refused = judge(&provider.keys, &source, forged.request()).await;
    assert_eq!(refused, Err(Code::SignatureMismatch));
    let metrics = provider.keys.metrics.render();
    assert!(
        metrics.contains(r#"hookonce_key_fetches_total{source="partner",outcome="fetched"} 1"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_rotated_key_is_found_and_a_storm_of_unknown_ones_asks_once_a_minute() {
    let provider = Provider::start().await;
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    provider.says("200 OK", set(&[&old]));
    let source = source(BY_SET);
    assert_eq!(judge_with_key(&provider.keys, &source, old.request()).await, Ok(()));
    for i in 0..500 {
        let forged = Signer { kid: format!("forged-{i}"), key: old.key.clone() };
        let refused = judge_with_key(&provider.keys, &source, forged.request()).await;
        assert_eq!(refused, Err(Code::SignatureMismatch));
    }
    assert_eq!(provider.asked(), 2, "once more, for the first of them");
    provider.says("200 OK", set(&[&old, &new]));
    let later = |mut received: Received, seconds: i64| {
        received.arrived_at += TimeDelta::seconds(seconds);
        received
    };
    let rotated = later(new.request(), 61);
    assert_eq!(judge_with_key(&provider.keys, &source, rotated).await, Ok(()));
    assert_eq!(provider.asked(), 3);
    // Old soon: it is used as it is, and fetched behind the request's back.
    let due = later(new.request(), 3000);
    assert_eq!(judge_with_key(&provider.keys, &source, due).await, Ok(()));
    tokio::time::timeout(Duration::from_secs(10), async {
        while provider.asked() < 4 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("fetched again");
}

#[tokio::test]
async fn nobody_else_waits_for_a_slow_provider_and_the_key_comes_all_the_same() {
    let provider = Provider::start().await;
    let signer = Signer::new("one");
    provider.says("200 OK", set(&[&signer]));
    provider.waits(Duration::from_millis(2500));
    let (slow, other) = (source(BY_SET), source("\"none\""));
    let waited = Cell::new(false);
    let waiting = async {
        let judged = judge(&provider.keys, &slow, signer.request()).await;
        waited.set(true);
        judged
    };
    let quick = async {
        for _ in 0..20 {
            assert_eq!(judge(&provider.keys, &other, request(&[])).await, Ok(()));
        }
        waited.get()
    };
    let (refused, quick_waited) = tokio::join!(waiting, quick);
    assert_eq!(refused, Err(Code::KeyUnavailable));
    assert!(!quick_waited, "they ended before the one that waits");
    // It was given up by the request, and went on.
    assert_eq!(judge_with_key(&provider.keys, &slow, signer.request()).await, Ok(()));
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn what_a_provider_must_not_answer_is_no_key() {
    let signer = Signer::new("one");
    let good = set(&[&signer]);
    for (head, body) in [
        ("302 Found\r\nlocation: https://keys.example.com/set2", good.clone()),
        ("500 Oops", good.clone()),
        ("404 Not Found", good.clone()),
        ("204 No Content", String::new()),
        ("200 OK", format!("{good}{}", " ".repeat(1 << 20))),
        ("200 OK", "<html>".to_owned()),
        ("200 OK", "{\"keys\":[]}".to_owned()),
    ] {
        let provider = Provider::start().await;
        provider.says(head, body);
        let source = source(BY_SET);
        // All of one moment, however long they take.
        let received = signer.request();
        for _ in 0..3 {
            let refused = judge(&provider.keys, &source, received.clone()).await;
            assert_eq!(refused, Err(Code::KeyUnavailable), "{head}");
        }
        assert_eq!(provider.asked(), 1, "{head}: neither followed nor asked again at once");
    }
}

#[tokio::test]
async fn one_key_is_posted_for_by_its_id() {
    let provider = Provider::start().await;
    let signer = Signer::new("one");
    provider.says("200 OK", json!({ "key": signer.jwk() }).to_string());
    let source = source(BY_ID);
    assert_eq!(judge_with_key(&provider.keys, &source, signer.request()).await, Ok(()));
    provider.says("404 Not Found", "");
    for i in 0..100 {
        let forged = Signer { kid: format!("forged-{i}"), key: signer.key.clone() };
        assert!(judge(&provider.keys, &source, forged.request()).await.is_err());
    }
    assert!(provider.asked() <= 60, "{}", provider.asked());
    assert_eq!(judge_with_key(&provider.keys, &source, signer.request()).await, Ok(()));
}

fn signed(key: &PublicKey, url: &str) -> Received {
    let signature = Encoding::Base64.encode(&key.sign(b"{}").expect("signed"));
    request(&[("x-sig", &signature), ("x-cert", url)])
}

#[tokio::test]
async fn a_certificate_is_fetched_from_allowed_hosts_by_https_only() {
    let provider = Provider::start().await;
    let pair = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["signing.example.com".to_owned()]).expect("params");
    let pem = params.signed_by(&pair, &provider.issuer).expect("a certificate").pem();
    let key = PublicKey::from_pem(PublicAlgorithm::EcdsaP256, &pair.serialize_pem());
    let key = key.expect("a key");
    provider.says("200 OK", pem);
    let source = source(BY_URL);
    for url in [
        "http://certs.example.com/a.pem",
        "https://certs.example.org/a.pem",
        "https://certs.example.com:8443/a.pem",
        "https://u:p@certs.example.com/a.pem",
        "https://certs.example.com/a.pem?b",
        "https://127.0.0.1/a.pem",
    ] {
        let refused = judge(&provider.keys, &source, signed(&key, url)).await;
        assert_eq!(refused, Err(Code::SignatureMalformed), "{url}");
    }
    assert_eq!(provider.asked(), 0);
    // Its TLS certificate is for another name.
    let other = signed(&key, "https://other.example.com/a.pem");
    assert_eq!(judge(&provider.keys, &source, other).await, Err(Code::KeyUnavailable));
    assert_eq!(provider.asked(), 0);
    let good = signed(&key, "https://certs.example.com/a.pem");
    assert_eq!(judge_with_key(&provider.keys, &source, good.clone()).await, Ok(()));
    assert_eq!(judge_with_key(&provider.keys, &source, good).await, Ok(()));
    assert_eq!(provider.asked(), 1);
    let stranger = private_key(PublicAlgorithm::EcdsaP256).expect("a key");
    let stranger = PublicKey::from_pem(PublicAlgorithm::EcdsaP256, &stranger).expect("a key");
    let forged = signed(&stranger, "https://certs.example.com/a.pem");
    assert_eq!(judge(&provider.keys, &source, forged).await, Err(Code::SignatureMismatch));
}

#[tokio::test]
async fn an_expired_certificate_is_no_key() {
    let provider = Provider::start().await;
    let pair = KeyPair::generate().expect("a key");
    let mut params =
        CertificateParams::new(vec!["signing.example.com".to_owned()]).expect("params");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let pem = params.signed_by(&pair, &provider.issuer).expect("a certificate").pem();
    provider.says("200 OK", pem);
    let key = PublicKey::from_pem(PublicAlgorithm::EcdsaP256, &pair.serialize_pem());
    let received = signed(&key.expect("a key"), "https://certs.example.com/a.pem");
    let source = source(BY_URL);
    for _ in 0..3 {
        let refused = judge_with_key(&provider.keys, &source, received.clone()).await;
        assert_eq!(refused, Err(Code::SignatureMismatch));
    }
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn a_pem_is_read_out_of_json() {
    let provider = Provider::start().await;
    let pair = KeyPair::generate().expect("a key");
    let pem = pair.public_key_pem();
    provider.says(
        "200 OK\r\ncache-control: public, max-age=120",
        json!({"a": {"key": pem}}).to_string(),
    );
    let key = PublicKey::from_pem(PublicAlgorithm::EcdsaP256, &pair.serialize_pem());
    let received = signed(&key.expect("a key"), "");
    let source = source(BY_PEM);
    assert_eq!(judge_with_key(&provider.keys, &source, received.clone()).await, Ok(()));
    let at = received.arrived_at;
    assert!(source.key_wanted(&received, at + TimeDelta::seconds(90)).is_none());
    // 120 s is what it says: it is fetched again before they are over.
    assert!(source.key_wanted(&received, at + TimeDelta::seconds(110)).is_some());
}

#[tokio::test]
async fn a_name_at_a_private_address_is_not_asked() {
    let keys =
        Keys::new(Fetcher::with(&FetchSettings::default()), Roots::mozilla(), Metrics::new());
    let text = BY_SET.replace("keys.example.com", "localhost");
    let signer = Signer::new("one");
    let refused = judge(&keys, &source(&text), signer.request()).await;
    assert_eq!(refused, Err(Code::KeyUnavailable));
}
