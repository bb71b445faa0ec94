//! Cleanup without a daemon: a procedure that runs our own statements inside PostgreSQL, for pg_cron.

use std::str::FromStr;
use std::time::Duration;

use chrono::NaiveTime;
use entity::Name;
use sqlx::postgres::PgConnectOptions;

use super::cleanup::postgres::{
    FIRST_EXPIRED, SWEEP_BODIES_POSTGRES, SWEEP_EVENTS_POSTGRES, SWEEP_REJECTIONS,
};
use super::idempotency::sweep::SWEEP_KEYS_POSTGRES;
use super::rejection::{RING_BYTES_MAX, TRIM_POSTGRES};
use super::row::seconds;
use super::upkeep_run::{
    BEGIN_POSTGRES, FINISH_POSTGRES, FORGET_POSTGRES, LOSE_POSTGRES, RENEW_POSTGRES,
    WITHDRAW_POSTGRES,
};
use super::{Retention, StoreSettings};

/// The procedure and the job. The statements are put where their names stand in braces, so that what
/// pg_cron runs can't differ from what a daemon runs.
const TEMPLATE: &str = include_str!("sql/pg_cron.postgres.sql");

/// What the printed procedure works by.
#[derive(Debug, Clone)]
pub struct PgCron<'a> {
    /// When it runs: cron of five fields, as pg_cron reads it.
    pub schedule: &'a str,
    /// Rows a statement.
    pub batch: u32,
    /// Between batches.
    pub pause: Duration,
    /// A run stops after this; the next goes on.
    pub max_run: Duration,
    /// Only between these times of day, UTC; may span midnight.
    pub window: Option<(NaiveTime, NaiveTime)>,
    /// What has expired.
    pub retention: Retention,
    /// The sources whose rings of rejections are trimmed.
    pub sources: &'a [Name],
}

/// The database is not one that pg_cron runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("pg_cron runs inside PostgreSQL, and `database.url` is not a PostgreSQL URL")]
pub struct NotPostgres;

impl PgCron<'_> {
    /// The SQL that makes a procedure `hookonce_cleanup` and lets pg_cron call it. Connects to nothing.
    pub fn script(&self, settings: &StoreSettings) -> Result<String, NotPostgres> {
        let database = database(settings)?;
        let (from, until) = match self.window {
            Some((from, until)) => (literal(&from.to_string()), literal(&until.to_string())),
            None => ("NULL".to_owned(), "NULL".to_owned()),
        };
        let sources: Vec<String> = self.sources.iter().map(|it| literal(it.as_str())).collect();
        let values = [
            ("batch", self.batch.max(1).to_string()),
            ("pause", seconds(self.pause).to_string()),
            ("max_run", seconds(self.max_run).to_string()),
            ("dead", seconds(self.retention.dead).to_string()),
            ("rejections", seconds(self.retention.rejections).to_string()),
            ("ring_bytes", RING_BYTES_MAX.to_string()),
            ("sources", sources.join(", ")),
            ("window_from", from),
            ("window_until", until),
            ("schedule", literal(self.schedule)),
            ("database", literal(&database)),
            ("lose", LOSE_POSTGRES.to_owned()),
            ("forget", FORGET_POSTGRES.to_owned()),
            ("begin", BEGIN_POSTGRES.to_owned()),
            ("withdraw", WITHDRAW_POSTGRES.to_owned()),
            ("renew", RENEW_POSTGRES.to_owned()),
            ("finish", FINISH_POSTGRES.to_owned()),
            ("trim", TRIM_POSTGRES.to_owned()),
            ("sweep_events", SWEEP_EVENTS_POSTGRES.to_owned()),
            ("sweep_bodies", SWEEP_BODIES_POSTGRES.to_owned()),
            ("sweep_rejections", SWEEP_REJECTIONS.to_owned()),
            ("sweep_keys", SWEEP_KEYS_POSTGRES.to_owned()),
            ("first_expired", FIRST_EXPIRED.to_owned()),
        ];
        Ok(fill(TEMPLATE, &values))
    }
}

/// Puts each value where its name stands in braces; one pass, so that a value is never read as a template.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut text = String::with_capacity(template.len() * 3);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let value = after.split_once('}').and_then(|(name, after)| {
            values.iter().find(|(known, _)| *known == name).map(|(_, value)| (value, after))
        });
        rest = match value {
            Some((value, after)) => {
                text.push_str(value);
                after
            }
            None => {
                text.push('{');
                after
            }
        };
    }
    text.push_str(rest);
    text
}

/// The name of the database that a URL means; without one it is the user's, as everywhere in PostgreSQL.
fn database(settings: &StoreSettings) -> Result<String, NotPostgres> {
    if !settings.url.starts_with("postgres") {
        return Err(NotPostgres);
    }
    let options = PgConnectOptions::from_str(&settings.url).map_err(|_| NotPostgres)?;
    Ok(options.get_database().unwrap_or_else(|| options.get_username()).to_owned())
}

/// A string constant. What stands in it means the same whatever the server's settings are.
fn literal(text: &str) -> String {
    if text.contains('\\') {
        return format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"));
    }
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_in_the_template_has_its_value() {
        let cron = PgCron {
            schedule: "*/5 * * * *",
            batch: 1000,
            pause: Duration::from_millis(50),
            max_run: Duration::from_secs(300),
            window: None,
            retention: Retention {
                keys: Duration::from_secs(1),
                bodies: Duration::from_secs(1),
                dead: Duration::from_secs(90),
                rejections: Duration::from_secs(7),
            },
            sources: &[],
        };
        let settings = StoreSettings {
            url: "postgres://me@db/it's".to_owned(),
            migrate: crate::store::Migrate::Off,
            connections: 2,
            statement_timeout: Duration::from_secs(1),
            partition_bodies: false,
        };
        let script = cron.script(&settings).expect("PostgreSQL");
        assert!(!script.contains(['{', '}']), "{script}");
        assert!(script.contains("pause          constant float8      := 0.05;"), "{script}");
        assert!(script.contains("'*/5 * * * *', 'CALL hookonce_cleanup()', 'it''s'"), "{script}");
        let sqlite = StoreSettings { url: "sqlite://h.db".to_owned(), ..settings };
        assert_eq!(cron.script(&sqlite), Err(NotPostgres));
    }

    #[test]
    fn a_literal_can_not_be_left() {
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
    }
}
