//! Amazon SNS confirms a subscription: its certificate and the confirmation are fetched over TLS, by a fetcher
//! as careful as the daemon's that finds a stand-in of ours under Amazon's name.

use std::sync::Mutex;
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SigningKey};
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::fetch::FetchSettings;
use crate::verify::encoding::Encoding;

const HOST: &str = "sns.us-west-2.amazonaws.com";
const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:MyTopic";
const CERTIFICATE: &str = "/SimpleNotificationService-56e67fcb41f6fec09b0196692625d385.pem";
const CONFIRMATION: &str = "/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-west-2:123456789012:MyTopic&Token=2336412f37";

/// The preset as it is, for this topic.
pub(super) fn topic() -> SourceSettings {
    SourceSettings {
        secrets: Vec::new(),
        max_body: 10_000,
        params: [("topic_arn".to_owned(), Secret::new(TOPIC.to_owned()))].into(),
        ..settings("sns", "aws-sns")
    }
}

/// Amazon's host: a server on TLS that publishes the certificate of `key`, and confirms.
struct Amazon {
    key: KeyPair,
    fetcher: Fetcher,
    /// The heads of the requests that came, line by line.
    asked: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Amazon {
    async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
        let issuer = issuer.expect("an authority");
        let own = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new([HOST.to_owned()]).expect("params");
        let leaf = leaf.signed_by(&own, &issuer).expect("a certificate");
        let tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::try_from(own.serialize_der()).expect("DER"),
            )
            .expect("a config");
        let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key");
        let signing = CertificateParams::new(["sns.amazonaws.com".to_owned()]).expect("params");
        let signing = signing.self_signed(&key).expect("a certificate").pem();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let settings = FetchSettings {
            roots: vec![issuer.der().to_vec()],
            resolve: [(HOST.to_owned(), listener.local_addr().expect("an address"))].into(),
        };
        let asked: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
        let (tls, noted) = (TlsAcceptor::from(Arc::new(tls)), Arc::clone(&asked));
        tokio::spawn(async move {
            loop {
                let Ok((peer, _)) = listener.accept().await else { return };
                let Ok(mut peer) = tls.accept(peer).await else { continue };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if peer.read_buf(&mut head).await.expect("a request") == 0 {
                        break;
                    }
                }
                let head = String::from_utf8_lossy(&head);
                let lines: Vec<String> = head.trim_end().lines().map(str::to_owned).collect();
                let (status, body) = match lines[0].split(' ').nth(1) {
                    Some(CERTIFICATE) => ("200 OK", signing.as_str()),
                    Some(CONFIRMATION) => ("200 OK", "<ConfirmSubscriptionResponse/>"),
                    _ => ("404 Not Found", ""),
                };
                noted.lock().expect("not poisoned").push(lines);
                let length = body.len();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
                // It may have hung up already: then there is nothing to answer.
                drop(peer.write_all(answer.as_bytes()).await);
                drop(peer.shutdown().await);
            }
        });
        Self { key, fetcher: Fetcher::with(&settings), asked }
    }

    /// A confirmation of this topic, as Amazon signs it (version 2).
    fn confirmation(&self, topic: &str) -> Value {
        let url = format!("https://{HOST}{CONFIRMATION}");
        let mut body = json!({
            "Type": "SubscriptionConfirmation",
            "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
            "Token": "2336412f37",
            "TopicArn": topic,
            "Message": "You have chosen to subscribe to the topic.\nTo confirm, visit the SubscribeURL.",
            "SubscribeURL": url,
            "Timestamp": "2026-01-01T00:00:00.000Z",
            "SignatureVersion": "2",
            "SigningCertURL": format!("https://{HOST}{CERTIFICATE}"),
        });
        let names =
            ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"];
        let signed: String = names
            .map(|name| format!("{name}\n{}\n", body[name].as_str().expect("a text")))
            .concat();
        let signature = self.key.sign(signed.as_bytes()).expect("a signature");
        body["Signature"] = Encoding::Base64.encode(&signature).into();
        body
    }

    /// What was asked for so far, request lines only.
    fn targets(&self) -> Vec<String> {
        let asked = self.asked.lock().expect("not poisoned");
        asked.iter().map(|lines| lines[0].clone()).collect()
    }
}

fn post(body: &Value) -> Received {
    let mut headers = Headers::new();
    for (name, value) in [
        ("x-amz-sns-message-type", "SubscriptionConfirmation"),
        ("x-amz-sns-message-id", "165545c9-2a5c-472c-8df2-7ff2be2b3b1b"),
        ("x-amz-sns-topic-arn", TOPIC),
        ("content-type", "text/plain; charset=UTF-8"),
        ("user-agent", "Amazon Simple Notification Service Agent"),
    ] {
        headers.push(name, value.as_bytes());
    }
    Received {
        method: "POST".to_owned(),
        target: "/in/sns".to_owned(),
        headers,
        body: body.to_string().into(),
        peer: None,
        arrived_at: Utc::now(),
    }
}

/// Lines without the date, in order: their own is nobody's promise.
fn sorted<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut lines: Vec<&str> = lines.filter(|line| !line.starts_with("date: ")).collect();
    lines.sort_unstable();
    lines
}

#[actix_web::test]
async fn amazons_subscription_is_confirmed_at_amazon_and_answered_byte_for_byte() {
    let amazon = Amazon::start().await;
    let door = Door::calling(amazon.fetcher.clone()).await;
    let body = amazon.confirmation(TOPIC);
    let began = Instant::now();
    let answer = loop {
        match door.send(&post(&body)).await {
            // A machine that is too busy to fetch in time says so, and Amazon comes again.
            (503, _) if began.elapsed() < PATIENCE => {}
            (_, answer) => break answer,
        }
    };
    let (head, rest) = answer.split_once("\r\n\r\n").expect("a head");
    assert_eq!(
        (sorted(head.split("\r\n")), rest),
        (
            vec![
                "HTTP/1.1 200 OK",
                "connection: close",
                "content-length: 0",
                "x-content-type-options: nosniff",
            ],
            ""
        )
    );
    let certificate = format!("GET {CERTIFICATE} HTTP/1.1");
    let confirmation = format!("GET {CONFIRMATION} HTTP/1.1");
    let targets = amazon.targets();
    assert_eq!(targets.first(), Some(&certificate));
    assert_eq!(targets.last(), Some(&confirmation));
    let last = amazon.asked.lock().expect("not poisoned").last().cloned().expect("a request");
    assert_eq!(
        sorted(last.iter().map(String::as_str)),
        [
            confirmation.as_str(),
            "accept: */*",
            &format!("host: {HOST}"),
            concat!("user-agent: hookonce/", env!("CARGO_PKG_VERSION")),
        ]
    );

    // Nobody is asked for what Amazon didn't sign, nor for another topic, nor at another host.
    let mut forged = body.clone();
    forged["Token"] = "2336412f38".into();
    assert_eq!(door.refusal(&post(&forged)).await, want(401, "signature_mismatch"));
    let other = amazon.confirmation("arn:aws:sns:us-west-2:123456789012:Other");
    assert_eq!(door.refusal(&post(&other)).await.1, "signature_malformed");
    let mut elsewhere = body.clone();
    elsewhere["SigningCertURL"] = format!("https://{HOST}.example.org{CERTIFICATE}").into();
    assert_ne!(door.send(&post(&elsewhere)).await.0, 200);
    assert_eq!(amazon.targets(), targets);
    let metrics = door.metrics.render();
    let shaken = r#"hookonce_intake_total{source="sns",outcome="handshake"} 1"#;
    assert!(metrics.contains(shaken), "{metrics}");
    door.close().await;
}
