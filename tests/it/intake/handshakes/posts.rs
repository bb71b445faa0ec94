//! Challenges that come as POST, with a body.

use super::*;

fn posts(db: &TestDatabase, discord: &str) -> DaemonPlan {
    let plan = DaemonPlan::on(db);
    let plan = source(plan, "slack", SECRET, "provider = \"slack\"\n");
    let plan = source(
        plan,
        "zoom",
        SECRET,
        "verify = { hmac = \"sha256\", signature = { from = \"header:x-zm-signature\", encoding = \"hex\", grammar = { plain = { prefix = \"v0=\" } } }, content = \"v0:{ts}:{body}\", timestamp = { from = \"header:x-zm-request-timestamp\", unit = \"s\" } }\nevent = { id = \"none\" }\nhandshake = [{ match = { body = { \"/event\" = \"endpoint.url_validation\" } }, reply = { content_type = \"application/json\", body = '{{\"plainToken\":{json:body./payload/plainToken},\"encryptedToken\":\"{hmac:sha256:hex:body./payload/plainToken}\"}}' } }]\n",
    );
    let plan = source(
        plan,
        "twitch",
        SECRET,
        "verify = { hmac = \"sha256\", signature = { from = \"header:twitch-eventsub-message-signature\", encoding = \"hex\", grammar = { plain = { prefix = \"sha256=\" } } }, content = \"{id}{ts}{body}\", id = \"header:twitch-eventsub-message-id\", timestamp = { from = \"header:twitch-eventsub-message-timestamp\", unit = \"rfc3339\" } }\nevent = { id = \"signed\" }\nhandshake = [{ match = { header = { twitch-eventsub-message-type = \"webhook_callback_verification\" } }, reply = { body = \"{body./challenge}\" } }]\n",
    );
    let ed25519 = "verify = { ed25519 = true, key = { decode = \"hex\" }, signature = { from = \"header:x-signature-ed25519\", encoding = \"hex\" }, content = \"{ts}{body}\", timestamp = { from = \"header:x-signature-timestamp\", unit = \"s\" } }\nevent = { id = \"none\" }\n";
    let plan = source(
        plan,
        "interactions",
        discord,
        &format!(
            "secrets_shared_with = [\"webhookevents\"]\n{ed25519}handshake = [{{ match = {{ body = {{ \"/type\" = \"1\" }} }}, reply = {{ content_type = \"application/json\", body = '{{{{\"type\":1}}}}' }} }}]\n"
        ),
    );
    let plan = source(
        plan,
        "webhookevents",
        discord,
        &format!(
            "{ed25519}handshake = [{{ match = {{ body = {{ \"/type\" = \"0\" }} }}, reply = {{ status = 204, content_type = \"application/json\", body = \"\" }} }}]\n"
        ),
    );
    let plan = source(
        plan,
        "eventgrid",
        SECRET,
        &format!(
            "{}handshake = [{{ match = {{ header = {{ aeg-event-type = \"SubscriptionValidation\" }} }}, signed = false, reply = {{ content_type = \"application/json\", body = '{{{{\"validationResponse\":{{json:body./0/data/validationCode}}}}}}' }} }}]\n",
            token("query:key")
        ),
    );
    let plan = source(
        plan,
        "graph",
        SECRET,
        &format!(
            "content_types = [\"application/json\"]\n{}handshake = [{{ match = {{ query = {{ validationToken = \"*\" }} }}, signed = false, reply = {{ body = \"{{query.validationToken}}\" }} }}]\n",
            token("body:/value/0/clientState")
        ),
    );
    let plan = source(
        plan,
        "monday",
        SECRET,
        &format!(
            "{}handshake = [{{ match = {{ body = {{ \"/challenge\" = \"*\" }}, absent = [\"header:authorization\"] }}, signed = false, reply = {{ content_type = \"application/json\", body = \"{{body}}\" }} }}]\n",
            token("header:authorization")
        ),
    );
    let plan = source(
        plan,
        "woo",
        SECRET,
        &format!(
            "{}handshake = [{{ match = {{ form = {{ webhook_id = \"*\" }}, absent = [\"header:x-wc-webhook-signature\"] }}, signed = false, reply = {{}} }}]\n",
            sha256("x-wc-webhook-signature")
        ),
    );
    let plan = source(
        plan,
        "zendesk",
        SECRET,
        "verify = { hmac = \"sha256\", signature = { from = \"header:x-zendesk-webhook-signature\", encoding = \"base64\" }, content = \"{ts}{body}\", timestamp = { from = \"header:x-zendesk-webhook-signature-timestamp\", unit = \"rfc3339\" } }\nevent = { id = \"none\" }\nhandshake = [{ match = { header = { x-zendesk-webhook-signature = \"*\" } }, signed_by = \"dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==\", reply = {} }]\n",
    );
    let plan = source(
        plan,
        "mandrill",
        SECRET,
        "public_url = \"https://hooks.example.com/in/mandrill\"\nverify = { hmac = \"sha1\", signature = { from = \"header:x-mandrill-signature\", encoding = \"base64\" }, content = \"{url}{sorted_form}\" }\nevent = { id = \"none\" }\nhandshake = [{ match = { method = \"HEAD\" }, signed = false, reply = {} }, { match = { form = { mandrill_events = \"[]\" } }, signed_by = \"test-webhook\", reply = {} }]\n",
    );
    source(
        plan,
        "vercel",
        SECRET,
        &format!(
            "params = {{ verify = \"vercel-verify-token\" }}\n{}handshake = [{{ match = {{ method = \"POST\", absent = [\"header:x-vercel-signature\"] }}, signed = false, reply = {{ headers = {{ x-vercel-verify = \"{{param.verify}}\" }} }} }}]\n",
            sha256("x-vercel-signature")
        ),
    )
}

both_databases!(a_challenge_with_a_body_is_answered_as_its_provider_wants, |db| async move {
    let discord = Ed25519KeyPair::generate().unwrap();
    let daemon = posts(&db, &hex::encode(discord.public_key())).start().await;
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
    check("zoom", &post("zoom", "", &headers, body).await, &Want { body: &wanted, ..JSON });
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
        check(name, &answer, &want);
        // Discord sends wrong ones on purpose.
        headers[2].1 = "00".repeat(64);
        assert_eq!(post(name, "", &headers, body).await.status, 401, "{name}");
    }

    let body = r#"[{"id":"2d1781af","data":{"validationCode":"512d38b6-\"x\""},"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent"}]"#;
    let headers = [json.clone(), ("aeg-event-type", "SubscriptionValidation".to_owned())];
    check(
        "eventgrid",
        &post("eventgrid", "", &headers, body).await,
        &Want { body: r#"{"validationResponse":"512d38b6-\"x\""}"#, ..JSON },
    );

    let query = "?validationToken=Validation%3a+Testing+client+application+reachability+for+subscription+Request-Id%3a+aa";
    let headers = [("content-type", "text/plain; charset=utf-8".to_owned())];
    check(
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
        "monday",
        &post("monday", "", std::slice::from_ref(&json), body).await,
        &Want { body, ..JSON },
    );

    check("woo", &post("woo", "", std::slice::from_ref(&form), "webhook_id=7").await, &EMPTY);
    assert_eq!(post("woo", "", std::slice::from_ref(&form), "webhook=7").await.status, 401);

    let test_key = b"dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==";
    let mac = BASE64_STANDARD.encode(hmac(test_key, &[rfc3339.as_bytes(), b"{}"]));
    let headers = [
        json.clone(),
        ("x-zendesk-webhook-signature-timestamp", rfc3339.clone()),
        ("x-zendesk-webhook-signature", mac),
    ];
    check("zendesk", &post("zendesk", "", &headers, "{}").await, &EMPTY);
    assert_eq!(post("zendesk", "", &headers, "[]").await.code(), "signature_mismatch");

    check("mandrill", &got(&daemon, "HEAD", "/in/mandrill", &[]).await, &EMPTY);
    let headers =
        [form.clone(), ("x-mandrill-signature", "WAc3auxoYGhsUV7D+Hl33hoa8dE=".to_owned())];
    check("mandrill", &post("mandrill", "", &headers, "mandrill_events=%5B%5D").await, &EMPTY);
    assert_eq!(post("mandrill", "", &headers, "mandrill_events=%5B1%5D").await.status, 401);

    let want = Want { headers: &[("x-vercel-verify", "vercel-verify-token")], ..EMPTY };
    check("vercel", &post("vercel", "", std::slice::from_ref(&json), "[]").await, &want);
    assert_eq!(events(&db).await, 0);

    // What looks like none of them is an event.
    let mac = hex::encode(signed("vercel", &["[]"]));
    let headers = [json, ("x-vercel-signature", mac)];
    assert_eq!(post("vercel", "", &headers, "[]").await.json()["status"], "accepted");
    assert_eq!(events(&db).await, 1);
});
