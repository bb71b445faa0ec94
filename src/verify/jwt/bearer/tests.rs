//! Whom a token makes of its bearer, and everything that makes it nobody's; without a network.

use serde_json::json;

use super::*;
use crate::verify::encoding::Encoding;
use crate::verify::generate::private_key;
use crate::verify::keyring::Roots;
use crate::verify::mac::{Hash, Mac};
use crate::verify::public::PublicKey;

const NOW: i64 = 1_767_225_600;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(NOW + seconds, 0).expect("a time")
}

fn part(json: &Value) -> String {
    Encoding::Base64Url.encode(json.to_string().as_bytes())
}

/// An issuer's key.
struct Issuer {
    algorithm: BearerAlgorithm,
    kid: &'static str,
    key: PublicKey,
}

impl Issuer {
    fn new(algorithm: BearerAlgorithm, kid: &'static str) -> Self {
        let pem = private_key(algorithm.public()).expect("a key");
        Self { algorithm, kid, key: PublicKey::from_pem(algorithm.public(), &pem).expect("a key") }
    }

    fn jwk(&self) -> Value {
        let raw = self.key.raw();
        let number = |bytes: &[u8]| Encoding::Base64Url.encode(bytes);
        let mut jwk = match self.algorithm {
            // SEQUENCE { INTEGER of 257 bytes, INTEGER 65537 }
            BearerAlgorithm::Rs256 | BearerAlgorithm::Ps256 => {
                json!({ "kty": "RSA", "n": number(&raw[9..265]), "e": "AQAB" })
            }
            BearerAlgorithm::Es256 => {
                json!({ "kty": "EC", "crv": "P-256", "x": number(&raw[1..33]), "y": number(&raw[33..]) })
            }
            BearerAlgorithm::EdDsa => json!({ "kty": "OKP", "crv": "Ed25519", "x": number(&raw) }),
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm.name(), "kid": self.kid, "typ": "at+jwt" });
        self.signed(&header, claims)
    }

    fn signed(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(signed.as_bytes()).expect("signed");
        format!("Bearer {signed}.{}", Encoding::Base64Url.encode(&signature))
    }
}

fn settings(claim: &str) -> BearerSettings {
    BearerSettings {
        jwks: "https://issuer.example.com/keys".parse().expect("a URL"),
        claim: claim.parse().expect("a claim"),
        issuers: Vec::new(),
        audiences: Vec::new(),
        algorithms: BearerAlgorithm::ALL.to_vec(),
    }
}

/// One who has the keys of these issuers.
fn knowing(settings: BearerSettings, issuers: &[&Issuer]) -> Bearer {
    let bearer = Bearer::new(settings);
    let any = issuers[0].token(&json!({}));
    let wanted = bearer.wanted(any.as_bytes(), at(0)).expect("to fetch");
    assert!(wanted.is_urgent() && wanted.begin(at(0)));
    let keys = json!({ "keys": issuers.iter().map(|it| it.jwk()).collect::<Vec<_>>() });
    let taken = wanted.accept(keys.to_string().as_bytes(), None, &Roots::of(Vec::new()), at(0));
    taken.expect("keys");
    bearer
}

fn claims() -> Value {
    json!({ "iss": "https://issuer.example.com", "sub": "alice", "aud": "pay", "exp": NOW + 60 })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn subject(bearer: &Bearer, token: &str) -> Result<String, BearerFault> {
    bearer.principal(token.as_bytes(), at(0)).map(|who| who.subject().to_owned())
}

#[test]
fn a_token_of_each_algorithm_says_whose_it_is() {
    for algorithm in BearerAlgorithm::ALL {
        let issuer = Issuer::new(algorithm, "one");
        let bearer = knowing(settings("sub"), &[&issuer]);
        let who = bearer.principal(issuer.token(&claims()).as_bytes(), at(0)).expect("somebody");
        assert_eq!(who.subject(), "\"alice\"", "{algorithm:?}");
        assert_eq!(who.issuer(), Some("https://issuer.example.com"));
        let lower = issuer.token(&claims()).replacen("Bearer ", "bEARER   ", 1);
        assert_eq!(subject(&bearer, &lower), Ok("\"alice\"".to_owned()));
        // The same key id, another key.
        let forger = Issuer::new(algorithm, "one");
        let forged = subject(&bearer, &forger.token(&claims()));
        assert!(matches!(forged, Err(BearerFault::Invalid(_))), "{forged:?}");
    }
}

#[test]
fn a_key_is_used_only_as_its_publisher_and_the_config_say() {
    let rsa = Issuer::new(BearerAlgorithm::Rs256, "rsa");
    let narrow = BearerSettings { algorithms: vec![BearerAlgorithm::Es256], ..settings("sub") };
    let ec = Issuer::new(BearerAlgorithm::Es256, "ec");
    let bearer = knowing(narrow, &[&ec, &rsa]);
    assert!(subject(&bearer, &ec.token(&claims())).is_ok());
    assert!(matches!(subject(&bearer, &rsa.token(&claims())), Err(BearerFault::Invalid(_))));
    let bearer = knowing(settings("sub"), &[&rsa, &ec]);
    let public = rsa.jwk().to_string();
    for (header, secret) in [
        (json!({ "alg": "none", "kid": "rsa" }), ""),
        (json!({ "alg": "None", "kid": "rsa" }), ""),
        (json!({ "alg": "HS256", "kid": "rsa" }), public.as_str()),
        (json!({ "kid": "rsa" }), ""),
        (json!({ "alg": "ES256", "kid": "rsa" }), ""),
        (json!({ "alg": "rs256", "kid": "rsa" }), ""),
    ] {
        let signed = format!("{}.{}", part(&header), part(&claims()));
        let signature = match Mac::new(Hash::Sha256, secret.as_bytes()) {
            Some(mut mac) if !secret.is_empty() => {
                mac.update(signed.as_bytes());
                mac.finish()
            }
            _ => rsa.key.sign(signed.as_bytes()).expect("signed"),
        };
        let signature = Encoding::Base64Url.encode(&signature);
        for token in [format!("Bearer {signed}.{signature}"), format!("Bearer {signed}.")] {
            let refused = subject(&bearer, &token);
            assert!(matches!(refused, Err(BearerFault::Invalid(_))), "{header}: {refused:?}");
        }
    }
    // What a header says of keys is never followed.
    let stranger = Issuer::new(BearerAlgorithm::Es256, "stranger");
    let header = json!({
        "alg": "ES256", "kid": "stranger", "jwk": stranger.jwk(), "jku": "https://evil.example/keys",
    });
    let refused = subject(&bearer, &stranger.signed(&header, &claims()));
    assert_eq!(
        refused,
        Err(invalid("is signed by a key that its issuer does not publish")),
        "the set was fetched as of now"
    );
}

#[test]
fn what_is_no_token_or_over_makes_nobody() {
    let issuer = Issuer::new(BearerAlgorithm::EdDsa, "one");
    let own = BearerSettings {
        issuers: vec!["https://issuer.example.com".to_owned()],
        audiences: vec!["pay".to_owned(), "refunds".to_owned()],
        ..settings("sub")
    };
    let bearer = knowing(own, &[&issuer]);
    let good = issuer.token(&claims());
    for token in ["", "   ", "Basic YWxpY2U6cHc=", &good["Bearer ".len()..]] {
        assert_eq!(subject(&bearer, token), Err(BearerFault::Missing), "{token}");
        assert!(bearer.wanted(token.as_bytes(), at(0)).is_none());
    }
    let tampered = good.replacen(&part(&claims()), &part(&with("sub", json!("bob"))), 1);
    for token in [
        "Bearer".to_owned(),
        "Bearer x".to_owned(),
        "Bearer a.b.c".to_owned(),
        format!("{good}.x"),
        format!("{good} x"),
        format!("{good}="),
        format!("Bearer {}", "x".repeat(20_000)),
        tampered,
        issuer.signed(&json!({ "alg": "EdDSA", "kid": "one", "crit": ["x"] }), &claims()),
        issuer.token(&with("iss", json!("https://other.example.com"))),
        issuer.token(&with("iss", json!(null))),
        issuer.token(&with("aud", json!("other"))),
        issuer.token(&with("aud", json!(["other"]))),
        issuer.token(&with("aud", json!(null))),
        issuer.token(&with("nbf", json!(NOW + 6))),
        issuer.token(&with("exp", json!(null))),
        issuer.token(&with("exp", json!("never"))),
    ] {
        let refused = subject(&bearer, &token);
        assert!(
            matches!(refused, Err(BearerFault::Invalid(_) | BearerFault::Missing)),
            "{token}: {refused:?}"
        );
    }
    let mut endless = claims();
    endless.as_object_mut().expect("an object").remove("exp");
    assert!(matches!(subject(&bearer, &issuer.token(&endless)), Err(BearerFault::Invalid(_))));
    for good in [
        with("aud", json!(["x", "refunds"])),
        with("nbf", json!(NOW + 5)),
        with("exp", json!(NOW - 5)),
    ] {
        assert!(subject(&bearer, &issuer.token(&good)).is_ok(), "{good}");
    }
    let over = subject(&bearer, &issuer.token(&with("exp", json!(NOW - 6))));
    assert!(matches!(over, Err(BearerFault::Expired(_))), "{over:?}");
    let not_text = bearer.principal(b"Bearer \xff", at(0));
    assert!(matches!(not_text, Err(BearerFault::Invalid(_))));
}

#[test]
fn a_claim_is_a_text_or_a_whole_number_and_no_two_are_one() {
    let issuer = Issuer::new(BearerAlgorithm::EdDsa, "one");
    let token = issuer.token(&json!({
        "exp": NOW + 60, "sub": "7", "id": 7, "https://example.com/org": "o1",
        "org": { "id": "o2", "a/b": ["x", "y"] }, "empty": "", "flag": true,
        "large": 18_446_744_073_709_551_615_u64, "half": 0.5, "null": null,
    }));
    for (claim, want) in [
        ("sub", "\"7\""),
        ("id", "7"),
        ("https://example.com/org", "\"o1\""),
        ("/org/id", "\"o2\""),
        ("/sub", "\"7\""),
        ("/org/a~1b/1", "\"y\""),
        ("large", "18446744073709551615"),
    ] {
        let bearer = knowing(settings(claim), &[&issuer]);
        assert_eq!(subject(&bearer, &token), Ok(want.to_owned()), "{claim}");
    }
    for claim in ["none", "/org/none", "/none/id", "org", "/org", "empty", "flag", "half", "null"] {
        let bearer = knowing(settings(claim), &[&issuer]);
        let refused = subject(&bearer, &token);
        assert!(matches!(refused, Err(BearerFault::NoClaim(_))), "{claim}: {refused:?}");
    }
    // Two whole numbers that one f64 would be.
    let huge = issuer.signed(
        &json!({ "alg": "EdDSA" }),
        &serde_json::from_str(r#"{"exp":1767225660,"id":18446744073709551617}"#).expect("json"),
    );
    let bearer = knowing(settings("id"), &[&issuer]);
    assert!(matches!(subject(&bearer, &huge), Err(BearerFault::NoClaim(_))));
    for bad in ["", "/", "//x"] {
        assert!(bad.parse::<ClaimPlace>().is_err(), "{bad}");
    }
}

#[test]
fn a_key_that_is_not_here_is_away_and_not_wrong() {
    let (old, new) =
        (Issuer::new(BearerAlgorithm::EdDsa, "old"), Issuer::new(BearerAlgorithm::EdDsa, "new"));
    let empty = Bearer::new(settings("sub"));
    assert_eq!(subject(&empty, &old.token(&claims())), Err(BearerFault::KeyAway));
    let bearer = knowing(settings("sub"), &[&old]);
    let judge = |issuer: &Issuer, now: i64| {
        let token = issuer.token(&with("exp", json!(NOW + 600)));
        bearer.principal(token.as_bytes(), at(now)).map(|_| ())
    };
    // Rotated a second after the keys came: it is looked for at once.
    assert_eq!(judge(&new, 1), Err(BearerFault::KeyAway));
    let token = new.token(&claims());
    let wanted = bearer.wanted(token.as_bytes(), at(1)).expect("to fetch");
    assert!(wanted.is_urgent() && wanted.begin(at(1)));
    // That failed: nothing is known of it, and the issuer is left alone for a minute.
    assert_eq!(judge(&new, 2), Err(BearerFault::KeyAway));
    let wanted = bearer.wanted(token.as_bytes(), at(2)).expect("to fetch");
    assert!(!wanted.begin(at(60)) && wanted.begin(at(61)));
    let keys = json!({ "keys": [new.jwk()] }).to_string();
    wanted.accept(keys.as_bytes(), None, &Roots::of(Vec::new()), at(61)).expect("keys");
    assert_eq!(judge(&new, 62), Ok(()));
    assert!(matches!(judge(&old, 62), Err(BearerFault::Invalid(_))), "it was withdrawn");
}
