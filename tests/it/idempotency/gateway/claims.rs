//! `scope = "claim:…"`: a key belongs to whom a verified token names, and to nobody else.

use std::time::Instant;

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::*;
use crate::support::issuer::{bearer, seconds_from_now};
use crate::support::{Authority, Issuer, IssuerKey};

const ISS: &str = "https://issuer.example.com";

/// A daemon with a gateway whose keys belong to the subjects of this issuer's tokens.
async fn claiming(db: &TestDatabase, service: &Endpoint, issuer: &Issuer, lines: &str) -> Daemon {
    let jwks = issuer.jwks();
    gateway(db, service, &format!("scope = \"claim:sub\"\njwks = {jwks:?}\n{lines}")).await
}

/// What a token of somebody claims. Each is another one.
fn claims(sub: &str) -> Value {
    let jti = format!("{:?}", std::time::Instant::now());
    json!({ "iss": ISS, "aud": "pay", "sub": sub, "exp": seconds_from_now(600), "jti": jti })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims("alice");
    claims[name] = value;
    claims
}

fn shown(token: &str) -> RawRequest {
    payment("k").without("authorization").header("authorization", token)
}

async fn pay_by(daemon: &Daemon, token: &str) -> RawAnswer {
    send_past(daemon, &shown(token), &["store_unavailable"]).await
}

/// [`pay_by`] where the issuer's keys have to be fetched first, for which a request waits for two seconds.
async fn pay_by_new_key(daemon: &Daemon, token: &str) -> RawAnswer {
    send_past(daemon, &shown(token), &["store_unavailable", "key_unavailable"]).await
}

fn is_replay(answer: &RawAnswer) -> bool {
    answer.head.header("idempotent-replayed") == Some("true")
}

#[track_caller]
fn assert_refused(answer: &RawAnswer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
    let challenge = answer.head.header("www-authenticate");
    match code {
        "token_missing" => assert_eq!(challenge, Some("Bearer")),
        "token_invalid" | "token_expired" => {
            assert_eq!(challenge, Some("Bearer error=\"invalid_token\""));
        }
        _ => assert_eq!(challenge, None),
    }
}

both_databases!(
    a_refreshed_token_is_the_same_principal_and_another_subject_is_not,
    |db| async move {
        let (service, issuer, key) =
            (Endpoint::start().await, Issuer::start().await, IssuerKey::rsa("one"));
        issuer.publish(&[&key]);
        service.answer_otherwise(Answer::status(201).body("done"));
        let daemon = claiming(&db, &service, &issuer, "").await;
        let first = pay_by_new_key(&daemon, &key.token(&claims("alice"))).await;
        assert_eq!((first.status, is_replay(&first)), (201, false), "{first:?}");
        for _ in 0..3 {
            let again = pay_by(&daemon, &key.token(&claims("alice"))).await;
            assert_eq!(essence(&again), essence(&first));
            assert!(is_replay(&again));
        }
        assert_eq!(service.count(), 1, "another token of the same subject runs nothing");
        // The service sees the token: what its bearer may do is for it to say.
        assert!(service.calls()[0].header("authorization").starts_with("Bearer ey"));
        let others = [
            claims("bob"),
            with("iss", json!("https://other.example.com")),
            with("sub", json!(7)),
            with("sub", json!("7")),
        ];
        for (n, other) in others.iter().enumerate() {
            let answer = pay_by(&daemon, &key.token(other)).await;
            assert_eq!((answer.status, is_replay(&answer)), (201, false), "{other}");
            assert_eq!(service.count(), n + 2, "{other} is another principal");
        }
        let leaked = "SELECT count(*) FROM idempotency_key WHERE scope LIKE '%alice%' OR scope LIKE '%issuer%'";
        assert_eq!(db.number(leaked).await, 0, "a principal is hashed");
        assert_eq!(issuer.server.count(), 1, "the keys are kept");
        let metrics = String::from_utf8(daemon.get("/metrics").await.body).unwrap();
        let line = "hookonce_issuer_key_fetches_total{gateway=\"pay\",outcome=\"fetched\"} 1";
        assert!(metrics.contains(line), "{metrics}");
    }
);

both_databases!(a_token_that_is_forged_over_or_for_somebody_else_gets_no_answer, |db| async move {
    let (service, issuer) = (Endpoint::start().await, Issuer::start().await);
    let (rsa, ecdsa) = (IssuerKey::rsa("rsa"), IssuerKey::ecdsa("ec"));
    issuer.publish(&[&rsa, &ecdsa]);
    let lines = format!("issuer = {ISS:?}\naudience = \"pay\"");
    let daemon = claiming(&db, &service, &issuer, &lines).await;
    // There is an answer of Alice's that each of them would like to read.
    assert_eq!(pay_by_new_key(&daemon, &ecdsa.token(&claims("alice"))).await.status, 200);
    let mut endless = claims("alice");
    endless.as_object_mut().unwrap().remove("exp");
    let by_public_key = |header: &Value, secret: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        bearer(header, &claims("alice"), |signed| hmac::sign(&key, signed).as_ref().to_vec())
    };
    let hs256 = json!({ "alg": "HS256", "kid": "rsa" });
    let good = rsa.token(&claims("alice"));
    let unsigned = bearer(&json!({ "alg": "none" }), &claims("alice"), |_| Vec::new());
    let bob = rsa.token(&claims("bob"));
    let (head, tail) = (good.split('.').next().unwrap(), bob.split('.').nth(2).unwrap());
    let spliced = format!("{head}.{}.{tail}", good.split('.').nth(1).unwrap());
    for (name, token, code) in [
        ("unsigned", unsigned, "token_invalid"),
        (
            "none, signed",
            bearer(&json!({ "alg": "none", "kid": "rsa" }), &claims("alice"), |it| rsa.sign(it)),
            "token_invalid",
        ),
        (
            "by the public key as a secret",
            by_public_key(&hs256, rsa.jwk().to_string().as_bytes()),
            "token_invalid",
        ),
        (
            "by its modulus as a secret",
            by_public_key(&hs256, rsa.jwk()["n"].as_str().unwrap().as_bytes()),
            "token_invalid",
        ),
        (
            "another key under this id",
            IssuerKey::rsa("rsa").token(&claims("alice")),
            "token_invalid",
        ),
        (
            "an id that nobody published",
            IssuerKey::ecdsa("mine").token(&claims("alice")),
            "token_invalid",
        ),
        (
            "a key of its own",
            {
                let own = IssuerKey::ecdsa("own");
                let header = json!({ "alg": "ES256", "kid": "own", "jwk": own.jwk(), "jku": "http://127.0.0.1:1/" });
                bearer(&header, &claims("alice"), |it| own.sign(it))
            },
            "token_invalid",
        ),
        ("the signature of another token", spliced, "token_invalid"),
        ("over", rsa.token(&with("exp", json!(seconds_from_now(-60)))), "token_expired"),
        ("without an end", rsa.token(&endless), "token_invalid"),
        ("not yet", rsa.token(&with("nbf", json!(seconds_from_now(60)))), "token_invalid"),
        ("for another service", rsa.token(&with("aud", json!("other"))), "token_invalid"),
        (
            "by another issuer",
            rsa.token(&with("iss", json!("https://other.example.com"))),
            "token_invalid",
        ),
        ("no token", "Bearer alice".to_owned(), "token_invalid"),
        ("another scheme", "Basic YWxpY2U6cHc=".to_owned(), "token_missing"),
        ("empty", String::new(), "token_missing"),
    ] {
        let answer = pay_by_new_key(&daemon, &token).await;
        assert_refused(&answer, 401, code);
        assert!(!is_replay(&answer), "{name}");
    }
    assert_refused(
        &payment("k").without("authorization").send(daemon.public()).await,
        401,
        "token_missing",
    );
    let twice = shown(&good).header("authorization", &bob).send(daemon.public()).await;
    assert_refused(&twice, 401, "token_invalid");
    let nobody = pay_by(&daemon, &rsa.token(&with("sub", json!(["alice"])))).await;
    assert_refused(&nobody, 400, "idempotency_scope_missing");
    assert_eq!(service.count(), 1, "none of them reached the service");
    assert_eq!(db.number("SELECT count(*) FROM idempotency_key").await, 1, "nor left a record");
    assert!(is_replay(&pay_by(&daemon, &good).await), "and Alice still has her answer");
    assert!(issuer.server.count() <= 2, "ids that are made up don't hammer the issuer");
    let log = daemon.log();
    assert!(!log.contains("eyJ"), "no token is logged: {log}");
});

both_databases!(an_issuer_that_is_away_is_503_and_neither_a_refusal_nor_a_pass, |db| async move {
    let (service, issuer, key) =
        (Endpoint::start().await, Issuer::start().await, IssuerKey::ecdsa("one"));
    let elsewhere = Issuer::start().await;
    elsewhere.publish(&[&key]);
    // Whatever it answers, these are no keys; a redirect isn't followed.
    issuer.server.answer_otherwise(Answer::status(302).header("location", &elsewhere.jwks()));
    let daemon = claiming(&db, &service, &issuer, "").await;
    let token = key.token(&claims("alice"));
    let began = Instant::now();
    for _ in 0..3 {
        let answer = pay_by(&daemon, &token).await;
        assert_refused(&answer, 503, "key_unavailable");
        assert_eq!(answer.head.header("retry-after"), Some("5"));
    }
    assert_eq!((elsewhere.server.count(), service.count()), (0, 0));
    let fetches = 1 + began.elapsed().as_secs() / 5;
    assert!(
        (1..=fetches).contains(&(issuer.server.count() as u64)),
        "it isn't asked again at once"
    );
    // It answers nothing at all: who needs no key of it doesn't wait.
    issuer.server.answer_otherwise(Answer::ok().held());
    eventually(PATIENCE, "a fetch that hangs", || async {
        assert_refused(&pay_by(&daemon, &token).await, 503, "key_unavailable");
        (issuer.server.count() > 1).then_some(())
    })
    .await;
    let read = RawRequest::new("GET", "/payments");
    let (waited, read) = futures::join!(pay_by(&daemon, &token), read.send(daemon.public()));
    assert_refused(&waited, 503, "key_unavailable");
    assert_eq!((read.status, service.count()), (200, 1), "the GET, and nothing else");
    // Back.
    issuer.publish(&[&key]);
    issuer.server.release(100);
    eventually(PATIENCE, "the payment to be run", || async {
        let answer = pay_by(&daemon, &token).await;
        if answer.status == 503 {
            assert_refused(&answer, 503, "key_unavailable");
            return None;
        }
        assert_eq!((answer.status, is_replay(&answer)), (200, false));
        Some(())
    })
    .await;
    assert_eq!(service.count(), 2);
    // Gone again: keys that are here stay in use.
    issuer.server.answer_otherwise(Answer::status(500));
    assert!(is_replay(&pay_by(&daemon, &key.token(&claims("alice"))).await));
});

both_databases!(
    a_rotated_key_is_found_at_once_and_a_withdrawn_one_counts_no_more,
    |db| async move {
        let (service, issuer) = (Endpoint::start().await, Issuer::start().await);
        let (old, new) = (IssuerKey::ecdsa("old"), IssuerKey::ecdsa("new"));
        issuer.publish(&[&old]);
        let daemon = claiming(&db, &service, &issuer, "").await;
        assert_eq!(pay_by_new_key(&daemon, &old.token(&claims("alice"))).await.status, 200);
        issuer.publish(&[&new]);
        let replay = pay_by_new_key(&daemon, &new.token(&claims("alice"))).await;
        assert!(replay.status == 200 && is_replay(&replay), "{replay:?}");
        assert_refused(&pay_by(&daemon, &old.token(&claims("alice"))).await, 401, "token_invalid");
        for n in 0..50 {
            let forged = IssuerKey::ecdsa(&format!("forged-{n}")).token(&claims("alice"));
            assert_refused(&pay_by_new_key(&daemon, &forged).await, 401, "token_invalid");
        }
        assert_eq!((service.count(), issuer.server.count()), (1, 2));
    }
);

both_databases!(what_needs_no_answer_of_before_needs_no_token, |db| async move {
    let (service, issuer, key) =
        (Endpoint::start().await, Issuer::start().await, IssuerKey::ecdsa("one"));
    issuer.publish(&[&key]);
    let lines =
        format!("key = \"optional\"\nscope = \"claim:/org/id\"\njwks = {:?}", issuer.jwks());
    let daemon = gateway(&db, &service, &lines).await;
    let bare = payment("k").without("authorization").without("idempotency-key");
    assert_eq!(bare.send(daemon.public()).await.status, 200, "unguarded, as `optional` says");
    assert_eq!(RawRequest::new("GET", "/payments/1").send(daemon.public()).await.status, 200);
    assert_refused(
        &payment("k").without("authorization").send(daemon.public()).await,
        401,
        "token_missing",
    );
    assert_eq!((service.count(), issuer.server.count()), (2, 0));
    // Two people of one organisation share its keys, when so configured.
    for (sub, replayed) in [("alice", false), ("bob", true)] {
        let mut claims = claims(sub);
        claims["org"] = json!({ "id": "acme" });
        let answer = pay_by_new_key(&daemon, &key.token(&claims)).await;
        assert_eq!((answer.status, is_replay(&answer)), (200, replayed), "{sub}");
    }
    assert_eq!(service.count(), 3);
});

both_databases!(keys_come_over_tls_from_whom_the_system_believes_only, |db| async move {
    let (service, issuer, key) =
        (Endpoint::start().await, Issuer::start().await, IssuerKey::ecdsa("one"));
    issuer.publish(&[&key]);
    let authority = Authority::new();
    let front = authority.before(issuer.server.address()).await;
    let jwks = format!("https://localhost:{}/keys", front.address.port());
    let lines = format!("scope = \"claim:sub\"\njwks = {jwks:?}");
    let plan = DaemonPlan::on(&db).toml(&table(&service, &lines));
    let token = key.token(&claims("alice"));
    let mut stranger = plan.start().await;
    assert_refused(&pay_by(&stranger, &token).await, 503, "key_unavailable");
    assert_eq!((issuer.server.count(), service.count()), (0, 0));
    stranger.stop().await;
    let root = authority.root();
    let daemon = plan.environment("SSL_CERT_FILE", root.to_str().unwrap()).start().await;
    assert_eq!(pay_by_new_key(&daemon, &token).await.status, 200);
    assert_eq!((issuer.server.count(), service.count()), (1, 1));
});
