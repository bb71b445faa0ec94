//! `sql` of a handler, and the databases that it may name.

use std::collections::BTreeMap;
use std::time::Duration;

use entity::Name;

use crate::config::DatabaseSettings;
use crate::config::desk::Desk;
use crate::config::file::{FileElsewhere, FileSql};
use crate::config::place::did_you_mean;
use crate::config::resolve::database_url;
use crate::handler::{Kind, SqlSettings};
use crate::secret::Secret;
use crate::statement::{Dialect, Script};

/// A lease outlives the transaction that settles its delivery by this much.
const LEASE_MARGIN: Duration = Duration::from_secs(2);

/// What statements may run in.
pub(crate) struct Databases {
    /// Our own one's.
    pub(crate) own: Dialect,
    /// Those that could be read, by name.
    pub(crate) others: BTreeMap<String, DatabaseSettings>,
    /// All names that are written.
    pub(crate) names: Vec<String>,
}

impl Databases {
    /// Reads `[databases]`.
    pub(crate) fn read(
        desk: &mut Desk<'_>,
        own_url: &str,
        files: &BTreeMap<String, FileElsewhere>,
    ) -> Self {
        let mut others = BTreeMap::new();
        for (text, file) in files {
            let name = desk.name(&["databases", text], text);
            let path = ["databases", text, "url"];
            let Some(written) = &file.url else {
                if !desk.has_faults_under(&["databases", text]) {
                    desk.fault(
                        &["databases", text],
                        format!(
                            "`{text}` has no `url`: write `url = {{ env = \"NAME\" }}`, or a file"
                        ),
                    );
                }
                continue;
            };
            let Some(url) = desk.text(&path, written) else { continue };
            match database_url::resolve(url.expose(), desk.dir) {
                Ok(url) => {
                    if let Some(name) = name {
                        let url = Secret::new(url);
                        others.insert(text.clone(), DatabaseSettings { name, url });
                    }
                }
                Err(why) => desk.fault(&path, why),
            }
        }
        Self { own: Dialect::of_url(own_url), others, names: files.keys().cloned().collect() }
    }

    /// Those that could be read.
    pub(crate) fn settings(self) -> Vec<DatabaseSettings> {
        self.others.into_values().collect()
    }
}

/// Reads a handler's `sql`.
pub(super) fn kind(
    desk: &mut Desk<'_>,
    text: &str,
    file: &FileSql,
    databases: &Databases,
) -> Option<Kind> {
    let path = ["handlers", text, "sql", "statements"];
    let written = file.statements.clone().unwrap_or_default();
    if written.is_empty() {
        if !desk.has_faults_under(&["handlers", text, "sql"]) {
            desk.fault(
                &["handlers", text, "sql"],
                "`statements` is missing: what is to be run for an event?",
            );
        }
        return None;
    }
    let (database, dialect) = match &file.database {
        None => (None, databases.own),
        Some(name) => {
            let (name, dialect) = other(desk, text, name, databases)?;
            (Some(name), dialect)
        }
    };
    let places = (0..written.len())
        .map(|at| desk.tree.place_of(&["handlers", text, "sql", "statements", &at.to_string()]))
        .map(|place| match place {
            crate::config::Place::Text { line, column } => format!("{line}:{column}"),
            crate::config::Place::Variable(name) => name,
            _ => String::new(),
        })
        .collect();
    match Script::read(&written, dialect) {
        Ok(script) => Some(Kind::Sql(SqlSettings { script, written, places, database })),
        Err(faults) => {
            for (at, why) in faults {
                let at = at.to_string();
                desk.fault(&[path[0], path[1], path[2], path[3], &at], why);
            }
            None
        }
    }
}

fn other(
    desk: &mut Desk<'_>,
    text: &str,
    name: &str,
    databases: &Databases,
) -> Option<(Name, Dialect)> {
    if let Some(found) = databases.others.get(name) {
        return Some((found.name.clone(), Dialect::of_url(found.url.expose())));
    }
    // One that is written and can't be read was reported where it stands.
    if !databases.names.iter().any(|other| other == name) {
        let near = did_you_mean(name, databases.names.iter().map(String::as_str));
        desk.fault(
            &["handlers", text, "sql", "database"],
            format!("there is no `[databases.{name}]`{near}; without `database` it is our own"),
        );
    }
    None
}

/// The lease of a handler whose deliveries are settled in its own transaction, during which no lease is
/// renewed: it must be longer than that may take.
pub(super) fn lease(
    desk: &mut Desk<'_>,
    text: &str,
    kind: Option<&Kind>,
    timeout: Duration,
    lease: Duration,
) -> Duration {
    let own = matches!(kind, Some(Kind::Sql(sql)) if sql.database.is_none());
    let least = timeout.saturating_add(LEASE_MARGIN);
    if !own || lease >= least {
        return lease;
    }
    if desk.is_written(&["handlers", text, "lease"]) {
        desk.fault(
            &["handlers", text, "lease"],
            format!(
                "with `sql` a lease is not renewed while the statements run: make it at least {}, two seconds over `timeout`",
                humantime::format_duration(least)
            ),
        );
    }
    least
}
