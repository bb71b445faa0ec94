//! The contract's own TOML block: every key in it either loads, or is refused as not built yet.

use super::*;

const CONTRACT: &str = include_str!("contract.toml");

fn with_files() -> (tempfile::TempDir, Environment, String) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["stripe_old", "partner"] {
        let secret = format!("0123456789abcdef0123456789abcdef-{name}\n");
        std::fs::write(dir.path().join(name), secret).unwrap();
    }
    std::fs::write(dir.path().join("app_database_url"), "postgres://app@db/app\n").unwrap();
    let mut env = env();
    env.set("HOOKONCE_ADMIN_TOKEN", "a-token-for-the-admin");
    let text = CONTRACT.replace("/run/secrets/", &format!("{}/", dir.path().display()));
    (dir, env, text)
}

#[test]
fn each_key_loads_or_is_not_built_yet() {
    let (_dir, env, text) = with_files();
    let faults = read_with(&text, &env).unwrap_err();
    let mut rest = Vec::new();
    let mut refused = Vec::new();
    for line in faults.lines() {
        match line.split_once(" is not built yet") {
            Some((before, _)) => {
                refused.push(before.rsplit(' ').next().unwrap().trim_matches('`').to_owned());
            }
            None => rest.push(line),
        }
    }
    // `github` is a source that the block doesn't define.
    assert!(rest.iter().all(|line| line.contains("there is no source `github`")), "{rest:#?}");
    let want = ["tls", "spool", "notify", "otlp"];
    assert_eq!(refused, want);
}

#[test]
fn what_is_built_of_it_loads() {
    let (_dir, env, text) = with_files();
    let kept: String = text
        .lines()
        .filter(|line| {
            let key = line.split([' ', '=']).next().unwrap_or_default();
            !["tls", "spool", "otlp"].contains(&key)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let tables = ["[[notify]]"];
    let mut keep = true;
    let mut text = String::new();
    for line in kept.lines() {
        if line.starts_with('[') {
            keep = !tables.iter().any(|table| line.starts_with(table));
        }
        if keep {
            // `github` is a source that the block doesn't define.
            let line = line.replace("[\"stripe\", \"github\"]", "[\"stripe\"]");
            text += &format!("{}\n", line.replace("from = \"github\"", "from = \"partner\""));
        }
    }
    // Every key that is only shown in a comment is built, but for these two.
    for key in ["path", "on_id_conflict", "conflict_ignore", "dedupe_group"] {
        text = text.replace(&format!("\n# {key} "), &format!("\n{key} "));
    }
    let (config, _) = read_with(&text, &env).unwrap_or_else(|faults| panic!("{faults}\n{text}"));
    assert_eq!(config.sources.len(), 2);
    assert_eq!(config.sources[1].secrets.len(), 2);
    assert_eq!(config.handlers.len(), 5);
    assert_eq!(config.databases.len(), 1);
    assert_eq!(config.gateways[0].upstream.as_str(), "http://127.0.0.1:4000/");
    assert_eq!(config.cleanup.window.unwrap().0.to_string(), "01:00:00");
    assert_eq!(config.sources[0].rate_limit, Some(100));
}
