//! Lists the files that are built into the program, so that a provider is added as files and nothing
//! else: `src/source/catalog/<slug>.toml`, and `fixtures/<slug>/<name>.json`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[expect(clippy::disallowed_methods, reason = "so cargo tells a build script where things are")]
fn main() -> io::Result<()> {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());

    let mut presets = String::from("[\n");
    for file in files(&root.join("src/source/catalog"), "toml")? {
        presets.push_str(&format!("    ({:?}, include_str!({:?})),\n", stem(&file), file));
    }
    fs::write(out.join("catalog.rs"), presets + "]\n")?;

    let mut fixtures = String::from("&[\n");
    for folder in sorted(&root.join("fixtures"))?.into_iter().filter(|path| path.is_dir()) {
        for file in files(&folder, "json")? {
            let (provider, name) = (stem(&folder), stem(&file));
            fixtures.push_str(&format!("    ({provider:?}, {name:?}, include_str!({file:?})),\n"));
        }
    }
    fs::write(out.join("fixtures.rs"), fixtures + "]\n")
}

/// The files of a folder with this extension, by name. A new one in the folder builds anew.
fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let of = |path: &PathBuf| path.extension().is_some_and(|it| it == extension);
    Ok(sorted(folder)?.into_iter().filter(of).collect())
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut paths = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    // By what is listed: `mollie` comes before `mollie-classic`, whose `-` sorts before a `.`.
    paths.sort_by_key(|path| stem(path));
    Ok(paths)
}

/// A file's name without its extension; a folder's name whole.
fn stem(path: &Path) -> String {
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
