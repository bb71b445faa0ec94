//! Keys and confirmations that the program, as it is shipped, fetches from the hosts that its presets name:
//! they are asked for over TLS under their own names, and answered by a server of ours.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hookonce::source::catalog;
use rcgen::{CertificateParams, KeyPair, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{events, now};
use crate::both_databases;
use crate::support::raw::{RawAnswer, RawRequest};
use crate::support::{Answer, Daemon, DaemonPlan, Elsewhere, IssuerKey, TestDatabase, issuer};

/// How long a machine may be too busy to fetch in time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends until a key that had to be fetched is there: until then the sender is asked to come again.
async fn sent(daemon: &Daemon, request: &RawRequest) -> RawAnswer {
    let began = Instant::now();
    loop {
        let answer = request.send(daemon.public()).await;
        if answer.status != 503 || began.elapsed() > PATIENCE {
            return answer;
        }
    }
}

/// What was asked for there; what was asked for again and again, because it took too long, once.
fn asked(there: &Elsewhere) -> Vec<String> {
    let mut asked = there.asked();
    asked.dedup();
    asked
}

/// The word of an answer: the code of a refusal, or what became of the event.
fn word(answer: &RawAnswer) -> String {
    match answer.status {
        200 => answer.json()["status"].as_str().expect("a status").to_owned(),
        _ => answer.code(),
    }
}

/// A certificate for this name, and its key, which is not in it.
fn certificate(name: &str) -> (KeyPair, String) {
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (key, pem)
}

fn signature(key: &KeyPair, content: &str) -> String {
    BASE64_STANDARD.encode(key.sign(content.as_bytes()).unwrap())
}

const AMAZON: &str = "sns.us-west-2.amazonaws.com";
const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:MyTopic";
const CERTIFICATE: &str = "/SimpleNotificationService-56e67fcb41f6fec09b0196692625d385.pem";
const CONFIRMATION: &str = "/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-west-2:123456789012:MyTopic&Token=2336412f37";

/// A message of SNS, signed by the second version over these of its members.
fn message(key: &KeyPair, mut body: Value, names: &[&str]) -> RawRequest {
    body["SignatureVersion"] = "2".into();
    body["SigningCertURL"] = format!("https://{AMAZON}{CERTIFICATE}").into();
    let lines: Vec<String> =
        names.iter().map(|name| format!("{name}\n{}\n", body[name].as_str().unwrap())).collect();
    body["Signature"] = signature(key, &lines.concat()).into();
    posted(&body)
}

fn posted(body: &Value) -> RawRequest {
    RawRequest::post("/in/sns", body.to_string())
        .without("content-type")
        .header("content-type", "text/plain; charset=UTF-8")
}

fn subscription(topic: &str) -> Value {
    json!({
        "Type": "SubscriptionConfirmation",
        "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
        "Token": "2336412f37",
        "TopicArn": topic,
        "Message": "You have chosen to subscribe to the topic.\nTo confirm, visit the SubscribeURL.",
        "SubscribeURL": format!("https://{AMAZON}{CONFIRMATION}"),
        "Timestamp": "2026-01-01T00:00:00.000Z",
    })
}

const SUBSCRIPTION: [&str; 7] =
    ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"];

both_databases!(the_program_confirms_a_subscription_at_amazon, |db| async move {
    let amazon = Elsewhere::at(&[AMAZON]).await;
    let (key, pem) = certificate("sns.amazonaws.com");
    amazon.server.answer_at(CERTIFICATE, Answer::ok().body(&pem));
    amazon.server.answer_otherwise(Answer::ok().body("<ConfirmSubscriptionResponse/>"));
    let plan = DaemonPlan::on(&db).toml(&format!(
        "[sources.sns]\nprovider = \"aws-sns\"\nparams = {{ topic_arn = {TOPIC:?} }}"
    ));
    let mut daemon = amazon.under(plan).start().await;
    let answer = sent(&daemon, &message(&key, subscription(TOPIC), &SUBSCRIPTION)).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b""[..]), "{}", daemon.log());
    let expected = [format!("GET {AMAZON} {CERTIFICATE}"), format!("GET {AMAZON} {CONFIRMATION}")];
    assert_eq!(asked(&amazon), expected);
    assert_eq!(events(&db).await, 0);

    // What is sent then is verified by the same certificate.
    let notification = json!({
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": "Hello world!",
        "Timestamp": "2026-01-01T00:00:01.000Z",
    });
    let names = ["Message", "MessageId", "Timestamp", "TopicArn", "Type"];
    let notification = message(&key, notification, &names);
    assert_eq!(word(&sent(&daemon, &notification).await), "accepted");
    assert_eq!(word(&sent(&daemon, &notification).await), "duplicate");
    assert_eq!(events(&db).await, 1);
    let before = asked(&amazon);

    // Nobody is asked for what isn't signed, nor for another topic, nor at another host.
    let (others, _) = certificate("sns.amazonaws.com");
    let forged = message(&others, subscription(TOPIC), &SUBSCRIPTION);
    assert_eq!(sent(&daemon, &forged).await.code(), "signature_mismatch");
    let other = message(&key, subscription(&format!("{TOPIC}2")), &SUBSCRIPTION);
    assert_eq!(sent(&daemon, &other).await.code(), "signature_malformed");
    let mut away = subscription(TOPIC);
    away["SubscribeURL"] = format!("https://{AMAZON}.example.org{CONFIRMATION}").into();
    let away = message(&key, away, &SUBSCRIPTION);
    assert_eq!(sent(&daemon, &away).await.code(), "handshake_refused");
    assert_eq!(asked(&amazon), before);
    assert!(daemon.stop().await.success());
});

/// When Amazon doesn't confirm, Amazon is not told that all is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_cannot_be_confirmed_is_asked_for_again() {
    let db = TestDatabase::sqlite().await;
    let amazon = Elsewhere::at(&[AMAZON]).await;
    let (key, pem) = certificate("sns.amazonaws.com");
    amazon.server.answer_at(CERTIFICATE, Answer::ok().body(&pem));
    amazon.server.answer_otherwise(Answer::status(302).header("location", "https://example.org/"));
    let plan = DaemonPlan::on(&db).toml(&format!(
        "[sources.sns]\nprovider = \"aws-sns\"\nparams = {{ topic_arn = {TOPIC:?} }}"
    ));
    let daemon = amazon.under(plan).start().await;
    let request = message(&key, subscription(TOPIC), &SUBSCRIPTION);
    let began = Instant::now();
    let answer = loop {
        let answer = request.send(daemon.public()).await;
        if answer.code() == "handshake_unavailable" || began.elapsed() > PATIENCE {
            break answer;
        }
    };
    assert_eq!((answer.status, answer.code().as_str()), (503, "handshake_unavailable"));
    // A redirect isn't followed.
    let confirmation = format!("GET {AMAZON} {CONFIRMATION}");
    assert!(asked(&amazon)[1..].iter().all(|line| *line == confirmation));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paypals_certificate_is_fetched_from_paypal() {
    let host = "api.sandbox.paypal.com";
    let db = TestDatabase::sqlite().await;
    let paypal = Elsewhere::at(&[host]).await;
    // As PayPal's are named.
    let (key, pem) = certificate("messageverificationcerts.sandbox.paypal.com");
    paypal.server.answer_otherwise(Answer::ok().body(&pem));
    let webhook = "9XL90610J3647323C";
    let plan = DaemonPlan::on(&db).toml(&format!(
        "[sources.paypal]\nprovider = \"paypal\"\nparams = {{ webhook_id = {webhook:?} }}"
    ));
    let daemon = paypal.under(plan).start().await;
    let body =
        r#"{"id":"WH-9UG43882HX7271132","event_type":"PAYMENT.SALE.COMPLETED","resource":{}}"#;
    let (id, time) = ("d938e770-8046-11e6-8103-6b62a8a99ac4", "2016-09-21T22:00:46Z");
    let content = format!("{id}|{time}|{webhook}|{}", crc32fast::hash(body.as_bytes()));
    let path = "/v1/notifications/certs/CERT-360caa42-fca2a594-1d93a270";
    let request = |at: &str| {
        RawRequest::post("/in/paypal", body)
            .header("paypal-transmission-id", id)
            .header("paypal-transmission-time", time)
            .header("paypal-transmission-sig", signature(&key, &content))
            .header("paypal-cert-url", at)
            .header("paypal-auth-algo", "SHA256withRSA")
    };
    for elsewhere in [
        format!("https://{host}.example.org{path}"),
        format!("https://{host}/v1/oauth2{path}"),
        format!("http://{host}{path}"),
    ] {
        let refused = request(&elsewhere).send(daemon.public()).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "signature_malformed"));
    }
    assert_eq!(asked(&paypal), [""; 0]);
    let good = request(&format!("https://{host}{path}"));
    assert_eq!(word(&sent(&daemon, &good).await), "accepted", "{}", daemon.log());
    assert_eq!(word(&sent(&daemon, &good).await), "duplicate");
    assert_eq!(asked(&paypal), [format!("GET {host} {path}")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plaids_key_is_asked_for_by_its_id() {
    let host = "sandbox.plaid.com";
    let db = TestDatabase::sqlite().await;
    let plaid = Elsewhere::at(&[host]).await;
    let key = IssuerKey::ecdsa("bfbd5111-8e33-4643-8ced-b2e642a72f3c");
    let answer = json!({ "key": key.jwk(), "request_id": "RZ6Omi1bzzwDaLo" });
    plaid.server.answer_otherwise(Answer::ok().body(&answer.to_string()));
    let plan = DaemonPlan::on(&db).toml(
        "[sources.plaid]\nprovider = \"plaid\"\nparams = { environment = \"sandbox\", client_id = \"5f3c0ffee1d2a9001234abcd\", secret = \"0f1e2d3c4b5a69788796a5b4c3d2e1\" }",
    );
    let daemon = plaid.under(plan).start().await;
    let body =
        "{\n  \"webhook_code\": \"DEFAULT_UPDATE\",\n  \"webhook_type\": \"TRANSACTIONS\"\n}";
    let token = |age: i64| {
        let header =
            json!({ "alg": "ES256", "kid": "bfbd5111-8e33-4643-8ced-b2e642a72f3c", "typ": "JWT" });
        let hash = hex::encode(Sha256::digest(body.as_bytes()));
        let claims = json!({ "iat": now() - age, "request_body_sha256": hash });
        issuer::bearer(&header, &claims, |signed| key.sign(signed))["Bearer ".len()..].to_owned()
    };
    let request = |token: &str, body: &str| {
        RawRequest::post("/in/plaid", body).header("plaid-verification", token)
    };
    let fresh = token(0);
    let accepted = sent(&daemon, &request(&fresh, body)).await;
    assert_eq!(word(&accepted), "accepted", "{}", daemon.log());
    let changed = body.replace("DEFAULT", "INITIAL");
    let refused = sent(&daemon, &request(&fresh, &changed)).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "signature_mismatch"));
    let stale = sent(&daemon, &request(&token(400), body)).await;
    assert_eq!((stale.status, stale.code().as_str()), (401, "timestamp_stale"));
    assert_eq!(asked(&plaid), [format!("POST {host} /webhook_verification_key/get")]);
    let posted: Value = serde_json::from_slice(&plaid.server.calls()[0].body).unwrap();
    assert_eq!(
        posted,
        json!({
            "client_id": "5f3c0ffee1d2a9001234abcd",
            "secret": "0f1e2d3c4b5a69788796a5b4c3d2e1",
            "key_id": "bfbd5111-8e33-4643-8ced-b2e642a72f3c",
        })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn travis_cis_key_is_fetched_out_of_its_settings() {
    let host = "api.travis-ci.com";
    let db = TestDatabase::sqlite().await;
    let travis = Elsewhere::at(&[host]).await;
    // Nothing new is signed with SHA-1: it is the preset's own request, whose key is published here.
    let vector = &catalog::get("travis-ci").unwrap().vector[0];
    let settings = json!({ "config": { "host": "travis-ci.com", "notifications": { "webhook": { "public_key": vector.secrets[0] } } } });
    travis.server.answer_otherwise(Answer::ok().body(&settings.to_string()));
    let plan = DaemonPlan::on(&db).toml("[sources.travis-ci]\nprovider = \"travis-ci\"");
    let daemon = travis.under(plan).start().await;
    let request = |body: &str| {
        let mut request = RawRequest::post("/in/travis-ci", body.to_owned());
        for (name, lines) in &vector.headers {
            request = request.without(name).header(name, &lines.as_slice()[0]);
        }
        request
    };
    let accepted = sent(&daemon, &request(&vector.body)).await;
    assert_eq!(word(&accepted), "accepted", "{}", daemon.log());
    let changed = request(&vector.body.replace("passed", "failed"));
    assert_eq!(sent(&daemon, &changed).await.code(), "signature_mismatch");
    assert_eq!(asked(&travis), [format!("GET {host} /config")]);
}
