//! The house's order, kept by tests: who may know whom, where SQL may stand, what files are called.
//!
//! Each check is a function from texts to faults, and has a test that feeds it a bad sample: a check that
//! can't fail keeps nothing.

mod alerts;
mod code;
mod dependencies;
mod floors;
mod names;
mod paths;
mod places;

use std::path::{Path, PathBuf};

/// One file of the project.
#[derive(Debug, Clone)]
pub struct Text {
    /// From the project's root, such as `src/store/claim.rs`.
    pub path: String,
    pub content: String,
}

impl Text {
    pub fn new(path: &str, content: &str) -> Self {
        Self { path: path.to_owned(), content: content.to_owned() }
    }
}

/// The project's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under a folder whose name ends like this, in order of paths.
pub fn files(folder: &str, endings: &[&str]) -> Vec<Text> {
    let mut found = Vec::new();
    collect(&root().join(folder), endings, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        !found.is_empty(),
        "nothing of {endings:?} under {folder}: this check would check nothing"
    );
    found
}

fn collect(folder: &Path, endings: &[&str], found: &mut Vec<Text>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            // Build products and what belongs to version control are no part of the project.
            if name != "target" && (!name.starts_with('.') || name == ".ci" || name == ".config") {
                collect(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            let inside = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            found.push(Text { path: inside, content: std::fs::read_to_string(&path).unwrap() });
        }
    }
}

/// Fails with every fault at once.
#[track_caller]
pub fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
