//! Things that only one place may know: SQL, actix, the scheduler, the environment, the terminal.

use super::code::{line_of, read, words};
use super::{Text, assert_none, files};

/// A word of code, and the only places where it may stand (files, or folders with a trailing `/`).
struct Rule {
    words: &'static [&'static str],
    only_in: &'static [&'static str],
    why: &'static str,
}

const RULES: [Rule; 6] = [
    Rule {
        words: &["sqlx", "sea_orm", "migration::", "sea_orm_migration"],
        only_in: &["src/store.rs", "src/store/"],
        why: "only the store knows SQL on our tables",
    },
    Rule {
        words: &["actix_web", "actix_http", "actix_rt"],
        only_in: &[
            "src/http.rs",
            "src/http/",
            "src/idempotency/middleware.rs",
            "src/idempotency/middleware/",
        ],
        why: "actix is known by http only",
    },
    Rule {
        words: &["tokio_cron_scheduler"],
        only_in: &["src/upkeep.rs", "src/upkeep/"],
        why: "the scheduler is known by upkeep only: elsewhere its nudges could be taken for correctness",
    },
    Rule {
        words: &["std::env", "env::var", "env::vars", "env::var_os"],
        only_in: &["src/config/env.rs"],
        why: "the environment is read in one place, so that `config show` tells the truth",
    },
    Rule {
        words: &["println!", "print!", "eprintln!", "eprint!", "io::stdout", "io::stderr"],
        only_in: &["src/cli/output.rs", "src/telemetry.rs"],
        why: "only cli/output.rs prints (and telemetry writes the log)",
    },
    Rule { words: &["unsafe"], only_in: &[], why: "no unsafe code" },
];

/// Statements on tables, as they begin in string literals.
const SQL_BEGINS: [&str; 7] = [
    "SELECT ",
    "INSERT INTO ",
    "DELETE FROM ",
    "UPDATE ",
    "CREATE TABLE ",
    "ALTER TABLE ",
    "WITH ",
];

fn stands_in(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
}

fn rule_faults(texts: &[Text]) -> Vec<String> {
    let mut faults = Vec::new();
    for text in texts {
        let code = read(&text.content);
        for rule in RULES.iter().filter(|rule| !stands_in(&text.path, rule.only_in)) {
            for word in rule.words {
                for at in words(&code.bare, word) {
                    let line = line_of(&code.bare, at);
                    faults.push(format!("{}:{line}: `{word}`: {}", text.path, rule.why));
                }
            }
        }
    }
    faults
}

fn sql_faults(texts: &[Text]) -> Vec<String> {
    let mut faults = Vec::new();
    for text in texts.iter().filter(|text| !stands_in(&text.path, &["src/store.rs", "src/store/"]))
    {
        for (line, literal) in read(&text.content).literals {
            let begins = SQL_BEGINS.iter().any(|begin| literal.trim_start().starts_with(begin));
            let is_sql = begins
                && (!literal.trim_start().starts_with("UPDATE ") || literal.contains(" SET "));
            if is_sql {
                faults.push(format!("{}:{line}: SQL outside of the store: {literal}", text.path));
            }
        }
    }
    faults
}

/// A transaction that a dropped future leaves open on a pooled connection swallows what follows (sqlx
/// 0.9.0 on PostgreSQL). `BEGIN IMMEDIATE` is SQLite's, and PostgreSQL refuses it.
fn begin_faults(texts: &[Text]) -> Vec<String> {
    let mut faults = Vec::new();
    for text in texts {
        let code = read(&text.content);
        let begun = words(&code.bare, "begin_with").map(|at| line_of(&code.bare, at));
        let immediate: Vec<usize> = code
            .literals
            .iter()
            .filter(|(_, literal)| literal == "BEGIN IMMEDIATE")
            .map(|(line, _)| *line)
            .collect();
        faults.extend(
            begun.filter(|line| !immediate.contains(line)).map(|line| {
                format!("{}:{line}: only SQLite's BEGIN IMMEDIATE may begin", text.path)
            }),
        );
    }
    faults
}

#[test]
fn only_sqlite_begins_transactions() {
    assert_none(&begin_faults(&files("src", &[".rs"])));
    let bad = Text::new("src/store/x.rs", "pool.begin_with(\"BEGIN\").await?;");
    assert_eq!(begin_faults(&[bad]).len(), 1);
    let good = Text::new("src/store/x.rs", "pool.begin_with(\"BEGIN IMMEDIATE\").await?;");
    assert_none(&begin_faults(&[good]));
}

#[test]
fn what_one_place_may_know_stands_nowhere_else() {
    assert_none(&rule_faults(&files("src", &[".rs"])));
}

#[test]
fn sql_stands_only_in_the_store() {
    assert_none(&sql_faults(&files("src", &[".rs"])));
    let astray: Vec<String> = files("src", &[".rs", ".sql"])
        .iter()
        .filter(|text| text.path.ends_with(".sql") && !text.path.starts_with("src/store/sql/"))
        .map(|text| format!("{}: statements stand in src/store/sql/", text.path))
        .collect();
    assert_none(&astray);
}

#[test]
fn the_check_sees_each_thing_out_of_its_place() {
    let bad = [
        ("src/http.rs", "use sqlx::Row;"),
        ("src/store.rs", "use actix_web::web;"),
        ("src/worker.rs", "fn f(x: tokio_cron_scheduler::Job) {}"),
        ("src/cli/send.rs", "let x = std::env::args();"),
        ("src/main.rs", "println!(\"x\");"),
        ("src/store/claim.rs", "eprintln!(\"x\");"),
        ("src/store/claim.rs", "unsafe { x() }"),
        ("src/idempotency/claim.rs", "use actix_web::web;"),
    ];
    for (path, text) in bad {
        assert_eq!(rule_faults(&[Text::new(path, text)]).len(), 1, "{path}: {text}");
    }
    let good = [
        ("src/store/claim.rs", "use sqlx::Row; // actix_web"),
        ("src/http/body.rs", "use actix_web::web; let s = \"sqlx\";"),
        ("src/config/env.rs", "std::env::var(x)"),
        ("src/cli/output.rs", "println!(\"x\")"),
        ("src/handler.rs", "writeln!(f, \"x\"); env!(\"X\"); my_sqlx();"),
    ];
    for (path, text) in good {
        assert_none(&rule_faults(&[Text::new(path, text)]));
    }
    let sql = "let q = \"SELECT id FROM event\"; let u = \"UPDATE delivery SET x = 1\"; let p = \"UPDATE it\";";
    assert_eq!(sql_faults(&[Text::new("src/http/admin.rs", sql)]).len(), 2);
    assert_none(&sql_faults(&[Text::new("src/store/x.rs", sql)]));
}
