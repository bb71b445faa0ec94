//! Broken tokens.

use super::*;

const BARE: &str = r#"
verify = { jwt = { algs = ["HS256"], from = "header:authorization", prefix = "Bearer ", require = ["iat"] } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const WHOLE: &str = r#"
verify = { jwt = { algs = ["HS256"], from = "header:authorization", prefix = "Bearer ", iss = "partner", require = ["iat"], max_age = "5m", url_digest = "url_hash" }, body_digest = { from = "claim:payload_hash" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const OTHER_ISSUER: &str = r#"
verify = { jwt = { algs = ["HS256"], from = "header:authorization", prefix = "Bearer ", iss = "somebody", require = ["iat"], url_digest = "url_hash" }, body_digest = { from = "claim:payload_hash" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const HS512: &str = r#"
verify = { jwt = { algs = ["HS512"], from = "header:authorization", prefix = "Bearer ", require = ["iat"] } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const BASE64_KEY: &str = r#"
verify = { jwt = { algs = ["HS256"], from = "header:authorization", prefix = "Bearer ", require = ["iat"] }, key = { decode = "base64" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
const BY_ID: &str = r#"
verify = { jwt = { algs = ["HS256"], from = "header:authorization", prefix = "Bearer ", require = ["iat"] }, key = { by_id = "claim:api_key" } }
event  = { id = "sha256(body)", format = "raw" }
"#;
/// Two signatures, each by its own secret, as Box has them.
const ORDERED: &str = r#"
verify = { any = [
    { hmac = "sha256", key = { secrets = [0] }, signature = { from = "header:x-first" } },
    { hmac = "sha256", key = { secrets = [1] }, signature = { from = "header:x-second" } },
] }
event  = { id = "sha256(body)", format = "raw" }
"#;
const B64: &str = "d2hpY2hldmVyLWtleS1pdC1pcw==";

pub(super) fn rows() -> Vec<Row> {
    use Cause::*;
    let whole = |cause, broken| row(cause, WHOLE, JSON, broken);
    let mut stale = whole(Stale, |_| {});
    stale.now = NOW + 3600;
    let mut swapped = row(SecretOrder, ORDERED, JSON, |_| {});
    swapped.receives.1 =
        vec!["the-first-of-secrets".to_owned(), "the-second-of-secrets".to_owned()];
    swapped.signs.1 = swapped.receives.1.iter().rev().cloned().collect();
    vec![
        whole(SignatureMissing, |r| drop(without(r, "authorization"))),
        whole(SignatureHeader, |r| renamed(r, "authorization", "x-forwarded-authorization")),
        whole(SignaturePrefix, |r| set(r, "authorization", |t| t["Bearer ".len()..].to_owned())),
        whole(SignaturePrefix, |r| set(r, "authorization", |t| t.replace("Bearer", "Token"))),
        whole(SignatureMalformed, |r| set(r, "authorization", |_| "Bearer a.b".to_owned())),
        whole(BodyChanged, |r| body(r, |text| format!("{text}\n"))),
        whole(UrlQuery, |r| r.target.push_str("?added=1")),
        whole(SecretWrong, |r| {
            set(r, "authorization", |t| format!("{}{}", &t[..t.len() - 8], "AAAAAAAA"));
        }),
        stale,
        other(ClaimRefused, (WHOLE, KEY), (OTHER_ISSUER, KEY)),
        other(TokenAlgorithm, (BARE, KEY), (HS512, KEY)),
        other(SecretWrong, (BARE, KEY), (BARE, "quite-another-secret-than-ours")),
        other(SecretDecoding, (BARE, B64), (BASE64_KEY, B64)),
        other(SecretWhiteSpace, (BARE, KEY), (BARE, concat_blank())),
        other(
            KeyId,
            (BY_ID, "one:a-secret-of-the-partner"),
            (BY_ID, "two:a-secret-of-the-partner"),
        ),
        swapped,
    ]
}

fn concat_blank() -> &'static str {
    Box::leak(format!("{KEY} ").into_boxed_str())
}
