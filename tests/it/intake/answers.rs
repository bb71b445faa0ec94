//! Every row of the answer table that a request alone can reach.

use super::{GITHUB, STRIPE, events, github, logged, now, stripe};
use crate::both_databases;
use crate::support::raw::RawRequest;
use crate::support::sender::{Signed, hmac};
use crate::support::{DaemonPlan, Signer};

/// A refused request: what is wrong with it, and how it must be answered.
struct Case {
    claim: &'static str,
    path: &'static str,
    signed: Signed,
    status: u16,
    code: &'static str,
}

/// Stripe's header with parts of one's own; `{mac}` stands for the right signature at `at`.
fn stripe_header(body: &str, at: &str, form: &str) -> Signed {
    let mac = hmac(stripe().secret().as_bytes(), &[format!("{at}.").as_bytes(), body.as_bytes()]);
    let value = form.replace("{mac}", &hex::encode(mac)).replace("{at}", at);
    Signed { headers: vec![("stripe-signature".into(), value)], body: body.as_bytes().to_vec() }
}

fn unsigned(body: &str) -> Signed {
    Signed { headers: Vec::new(), body: body.as_bytes().to_vec() }
}

fn stripe_cases() -> Vec<Case> {
    let body = stripe().body("evt_refused", "invoice.paid").to_string();
    let at = now().to_string();
    let case = |claim, signed, status, code| Case { claim, path: STRIPE, signed, status, code };
    let header = |form| stripe_header(&body, &at, form);
    let mut twice = header("t={at},v1={mac}");
    twice.headers.push(twice.headers[0].clone());
    let mut changed = header("t={at},v1={mac}");
    changed.body[10] ^= 1;
    vec![
        case("no signature", unsigned(&body), 401, "signature_missing"),
        case("an empty signature header", header(""), 401, "signature_missing"),
        case("two signature headers", twice, 400, "signature_malformed"),
        case("not a signature", header("what is this"), 400, "signature_malformed"),
        case("not hex", header("t={at},v1=zz"), 400, "signature_malformed"),
        case("cut off by one digit", header("t={at},v1=0{mac}"), 400, "signature_malformed"),
        case("the time twice", header("t={at},t={at},v1={mac}"), 400, "signature_malformed"),
        case("a time that is no number", header("t=soon,v1={mac}"), 400, "signature_malformed"),
        case(
            "a negative time",
            stripe_header(&body, "-5", "t={at},v1={mac}"),
            400,
            "signature_malformed",
        ),
        case("another body", changed, 401, "signature_mismatch"),
        case("only Stripe's test scheme", header("t={at},v0={mac}"), 401, "signature_missing"),
        case("another secret", wrong_secret(), 401, "signature_mismatch"),
        case("six minutes old", aged(-360), 401, "timestamp_stale"),
        case("two minutes ahead", aged(120), 401, "timestamp_future"),
        case("old and forged", forged_and_old(), 401, "signature_mismatch"),
        case("no id", stripe().sign("", "", r#"{"type":"invoice.paid"}"#), 400, "id_missing"),
        case(
            "an id that is an object",
            stripe().sign("", "", r#"{"id":{},"type":"x"}"#),
            400,
            "id_missing",
        ),
        case("an empty id", stripe().sign("", "", r#"{"id":"","type":"x"}"#), 400, "id_missing"),
        case("not JSON", stripe().sign("", "", "id=evt_1"), 400, "body_malformed"),
        case("JSON and more", stripe().sign("", "", r#"{"id":"evt_1"} {}"#), 400, "body_malformed"),
        case("cut-off JSON", stripe().sign("", "", r#"{"id":"evt_1""#), 400, "body_malformed"),
        case("no body", stripe().sign("", "", ""), 400, "body_malformed"),
    ]
}

fn wrong_secret() -> Signed {
    stripe().with_secret("whsec_ffffffffffffffffffffffffffffffff").event("evt_refused", "x")
}

fn aged(seconds: i64) -> Signed {
    stripe().at(now() + seconds).event("evt_refused", "x")
}

/// Whoever has no secret must not learn that only the time was wrong.
fn forged_and_old() -> Signed {
    let signed = aged(-360);
    let value = signed.headers[0].1.replace("v1=", "v1=00").to_owned();
    let value = value[..value.len() - 2].to_owned();
    signed.with_header("stripe-signature", &value)
}

fn other_cases() -> Vec<Case> {
    let hub = github().sign("d-1", "push", "{}");
    let mut sha1_only = hub.clone();
    sha1_only.headers[0] =
        ("x-hub-signature".into(), "sha1=a94a8fe5ccb19ba61c4c0873d391e987982fbbd3".into());
    let mut no_id = hub.clone();
    no_id.headers.retain(|(name, _)| name != "x-github-delivery");
    let slack = Signer::of("slack").event("Ev1", "message");
    let mut no_time = slack.clone();
    no_time.headers.retain(|(name, _)| name != "x-slack-request-timestamp");
    let token = Signer::of("gitlab-token").event("g-1", "Push Hook");
    let bad_token = token.clone().with_header("x-gitlab-token", "glwt-5f2d8a1c7e3c");
    let mut no_token = token;
    no_token.headers.retain(|(name, _)| name != "x-gitlab-token");
    let case = |claim, path, signed, status, code| Case { claim, path, signed, status, code };
    vec![
        case("legacy SHA-1 alone", GITHUB, sha1_only, 401, "signature_missing"),
        case("no delivery id", GITHUB, no_id, 400, "id_missing"),
        case("no timestamp header", "/in/slack", no_time, 401, "timestamp_missing"),
        case("a wrong token", "/in/gitlab-token", bad_token, 401, "signature_mismatch"),
        case("no token", "/in/gitlab-token", no_token, 401, "signature_missing"),
    ]
}

both_databases!(
    a_request_that_proves_nothing_is_refused_with_its_code_and_never_stored,
    |db| async move {
        let daemon = logged(&db, &["stripe", "github", "slack", "gitlab-token"]).start().await;
        for case in stripe_cases().into_iter().chain(other_cases()) {
            let answer = case.signed.to(case.path).send(daemon.public()).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (case.status, case.code),
                "{}: {}",
                case.claim,
                String::from_utf8_lossy(&answer.body)
            );
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let mac = hmac(stripe().secret().as_bytes(), &[&case.signed.body]);
            assert!(!text.contains(&hex::encode(mac)), "{}: it tells the signature", case.claim);
        }
        assert_eq!(events(&db).await, 0);
    }
);

both_databases!(paths_methods_and_addresses_are_checked_first, |db| async move {
    let shut = stripe();
    let plan = DaemonPlan::on(&db)
        .server("trusted_proxies = [\"127.0.0.0/8\"]")
        .source_with(&shut, "allow_ips = [\"203.0.113.0/24\"]")
        .source(&github());
    let daemon = plan.start().await;
    let to = daemon.public();

    let unknown = github().event("d-1", "push").to("/in/nobody").send(to).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "unknown_source"));
    let elsewhere = RawRequest::new("GET", "/").send(to).await;
    assert_eq!(elsewhere.status, 404);

    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let answer = RawRequest::new(method, GITHUB).send(to).await;
        assert_eq!((answer.status, answer.head.header("allow")), (405, Some("POST")), "{method}");
    }
    // A probe: the address is there, and nothing is recorded or refused.
    let head = |path: &str| RawRequest::new("HEAD", path).header("connection", "close");
    let probe = head(GITHUB).send(to).await;
    assert_eq!((probe.status, probe.body.len()), (200, 0));
    assert_eq!(head("/in/nobody").send(to).await.status, 404);

    let event = shut.event("evt_1", "x");
    let denied = event.to(STRIPE).send(to).await;
    assert_eq!((denied.status, denied.code().as_str()), (403, "ip_denied"));
    // The last address that no proxy of ours vouches for counts; what a client wrote before it doesn't.
    let lied =
        event.to(STRIPE).header("x-forwarded-for", "203.0.113.9, 198.51.100.7").send(to).await;
    assert_eq!((lied.status, lied.code().as_str()), (403, "ip_denied"));
    let proxied =
        event.to(STRIPE).header("x-forwarded-for", "198.51.100.7, 203.0.113.9").send(to).await;
    assert_eq!(proxied.status, 200, "{proxied:?}");
    assert_eq!(events(&db).await, 1);
});

both_databases!(an_untrusted_peer_cannot_forward_itself_in, |db| async move {
    let daemon = DaemonPlan::on(&db)
        .source_with(&stripe(), "allow_ips = [\"203.0.113.0/24\"]")
        .start()
        .await;
    let event = stripe().event("evt_1", "x");
    let answer =
        event.to(STRIPE).header("x-forwarded-for", "203.0.113.9").send(daemon.public()).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "ip_denied"));
    assert_eq!(events(&db).await, 0);
});

both_databases!(
    a_failing_sender_over_its_rate_is_told_to_wait_and_a_good_one_never_is,
    |db| async move {
        let plan = DaemonPlan::on(&db)
            .source_with(&stripe(), "rate_limit = \"1/s\"")
            .toml("[handlers.audit]\nfrom = \"stripe\"\nlog = {}");
        let daemon = plan.start().await;
        let forged = wrong_secret();
        let sender = daemon.sender();
        let mut limited = 0;
        for n in 0..20 {
            let answer = sender.send(STRIPE, &forged).await;
            match answer.status {
                503 => {
                    assert_eq!(answer.code(), "rate_limited");
                    assert!(answer.answer.head.header("retry-after").is_some());
                    limited += 1;
                }
                status => assert_eq!(status, 401),
            }
            sender.send(STRIPE, &stripe().event(&format!("evt_{n}"), "x")).await.assert_accepted();
        }
        assert!(limited > 0, "nothing was limited");
        assert_eq!(events(&db).await, 20);
    }
);

both_databases!(the_probes_answer_on_both_listeners, |db| async move {
    let daemon = logged(&db, &["stripe"]).start().await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(RawRequest::new("GET", path).send(daemon.public()).await.status, 200, "{path}");
        assert_eq!(daemon.get(path).await.status, 200, "{path}");
    }
    // Nothing of the admin listener is public.
    for path in ["/metrics", "/api/v1/events", "/api/v1/sources"] {
        assert_eq!(RawRequest::new("GET", path).send(daemon.public()).await.status, 404, "{path}");
    }
});
