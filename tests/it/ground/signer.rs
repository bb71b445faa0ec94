//! The signers are an oracle only if they are right themselves: here against published vectors.

use crate::support::Signer;

fn header(signed: &crate::support::sender::Signed, name: &str) -> String {
    signed.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap()
}

#[test]
fn github_signs_as_its_documentation_shows() {
    let signer = Signer::of("github").with_secret("It's a Secret to Everybody");
    let signed = signer.sign("id", "ping", "Hello, World!");
    assert_eq!(
        header(&signed, "x-hub-signature-256"),
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
}

#[test]
fn slack_signs_as_its_documentation_shows() {
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
        &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
        &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let signer =
        Signer::of("slack").with_secret("8f742231b10e8888abcd99yyyzzz85a5").at(1_531_420_618);
    assert_eq!(
        header(&signer.sign("", "", body), "x-slack-signature"),
        "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    );
}

#[test]
fn standard_webhooks_signs_as_its_reference_does() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let signer = Signer::of("standard-webhooks").with_secret(secret).at(1_614_265_330);
    let signed = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "", r#"{"test": 2432232314}"#);
    assert_eq!(
        header(&signed, "webhook-signature"),
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    );
}

#[test]
fn the_reference_library_accepts_the_signers_of_its_family() {
    for provider in ["standard-webhooks", "gitlab-signing-token"] {
        let signer = Signer::of(provider);
        let signed = signer.event("msg_1", "invoice.paid");
        let mut headers = reqwest::header::HeaderMap::new();
        for (name, value) in &signed.headers {
            let name = reqwest::header::HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.insert(name, value.parse().unwrap());
        }
        let judge = standardwebhooks::Webhook::new(signer.secret()).unwrap();
        judge.verify(&signed.body, &headers).unwrap();
    }
}
