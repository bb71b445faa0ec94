//! Tokens that are right, and each way of being wrong.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::received::Received;
use crate::source::tests::{request, settings, source, spec};
use crate::source::{Admitted, Source, SourceSettings};
use crate::verify::Code;
use crate::verify::encoding::Encoding;
use crate::verify::generate::private_key;
use crate::verify::key::Material;
use crate::verify::mac::{Hash, Mac};
use crate::verify::public::{PublicAlgorithm, PublicKey};

const SECRET: &str = "an-hmac-key-of-many-bytes-0123456789";
const NOW: i64 = 1_767_225_600;
const BODY: &[u8] = br#"{"a":1}"#;
const BOUND: &str = r#"
    verify = { jwt = { algs = ["HS256"], from = "header:x-token", iss = "prov", aud = ["us", "them"], claims = { app = "7" }, require = ["exp", "iat"], max_age = "5m" }, body_digest = { from = "claim:sha" } }
    event = { id = "sha256(body)" }
"#;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).expect("a time")
}

fn pem(algorithm: PublicAlgorithm) -> String {
    private_key(algorithm).expect("a key").trim_end().to_owned()
}

fn mac(hash: Hash, secret: &[u8]) -> Material {
    Material::Mac(Mac::new(hash, secret).expect("a key"))
}

fn token(header: &str, claims: &str, key: &Material) -> String {
    let part = |text: &str| Encoding::Base64Url.encode(text.as_bytes());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(&vec![signed.as_bytes().into()]).expect("signed");
    format!("{signed}.{}", Encoding::Base64Url.encode(&signature))
}

fn hs256(claims: &Value) -> String {
    let key = mac(Hash::Sha256, SECRET.as_bytes());
    token(r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string(), &key)
}

fn claims() -> Value {
    json!({
        "iss": "prov", "aud": "us", "app": "7", "iat": NOW, "exp": NOW + 60,
        "sha": hex::encode(Sha256::digest(BODY)),
    })
}

fn with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn shown(token: &str) -> Received {
    request(&[("x-token", token)], BODY)
}

fn code(source: &Source, received: Received, now: i64) -> Result<(), Code> {
    source.admit(received, at(now)).map(|_| ()).map_err(|refused| refused.rejection.code)
}

#[test]
fn each_claim_that_is_wrong_is_told_from_each_that_is_old() {
    let source = source(BOUND, &[SECRET]);
    let judged = |changes: Value| code(&source, shown(&hs256(&with(&changes))), NOW);
    assert_eq!(judged(json!({})), Ok(()));
    for good in [
        json!({"aud": ["x", "them"]}),
        json!({"app": 7}),
        json!({"exp": NOW - 5}),
        json!({"iat": NOW + 5}),
        json!({"iat": NOW - 305}),
        json!({"nbf": NOW + 5}),
        json!({"exp": NOW as f64 + 0.5}),
        json!({"other": {"a": [1]}}),
    ] {
        assert_eq!(judged(good.clone()), Ok(()), "{good}");
    }
    for (wanted, all) in [
        (
            Code::SignatureMismatch,
            vec![
                json!({"iss": "else"}),
                json!({"iss": null}),
                json!({"iss": ["prov"]}),
                json!({"aud": "else"}),
                json!({"aud": null}),
                json!({"aud": []}),
                json!({"aud": [["us"]]}),
                json!({"app": "8"}),
                json!({"app": null}),
                json!({"sha": null}),
                json!({"sha": ""}),
                json!({"sha": hex::encode(Sha256::digest(b"else"))}),
                json!({"sha": "zz"}),
                // What is wrong comes before what is old.
                json!({"iss": "else", "exp": 1}),
            ],
        ),
        (
            Code::TimestampStale,
            vec![json!({"exp": NOW - 6}), json!({"exp": 0}), json!({"iat": NOW - 306})],
        ),
        (Code::TimestampFuture, vec![json!({"nbf": NOW + 6}), json!({"iat": NOW + 6})]),
        (Code::TimestampMissing, vec![json!({"exp": null}), json!({"iat": null})]),
        (
            Code::SignatureMalformed,
            vec![
                json!({"exp": "1"}),
                json!({"exp": -1}),
                json!({"exp": 1e300}),
                json!({"exp": u64::MAX}),
                json!({"iat": true}),
                json!({"nbf": []}),
                json!({"exp": (NOW + 60) * 1000}),
            ],
        ),
    ] {
        for changes in all {
            assert_eq!(judged(changes.clone()), Err(wanted), "{changes}");
        }
    }
}

#[test]
fn any_changed_character_of_a_token_is_refused_before_its_times_are_judged() {
    let source = source(BOUND, &[SECRET]);
    let good = hs256(&claims());
    for now in [NOW, NOW + 100_000, NOW - 100_000] {
        for i in 0..good.len() {
            let mut changed = good.clone().into_bytes();
            changed[i] = if changed[i] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("text");
            let refused = code(&source, shown(&changed), now).expect_err(&changed);
            assert!(
                matches!(refused, Code::SignatureMismatch | Code::SignatureMalformed),
                "{refused} for character {i}"
            );
        }
    }
    for end in 0..good.len() {
        assert!(code(&source, shown(&good[..end]), NOW).is_err(), "{end} characters");
    }
    let other = mac(Hash::Sha256, b"another-key-of-many-bytes-0123456789");
    let other = token(r#"{"alg":"HS256"}"#, &claims().to_string(), &other);
    assert_eq!(code(&source, shown(&other), NOW + 100_000), Err(Code::SignatureMismatch));
    let body = request(&[("x-token", &good)], b"{\"a\":2}");
    assert_eq!(code(&source, body, NOW), Err(Code::SignatureMismatch));
}

#[test]
fn a_token_stands_once_in_one_spelling() {
    let source = source(BOUND, &[SECRET]);
    let good = hs256(&claims());
    assert_eq!(code(&source, request(&[], BODY), NOW), Err(Code::SignatureMissing));
    assert_eq!(code(&source, shown(""), NOW), Err(Code::SignatureMissing));
    let twice = request(&[("x-token", &good), ("x-token", &good)], BODY);
    assert_eq!(code(&source, twice, NOW), Err(Code::SignatureMalformed));
    let (head, signature) = good.rsplit_once('.').expect("parts");
    let (header, payload) = head.split_once('.').expect("parts");
    for bad in [
        format!("{good}."),
        format!(".{good}"),
        format!("{good}="),
        format!("{good} "),
        format!("Bearer {good}"),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}=.{payload}.{signature}"),
        format!("{}.{payload}.{signature}", "A".repeat(20_000)),
        "a.b.c".to_owned(),
        "..".to_owned(),
    ] {
        assert_eq!(code(&source, shown(&bad), NOW), Err(Code::SignatureMalformed), "{bad:.60}");
    }
    let key = mac(Hash::Sha256, SECRET.as_bytes());
    let text = claims().to_string();
    for (header, claims) in [
        (r#"{"alg":"HS256","alg":"HS256"}"#, text.clone()),
        (r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, text.clone()),
        (r#"{"alg":"HS256","crit":[]}"#, text.clone()),
        (r#"[]"#, text.clone()),
        (r#"{"alg":"HS256"} "#.trim_end(), format!("{{\"iss\":\"else\",{}", &text[1..])),
        (r#"{"alg":"HS256"}"#, "[]".to_owned()),
        (r#"{"alg":"HS256"}"#, format!("{text}x")),
    ] {
        let refused = code(&source, shown(&token(header, &claims, &key)), NOW);
        assert_eq!(refused, Err(Code::SignatureMalformed), "{header} {claims}");
    }
}

#[test]
fn a_token_does_not_choose_how_it_is_verified() {
    let source = source(BOUND, &[SECRET]);
    let text = claims().to_string();
    let key = mac(Hash::Sha256, SECRET.as_bytes());
    for alg in ["none", "None", "NONE", "nOnE", "", "hs256", "HS512", "RS256", "ES256", "HS256 "] {
        let header = json!({ "alg": alg }).to_string();
        let signed = token(&header, &text, &key);
        assert_eq!(code(&source, shown(&signed), NOW), Err(Code::SignatureMismatch), "{alg}");
        let bare = &signed[..=signed.rfind('.').expect("a dot")];
        assert_eq!(code(&source, shown(bare), NOW), Err(Code::SignatureMalformed), "{alg}");
    }
    for header in [r#"{"typ":"JWT"}"#, r#"{"alg":["HS256"]}"#, r#"{"alg":null}"#] {
        let refused = code(&source, shown(&token(header, &text, &key)), NOW);
        assert_eq!(refused, Err(Code::SignatureMismatch), "{header}");
    }
    // What it says of keys is not even looked at.
    let header = r#"{"alg":"HS256","jku":"https://evil.example/","x5u":"https://evil.example/","jwk":{"kty":"oct","k":"AAAA"},"kid":"../../dev/null"}"#;
    let own = mac(Hash::Sha256, &[0, 0, 0]);
    assert_eq!(
        code(&source, shown(&token(header, &text, &own)), NOW),
        Err(Code::SignatureMismatch)
    );
    assert_eq!(code(&source, shown(&token(header, &text, &key)), NOW), Ok(()));
}

#[test]
fn a_public_key_is_never_the_secret_of_an_hmac() {
    let pem = pem(PublicAlgorithm::RsaSha256);
    let algs = |algs: &str| {
        format!(
            "verify = {{ jwt = {{ algs = {algs}, from = \"header:x-token\" }} }}\nevent = {{ id = \"sha256(body)\" }}"
        )
    };
    let rsa = source(&algs("[\"RS256\"]"), &[&pem]);
    let text = claims().to_string();
    let pair = PublicKey::from_pem(PublicAlgorithm::RsaSha256, &pem).expect("a key");
    let good = token(r#"{"alg":"RS256"}"#, &text, &Material::Public(pair));
    assert_eq!(code(&rsa, shown(&good), NOW), Ok(()));
    for key in [pem.as_bytes(), format!("{pem}\n").as_bytes()] {
        for alg in ["HS256", "RS256"] {
            let header = json!({ "alg": alg }).to_string();
            let forged = token(&header, &text, &mac(Hash::Sha256, key));
            assert_eq!(code(&rsa, shown(&forged), NOW), Err(Code::SignatureMismatch), "{alg}");
        }
    }
    for (algs_of, secret, wanted) in [
        ("[\"HS256\"]", pem.as_str(), "secrets[0]: is a key in PEM"),
        ("[\"HS256\", \"RS256\"]", pem.as_str(), "can't be mixed"),
        ("[]", SECRET, "verify.jwt.algs: is empty"),
        ("[\"RS256\"]", SECRET, "secrets[0]: is not a public key in PEM"),
        ("[\"HS256\"]", "short", "can be guessed"),
    ] {
        let faults = Source::compile(settings(spec(&algs(algs_of)), &[secret])).map(|_| ());
        let faults = faults.expect_err(wanted);
        assert!(faults.iter().any(|fault| fault.contains(wanted)), "{wanted} in {faults:?}");
    }
}

#[test]
fn every_algorithm_signs_what_it_verifies() {
    let rsa = pem(PublicAlgorithm::RsaSha256);
    let ecdsa = pem(PublicAlgorithm::EcdsaP256);
    for (alg, secret) in [
        ("HS256", SECRET),
        ("HS384", SECRET),
        ("HS512", SECRET),
        ("RS256", rsa.as_str()),
        ("ES256", ecdsa.as_str()),
    ] {
        let text = BOUND.replace("\"HS256\"", &format!("\"{alg}\""));
        let source = source(&text, &[secret]);
        let signed = source.sign(request(&[], BODY), at(NOW), 0).expect("signed");
        assert_eq!(code(&source, signed.clone(), NOW), Ok(()), "{alg}");
        assert_eq!(code(&source, signed.clone(), NOW + 66), Err(Code::TimestampStale), "{alg}");
        let again = source.sign(signed, at(NOW + 3600), 0).expect("signed");
        assert_eq!(code(&source, again, NOW + 3600), Ok(()), "{alg}");
    }
}

#[test]
fn what_was_verified_can_be_read() {
    let source = source(BOUND, &[SECRET]);
    let token = hs256(&with(&json!({"jti": "i-1", "n": 12, "flag": true})));
    let admitted = source.admit(shown(&token), at(NOW)).map_err(|refused| refused.rejection);
    let Ok(Admitted::Event(verified)) = admitted else { panic!("no event") };
    let proof = verified.proof();
    assert_eq!(proof.secret, Some(0));
    assert_eq!((proof.claim("jti"), proof.claim("n")), (Some("i-1"), Some("12")));
    assert_eq!((proof.claim("flag"), proof.claim("none")), (None, None));
    // It binds the body, so it is no token that could be used for another one.
    assert_eq!(verified.received().headers.all("x-token").next(), Some(token.as_bytes()));
}

#[test]
fn a_token_that_leaves_the_body_open_is_not_kept() {
    let source = source(&BOUND.replace(", body_digest = { from = \"claim:sha\" }", ""), &[SECRET]);
    assert_eq!(source.facts().integrity.as_str(), "none");
    let admitted = source.admit(shown(&hs256(&claims())), at(NOW));
    let Ok(Admitted::Event(verified)) = admitted else { panic!("no event") };
    assert_eq!(verified.received().headers.all("x-token").next(), Some(b"(hidden)".as_slice()));
}

#[test]
fn an_empty_body_may_lack_its_hash_and_no_other_may() {
    let text = BOUND.replace("\"claim:sha\"", "\"claim:sha\", absent_when_empty = true");
    let source = source(&text, &[SECRET]);
    let without = hs256(&with(&json!({ "sha": null })));
    assert_eq!(code(&source, request(&[("x-token", &without)], b""), NOW), Ok(()));
    assert_eq!(code(&source, shown(&without), NOW), Err(Code::SignatureMismatch));
    let other = request(&[("x-token", &hs256(&claims()))], b"");
    assert_eq!(code(&source, other, NOW), Err(Code::SignatureMismatch));
    assert_eq!(source.facts().integrity.as_str(), "full");
}

#[test]
fn a_prefix_is_read_in_any_case_and_must_be_there() {
    let text = BOUND.replace("iss = ", "prefix = \"Bearer \", iss = ");
    let source = source(&text, &[SECRET]);
    let good = hs256(&claims());
    for prefix in ["Bearer ", "bearer ", "BEARER "] {
        assert_eq!(code(&source, shown(&format!("{prefix}{good}")), NOW), Ok(()), "{prefix}");
    }
    for bad in [good.clone(), format!("Bearer  {good}"), format!("JWT {good}")] {
        assert_eq!(code(&source, shown(&bad), NOW), Err(Code::SignatureMalformed), "{bad:.20}");
    }
    assert_eq!(code(&source, shown("Bearer "), NOW), Err(Code::SignatureMissing));
}

#[test]
fn a_token_can_bind_the_url() {
    let text = r#"
        methods = ["POST", "PUT"]
        verify = { jwt = { algs = ["HS256"], from = "header:x-token", url_digest = "url_hash", query_digest = "qsh" } }
        event = { id = "sha256(body)" }
    "#;
    let settings = SourceSettings {
        public_url: Some("https://hooks.example.com/in/a".to_owned()),
        ..settings(spec(text), &[SECRET])
    };
    let source = Source::compile(settings).expect("compiles");
    let unsigned = Received { target: "/in/a?b=1&a=2".to_owned(), ..request(&[], BODY) };
    let signed = source.sign(unsigned, at(NOW), 0).expect("signed");
    assert_eq!(code(&source, signed.clone(), NOW), Ok(()));
    for target in ["/in/a", "/in/a?b=1", "/in/a?b=1&a=3", "/in/a?b=1&a=2&c=3"] {
        let changed = Received { target: target.to_owned(), ..signed.clone() };
        assert_eq!(code(&source, changed, NOW), Err(Code::SignatureMismatch), "{target}");
    }
    let changed = Received { method: "PUT".to_owned(), ..signed };
    assert_eq!(code(&source, changed, NOW), Err(Code::SignatureMismatch));
}

#[test]
fn a_token_names_its_secret_and_no_other_one_counts() {
    let text = BOUND.replace("body_digest =", "key = { by_id = \"claim:api_key\" }, body_digest =");
    let other = "b:another-key-of-many-bytes-0123456789";
    let source = source(&text, &[&format!("a:{SECRET}"), other]);
    for (id, wanted) in [
        (json!("a"), Ok(())),
        (json!("b"), Err(Code::SignatureMismatch)),
        (json!("c"), Err(Code::SignatureMismatch)),
        (json!(null), Err(Code::SignatureMalformed)),
    ] {
        let token = hs256(&with(&json!({ "api_key": id })));
        assert_eq!(code(&source, shown(&token), NOW), wanted, "{id}");
    }
    for secret in [0, 1] {
        let signed = source.sign(request(&[], BODY), at(NOW), secret).expect("signed");
        assert_eq!(code(&source, signed, NOW), Ok(()));
    }
}
