//! Challenges for which the daemon must do something before it answers: keep a secret, or fetch a URL.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use super::*;

/// The first two hand their secrets over. What confirms a subscription to SNS is at Amazon's own, public
/// addresses: that it is fetched and answered is shown in `intake/elsewhere.rs`, by the program with another
/// network under it, and byte for byte inside of the library's tests (`http::ingest::tests::confirmed`);
/// here, what is refused.
pub(super) const ROWS: [Row; 3] =
    [("asana", "asana", "", ""), ("notion", "notion", "", ""), ("sns", "aws-sns", "", "")];

const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:MyTopic";

both_databases!(a_secret_that_is_handed_over_is_answered_as_its_provider_wants, |db| async move {
    let plan = ROWS[..2].iter().fold(DaemonPlan::on(&db), |plan, (name, slug, ..)| {
        plan.toml(&format!("[sources.{name}]\nprovider = \"{slug}\""))
    });
    let daemon = plan.start().await;
    let mut asked = Asked::new();
    let secret = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81";
    let request = RawRequest::new("POST", "/in/asana")
        .header("content-length", "0")
        .header("connection", "close")
        .header("x-hook-secret", secret);
    let want = Want { headers: &[("x-hook-secret", secret)], ..EMPTY };
    check(&mut asked, "asana", &request.send(daemon.public()).await, &want);

    let body = r#"{"verification_token":"secret_XkWIe2tD0sZVqCMWKqbJ2mZRqVlqB9eN"}"#;
    let request = RawRequest::post("/in/notion", body).header("connection", "close");
    check(&mut asked, "notion", &request.send(daemon.public()).await, &EMPTY);
    assert_all_asked(&ROWS[..2], &asked);
    assert_eq!(events(&db).await, 0);
});

/// Amazon's key, which the source has as a secret, so that no certificate need be fetched.
struct Amazon(RsaKeyPair);

impl Amazon {
    fn pem(&self) -> String {
        let der = AsDer::<PublicKeyX509Der<'_>>::as_der(self.0.public_key()).unwrap();
        let text = BASE64_STANDARD.encode(der.as_ref());
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    /// A confirmation with one thing changed before it is signed, version 2.
    fn confirmation(&self, name: &str, value: &str) -> Value {
        let mut body = json!({
            "Type": "SubscriptionConfirmation",
            "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
            "Token": "2336412f37",
            "TopicArn": TOPIC,
            "Message": "You have chosen to subscribe to the topic.",
            "SubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription",
            "Timestamp": "2026-01-01T00:00:00.000Z",
            "SignatureVersion": "2",
            "SigningCertURL": "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-1.pem",
        });
        body[name] = value.into();
        let names =
            ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"];
        let signed =
            names.map(|name| format!("{name}\n{}\n", body[name].as_str().unwrap())).concat();
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .unwrap();
        body["Signature"] = BASE64_STANDARD.encode(signature).into();
        body
    }
}

both_databases!(
    a_subscription_is_confirmed_for_amazon_only_and_for_our_topic_only,
    |db| async move {
        let amazon = Amazon(RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
        let pem = amazon.pem();
        let lines = format!("params = {{ topic_arn = {TOPIC:?} }}");
        let daemon =
            sources(&db, &[("sns", "aws-sns", pem.as_str(), lines.as_str())]).start().await;
        let refusal = async |body: Value| {
            let request = RawRequest::post("/in/sns", body.to_string())
                .without("content-type")
                .header("content-type", "text/plain; charset=UTF-8")
                .header("x-amz-sns-message-type", "SubscriptionConfirmation");
            let answer = request.send(daemon.public()).await;
            (answer.status, answer.code())
        };
        for url in [
            "https://sns.us-west-2.amazonaws.com.example.org/?Action=ConfirmSubscription",
            "https://sns.us-west-2.amazonaws.com@example.org/",
            "https://sns.us-west-2.amazonaws.com:8443/",
            "http://sns.us-west-2.amazonaws.com/",
            "https://sns.s3-us-west-2.amazonaws.com/",
            "https://127.0.0.1/",
        ] {
            let refused = refusal(amazon.confirmation("SubscribeURL", url)).await;
            assert_eq!(refused, (403, "handshake_refused".to_owned()), "{url}");
        }
        let other = amazon.confirmation("TopicArn", "arn:aws:sns:us-west-2:123456789012:MyTopic2");
        assert_eq!(refusal(other).await.1, "signature_malformed");
        let mut forged = amazon.confirmation("Token", "1");
        forged["Token"] = "2".into();
        assert_eq!(refusal(forged).await, (401, "signature_mismatch".to_owned()));
        assert_eq!(events(&db).await, 0);
    }
);
