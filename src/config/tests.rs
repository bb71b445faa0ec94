#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::handler::Kind;
use crate::retry::{Backoff, Limit};

mod brokers;
mod contract;
mod gateways;
mod respond;
mod shape;

/// Secrets that tests may refer to.
fn env() -> Environment {
    Environment::from_pairs([
        ("STRIPE_SECRET", "whsec_0123456789abcdef0123456789abcdef"),
        ("GITHUB_SECRET", "0123456789abcdef0123456789abcdef-github"),
        ("PARTNER_SECRET", "0123456789abcdef0123456789abcdef-partner"),
        ("ADMIN_TOKEN", "a-token-for-the-admin"),
    ])
}

const STRIPE: &str = "[sources.stripe]\nprovider = \"stripe\"\nsecrets = [{ env = \"STRIPE_SECRET\" }]\n[handlers.log]\nfrom = \"stripe\"\nlog = {}\n";

fn read_with(text: &str, env: &Environment) -> Result<(Config, Vec<Warning>), Faults> {
    Config::read(text, "h.toml", env, Path::new(""))
}

fn read(text: &str) -> Config {
    read_with(text, &env()).unwrap_or_else(|faults| panic!("{faults}")).0
}

fn faults(text: &str) -> Vec<String> {
    match read_with(text, &env()) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.lines().collect(),
    }
}

fn warnings(text: &str) -> Vec<String> {
    let (_, warnings) = read_with(text, &env()).unwrap_or_else(|faults| panic!("{faults}"));
    warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let config = read("");
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8081");
    assert_eq!(config.store.url, "sqlite://hookonce.db");
    assert_eq!(config.server.max_inflight, 256 << 20);
    assert_eq!(config.server.ack_deadline, Duration::from_millis(2500));
    assert_eq!(config.cleanup.schedule, "0 */5 * * * *");
    assert_eq!(config.retention.keys, Duration::from_secs(35 * 86400));
    assert_eq!(config.telemetry.log, "info");
}

#[test]
fn the_file_that_init_writes_has_no_fault_and_no_warning() {
    assert_eq!(warnings(EXAMPLE), [] as [String; 0]);
}

#[test]
fn every_fault_is_reported_at_its_line_at_once() {
    let text = r#"
[server]
listne = "127.0.0.1:8080"
max_body = "8 MB/s"
body_timeout = 10
tls = { cert = "a", key = "b" }
trusted_proxies = ["10.0.0.0/8", "nonsense", "10.0.0.1/8"]

[admin]
listen = "0.0.0.0:8081"

[database]
migrate = "atuo"

[cleanup]
schedule = "every day"
batch = 0

[sources.stripe]
provider = "strype"
secrets = [{ env = "NOT_SET" }, "whsec_plain"]
tolerance = "5 bananas"
rate_limit = "1/fortnight"

[handlers.billing]
from = ["stripe", "strpe"]
http = { url = "billing.internal", hedders = {} }
exec = { command = ["x"] }
lease = "1s"
when = "tru"

[[notify]]
on = ["dead"]
"#;
    let got = faults(text);
    let want = [
        "h.toml:3:1: unknown key `listne`; did you mean `listen`?",
        "h.toml:4:12: `8 MB/s` is not a size",
        "h.toml:5:16: expected a duration such as \"5m\", \"2.5s\" or \"35d\", found a whole number",
        "h.toml:6:1: `tls` is not built yet: remove it",
        "h.toml:7:34: `nonsense` is not an address or a network",
        "h.toml:7:46: `10.0.0.1/8` is not an address or a network such as \"10.0.0.0/8\": it has bits beyond its prefix; write \"10.0.0.0/8\"",
        "h.toml:10:10: 0.0.0.0:8081 can be reached from other machines",
        "h.toml:13:11: `atuo` is none of `auto`, `check`, `off`; did you mean `auto`?",
        "h.toml:16:12: `every day` is not a schedule",
        "h.toml:17:9: `batch` must be from 1 to 10000",
        "h.toml:20:12: there is no preset `strype`; did you mean `stripe`?",
        "h.toml:21:12: environment variable NOT_SET is not set",
        "h.toml:21:33: expected { env = \"NAME\" } or { file = \"/run/secrets/name\" }, found a text",
        "h.toml:22:13: `5 bananas` is not a duration",
        "h.toml:23:14: `1/fortnight` is not a rate",
        "h.toml:25:11: `billing` has http, exec: a handler does one thing",
        "h.toml:26:19: there is no source `strpe`; did you mean `stripe`?",
        "h.toml:27:16: `billing.internal` is not a URL",
        "h.toml:27:36: unknown key `hedders`; did you mean `headers`?",
        "h.toml:29:9: `lease` must be at least 3s",
        "h.toml:30:8: `when` names `tru`: there are `event`, `headers` and `body`",
        "h.toml:32:3: `notify` is not built yet: remove it",
    ];
    for (got, want) in got.iter().zip(want) {
        assert!(got.starts_with(want), "\n got {got}\nwant {want}");
    }
    assert_eq!(got.len(), want.len(), "{got:#?}");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    for text in [
        "[sources.a]\nprovider = \"stripe\"\nsecrets = [\"hush-hush-hush-hush\"]\n",
        "[sources.a]\nprovider = \"stripe\"\nsecrets = \"hush-hush-hush-hush\"\n",
        "[sources.a]\nprovider = \"stripe\"\nsecrets = [{ value = \"hush-hush-hush-hush\", env = \"X\" }]\n",
        "[admin]\ntoken = \"hush-hush-hush-hush\"\n",
        "[database]\nurl = \"postgres://u:hush@[x\"\n",
    ] {
        let got = faults(text).join("\n");
        assert!(!got.is_empty(), "{text}");
        assert!(!got.contains("hush"), "{got}");
    }
}

#[test]
fn each_mistake_has_its_sentence() {
    let stripe = "provider = \"stripe\"\nsecrets = [{ env = \"STRIPE_SECRET\" }]\n";
    let partner = "verify = { hmac = \"sha256\", signature = { from = \"header:x\", encoding = \"hex\" } }\nevent = { id = \"header:y\" }\nsecrets = [{ env = \"PARTNER_SECRET\" }]\n";
    let log = |from: &str| format!("[handlers.h]\nfrom = {from}\nlog = {{}}\n");
    for (text, want) in [
        ("[server]\nlisten = \"localhost:80\"\n".to_owned(), "write \"127.0.0.1:80\""),
        ("[admin]\nlisten = \"127.0.0.1:8080\"\n".to_owned(), "is the public listener's address"),
        ("[database]\nurl = \"sqlite::memory:\"\n".to_owned(), "gone after a crash"),
        ("[database]\nurl = \"mysql://x\"\n".to_owned(), "must begin with postgres:// or sqlite://"),
        ("[retention]\nbodies = \"36d\"\n".to_owned(), "bodies can't outlive their events"),
        (format!("[retention]\nkeys = \"2d\"\nbodies = \"1d\"\n{STRIPE}"), "a late copy would run twice"),
        (format!("[server]\nmax_inflight = \"1 MiB\"\n{STRIPE}"), "would never be accepted"),
        ("[sources.a]\nsecrets = []\n".to_owned(), "says neither `provider"),
        (format!("[sources.A]\n{stripe}"), "`A` is not a name"),
        (format!("[sources.a]\n{stripe}[sources.b]\n{stripe}"), "source `a` has the same secret"),
        (format!("[sources.a]\n{stripe}path = \"/x\"\n[sources.b]\n{partner}path = \"/x\"\n"), "already the path of source `a`"),
        (format!("[sources.a]\n{stripe}path = \"/livez\"\n"), "is a probe"),
        (format!("[sources.a]\n{stripe}path = \"in/x\"\n"), "is not a path"),
        (format!("[sources.a]\n{stripe}path = \"/in/x/\"\n"), "ends with a slash"),
        (format!("[sources.a]\n{stripe}secrets_shared_with = [\"c\"]\n"), "there is no source `c`"),
        (format!("[sources.a]\n{stripe}dedupe_group = \"g\"\n[sources.b]\n{partner}dedupe_group = \"g\"\n"), "has another provider"),
        ("[sources.g]\nprovider = \"github\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]\nmax_body = \"1 MiB\"\n".to_owned(), "github sends bodies of up to 25.0 MiB"),
        ("[sources.a]\nverify = \"none\"\nevent = { id = \"none\" }\n[handlers.h]\nfrom = \"a\"\nexec = { command = [\"true\"] }\n".to_owned(), "may not run a program"),
        (format!("{STRIPE}[handlers.h]\nfrom = \"stripe\"\n"), "says not what to do"),
        (format!("{STRIPE}[handlers.h]\nlog = {{}}\n"), "says no `from`"),
        (format!("{STRIPE}{}", log("[]")), "says no `from`"),
        (format!("{STRIPE}{}events = [\"\"]\n", log("\"stripe\"")), "is not a pattern"),
        (format!("{STRIPE}{}timeout = \"0s\"\n", log("\"stripe\"")), "`timeout` must be at least 1ms"),
        (format!("{STRIPE}{}concurrency = 0\n", log("\"stripe\"")), "`concurrency` must be from 1 to 1024"),
        (format!("{STRIPE}{}dead_on = [400]\n", log("\"stripe\"")), "only for `http`"),
        (format!("{STRIPE}{}retry = {{ for = \"1d\", attempts = 3 }}\n", log("\"stripe\"")), "choose one"),
        (format!("{STRIPE}{}retry = {{ attempts = 0 }}\n", log("\"stripe\"")), "at least 1"),
        (format!("{STRIPE}{}retry = {{ backoff = \"1h..10s\" }}\n", log("\"stripe\"")), "at most the last"),
        (format!("{STRIPE}[handlers.h]\nfrom = \"stripe\"\nhttp = {{ url = \"http://a/\", headers = {{ Webhook-Id = \"x\" }} }}\n"), "is set by hookonce itself"),
        (format!("{STRIPE}[handlers.h]\nfrom = \"stripe\"\nhttp = {{ url = \"http://a/\" }}\ndead_on = [200]\n"), "not the HTTP status of a failure"),
        (format!("{STRIPE}[handlers.h]\nfrom = \"stripe\"\nhttp = {{}}\n"), "`url` is missing"),
        (format!("{STRIPE}[handlers.h]\nfrom = \"stripe\"\nexec = {{ command = [] }}\n"), "`command` is missing"),
        ("[telemetry]\nlog = \"a=b=c\"\n".to_owned(), "is neither a level nor a list of directives"),
        ("[server]\nlisten = \n".to_owned(), "this is not TOML"),
        ("[cleanup]\nwindow = \"25:00-05:00\"\n".to_owned(), "is not a time of day"),
        ("[cleanup]\nschedule = \"0 0 30 2 *\"\n".to_owned(), "never comes"),
    ] {
        let got = faults(&text);
        assert!(got.iter().any(|line| line.contains(want)), "{text}\n got {got:#?}\nwant {want}");
        assert_eq!(got.len(), 1, "one mistake, one sentence: {got:#?}");
    }
}

#[test]
fn doubts_are_told_and_stop_nothing() {
    for (text, want) in [
        (
            "[sources.a]\nprovider = \"stripe\"\nsecrets = [{ value = \"whsec_0123456789abcdef0123456789abcdef\" }]\n[handlers.h]\nfrom = \"a\"\nlog = {}\n",
            "h.toml:3:12: the secret stands in the config itself",
        ),
        (
            "[sources.a]\nprovider = \"stripe\"\nsecrets = [{ env = \"STRIPE_SECRET\" }]\n",
            "h.toml:1:10: no handler takes events of `a`",
        ),
        (
            "[sources.a]\nverify = \"none\"\nevent = { id = \"none\" }\n[handlers.h]\nfrom = \"a\"\nlog = {}\n",
            "h.toml:2:10: `a` verifies nothing",
        ),
        (
            "[sources.a]\nprovider = \"stripe\"\nsecrets = [{ env = \"STRIPE_SECRET\" }]\ndedupe_group = \"g\"\n[handlers.h]\nfrom = \"a\"\nlog = {}\n",
            "h.toml:4:16: no other source is in the group `g`",
        ),
    ] {
        let got = warnings(text);
        assert!(got.len() == 1 && got[0].starts_with(want), "\n got {got:?}\nwant {want}");
    }
}

#[test]
fn two_sources_may_share_a_secret_when_one_of_them_says_so() {
    let source = |name: &str, more: &str| {
        format!(
            "[sources.{name}]\nprovider = \"stripe\"\nsecrets = [{{ env = \"STRIPE_SECRET\" }}]\n{more}"
        )
    };
    let first = source("a", "secrets_shared_with = [\"b\"]\n") + &source("b", "");
    let second = source("a", "") + &source("b", "secrets_shared_with = \"a\"\n");
    assert_eq!(faults(&first), [] as [String; 0]);
    assert_eq!(faults(&second), [] as [String; 0]);
}

#[test]
fn variables_set_keys_and_their_faults_carry_their_names() {
    let mut env = env();
    env.set("HOOKONCE__DATABASE__URL", "postgres://hookonce@db/hookonce");
    env.set("HOOKONCE__SOURCES__STRIPE__TOLERANCE", "90s");
    env.set("HOOKONCE__SERVER__MAX_BODY", "2 MiB");
    env.set("HOOKONCE__TELEMETRY__LOG", "5");
    env.set("HOOKONCE__HANDLERS__LOG__RETRY", "{ attempts = 3 }");
    let (config, _) = read_with(STRIPE, &env).unwrap();
    assert_eq!(config.store.url, "postgres://hookonce@db/hookonce");
    assert_eq!(config.sources[0].tolerance, Some(Duration::from_secs(90)));
    assert_eq!(config.sources[0].max_body, 2 << 20);
    assert_eq!(config.handlers[0].retry.limit, Limit::Attempts(3));

    env.set("HOOKONCE__DATABASE__ULR", "x");
    env.set("HOOKONCE__SERVER__LISTEN", "nowhere");
    env.set("HOOKONCE__SERVER__TLS", "{ cert = \"x\" }");
    let faults = read_with(STRIPE, &env).unwrap_err();
    let lines: Vec<_> = faults.lines().collect();
    assert_eq!(
        lines,
        [
            "HOOKONCE__DATABASE__ULR: unknown key `ulr`; did you mean `url`?",
            "HOOKONCE__SERVER__LISTEN: `nowhere` is not an address and port such as \"127.0.0.1:8080\": names are not looked up here",
            "HOOKONCE__SERVER__TLS: `tls` is not built yet: remove it",
        ]
    );
}

#[test]
fn a_text_from_a_variable_is_taken_as_it_is_written() {
    let mut env = env();
    env.set("HOOKONCE__ADMIN__TOKEN__VALUE", "12345678");
    let (config, warnings) = read_with("", &env).unwrap();
    assert_eq!(config.admin.token.unwrap().expose(), "12345678");
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn retry_is_read_in_all_its_forms() {
    let s = Duration::from_secs;
    for (written, limit, backoff) in [
        (
            "{ for = \"1d\" }",
            Limit::For(s(86400)),
            Backoff::Exponential { first: s(10), max: s(3600) },
        ),
        (
            "{ attempts = 5, backoff = \"1s..1m\" }",
            Limit::Attempts(5),
            Backoff::Exponential { first: s(1), max: s(60) },
        ),
        ("{ backoff = [\"1s\", \"5s\"] }", Limit::Attempts(3), Backoff::List(vec![s(1), s(5)])),
        ("{ for = \"1h\", backoff = [\"1s\"] }", Limit::For(s(3600)), Backoff::List(vec![s(1)])),
    ] {
        let config = read(&format!("{STRIPE}retry = {written}\n"));
        assert_eq!(
            (config.handlers[0].retry.limit, config.handlers[0].retry.backoff.clone()),
            (limit, backoff)
        );
    }
}

#[test]
fn schedules_become_six_fields() {
    for (written, want) in [
        ("*/5 * * * *", "0 */5 * * * *"),
        ("30 0 3 * * *", "30 0 3 * * *"),
        ("@hourly", "0 0 * * * *"),
        ("@daily", "0 0 0 * * *"),
    ] {
        let config = read(&format!("[cleanup]\nschedule = \"{written}\"\n"));
        assert_eq!(config.cleanup.schedule, want);
    }
}

#[test]
fn a_preset_brings_its_cap_and_its_ignored_fields_and_the_operator_may_say_more() {
    let github =
        "[sources.github]\nprovider = \"github\"\nsecrets = [{ env = \"GITHUB_SECRET\" }]\n";
    assert_eq!(read(github).sources[0].max_body, 25 << 20);
    assert_eq!(read(&format!("{github}max_body = \"30 MiB\"\n")).sources[0].max_body, 30 << 20);
    assert_eq!(read(STRIPE).sources[0].max_body, 8 << 20);
    assert_eq!(read(STRIPE).sources[0].conflict_ignore, ["/pending_webhooks"]);
}

#[test]
fn an_operators_event_is_laid_over_the_presets() {
    let text = STRIPE.replace("[handlers", "event = { id = \"header:x-id\" }\n[handlers");
    let event = read(&text).sources[0].spec.event.clone().unwrap();
    assert_eq!(event.id.unwrap().as_slice(), ["header:x-id"]);
    assert_eq!(event.kind.unwrap().as_slice(), ["body:/type"]);
}

#[test]
fn a_public_url_is_joined_with_the_sources_path() {
    let text = format!("[server]\npublic_url = \"https://hooks.example.com/\"\n{STRIPE}");
    assert_eq!(
        read(&text).sources[0].public_url.as_deref(),
        Some("https://hooks.example.com/in/stripe")
    );
}

#[test]
fn a_relative_program_lies_beside_the_config() {
    let text = format!(
        "{STRIPE}[handlers.x]\nfrom = \"stripe\"\nexec = {{ command = [\"bin/x\", \"bin/y\"] }}\n"
    );
    let (config, _) = Config::read(&text, "h.toml", &env(), Path::new("/etc/h")).unwrap();
    let Kind::Exec(exec) = &config.handlers[1].kind else { panic!("not exec") };
    assert_eq!(exec.command, ["/etc/h/bin/x", "bin/y"]);
}

#[test]
fn what_is_shown_has_every_table_and_no_secret() {
    let text = format!(
        "{STRIPE}[handlers.x]\nfrom = \"stripe\"\nhttp = {{ url = \"https://u:p4ssw0rd@a/\", headers = {{ authorization = \"Bearer p4ssw0rd\" }}, sign = {{ env = \"ADMIN_TOKEN\" }} }}\n"
    );
    let shown = toml::to_string(&show::table(&read(&text))).unwrap();
    for hidden in ["p4ssw0rd", "0123456789abcdef", "a-token-for-the-admin"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
    for table in
        ["[server]", "[admin]", "[database]", "[sources.stripe]", "[handlers.x]", "[telemetry]"]
    {
        assert!(shown.contains(table), "{shown}");
    }
}

#[test]
fn a_missing_file_says_how_to_make_one() {
    let faults = Config::load(Some(Path::new("/nowhere/h.toml")), &env()).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "/nowhere/h.toml: there is no such file; `hookonce init` writes one"
    );
}

#[test]
fn ids_are_kept_for_longer_than_a_provider_retries() {
    let day = Duration::from_secs(86_400);
    assert_eq!(read(STRIPE).retention.keys, day * 35);
    let long = STRIPE.replacen('\n', "\nretries = { horizon = \"60d\" }\n", 1);
    assert_eq!(read(&long).retention.keys, day * 61);
    let short = format!("{long}[retention]\nkeys = \"35d\"\n");
    assert!(faults(&short)[0].contains("is less than the"), "{:?}", faults(&short));
}
