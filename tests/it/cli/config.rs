//! Config, migrations, presets, help: what needs no daemon.

use std::path::Path;

use hookonce::source::catalog;
use hookonce::source::preset::Unconfirmed;
use serde_json::Value;

use super::run_in;
use crate::both_databases;
use crate::support::DaemonPlan;
use crate::support::sender::PROVIDERS;

fn write(dir: &Path, text: &str) {
    std::fs::write(dir.join("hookonce.toml"), text).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_writes_a_config_that_checks_and_never_overwrites_one() {
    let place = tempfile::tempdir().unwrap();
    let (code, _, err) = run_in(place.path(), &["init"]).await;
    assert_eq!(code, 0, "{err}");
    let written = std::fs::read_to_string(place.path().join("hookonce.toml")).unwrap();
    let (code, _, err) = run_in(place.path(), &["check"]).await;
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = run_in(place.path(), &["init"]).await;
    assert_ne!(code, 0, "{err}");
    assert_eq!(std::fs::read_to_string(place.path().join("hookonce.toml")).unwrap(), written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_without_its_config_is_exit_2() {
    let place = tempfile::tempdir().unwrap();
    let (code, _, err) = run_in(place.path(), &["serve"]).await;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("hookonce.toml"), "{err}");
    let (code, _, err) = run_in(place.path(), &["serve", "--config", "elsewhere.toml"]).await;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("elsewhere.toml"), "{err}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "nothing was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_reports_every_fault_with_its_line_and_a_suggestion() {
    let place = tempfile::tempdir().unwrap();
    write(
        place.path(),
        "[server]\nlissten = \"127.0.0.1:0\"\nmax_body = \"lots\"\n\n[sources.stripe]\nprovider = \"strype\"\n\
         secrets = [{ value = \"whsec_0f3a6c1d9b2e4758a1c6d3e2f4b5a697\" }]\n\n[handlers.billing]\nfrom = \"stripe\"\n\
         kafka = { topic = \"x\" }\n",
    );
    for verb in ["check", "serve"] {
        let (code, out, err) = run_in(place.path(), &[verb]).await;
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        for wanted in [
            "hookonce.toml:2:1: ",
            "did you mean `listen`",
            "hookonce.toml:3:",
            "hookonce.toml:6:",
            "did you mean `stripe`",
            "hookonce.toml:11:",
        ] {
            assert!(err.contains(wanted), "{verb}: no `{wanted}` in:\n{err}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_refuses_a_function_that_is_to_answer_as_serve_does() {
    let place = tempfile::tempdir().unwrap();
    write(
        place.path(),
        "[sources.stripe]\nprovider = \"stripe\"\nsecrets = [{ value = \"whsec_0f3a6c1d9b2e4758a1c6d3e2f4b5a697\" }]\n\
         respond = { handler = \"on.stripe.x\" }\n[handlers.audit]\nfrom = \"stripe\"\nlog = {}\n",
    );
    let (code, _, err) = run_in(place.path(), &["serve"]).await;
    assert_ne!(code, 0, "{err}");
    assert!(err.contains("on.stripe.x"), "{err}");
    let (code, _, err) = run_in(place.path(), &["check"]).await;
    assert_eq!(code, 2, "{err}");
    for wanted in ["hookonce.toml:4:", "`on.stripe.x` is a function", "`http` or `exec`"] {
        assert!(err.contains(wanted), "no `{wanted}` in {err}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_protects_nothing_is_refused() {
    let place = tempfile::tempdir().unwrap();
    for secret in
        ["", "   ", "changeme", "whsec_...", "short", "$STRIPE_SECRET", "${STRIPE_SECRET}"]
    {
        write(
            place.path(),
            &format!(
                "[sources.stripe]\nprovider = \"stripe\"\nsecrets = [{{ value = {secret:?} }}]\n"
            ),
        );
        let (code, _, err) = run_in(place.path(), &["check"]).await;
        assert_eq!(code, 2, "{secret:?}: {err}");
    }
    let same = "same-secret-0123456789abcdef";
    write(
        place.path(),
        &format!(
            "[sources.one]\nprovider = \"github\"\nsecrets = [{{ value = {same:?} }}]\n\
             [sources.two]\nprovider = \"github\"\nsecrets = [{{ value = {same:?} }}]\n"
        ),
    );
    let (code, _, err) = run_in(place.path(), &["check"]).await;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("secrets_shared_with") && !err.contains(same), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_config_is_shown_without_its_secrets_and_as_a_schema() {
    let place = tempfile::tempdir().unwrap();
    let secret = "whsec_0f3a6c1d9b2e4758a1c6d3e2f4b5a697";
    write(
        place.path(),
        &format!("[sources.stripe]\nprovider = \"stripe\"\nsecrets = [{{ value = {secret:?} }}]\n"),
    );
    let (code, out, err) = run_in(place.path(), &["config", "show"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("[sources.stripe]") && !out.contains(secret) && !err.contains(secret),
        "{out}{err}"
    );
    toml::from_str::<toml::Table>(&out).expect("it is TOML");
    let (code, out, err) = run_in(place.path(), &["config", "schema"]).await;
    assert_eq!(code, 0, "{err}");
    let schema: Value = serde_json::from_str(&out).unwrap();
    assert!(schema["properties"]["sources"].is_object(), "{schema}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presets_are_listed_and_say_what_they_cover() {
    let place = tempfile::tempdir().unwrap();
    let (code, out, err) = run_in(place.path(), &["provider", "list", "-o", "json"]).await;
    assert_eq!(code, 0, "{err}");
    for provider in PROVIDERS {
        assert!(out.contains(&format!("{provider:?}")), "no {provider} in {out}");
        let (code, shown, err) =
            run_in(place.path(), &["provider", "show", provider, "-o", "json"]).await;
        assert_eq!(code, 0, "{err}");
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let integrity = if provider == "gitlab-token" { "none" } else { "full" };
        assert_eq!(shown["integrity"], integrity, "{provider}: {shown}");
    }
    let (code, page, err) = run_in(place.path(), &["provider", "list", "--markdown"]).await;
    assert_eq!(code, 0, "{err}");
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md");
    let written = std::fs::read_to_string(file).unwrap();
    assert!(page == written, "docs/providers.md is not what the program says: run `make docs`");
    let (_, text, _) = run_in(place.path(), &["provider", "show", "gitlab-token"]).await;
    assert!(text.contains("body"), "it says that the token covers no body: {text}");
}

/// What only others report of a provider is marked, in every form, and nothing else is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unconfirmed_is_shown_as_such() {
    let place = tempfile::tempdir().unwrap();
    let words = |what: &Unconfirmed| match what {
        Unconfirmed::Retries => {
            ("retries", "How long it retries, if at all, is what others report")
        }
        Unconfirmed::Id => {
            ("id", "That a retry keeps this id isn't confirmed by the provider's pages")
        }
    };
    let page = include_str!("../../../docs/providers.md");
    let mut seen = std::collections::BTreeMap::new();
    let all: Vec<_> = catalog::all().collect();
    let marked = all.iter().filter(|preset| !preset.unconfirmed.is_empty());
    let others = all.iter().filter(|preset| preset.unconfirmed.is_empty()).take(3);
    for preset in marked.chain(others) {
        let show = ["provider", "show", preset.slug];
        let (code, text, err) = run_in(place.path(), &show).await;
        assert_eq!(code, 0, "{err}");
        let (_, json, _) = run_in(place.path(), &[&show[..], &["-o", "json"]].concat()).await;
        let json: Value = serde_json::from_str(&json).unwrap();
        let named: Vec<&str> = preset.unconfirmed.iter().map(|what| words(what).0).collect();
        assert_eq!(json["unconfirmed"], serde_json::json!(named), "{}", preset.slug);
        let lines = text.lines().filter(|line| line.starts_with("unconfirmed"));
        let lines: Vec<&str> = lines.collect();
        assert_eq!(lines.len(), named.len(), "{}: {text}", preset.slug);
        let heading = format!("## {}\n", preset.slug);
        let section =
            page.split_once(&heading).map(|(_, rest)| rest.split("\n## ").next().unwrap());
        let section = section.unwrap_or_else(|| panic!("no section {heading}"));
        assert_eq!(section.matches("* Unconfirmed: ").count(), named.len(), "{}", preset.slug);
        for (what, line) in preset.unconfirmed.iter().zip(lines) {
            assert!(line.contains(words(what).1), "{}: {line}", preset.slug);
            *seen.entry(words(what).0).or_insert(0) += 1;
        }
        let reported =
            text.lines().any(|line| line.starts_with("retries") && line.contains("(reported)"));
        assert_eq!(reported, named.contains(&"retries"), "{}: {text}", preset.slug);
    }
    assert!(seen["retries"] >= 10 && seen["id"] >= 3, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_built_yet_says_so_and_typos_are_helped() {
    let place = tempfile::tempdir().unwrap();
    for verb in ["tail", "man"] {
        let (code, out, err) = run_in(place.path(), &[verb]).await;
        assert_eq!((code, out.as_str()), (2, ""), "{verb}: {err}");
        assert!(err.contains("not built yet"), "{verb}: {err}");
    }
    let (code, _, err) = run_in(place.path(), &["evnt", "list"]).await;
    assert_eq!(code, 2);
    assert!(err.contains("did you mean `event`"), "{err}");
    let (code, out, _) = run_in(place.path(), &["--version"]).await;
    assert_eq!((code, out.trim()), (0, concat!("hookonce ", env!("CARGO_PKG_VERSION"))));
    let (code, out, _) = run_in(place.path(), &["--help"]).await;
    assert_eq!(code, 0);
    for verb in [
        "serve",
        "init",
        "check",
        "migrate",
        "provider",
        "send",
        "event",
        "delivery",
        "dead",
        "rejection",
        "cleanup",
        "config",
        "completion",
    ] {
        assert!(out.contains(verb), "no {verb} in {out}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = run_in(place.path(), &["completion", shell]).await;
        assert_eq!(code, 0, "{shell}");
        assert!(out.contains("hookonce"), "{shell}");
    }
}

both_databases!(
    migrations_go_up_and_down_and_a_serve_that_may_only_check_refuses,
    |db| async move {
        let fresh = match db.kind() {
            crate::support::Kind::Postgres => {
                crate::support::TestDatabase::postgres_without_tables().await
            }
            crate::support::Kind::Sqlite => crate::support::TestDatabase::sqlite_without_tables(),
        };
        let daemon = DaemonPlan::on(&fresh).database("migrate = \"check\"").place();
        let (code, _, err) = run_in(daemon.dir(), &["serve"]).await;
        assert_ne!(code, 0, "{err}");
        assert!(err.contains("hookonce migrate up"), "{err}");
        let status = daemon.run(&["migrate", "status", "-o", "json"]).await;
        assert!(status.code(0).text().contains("false"), "{}", status.text());
        for _ in 0..2 {
            daemon.run(&["migrate", "up"]).await.code(0);
        }
        let status = daemon.run(&["migrate", "status", "-o", "json"]).await;
        assert!(!status.code(0).text().contains("false"), "{}", status.text());
        assert_eq!(fresh.number("SELECT count(*) FROM event").await, 0);
        // One step at a time, until the first one takes the tables with it.
        let steps = status.json()["items"].as_array().map_or(0, Vec::len);
        assert!(steps >= 4, "{}", status.text());
        for _ in 1..steps {
            daemon.run(&["migrate", "down", "--yes"]).await.code(0);
            assert_eq!(fresh.number("SELECT count(*) FROM event").await, 0, "one step only");
        }
        daemon.run(&["migrate", "down", "--yes"]).await.code(0);
        assert!(fresh.try_number("SELECT count(*) FROM event").await.is_err());
    }
);
