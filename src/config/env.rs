//! The process's environment: the only place that reads it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::place::{Fault, Place};
use super::tree::{Entry, Node, Value, parse_value, relocate};

/// What begins the name of a variable that sets a key, such as `HOOKONCE__SERVER__LISTEN`.
pub const PREFIX: &str = "HOOKONCE__";

/// A snapshot of environment variables, so that reading a config is a function of its arguments.
/// No `Debug`: it holds secrets.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

/// The program that this process is, also when its file was replaced or deleted since; `None` when the
/// system doesn't say.
#[cfg(target_os = "linux")]
#[must_use]
pub fn this_program() -> Option<PathBuf> {
    Some(PathBuf::from("/proc/self/exe"))
}

/// The program that this process is; `None` when the system doesn't say.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn this_program() -> Option<PathBuf> {
    std::env::current_exe().ok()
}

impl Environment {
    /// The process's variables as they are now. Names that aren't UTF-8 are passed over.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .collect(),
        )
    }

    /// These variables and no others.
    pub fn from_pairs<K: Into<String>, V: Into<OsString>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// Adds a variable, or replaces it.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    /// The variables that are named, as far as they are set.
    #[must_use]
    pub fn only<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, OsString> {
        names
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), self.0.get(name)?.clone())))
            .collect()
    }

    /// A variable's value; the error continues "environment variable X …".
    pub(crate) fn get(&self, name: &str) -> Result<String, &'static str> {
        let value = self.0.get(name).ok_or("is not set")?;
        value.to_str().map(str::to_owned).ok_or("is not UTF-8")
    }

    /// Lays `HOOKONCE__SECTION__KEY` variables over the file's tree.
    pub(crate) fn overlay(&self, tree: &mut Node, faults: &mut Vec<Fault>) {
        for (name, value) in self.0.range(PREFIX.to_owned()..) {
            let Some(path) = name.strip_prefix(PREFIX) else { break };
            let place = Place::Variable(name.clone());
            let Some(text) = value.to_str() else {
                faults.push(Fault::new(place, "its value is not UTF-8"));
                continue;
            };
            let keys: Vec<&str> = path.split("__").collect();
            if keys.iter().any(|key| key.is_empty()) {
                faults.push(Fault::new(
                    place,
                    "write HOOKONCE__SECTION__KEY, such as HOOKONCE__SERVER__LISTEN",
                ));
                continue;
            }
            let node = read(text, &place);
            if let Err(message) = set(tree, &keys, node, &place) {
                faults.push(Fault::new(place, message));
            }
        }
    }
}

/// A value as TOML when it is one, else as text. The text is kept beside it for fields that want text.
fn read(text: &str, place: &Place) -> Node {
    match parse_value(text.trim(), place) {
        Some(node) if matches!(node.value, Value::Text(_)) => node,
        Some(mut node) => {
            node.raw = Some(text.to_owned());
            node
        }
        None => Node { place: place.clone(), value: Value::Text(text.to_owned()), raw: None },
    }
}

fn set(tree: &mut Node, keys: &[&str], node: Node, place: &Place) -> Result<(), String> {
    let Some((first, rest)) = keys.split_first() else { return Ok(()) };
    let Value::Table(entries) = &mut tree.value else {
        return Err("it sets a key of something that is not a table".to_owned());
    };
    let at = find(entries, first)?;
    if rest.is_empty() {
        let entry = Entry {
            key: at.map_or_else(|| first.to_lowercase(), |at| entries[at].key.clone()),
            key_place: place.clone(),
            node,
        };
        match at {
            Some(at) => entries[at] = entry,
            None => entries.push(entry),
        }
        return Ok(());
    }
    let at = at.unwrap_or_else(|| {
        let mut table = Node::table(place.clone());
        relocate(&mut table, place);
        entries.push(Entry { key: first.to_lowercase(), key_place: place.clone(), node: table });
        entries.len() - 1
    });
    set(&mut entries[at].node, rest, node, place)
}

/// The key that a variable means: a shell's variable has neither lower case nor `-` nor `.`.
fn find(entries: &[Entry], wanted: &str) -> Result<Option<usize>, String> {
    let wanted = wanted.to_lowercase();
    if let Some(at) = entries.iter().position(|entry| entry.key == wanted) {
        return Ok(Some(at));
    }
    let folded = |key: &str| key.to_lowercase().replace(['-', '.'], "_");
    let meant: Vec<usize> =
        (0..entries.len()).filter(|at| folded(&entries[*at].key) == folded(&wanted)).collect();
    match meant.as_slice() {
        [] => Ok(None),
        [at] => Ok(Some(*at)),
        [first, second, ..] => Err(format!(
            "it could mean `{}` or `{}`; set this key in the file",
            entries[*first].key, entries[*second].key
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree::parse;

    fn overlaid(file: &str, pairs: &[(&str, &str)]) -> (Node, Vec<Fault>) {
        let (mut tree, mut faults) = parse(file);
        Environment::from_pairs(pairs.iter().copied()).overlay(&mut tree, &mut faults);
        (tree, faults)
    }

    #[test]
    fn a_variable_replaces_a_key_and_makes_the_tables_on_its_way() {
        let (tree, faults) = overlaid(
            "[server]\nlisten = \"127.0.0.1:1\"\n[sources.gitlab-token]\n",
            &[
                ("HOOKONCE__SERVER__LISTEN", "127.0.0.1:2"),
                ("HOOKONCE__SOURCES__GITLAB_TOKEN__TOLERANCE", "5m"),
                ("HOOKONCE__CLEANUP__BATCH", "7"),
                ("HOOKONCE__SERVER__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
                ("HOOKONCE_ADMIN_TOKEN", "not ours"),
            ],
        );
        assert!(faults.is_empty());
        let text = |path: &[&str]| tree.at(path).and_then(Node::text);
        assert_eq!(text(&["server", "listen"]), Some("127.0.0.1:2"));
        assert_eq!(text(&["sources", "gitlab-token", "tolerance"]), Some("5m"));
        assert_eq!(text(&["server", "trusted_proxies", "0"]), Some("10.0.0.0/8"));
        assert!(matches!(tree.at(&["cleanup", "batch"]).unwrap().value, Value::Integer(7)));
        assert!(tree.get("admin_token").is_none());
    }

    #[test]
    fn a_variable_that_sets_nothing_sensible_is_named() {
        let (_, faults) = overlaid(
            "[server]\nlisten = \"x\"\n[sources.a-b]\n[sources.\"a.b\"]\n",
            &[
                ("HOOKONCE__SERVER__LISTEN__PORT", "1"),
                ("HOOKONCE__SOURCES__A_B__PATH", "/x"),
                ("HOOKONCE__SERVER____X", "1"),
            ],
        );
        let lines: Vec<_> = faults.iter().map(|fault| fault.line("f")).collect();
        assert_eq!(
            lines,
            [
                "HOOKONCE__SERVER__LISTEN__PORT: it sets a key of something that is not a table",
                "HOOKONCE__SERVER____X: write HOOKONCE__SECTION__KEY, such as HOOKONCE__SERVER__LISTEN",
                "HOOKONCE__SOURCES__A_B__PATH: it could mean `a-b` or `a.b`; set this key in the file",
            ]
        );
    }
}
