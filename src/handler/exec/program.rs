//! Finding the program when the handler is built, so that a typing error is a fault at start and
//! not a dead letter at night.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Finds `name`: a path when it has a slash, else a file in one of the folders of `path`.
///
/// Fails with a sentence when there is none, or when it isn't an executable file.
pub(super) fn find(name: &str, path: &str) -> Result<PathBuf, String> {
    if name.is_empty() {
        return Err("`exec.command` begins with an empty word; name the program there".to_owned());
    }
    if name.contains('/') {
        let file = PathBuf::from(name);
        return check(&file).map(|()| file);
    }
    let mut refused = None;
    for folder in path.split(':') {
        let file = Path::new(folder).join(name);
        match check(&file) {
            Ok(()) => return Ok(file),
            // The reason of a file that is there is worth more than "not found" of the others.
            Err(reason) if file.exists() => refused = Some(reason),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(|| {
        format!("`exec.command`: the program `{name}` is not in {path}; give its full path")
    }))
}

fn check(file: &Path) -> Result<(), String> {
    let shown = file.display();
    let metadata = std::fs::metadata(file)
        .map_err(|error| format!("`exec.command`: {shown} can't be used: {error}"))?;
    if !metadata.is_file() {
        return Err(format!("`exec.command`: {shown} is not a file"));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(format!("`exec.command`: {shown} is not executable; try `chmod +x {shown}`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_path_and_by_name_and_must_be_executable() {
        let folder = tempfile::tempdir().expect("a folder");
        let plain = folder.path().join("plain");
        std::fs::write(&plain, "x").expect("written");
        let path = format!("/nowhere:{}:/bin", folder.path().display());
        assert!(find("sh", &path).is_ok());
        assert!(find("/bin/sh", "").is_ok());
        for (name, reason) in [
            ("plain", "not executable"),
            (plain.to_str().expect("UTF-8"), "not executable"),
            (folder.path().to_str().expect("UTF-8"), "is not a file"),
            ("/nowhere/at-all", "can't be used"),
            ("no-such-program", "is not in"),
            ("", "empty word"),
        ] {
            let fault = find(name, &path).expect_err(name);
            assert!(fault.contains(reason), "{name}: {fault}");
        }
    }
}
