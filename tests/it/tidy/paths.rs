//! Paths that the pages name exist, and what the program ships is complete.

use super::{Text, assert_none, files, root};

/// The first parts of paths of this project; a path in a page that begins otherwise is the reader's.
const ROOTS: [&str; 12] = [
    "src/",
    "docs/",
    "tests/",
    "entity/",
    "migration/",
    "fixtures/",
    "scripts/",
    "benches/",
    "examples/",
    ".ci/",
    ".config/",
    "packaging/",
];

/// Files at the root that pages speak of.
const ROOT_FILES: [&str; 8] = [
    "Makefile",
    "Cargo.toml",
    "clippy.toml",
    "deny.toml",
    "rustfmt.toml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
];

/// Paths in `code` and in [links](target), with their line. Patterns such as `src/*.rs` and `<name>` stand
/// for many: their fixed beginning has to exist.
fn named_paths(page: &Text) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (n, line) in page.content.lines().enumerate() {
        let code = line.split('`').skip(1).step_by(2);
        let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for text in code {
            for word in text.split(' ') {
                let is_ours =
                    ROOTS.iter().any(|root| word.starts_with(root)) || ROOT_FILES.contains(&word);
                if is_ours {
                    found.push((n + 1, word.to_owned()));
                }
            }
        }
        for target in links {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
                let from_root =
                    if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") };
                found.push((n + 1, from_root));
            }
        }
    }
    found
}

fn exists(path: &str) -> bool {
    let fixed = path.split(['*', '<', '{']).next().unwrap_or_default();
    let fixed = if fixed.len() < path.len() {
        // A pattern: the folder before it.
        fixed.rsplit_once('/').map_or("", |(folder, _)| folder)
    } else {
        fixed
    };
    // `src/store/claim.rs:12` points at a line.
    let fixed = fixed.split(':').next().unwrap_or_default();
    root().join(fixed.trim_end_matches(['.', ',', ';'])).exists()
}

fn path_faults(pages: &[Text]) -> Vec<String> {
    let mut faults = Vec::new();
    for page in pages {
        for (line, path) in named_paths(page) {
            if !exists(&path) {
                faults.push(format!("{}:{line}: {path} does not exist", page.path));
            }
        }
    }
    faults
}

#[test]
fn paths_named_in_the_pages_exist() {
    assert_none(&path_faults(&files("", &[".md"])));
}

#[test]
fn the_check_sees_a_path_that_does_not_exist() {
    let page = Text::new(
        "src/x.md",
        "See `src/lib.rs`, `src/nothing.rs` and `src/*.rs`.\n[a](../README.md) [b](gone.md#x) [c](https://e.org/z)\n\
         `tests/it/main.rs:3` `src/{a,b}.rs` `my/own.file` `no/pattern/*` `src/none/*.rs`",
    );
    let faults = path_faults(&[page]);
    assert_eq!(faults.len(), 3, "{faults:#?}");
    assert!(
        faults[0].contains("src/nothing.rs") && faults[1].contains("src/gone.md"),
        "{faults:#?}"
    );
}
