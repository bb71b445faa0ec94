//! `[gateways.*]`: what loads, and what is refused with a reason.

use super::*;
use crate::http::gateway::ScopeSettings;
use crate::idempotency::{Compare, OnUnknown};
use crate::verify::BearerAlgorithm;

const GOOD: &str = "[gateways.pay]\npath = \"/payments\"\nupstream = \"http://127.0.0.1:4000\"\n";

#[test]
fn a_gateway_needs_a_path_and_an_upstream_and_has_safe_defaults() {
    let config = read(GOOD);
    let it = &config.gateways[0];
    assert_eq!(it.methods, ["POST", "PATCH"]);
    assert!(it.key_required && !it.rules.fail_open);
    assert!(matches!(&it.scope, ScopeSettings::Header(header) if header == "authorization"));
    assert_eq!(it.rules.ttl, Duration::from_secs(86_400));
    assert_eq!(it.rules.lease, Duration::from_secs(60));
    assert_eq!(it.rules.on_unknown, OnUnknown::Keep);
    assert_eq!(it.compare, Compare::Bytes);
    assert_eq!(it.rules.answer_max, 1 << 20);
    let text =
        format!("{GOOD}compare = [\"/amount\"]\nkeep_headers = [\"X-Id\"]\nmethods = \"PUT\"\n");
    let it = &read(&text).gateways[0];
    assert_eq!(it.compare, Compare::Pointers(vec!["/amount".to_owned()]));
    assert_eq!(it.rules.kept_headers, ["x-id"]);
    assert_eq!(it.methods, ["PUT"]);
}

#[test]
fn what_could_not_work_is_refused_with_its_line() {
    for (from, to, want) in [
        ("\"/payments\"", "\"payments\"", "h.toml:2:8: `path` begins with /"),
        ("\"/payments\"", "\"/payments/\"", "h.toml:2:8: `path` begins with /"),
        ("\"/payments\"", "\"/a/../b\"", "h.toml:2:8: `path` begins with /"),
        ("\"/payments\"", "\"/in/pay\"", "h.toml:2:8: `/in` belongs to hookonce itself"),
        ("\"/payments\"", "\"/livez\"", "`/livez` belongs to hookonce itself"),
        (":4000\"", ":4000/api\"", "h.toml:3:12: `upstream` is scheme, host and port only"),
        (":4000\"", ":8080\"", "hookonce's own public listener"),
        ("http://", "ftp://", "h.toml:3:12"),
        ("upstream = \"http://127.0.0.1:4000\"\n", "", "`pay` says no `upstream`"),
        ("path = \"/payments\"\n", "", "`pay` says no `path`"),
        ("[gateways.pay]", "[gateways.pay]\nmethods = [\"GET\"]", "GET changes nothing"),
        ("[gateways.pay]", "[gateways.pay]\nmethods = []", "`methods` is empty"),
        ("[gateways.pay]", "[gateways.pay]\nmethods = [\"post\"]", "written in capitals"),
        ("[gateways.pay]", "[gateways.pay]\nscope = \"authorization\"", "`scope` is `header:`"),
        (
            "[gateways.pay]",
            "[gateways.pay]\nscope = \"header:x-user\"",
            "anybody can send `x-user`",
        ),
        ("[gateways.pay]", "[gateways.pay]\nttl = \"5s\"", "`ttl` must be at least `lease`"),
        ("[gateways.pay]", "[gateways.pay]\nlease = \"1s\"", "`lease` must be at least 3s"),
        ("[gateways.pay]", "[gateways.pay]\nwait = \"5m\"", "`wait` must be at most 60s"),
        ("[gateways.pay]", "[gateways.pay]\nmax_answer = \"64 MiB\"", "at most 16 MiB"),
        ("[gateways.pay]", "[gateways.pay]\ncompare = \"xml\"", "`xml` is not"),
        ("[gateways.pay]", "[gateways.pay]\nkeep_headers = [\"Set-Cookie\"]", "is never kept"),
        ("[gateways.pay]", "[gateways.pay]\non_unknown = \"retry\"", "h.toml:2"),
        (
            "[gateways.pay]",
            "[gateways.pay]\ncache = \"memcached://x\"",
            "h.toml:2:9: `cache` must begin",
        ),
        ("[gateways.pay]", "[gateways.pay]\ncache = { env = \"NO_SUCH\" }", "NO_SUCH is not set"),
        ("[gateways.pay]", "[gateways.pay]\nupstraem = 1", "did you mean `upstream`"),
    ] {
        let text = GOOD.replace(from, to);
        let found = faults(&text);
        assert!(found.iter().any(|line| line.contains(want)), "{want}: {found:#?}");
    }
}

#[test]
fn two_may_not_serve_one_path_and_none_may_hide_a_source() {
    let two = format!(
        "{GOOD}[gateways.other]\npath = \"/payments\"\nupstream = \"http://127.0.0.1:4001\"\n"
    );
    assert!(faults(&two).iter().any(|line| line.contains("already the path of gateway")));
    let nested = two.replacen("\"/payments\"", "\"/payments/refunds\"", 1);
    assert_eq!(faults(&nested), [] as [String; 0]);
    let hidden = STRIPE.replace("provider = ", "path = \"/payments/stripe\"\nprovider = ");
    let text = format!("{hidden}{GOOD}");
    assert!(faults(&text).iter().any(|line| line.contains("would hide source `stripe`")));
    let trusted = "[server]\ntrusted_proxies = [\"10.0.0.0/8\"]\n";
    assert_eq!(faults(&format!("{trusted}{GOOD}scope = \"header:x-user\"\n")), [] as [String; 0]);
    assert!(warnings(&format!("{GOOD}fail_open = true\n"))[0].contains("unguarded"));
}

#[test]
fn a_claim_needs_an_issuer_whose_keys_nobody_can_change() {
    const JWKS: &str = "jwks = \"https://issuer.example.com/keys\"\n";
    let claim = |lines: &str| format!("{GOOD}scope = \"claim:/org/id\"\n{lines}");
    let config = read(&claim(JWKS));
    let ScopeSettings::Claim(it) = &config.gateways[0].scope else { panic!("a header") };
    assert_eq!(it.jwks.as_str(), "https://issuer.example.com/keys");
    assert_eq!(it.claim.to_string(), "/org/id");
    assert!(it.issuers.is_empty() && it.audiences.is_empty());
    assert_eq!(it.algorithms, BearerAlgorithm::ALL);
    assert!(warnings(&claim(JWKS))[0].contains("made for another service"));
    let own =
        "issuer = \"https://issuer.example.com\"\naudience = [\"pay\"]\nalgorithms = \"ES256\"\n";
    let text = claim(&format!("{JWKS}{own}"));
    assert_eq!(warnings(&text), [] as [String; 0]);
    let config = read(&text);
    let ScopeSettings::Claim(it) = &config.gateways[0].scope else { panic!("a header") };
    assert_eq!(it.algorithms, [BearerAlgorithm::Es256]);
    let shown = toml::to_string(&crate::config::show::table(&config)).unwrap();
    for line in [
        "scope = \"claim:/org/id\"",
        JWKS.trim_end(),
        "audience = [\"pay\"]",
        "algorithms = [\"ES256\"]",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
    for loopback in ["http://127.0.0.1:9/keys", "http://[::1]:9/keys", "http://localhost:9/keys"] {
        let jwks = format!("jwks = {loopback:?}\n");
        assert_eq!(faults(&claim(&jwks)), [] as [String; 0], "{loopback}");
    }
    for (text, want) in [
        (claim(""), "h.toml:4:9: a claim is believed only of a token that was verified"),
        (claim("jwks = \"http://issuer.example.com/keys\"\n"), "h.toml:5:8: over plain HTTP"),
        (claim("jwks = \"http://127.0.0.1.example.com/keys\"\n"), "over plain HTTP"),
        (claim("jwks = \"https://u:p@issuer.example.com/keys\"\n"), "a user name or a password"),
        (claim("jwks = \"keys\"\n"), "h.toml:5:8"),
        (claim(&format!("{JWKS}issuer = []\n")), "h.toml:6:10: `issuer` is empty"),
        (claim(&format!("{JWKS}audience = \"\"\n")), "h.toml:6:12: `audience` is empty"),
        (claim(&format!("{JWKS}algorithms = []\n")), "`algorithms` is empty"),
        (
            claim(&format!("{JWKS}algorithms = [\"RS256\", \"HS256\"]\n")),
            "`HS256` is signed by a shared secret",
        ),
        (claim(&format!("{JWKS}algorithms = \"none\"\n")), "nobody signed"),
        (claim(&format!("{JWKS}algorithms = \"ES384\"\n")), "`ES384` is not one of RS256"),
        (format!("{GOOD}scope = \"claim:\"\n{JWKS}"), "`scope` names no claim"),
        (format!("{GOOD}{JWKS}"), "h.toml:4:8: `jwks` is for a scope that is a token's claim"),
        (format!("{GOOD}audience = \"pay\"\n"), "`audience` is for a scope"),
    ] {
        let found = faults(&text);
        assert!(found.iter().any(|line| line.contains(want)), "{want}: {found:#?}");
    }
}
