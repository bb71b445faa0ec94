//! Published vectors, and keys of the wrong kind.

use super::*;

/// RFC 8032, 7.1, tests 1 to 3: key, content, signature.
const ED25519: [(&str, &str, &str); 3] = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
];

fn bytes(hex_text: &str) -> Vec<u8> {
    hex::decode(hex_text).expect("hex")
}

#[test]
fn ed25519_is_that_of_the_rfc_and_strict() {
    for (key, content, signature) in ED25519 {
        let algorithm = PublicAlgorithm::Ed25519;
        let key = PublicKey::from_text(algorithm, Encoding::Hex, key).expect("a key");
        let (content, signature) = (bytes(content), bytes(signature));
        assert!(key.verifies(&content, &signature));
        assert!(!key.verifies(&[&content[..], &[0]].concat(), &signature));
        for bit in 0..signature.len() * 8 {
            let mut changed = signature.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verifies(&content, &changed), "bit {bit}");
        }
        assert!(!key.verifies(&content, &signature[..63]));
        assert!(!key.verifies(&content, &[&signature[..], &[0]].concat()));
        // S + L is the same number to a lenient reader (RFC 8032, 5.1.7).
        let order = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let mut malleable = signature.clone();
        let mut carry = 0_u16;
        for (byte, add) in malleable[32..].iter_mut().zip(&order) {
            let sum = u16::from(*byte) + u16::from(*add) + carry;
            *byte = u8::try_from(sum & 0xff).expect("a byte");
            carry = sum >> 8;
        }
        assert!(!key.verifies(&content, &malleable));
        assert!(!key.verifies(&content, &[0; 64]));
    }
}

/// What Wycheproof's suites try on every verifier: numbers that are 0, too long, or not minimal.
#[test]
fn ecdsa_takes_one_spelling_of_a_signature() {
    let pem = crate::verify::generate::private_key(PublicAlgorithm::EcdsaP256).expect("a key");
    let key = PublicKey::from_pem(PublicAlgorithm::EcdsaP256, &pem).expect("a key");
    let good = key.sign(b"content").expect("signed");
    assert!(key.verifies(b"content", &good));
    assert!(!key.verifies(b"contenT", &good));
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    for bad in [
        "".to_owned(),
        "3006020100020100".to_owned(),
        "3006020101020100".to_owned(),
        "3006020100020101".to_owned(),
        "300602010102010100".to_owned(),
        format!("3026022100{order}020101"),
        format!("3026020101022100{order}"),
        "30060201ff0201ff".to_owned(),
        "3000".to_owned(),
        "0500".to_owned(),
    ] {
        assert!(!key.verifies(b"content", &bytes(&bad)), "{bad}");
    }
    let mut long_form = good.clone();
    long_form.splice(1..2, [0x81, good[1]]);
    assert!(!key.verifies(b"content", &long_form), "a length in the long form");
    assert!(!key.verifies(b"content", &[&good[..], &[0]].concat()));
    // The form of tokens is another one, and neither is taken for the other.
    let fixed = PublicKey::from_pem(PublicAlgorithm::EcdsaP256Fixed, &pem).expect("a key");
    let token = fixed.sign(b"content").expect("signed");
    assert_eq!(token.len(), 64);
    assert!(fixed.verifies(b"content", &token) && !fixed.verifies(b"content", &good));
    assert!(!key.verifies(b"content", &token) && !fixed.verifies(b"content", &[0; 64]));
}

#[test]
fn rsa_takes_signatures_of_its_own_length_and_hash_only() {
    let pem = crate::verify::generate::private_key(PublicAlgorithm::RsaSha256).expect("a key");
    let key = PublicKey::from_pem(PublicAlgorithm::RsaSha256, &pem).expect("a key");
    let good = key.sign(b"content").expect("signed");
    assert_eq!(good.len(), 256);
    assert!(key.verifies(b"content", &good));
    assert!(!key.verifies(b"content", &good[1..]));
    assert!(!key.verifies(b"content", &[&[0], &good[..]].concat()));
    assert!(!key.verifies(b"content", &[0; 256]) && !key.verifies(b"content", &[]));
    let old = PublicKey::from_pem(PublicAlgorithm::RsaSha1, &pem).expect("a key");
    assert!(!old.verifies(b"content", &good));
    assert!(old.sign(b"content").expect_err("not signed").contains("only verified"));
}

#[test]
fn a_key_of_another_kind_is_a_clear_fault() {
    use PublicAlgorithm::{EcdsaP256, Ed25519, RsaSha256};
    let all = [Ed25519, EcdsaP256, RsaSha256];
    for made in all {
        let private = crate::verify::generate::private_key(made).expect("a key");
        let pair = PublicKey::from_pem(made, &private).expect("a key");
        let public = public_pem(&pair);
        assert!(PublicKey::from_pem(made, &public).is_ok(), "{made:?}");
        for other in all.into_iter().filter(|other| *other != made) {
            for (pem, kind) in [(&private, "private"), (&public, "public")] {
                let fault = PublicKey::from_pem(other, pem).expect_err("another kind");
                let wanted = format!("is not a {kind} key for {}", other.name());
                assert!(fault.starts_with(&wanted), "{made:?} as {other:?}: {fault}");
            }
        }
    }
    for (pem, wanted) in [
        ("", "is not a public key in PEM"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "is not a public key for"),
        ("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----", "PKCS #8"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "is not a certificate"),
    ] {
        let fault = PublicKey::from_pem(RsaSha256, pem).expect_err(pem);
        assert!(fault.contains(wanted), "{fault}");
    }
    assert!(PublicKey::from_text(Ed25519, Encoding::Hex, "zz").is_err());
    assert!(PublicKey::from_text(Ed25519, Encoding::Hex, "00ff").is_err());
}

#[test]
fn a_certificate_gives_its_key() {
    let pair = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["a.example.com".to_owned()]).expect("params");
    let pem = params.self_signed(&pair).expect("a certificate").pem();
    let algorithm = PublicAlgorithm::EcdsaP256;
    let key = PublicKey::from_pem(algorithm, &pem).expect("a key");
    let private = PublicKey::from_pem(algorithm, &pair.serialize_pem()).expect("a key");
    let signature = private.sign(b"content").expect("signed");
    assert!(key.verifies(b"content", &signature));
    assert!(key.sign(b"content").expect_err("no private key").contains("only the public key"));
}

fn public_pem(key: &PublicKey) -> String {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    let der: PublicKeyX509Der<'_> = match &**key.pair.as_ref().expect("a pair") {
        Pair::Ed25519(pair) => pair.public_key().as_der().expect("DER"),
        Pair::Ecdsa(pair) => pair.public_key().as_der().expect("DER"),
        Pair::Rsa(pair) => pair.public_key().as_der().expect("DER"),
    };
    let text = Encoding::Base64.encode(der.as_ref());
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

/// RFC 7517, appendix A.1, and RFC 8037, appendix A.2: the same keys as the specifications write them.
#[test]
fn json_web_keys_are_those_of_the_specifications() {
    let ec = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"sig","kid":"1"}"#;
    let rsa = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;
    let okp = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let read = PublicKey::from_json;
    for (algorithm, text) in [
        (PublicAlgorithm::EcdsaP256, ec),
        (PublicAlgorithm::EcdsaP256Fixed, ec),
        (PublicAlgorithm::RsaSha256, rsa),
        (PublicAlgorithm::Ed25519, okp),
    ] {
        for form in
            [text.to_owned(), format!("{{\"key\":{text}}}"), format!(" {{\"keys\":[{text}]}}\n")]
        {
            read(algorithm, &form).unwrap_or_else(|why| panic!("{form}: {why}"));
        }
    }
    let signature = bytes(ED25519[0].2);
    assert!(read(PublicAlgorithm::Ed25519, okp).expect("a key").verifies(b"", &signature));
    let other_use = rsa.replace("RS256", "RSA-OAEP-256");
    let two = format!("{{\"keys\":[{ec},{ec}]}}");
    let private =
        ec.replace("\"x\"", "\"d\":\"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE\",\"x\"");
    let off_the_curve = ec.replace("MKBC", "MKBD");
    for (algorithm, text, why) in [
        (PublicAlgorithm::EcdsaP256, rsa, "holds no JSON Web Key for ECDSA"),
        (PublicAlgorithm::EcdsaP256, off_the_curve.as_str(), "holds no JSON Web Key"),
        (PublicAlgorithm::RsaSha256, other_use.as_str(), "holds no JSON Web Key"),
        (PublicAlgorithm::RsaSha256, "{}", "must be RSA"),
        (PublicAlgorithm::EcdsaP256, two.as_str(), "holds several keys"),
        (PublicAlgorithm::EcdsaP256, private.as_str(), "is a private key"),
        (PublicAlgorithm::EcdsaP256, &ec[..40], "is no JSON"),
    ] {
        let found = read(algorithm, text).expect_err(text);
        assert!(found.contains(why) && !found.contains("MKBC"), "{found}");
    }
}
