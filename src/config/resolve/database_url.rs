//! The database's URL: checked, and made independent of the directory that a command is called in.

use std::path::Path;

/// Checks a database URL; a relative SQLite file is looked up under `dir`, so that the daemon and
/// the command line open the same file from wherever they are called.
pub(crate) fn resolve(url: &str, dir: &Path) -> Result<String, String> {
    let url = url.trim();
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        // The URL may hold a password, so the parser's words are shown, never the URL.
        return match url::Url::parse(url) {
            Ok(_) => Ok(url.to_owned()),
            Err(why) => Err(format!("`url` can't be read as a PostgreSQL URL: {why}")),
        };
    }
    let Some(rest) = url.strip_prefix("sqlite:") else {
        return Err(
            "`url` must begin with postgres:// or sqlite://, such as sqlite://hookonce.db".into()
        );
    };
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (file, query) = rest.split_once('?').map_or((rest, None), |(f, q)| (f, Some(q)));
    let in_memory = file.starts_with(":memory:")
        || query.is_some_and(|query| query.split('&').any(|pair| pair == "mode=memory"));
    if in_memory {
        return Err(
            "a database in memory is gone after a crash: name a file, such as sqlite://hookonce.db"
                .into(),
        );
    }
    if file.is_empty() {
        return Err("`url` names no file: write sqlite://hookonce.db".into());
    }
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    if Path::new(file).is_absolute() || dir.as_os_str().is_empty() {
        return Ok(format!("sqlite://{file}{query}"));
    }
    let Some(dir) = dir.to_str() else {
        return Err("the config's directory is not UTF-8: write an absolute path".into());
    };
    // In a URL these two have a meaning of their own.
    let dir = dir.replace('%', "%25").replace('?', "%3F");
    Ok(format!("sqlite://{}/{file}{query}", dir.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_file_lies_beside_the_config() {
        for (url, dir, want) in [
            ("sqlite://hookonce.db", "", "sqlite://hookonce.db"),
            ("sqlite://hookonce.db", "/etc/hookonce", "sqlite:///etc/hookonce/hookonce.db"),
            ("sqlite:hookonce.db", "conf", "sqlite://conf/hookonce.db"),
            ("sqlite:///var/h.db?mode=rwc", "/etc", "sqlite:///var/h.db?mode=rwc"),
            ("sqlite://h.db", "/a%b?", "sqlite:///a%25b%3F/h.db"),
            ("postgres://u:p@db/h", "/etc", "postgres://u:p@db/h"),
        ] {
            assert_eq!(resolve(url, Path::new(dir)).as_deref(), Ok(want), "{url}");
        }
    }

    #[test]
    fn what_would_not_last_or_is_no_database_is_refused() {
        for url in [
            "sqlite::memory:",
            "sqlite://",
            "sqlite://x?mode=memory",
            "mysql://x",
            "",
            "postgres://[x",
        ] {
            assert!(resolve(url, Path::new("")).is_err(), "{url}");
        }
    }
}
