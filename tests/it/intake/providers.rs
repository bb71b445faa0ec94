//! Each preset through the whole program, against signers that share no code with it.

use super::{events, logged, now};
use crate::both_databases;
use crate::support::sender::{PROVIDERS, Signed};
use crate::support::{Daemon, Signer};

/// Which part of a request's headers a provider signs or compares, and how its values are written.
struct Signature {
    header: &'static str,
    /// Where the encoded signature begins in the value.
    marker: &'static str,
    encoding: Encoding,
}

#[derive(Clone, Copy, PartialEq)]
enum Encoding {
    Hex,
    Base64,
    /// Compared as it is.
    Token,
}

fn signature_of(provider: &str) -> Signature {
    let (header, marker, encoding) = match provider {
        "stripe" => ("stripe-signature", "v1=", Encoding::Hex),
        "github" => ("x-hub-signature-256", "sha256=", Encoding::Hex),
        "shopify" => ("x-shopify-hmac-sha256", "", Encoding::Base64),
        "slack" => ("x-slack-signature", "v0=", Encoding::Hex),
        "gitlab-token" => ("x-gitlab-token", "", Encoding::Token),
        "gitlab-signing-token" | "standard-webhooks" => {
            ("webhook-signature", "v1,", Encoding::Base64)
        }
        "svix" => ("svix-signature", "v1,", Encoding::Base64),
        other => panic!("no signature of {other}"),
    };
    Signature { header, marker, encoding }
}

impl Signature {
    /// The request with every single bit of the decoded signature flipped in turn.
    fn with_each_bit_flipped(&self, signed: &Signed) -> Vec<Signed> {
        use base64::Engine;
        use base64::engine::general_purpose::STANDARD;
        let value = &signed.headers.iter().find(|(name, _)| name == self.header).unwrap().1;
        let begin = value.find(self.marker).unwrap() + self.marker.len();
        let (before, encoded) = value.split_at(begin);
        let bytes = match self.encoding {
            Encoding::Hex => hex::decode(encoded).unwrap(),
            Encoding::Base64 => STANDARD.decode(encoded).unwrap(),
            Encoding::Token => encoded.as_bytes().to_vec(),
        };
        (0..bytes.len())
            .flat_map(|byte| (0..8).map(move |bit| (byte, bit)))
            .map(|(byte, bit)| {
                let mut changed = bytes.clone();
                changed[byte] ^= 1 << bit;
                changed
            })
            // A header can't hold every character that a token may become.
            .filter(|changed| {
                self.encoding != Encoding::Token || changed.iter().all(u8::is_ascii_graphic)
            })
            .map(|changed| {
                let encoded = match self.encoding {
                    Encoding::Hex => hex::encode(&changed),
                    Encoding::Base64 => STANDARD.encode(&changed),
                    Encoding::Token => String::from_utf8(changed).unwrap(),
                };
                signed.clone().with_header(self.header, &format!("{before}{encoded}"))
            })
            .collect()
    }
}

fn path(provider: &str) -> String {
    format!("/in/{provider}")
}

async fn refuse_all(daemon: &Daemon, provider: &str, claim: &str, requests: Vec<Signed>) {
    assert!(!requests.is_empty(), "{provider}: {claim}: nothing to refuse");
    let sender = daemon.sender();
    for request in requests {
        let answer = sender.send(&path(provider), &request).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "signature_mismatch"),
            "{provider}: {claim}: {:?}",
            request.headers
        );
    }
}

both_databases!(every_preset_accepts_its_own_provider_once, |db| async move {
    let daemon = logged(&db, &PROVIDERS).start().await;
    let sender = daemon.sender();
    for provider in PROVIDERS {
        let signer = Signer::of(provider);
        let id = format!("id-{provider}");
        // A retry is signed anew.
        let first = sender.send(&path(provider), &signer.event(&id, "invoice.paid")).await;
        let again = sender.send(&path(provider), &signer.event(&id, "invoice.paid")).await;
        if provider == "slack" {
            // Slack would show a body as the answer to a slash command.
            assert_eq!((first.status, again.status), (200, 200), "{first:?} {again:?}");
            assert!(first.answer.body.is_empty() && again.answer.body.is_empty());
        } else {
            assert_eq!(first.code(), "accepted", "{provider}: {first:?}");
            assert_eq!(again.code(), "duplicate", "{provider}: {again:?}");
            assert_eq!(again.event(), first.event(), "{provider}");
        }
        let query = format!(
            "SELECT event_id || ' ' || type || ' ' || duplicates FROM event WHERE source = '{provider}'"
        );
        // One action of Shopify's may bring several topics under one id.
        let kept = if provider == "shopify" { format!("{id}:invoice.paid") } else { id };
        assert_eq!(db.texts(&query).await, [format!("{kept} invoice.paid 1")], "{provider}");
    }
    assert_eq!(events(&db).await, PROVIDERS.len() as i64);
});

// It says nothing about storing, so one database is enough for its three thousand requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_preset_refuses_any_changed_bit() {
    let db = crate::support::TestDatabase::sqlite().await;
    let daemon = logged(&db, &PROVIDERS).start().await;
    for provider in PROVIDERS {
        let signed = Signer::of(provider).event("id-1", "invoice.paid");
        let signature = signature_of(provider);
        refuse_all(
            &daemon,
            provider,
            "a bit of the signature",
            signature.with_each_bit_flipped(&signed),
        )
        .await;
        if provider == "gitlab-token" {
            // A token covers no body: `provider show` says so.
            continue;
        }
        let bodies = (0..signed.body.len()).map(|at| {
            let mut changed = signed.clone();
            changed.body[at] ^= 1;
            changed
        });
        refuse_all(&daemon, provider, "a byte of the body", bodies.collect()).await;
        for (name, value) in &signed.headers {
            let signed_too = ["webhook-id", "webhook-timestamp", "svix-id", "svix-timestamp"];
            let slack = name == "x-slack-request-timestamp";
            if signed_too.contains(&name.as_str()) || slack {
                // Still fresh, still well-formed, no longer what was signed.
                let other = match value.parse::<i64>() {
                    Ok(second) => (second - 1).to_string(),
                    Err(_) => format!("{value}x"),
                };
                let changed = signed.clone().with_header(name, &other);
                refuse_all(&daemon, provider, name, vec![changed]).await;
            }
        }
    }
    assert_eq!(events(&db).await, 0);
}

both_databases!(one_providers_signature_does_not_open_anothers_door, |db| async move {
    let daemon = logged(&db, &PROVIDERS).start().await;
    let sender = daemon.sender();
    for from in PROVIDERS {
        for to in PROVIDERS.into_iter().filter(|to| *to != from) {
            let answer = sender.send(&path(to), &Signer::of(from).event("id-1", "x")).await;
            assert!(matches!(answer.status, 400 | 401), "{from} at {to}: {answer:?}");
        }
    }
    assert_eq!(events(&db).await, 0);
});

both_databases!(slacks_handshake_is_answered_when_signed_and_records_nothing, |db| async move {
    let daemon = logged(&db, &["slack"]).start().await;
    let body = r#"{"token":"t","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;
    let signed = Signer::of("slack").sign("", "", body);
    let answer = signed.to("/in/slack").send(daemon.public()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body, b"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P");
    assert!(answer.head.header("content-type").unwrap().starts_with("text/plain"));

    let forged =
        Signer::of("slack").with_secret("0123456789abcdef0123456789abcdef").sign("", "", body);
    let answer = forged.to("/in/slack").send(daemon.public()).await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "signature_mismatch"));
    assert_eq!(events(&db).await, 0);
});

both_databases!(an_operators_own_scheme_works_as_the_contract_writes_it, |db| async move {
    let secret = "partner-secret-0123456789";
    let plan = crate::support::DaemonPlan::on(&db).toml(&format!(
        r#"[sources.partner]
verify = {{ hmac = "sha256", signature = {{ from = "header:x-partner-signature", encoding = "base64" }}, content = "{{header:x-partner-time}}.{{body}}", timestamp = {{ from = "header:x-partner-time", unit = "s" }} }}
event  = {{ id = "header:x-partner-id", type = "body:/kind" }}
secrets = [{{ value = "{secret}" }}]
[handlers.audit]
from = "partner"
log = {{}}"#
    ));
    let daemon = plan.start().await;
    let body = br#"{"kind":"order.paid"}"#;
    let signed = |at: i64| {
        use base64::Engine;
        let mac =
            crate::support::sender::hmac(secret.as_bytes(), &[format!("{at}.").as_bytes(), body]);
        Signed {
            headers: vec![
                (
                    "x-partner-signature".into(),
                    base64::engine::general_purpose::STANDARD.encode(mac),
                ),
                ("x-partner-time".into(), at.to_string()),
                ("x-partner-id".into(), "p-1".into()),
            ],
            body: body.to_vec(),
        }
    };
    let sender = daemon.sender();
    sender.send("/in/partner", &signed(now())).await.assert_accepted();
    sender.send("/in/partner", &signed(now() - 1)).await.assert_duplicate();
    sender.send("/in/partner", &signed(now() - 400)).await.assert_refused(401, "timestamp_stale");
    assert_eq!(db.texts("SELECT type FROM event").await, ["order.paid"]);
});
