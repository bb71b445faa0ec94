//! Certificates that a request names: which are fetched, and which count.

use std::collections::BTreeSet;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    roots: Roots,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
    let der = issuer.der().clone();
    let anchor = webpki::anchor_from_trusted_cert(&der).expect("an anchor").to_owned();
    Authority { issuer, roots: Roots::of(vec![anchor]) }
}

/// A certificate for this name, valid for these years.
fn certificate(authority: &Authority, name: &str, years: (i32, i32)) -> (String, KeyPair) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("params");
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let key = KeyPair::generate().expect("a key");
    (params.signed_by(&key, &authority.issuer).expect("a certificate").pem(), key)
}

fn certificates(without_chain: bool) -> Fetched {
    certificates_at(&[], without_chain)
}

/// Of these paths only; of any when there are none.
fn certificates_at(paths: &[&str], without_chain: bool) -> Fetched {
    let paths = paths.iter().map(|text| PathPattern::parse(text).expect("a pattern")).collect();
    let hosts = vec![HostPattern::parse("*.example.com").expect("a pattern")];
    let url_from = Field::Header("x-url".to_owned());
    let names = hosts.clone();
    let place = KeyPlace::Certificate { url_from, hosts, names, paths, without_chain };
    Fetched::new(place, vec![PublicAlgorithm::EcdsaP256], HOUR)
}

#[test]
fn a_certificate_counts_when_it_is_valid_named_and_rooted() {
    let (known, other) = (authority(), authority());
    let algorithm = PublicAlgorithm::EcdsaP256;
    let received = request("https://certs.example.com/a.pem");
    let judge = |fetched: &Fetched, pem: &str| {
        let wanted = fetched.wanted(&received, None, algorithm, at(0)).expect("to fetch");
        wanted.accept(pem.as_bytes(), None, &known.roots, at(0))
    };
    let (good, key) = certificate(&known, "signing.example.com", (2025, 2027));
    let fetched = certificates(false);
    judge(&fetched, &good).expect("a key");
    let found = fetched.keys(&received, None, algorithm, at(0)).expect("a key");
    let private = PublicKey::from_pem(algorithm, &key.serialize_pem()).expect("a key");
    assert!(found[0].verifies(b"x", &private.sign(b"x").expect("signed")));
    // It stays until it expires, and then it is no key any more.
    let code = |now: i64| {
        fetched.keys(&received, None, algorithm, at(now)).map(|_| ()).map_err(|r| r.code)
    };
    assert!(fetched.wanted(&received, None, algorithm, at(300 * 86_400)).is_none());
    assert_eq!(code(364 * 86_400), Ok(()));
    assert_ne!(code(366 * 86_400), Ok(()));
    let own = CertificateParams::new(vec!["signing.example.com".to_owned()]).expect("params");
    let own_key = KeyPair::generate().expect("a key");
    let own = own.self_signed(&own_key).expect("a certificate").pem();
    let (stranger, _) = certificate(&other, "signing.example.com", (2025, 2027));
    for (pem, without_chain, wanted) in [
        (certificate(&known, "signing.example.com", (2020, 2025)).0, false, "not valid now"),
        (certificate(&known, "signing.example.com", (2027, 2030)).0, true, "not valid now"),
        (
            certificate(&known, "example.com.evil.org", (2025, 2027)).0,
            false,
            "for none of the names",
        ),
        (certificate(&known, "evilexample.com", (2025, 2027)).0, true, "for none of the names"),
        (stranger.clone(), false, "leads to no root"),
        (format!("{stranger}{}", other.issuer.pem()), true, "leads to no root"),
        (own.clone(), false, "leads to no root"),
        (String::new(), false, "no certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            true,
            "can't be read",
        ),
    ] {
        let why = judge(&certificates(without_chain), &pem).expect_err(wanted);
        assert!(why.contains(wanted), "{why} for {wanted}");
    }
    judge(&certificates(true), &stranger).expect("it comes alone, and that is allowed here");
}

#[test]
fn only_a_plain_url_on_an_allowed_host_is_fetched() {
    let fetched = certificates(false);
    let judge = |url: &str| {
        let received = request(url);
        let wanted = fetched.wanted(&received, None, EC, at(0)).is_some();
        let keys = fetched.keys(&received, None, EC, at(0));
        (wanted, keys.expect_err("no key").code)
    };
    for good in ["https://a.example.com/x.pem", "https://A.b.example.com/v1/certs/C-1_2"] {
        assert_eq!(judge(good), (true, Code::KeyUnavailable), "{good}");
    }
    assert_eq!(judge(""), (false, Code::SignatureMissing));
    for bad in [
        "http://a.example.com/x.pem",
        "https://example.com/x.pem",
        "https://evilexample.com/x.pem",
        "https://a.example.com.evil.org/x.pem",
        "https://evil.org/x.pem#.example.com",
        "https://a.example.com:444/x.pem",
        "https://u@a.example.com/x.pem",
        "https://a.example.com/x.pem?y",
        "https://a.example.com/x.pem#y",
        "https://a.example.com/%2e%2e/x.pem",
        "https://a.example.com/../x.pem",
        "https://a.example.com//x.pem",
        "https://a.example.com/x y",
        "https://127.0.0.1/x.pem",
        "https://[::1]/x.pem",
        "file:///etc/passwd",
        "x.pem",
    ] {
        assert_eq!(judge(bad), (false, Code::SignatureMalformed), "{bad}");
    }
    let long = format!("https://a.example.com/{}", "x".repeat(512));
    assert_eq!(judge(&long), (false, Code::SignatureMalformed));
}

#[test]
fn a_path_that_is_pinned_is_the_only_one_that_is_fetched() {
    let fetched = certificates_at(&["/v1/certs/*", "/Signing-*.pem"], false);
    let judge = |url: &str| {
        let received = request(url);
        let wanted = fetched.wanted(&received, None, EC, at(0)).is_some();
        (wanted, fetched.keys(&received, None, EC, at(0)).expect_err("no key").code)
    };
    for good in ["https://a.example.com/v1/certs/C-1", "https://a.example.com/Signing-0f.pem"] {
        assert_eq!(judge(good), (true, Code::KeyUnavailable), "{good}");
    }
    for bad in [
        "https://a.example.com/x.pem",
        "https://a.example.com/v1/certs/",
        "https://a.example.com/v1/certs",
        "https://a.example.com/v1/certs/a/b",
        "https://a.example.com/v1/certs/../x",
        "https://a.example.com/files/v1/certs/C-1",
        "https://a.example.com/V1/certs/C-1",
        "https://a.example.com/Signing-.pem",
        "https://a.example.com/Signing-0f.pem/x",
        "https://a.example.com/bucket/Signing-0f.pem",
        "https://a.example.com/Signing-0f.der",
    ] {
        assert_eq!(judge(bad), (false, Code::SignatureMalformed), "{bad}");
    }
}

#[test]
fn at_most_so_many_answers_are_kept() {
    let authority = authority();
    let (pem, _) = certificate(&authority, "signing.example.com", (2025, 2027));
    let fetched = certificates(false);
    let mut urls = BTreeSet::new();
    for i in 0..100 {
        let received = request(&format!("https://a.example.com/{i}.pem"));
        let wanted =
            fetched.wanted(&received, None, PublicAlgorithm::EcdsaP256, at(i)).expect("to fetch");
        wanted.accept(pem.as_bytes(), None, &authority.roots, at(i)).expect("a key");
        urls.insert(wanted.same_as());
    }
    assert_eq!((urls.len(), fetched.ring.sizes().0), (100, 64));
}
