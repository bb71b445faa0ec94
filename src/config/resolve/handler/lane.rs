//! `lane` and `on_dead`.

use crate::config::desk::Desk;
use crate::config::file::{FileHandler, FileOnDead};
use crate::handler::lane::Lane;

/// Reads how a handler's deliveries are put into lanes.
pub(super) fn lane(desk: &mut Desk<'_>, text: &str, file: &FileHandler) -> Option<Lane> {
    let Some(place) = &file.lane else {
        if file.on_dead.is_some() {
            desk.fault(
                &["handlers", text, "on_dead"],
                "`on_dead` says what a dead delivery does to its lane: it needs `lane`",
            );
        }
        return None;
    };
    match Lane::parse(place, file.on_dead == Some(FileOnDead::Skip)) {
        Ok(lane) => Some(lane),
        Err(why) => {
            desk.fault(&["handlers", text, "lane"], why);
            None
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, Environment};

    fn read(lines: &str) -> Result<Option<(String, bool)>, String> {
        let text = format!(
            "[sources.s]\nprovider = \"stripe\"\nsecrets = [{{ env = \"S\" }}]\n[handlers.h]\nfrom = \"s\"\nlog = {{}}\n{lines}"
        );
        let env = Environment::from_pairs([("S", "whsec_0123456789abcdef0123456789abcdef")]);
        match Config::read(&text, "h.toml", &env, Path::new("")) {
            Ok((config, _)) => {
                let lane = config.handlers.first().and_then(|it| it.lane.clone());
                Ok(lane.map(|lane| (lane.place(), lane.skip_dead)))
            }
            Err(faults) => Err(faults.lines().next().unwrap_or_default()),
        }
    }

    #[test]
    fn a_lane_is_a_place_and_what_a_dead_one_does_to_it() {
        assert_eq!(read(""), Ok(None));
        let place = |place: &str, skip| Ok(Some((place.to_owned(), skip)));
        assert_eq!(read("lane = \"body:/a/b\""), place("body:/a/b", false));
        assert_eq!(read("lane = \"header:X-A\"\non_dead = \"skip\""), place("header:x-a", true));
    }

    #[test]
    fn what_makes_no_lane_is_refused_where_it_stands() {
        let fault = read("lane = \"asset_id\"").unwrap_err();
        assert!(fault.starts_with("h.toml:7") && fault.contains("is not a place"), "{fault}");
        let fault = read("on_dead = \"skip\"").unwrap_err();
        assert!(fault.starts_with("h.toml:7") && fault.contains("needs `lane`"), "{fault}");
    }
}
