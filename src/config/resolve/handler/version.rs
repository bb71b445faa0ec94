//! `version` and `stale`.

use crate::config::desk::Desk;
use crate::config::file::{FileHandler, FileStale};
use crate::handler::version::{OnStale, Versions};

/// Reads how the events of a lane are compared; `None` when they aren't.
pub(super) fn versions(desk: &mut Desk<'_>, text: &str, file: &FileHandler) -> Option<Versions> {
    let on_stale = match file.stale {
        None | Some(FileStale::Run) => None,
        Some(FileStale::Skip) => Some(OnStale::Skip),
        Some(FileStale::Flag) => Some(OnStale::Flag),
    };
    let Some(place) = &file.version else {
        if file.stale.is_some() {
            let why = "`stale` needs `version`: where does it stand how new an event is?";
            desk.fault(&["handlers", text, "stale"], why);
        }
        return None;
    };
    if file.lane.is_none() {
        let why = "`version` compares the events of one lane: it needs `lane`";
        desk.fault(&["handlers", text, "version"], why);
    }
    match Versions::parse(place, on_stale.unwrap_or(OnStale::Flag)) {
        // Nothing is compared whose outcome nobody wants.
        Ok(versions) => on_stale.map(|_| versions),
        Err(why) => {
            desk.fault(&["handlers", text, "version"], why);
            None
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Environment};

    fn read(lines: &str) -> Result<Option<(String, OnStale)>, String> {
        let text = format!(
            "[sources.s]\nprovider = \"stripe\"\nsecrets = [{{ env = \"S\" }}]\n[handlers.h]\nfrom = \"s\"\nlog = {{}}\n{lines}"
        );
        let env = Environment::from_pairs([("S", "whsec_0123456789abcdef0123456789abcdef")]);
        match Config::read(&text, "h.toml", &env, Path::new("")) {
            Ok((config, _)) => {
                let versions = config.handlers.first().and_then(|it| it.versions.clone());
                Ok(versions.map(|it| (it.place(), it.on_stale)))
            }
            Err(faults) => Err(faults.lines().next().unwrap_or_default()),
        }
    }

    #[test]
    fn a_version_is_a_place_and_what_becomes_of_a_stale_event() {
        let lane = "lane = \"body:/id\"\nversion = \"body:/created\"";
        let place = |on_stale| Ok(Some(("body:/created".to_owned(), on_stale)));
        assert_eq!(read(""), Ok(None));
        assert_eq!(read(lane), Ok(None));
        assert_eq!(read(&format!("{lane}\nstale = \"run\"")), Ok(None));
        assert_eq!(read(&format!("{lane}\nstale = \"skip\"")), place(OnStale::Skip));
        assert_eq!(read(&format!("{lane}\nstale = \"flag\"")), place(OnStale::Flag));
    }

    #[test]
    fn what_compares_nothing_is_refused_where_it_stands() {
        for (lines, line, why) in [
            ("stale = \"skip\"", 7, "`stale` needs `version`"),
            ("version = \"body:/created\"", 7, "it needs `lane`"),
            ("lane = \"body:/id\"\nversion = \"created\"", 8, "is not a place"),
            ("lane = \"body:/id\"\nversion = \"query:v\"", 8, "the query isn't kept"),
        ] {
            let fault = read(lines).unwrap_err();
            assert!(fault.starts_with(&format!("h.toml:{line}")) && fault.contains(why), "{fault}");
        }
    }
}
