//! What files are called, how long they are, and words that have no place in the project.

use super::{Text, assert_none, files, root};

const LINES_MAX: usize = 400;

/// Names that say nothing: whatever stands there has a better home.
const EMPTY_NAMES: [&str; 8] =
    ["util", "utils", "common", "helper", "helpers", "misc", "types", "shared"];

fn name_faults(texts: &[Text]) -> Vec<String> {
    let mut faults = Vec::new();
    for text in texts {
        let parts = text.path.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
        for part in parts {
            if part == "mod" {
                faults.push(format!("{}: no mod.rs; the room's sign is `room.rs`", text.path));
            }
            if EMPTY_NAMES.contains(&part) {
                faults.push(format!("{}: `{part}` says nothing; name the thing", text.path));
            }
        }
    }
    faults
}

fn length_faults(texts: &[Text]) -> Vec<String> {
    texts
        .iter()
        .map(|text| (text, text.content.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(text, lines)| {
            format!("{}: {lines} lines, {LINES_MAX} at most: which room is missing?", text.path)
        })
        .collect()
}

/// Places outside of the project and leftovers. In two halves each, so that this file doesn't hold them.
fn forbidden() -> Vec<String> {
    let halves = [
        ("crates", ".io"),
        ("npm", "js."),
        ("py", "pi.org"),
        ("proxy.go", "lang.org"),
        ("../sha", "red/"),
        ("/wo", "rk/"),
        ("todo", "!("),
        ("unimplemented", "!("),
        ("dbg", "!("),
        ("#[ig", "nore"),
        ("FIX", "ME"),
        ("XX", "X:"),
    ];
    let mut words: Vec<String> = halves.iter().map(|(a, b)| format!("{a}{b}")).collect();
    // Whoever builds the project elsewhere has another folder: this one's path can't be meant.
    words.push(format!("{}/", root().display()));
    words
}

fn word_faults(texts: &[Text], words: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    for text in texts {
        for (n, line) in text.content.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(word.as_str())) {
                faults.push(format!("{}:{}: `{word}` has no place here: {line}", text.path, n + 1));
            }
        }
    }
    faults
}

/// Every text that people wrote. Cargo.lock names the registry, and must.
fn written() -> Vec<Text> {
    files(
        "",
        &[
            ".rs",
            ".md",
            ".toml",
            ".sql",
            ".json",
            ".py",
            ".js",
            "Makefile",
            "bench",
            "run",
            ".sh",
            "-programs",
            "-dependencies",
        ],
    )
}

#[test]
fn files_are_named_after_things() {
    assert_none(&name_faults(&files("src", &[".rs"])));
    assert_none(&name_faults(&files("tests", &[".rs"])));
    assert_none(&name_faults(&files("benches", &[".rs"])));
}

#[test]
fn no_file_is_over_four_hundred_lines() {
    assert_none(&length_faults(&files("src", &[".rs"])));
    assert_none(&length_faults(&files("tests", &[".rs"])));
    assert_none(&length_faults(&files("benches", &[".rs", ".py", ".js"])));
}

#[test]
fn nothing_names_a_place_outside_or_leaves_work_behind() {
    assert_none(&word_faults(&written(), &forbidden()));
}

#[test]
fn each_check_can_fail() {
    let bad = ["src/store/mod.rs", "src/util.rs", "src/common/x.rs", "src/http/helpers.rs"];
    for path in bad {
        assert_eq!(name_faults(&[Text::new(path, "")]).len(), 1, "{path}");
    }
    assert_none(&name_faults(&[Text::new("src/store/model.rs", "")]));

    assert_eq!(length_faults(&[Text::new("src/a.rs", &"x\n".repeat(LINES_MAX + 1))]).len(), 1);
    assert_none(&length_faults(&[Text::new("src/a.rs", &"x\n".repeat(LINES_MAX))]));

    for word in forbidden() {
        let text = Text::new("README.md", &format!("one\nsee {word} there\n"));
        let faults = word_faults(&[text], std::slice::from_ref(&word));
        assert_eq!(faults.len(), 1, "{word}");
        assert!(faults[0].starts_with("README.md:2: "), "{faults:?}");
    }
}
