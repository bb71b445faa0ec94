//! What is kept of a request.

use super::*;

#[test]
fn a_token_is_not_kept_with_the_event_and_a_signature_of_the_body_is() {
    let event = r#"event = { id = "header:x-id", format = "raw" }"#;
    let hidden = |verify: &str, header: (&str, &str), target: &str, secret: &str| {
        let source = source(&format!("verify = {verify}\n{event}"), &[secret]);
        let mut sent = request(&[("x-first", "1"), header, ("x-id", "a")], b"body");
        sent.target = target.to_owned();
        let Ok(Admitted::Event(verified)) = source.admit(sent.clone(), at(NOW)) else {
            panic!("refused: {verify}")
        };
        let kept = verified.received();
        assert_eq!(kept.body, sent.body);
        let names = |received: &Received| {
            received.headers.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(kept), names(&sent));
        let head = [kept.headers.as_bytes(), kept.target.as_bytes()].concat();
        let head = String::from_utf8(head).expect("text");
        // What is kept of a request whose body was not read must not pass as one without a body.
        let again = source.admit(kept.clone(), at(NOW)).is_ok();
        (head.contains(secret) || head.contains(header.1), again)
    };
    let (token, path) = ("s3cr3t-token", "/in/partner");
    assert_eq!(
        hidden(r#"{ token = "header:x-token" }"#, ("x-token", token), path, token),
        (false, false)
    );
    let path_with_token = "/in/partner?a=1&token=s3cr3t-token";
    assert_eq!(
        hidden(r#"{ token = "query:token" }"#, ("x-other", "other"), path_with_token, token),
        (true, false),
        "the other header stays"
    );
    let kept = source(&format!("verify = {{ token = \"query:token\" }}\n{event}"), &[token]);
    let mut sent = request(&[("x-id", "a")], b"");
    sent.target = path_with_token.to_owned();
    kept.conceal(&mut sent);
    assert_eq!(sent.target, "/in/partner?a=1&token=%28hidden%29");
    let basic = ("authorization", "Basic dXNlcjpzM2NyM3QtdG9rZW4=");
    assert_eq!(hidden(r#"{ basic = true }"#, basic, path, "user:s3cr3t-token"), (false, false));
    let verify = r#"{ hmac = "sha256", signature = { from = "header:x-sig" } }"#;
    let source = source(&format!("verify = {verify}\n{event}"), &[KEY]);
    let signed = source.sign(request(&[("x-id", "a")], b"body"), at(NOW), 0).expect("signed");
    let Ok(Admitted::Event(verified)) = source.admit(signed.clone(), at(NOW)) else {
        panic!("refused")
    };
    assert_eq!(verified.received().headers, signed.headers);
}
