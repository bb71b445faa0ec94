//! Challenges with a body.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use super::*;
use crate::intake::now;

pub(super) const POSTS: [Row; 11] = [
    ("slack", "slack", "", ""),
    ("zoom", "zoom", "", ""),
    ("twitch", "twitch-eventsub", "", ""),
    ("eventgrid", "azure-event-grid", "", ""),
    // A handshake may be of another type than the events.
    ("graph", "microsoft-graph", "", "content_types = [\"application/json\"]"),
    ("monday", "monday", "", ""),
    ("woo", "woocommerce", "", ""),
    ("zendesk", "zendesk", "", ""),
    ("mandrill", "mandrill", "", ""),
    ("vercel", "vercel-log-drains", "", "params = { verify_token = \"vercel-verify-token\" }"),
    ("xero", "xero", "", ""),
];

/// Their secret is the public key of one application.
pub(super) const DISCORD: [Row; 2] = [
    ("interactions", "discord-interactions", "", "secrets_shared_with = [\"webhookevents\"]"),
    ("webhookevents", "discord-webhook-events", "", ""),
];

fn plan(db: &TestDatabase, discord: &str) -> DaemonPlan {
    let discord = DISCORD.map(|(name, slug, _, lines)| (name, slug, discord, lines));
    sources(db, POSTS.iter().chain(&discord))
}

both_databases!(a_challenge_with_a_body_is_answered_as_its_provider_wants, |db| async move {
    let discord = Ed25519KeyPair::generate().unwrap();
    let daemon = plan(&db, &hex::encode(discord.public_key())).start().await;
    let mut asked = Asked::new();
    let at = now().to_string();
    let rfc3339 = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
    let post = async |name: &str, query: &str, headers: &[(&str, String)], body: &str| {
        let request = RawRequest::post(&format!("/in/{name}{query}"), body)
            .without("content-type")
            .header("connection", "close");
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        request.send(daemon.public()).await
    };
    let json = ("content-type", "application/json".to_owned());
    let form = ("content-type", "application/x-www-form-urlencoded".to_owned());
    let signed = |name: &str, parts: &[&str]| {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        hmac(key(name).as_bytes(), &parts)
    };

    let body = r#"{"type":"url_verification","challenge":"3eZbrw1aBm2rZgRNFdxV"}"#;
    let mac = hex::encode(signed("slack", &["v0:", &at, ":", body]));
    let headers = [
        json.clone(),
        ("x-slack-request-timestamp", at.clone()),
        ("x-slack-signature", format!("v0={mac}")),
    ];
    check(
        &mut asked,
        "slack",
        &post("slack", "", &headers, body).await,
        &Want { body: "3eZbrw1aBm2rZgRNFdxV", ..OK },
    );
    assert_eq!(post("slack", "", &headers[..2], body).await.status, 401);

    let body =
        r#"{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event":"endpoint.url_validation"}"#;
    let mac = hex::encode(signed("zoom", &["v0:", &at, ":", body]));
    let headers = [
        json.clone(),
        ("x-zm-request-timestamp", at.clone()),
        ("x-zm-signature", format!("v0={mac}")),
    ];
    let encrypted = hex::encode(signed("zoom", &["qgg8vlvZRS6UYooatFL8Aw"]));
    let wanted =
        format!(r#"{{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"{encrypted}"}}"#);
    check(
        &mut asked,
        "zoom",
        &post("zoom", "", &headers, body).await,
        &Want { body: &wanted, ..JSON },
    );
    assert_eq!(post("zoom", "", &headers[..2], body).await.status, 401);

    let body =
        r#"{"challenge":"pogchamp-kappa-360noscope-vohiyo","subscription":{"id":"f1c2a387"}}"#;
    let id = "e76c6bd4-55c9-4987-8304-da1588d8988b";
    let mac = hex::encode(signed("twitch", &[id, &rfc3339, body]));
    let headers = [
        json.clone(),
        ("twitch-eventsub-message-id", id.to_owned()),
        ("twitch-eventsub-message-timestamp", rfc3339.clone()),
        ("twitch-eventsub-message-type", "webhook_callback_verification".to_owned()),
        ("twitch-eventsub-message-signature", format!("sha256={mac}")),
    ];
    check(
        &mut asked,
        "twitch",
        &post("twitch", "", &headers, body).await,
        &Want { body: "pogchamp-kappa-360noscope-vohiyo", ..OK },
    );
    assert_eq!(post("twitch", "", &headers[..4], body).await.status, 401);

    for (name, body, want) in [
        ("interactions", r#"{"type":1}"#, Want { body: r#"{"type":1}"#, ..JSON }),
        (
            "webhookevents",
            r#"{"version":1,"application_id":"1","type":0}"#,
            Want { line: "HTTP/1.1 204 No Content", ..JSON },
        ),
    ] {
        let signature = hex::encode(discord.sign(format!("{at}{body}").as_bytes()).as_ref());
        let mut headers = vec![
            json.clone(),
            ("x-signature-timestamp", at.clone()),
            ("x-signature-ed25519", signature),
        ];
        let answer = post(name, "", &headers, body).await;
        check(&mut asked, name, &answer, &want);
        // Discord sends wrong ones on purpose.
        headers[2].1 = "00".repeat(64);
        assert_eq!(post(name, "", &headers, body).await.status, 401, "{name}");
    }

    let body = r#"[{"id":"2d1781af","data":{"validationCode":"512d38b6-\"x\""},"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent"}]"#;
    let headers = [json.clone(), ("aeg-event-type", "SubscriptionValidation".to_owned())];
    check(
        &mut asked,
        "eventgrid",
        &post("eventgrid", &format!("?token={}", key("eventgrid")), &headers, body).await,
        &Want { body: r#"{"validationResponse":"512d38b6-\"x\""}"#, ..JSON },
    );
    assert_eq!(post("eventgrid", "", &headers, body).await.status, 401);

    let query = "?validationToken=Validation%3a+Testing+client+application+reachability+for+subscription+Request-Id%3a+aa";
    let headers = [("content-type", "text/plain; charset=utf-8".to_owned())];
    check(
        &mut asked,
        "graph",
        &post("graph", query, &headers, "").await,
        &Want {
            body: "Validation: Testing client application reachability for subscription Request-Id: aa",
            ..OK
        },
    );
    assert_eq!(post("graph", "", &headers, "").await.code(), "content_type");

    let body = r#"{"challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}"#;
    check(
        &mut asked,
        "monday",
        &post("monday", "", std::slice::from_ref(&json), body).await,
        &Want { body, ..JSON },
    );

    check(
        &mut asked,
        "woo",
        &post("woo", "", std::slice::from_ref(&form), "webhook_id=7").await,
        &EMPTY,
    );
    assert_eq!(post("woo", "", std::slice::from_ref(&form), "webhook=7").await.status, 401);

    let test_key = b"dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==";
    let mac = BASE64_STANDARD.encode(hmac(test_key, &[rfc3339.as_bytes(), b"{}"]));
    let headers = [
        json.clone(),
        ("x-zendesk-webhook-signature-timestamp", rfc3339.clone()),
        ("x-zendesk-webhook-signature", mac),
    ];
    check(&mut asked, "zendesk", &post("zendesk", "", &headers, "{}").await, &EMPTY);
    assert_eq!(post("zendesk", "", &headers, "[]").await.code(), "signature_mismatch");

    check(&mut asked, "mandrill", &got(&daemon, "HEAD", "/in/mandrill", &[]).await, &EMPTY);
    let headers =
        [form.clone(), ("x-mandrill-signature", "WAc3auxoYGhsUV7D+Hl33hoa8dE=".to_owned())];
    check(
        &mut asked,
        "mandrill",
        &post("mandrill", "", &headers, "mandrill_events=%5B%5D").await,
        &EMPTY,
    );
    assert_eq!(post("mandrill", "", &headers, "mandrill_events=%5B1%5D").await.status, 401);

    let want = Want { headers: &[("x-vercel-verify", "vercel-verify-token")], ..EMPTY };
    check(
        &mut asked,
        "vercel",
        &post("vercel", "", std::slice::from_ref(&json), "[]").await,
        &want,
    );
    let headers = [json.clone(), ("x-vercel-signature", "00".repeat(20))];
    assert_eq!(post("vercel", "", &headers, "[]").await.code(), "signature_mismatch");

    // A batch without events, as Xero sends it to see whether we look at signatures.
    let body =
        r#"{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"S0m3r4Nd0m"}"#;
    let mac = BASE64_STANDARD.encode(signed("xero", &[body]));
    let answer = post("xero", "", &[json.clone(), ("x-xero-signature", mac)], body).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0), "{answer:?}");
    for header in ["content-type", "set-cookie"] {
        assert_eq!(answer.head.header(header), None, "{answer:?}");
    }
    let wrong = [json.clone(), ("x-xero-signature", BASE64_STANDARD.encode([0; 32]))];
    assert_eq!(post("xero", "", &wrong, body).await.status, 401);
    assert_all_asked(POSTS.iter().chain(&DISCORD), &asked);
    assert_eq!(events(&db).await, 0);

    // What is none of them is an event.
    let body = r#"{"event":"meeting.started","payload":{}}"#;
    let mac = hex::encode(signed("zoom", &["v0:", &at, ":", body]));
    let headers = [json, ("x-zm-request-timestamp", at), ("x-zm-signature", format!("v0={mac}"))];
    assert_eq!(post("zoom", "", &headers, body).await.status, 200);
    assert_eq!(events(&db).await, 1);
});
