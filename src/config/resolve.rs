//! From what the file may say to what the program uses: every default is decided here, once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::desk::Desk;
use super::file::{
    File, FileAdmin, FileCleanup, FileDatabase, FileMigrate, FileRetention, FileServer,
};
use super::value::{Bytes, Schedule, Text, Window};
use super::{Config, check};
use crate::http::{AdminSettings, ServerSettings};
use crate::intake::IntakeSettings;
use crate::secret::Secret;
use crate::source::MAX_BODY;
use crate::store::{Migrate, Retention, StoreSettings};
use crate::telemetry::{self, TelemetrySettings};
use crate::upkeep::CleanupSettings;

mod database_url;
mod gateway;
pub(super) mod handler;
mod respond;
pub(super) mod source;

use source::Draft;

/// The public listener, unless the file says otherwise.
const SERVER_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);
/// The admin listener, unless the file says otherwise.
const ADMIN_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 8081);
const DATABASE_URL: &str = "sqlite://hookonce.db";
const MAX_INFLIGHT: usize = 256 << 20;
/// How many events may wait for the database. A batch takes what waits, so this is seconds of load.
const QUEUE_EVENTS: usize = 4096;
const DAY: Duration = Duration::from_secs(24 * 3600);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How long an event's id is remembered, unless a provider retries for longer.
const KEYS_DAYS: u32 = 35;

/// Makes the program's config of the file's; what is wrong is left on the desk.
pub(crate) fn config(desk: &mut Desk<'_>, file: &File) -> Config {
    let server = server(desk, &file.server);
    let max_body = file.server.max_body.map_or(MAX_BODY, |Text(Bytes(bytes))| bytes);
    let public_url = public_url(desk, &file.server);
    let admin = admin(desk, &file.admin);
    let intake = IntakeSettings {
        queue_events: QUEUE_EVENTS,
        queue_bytes: server.max_inflight,
        ack_deadline: server.ack_deadline,
    };
    let drafts: BTreeMap<&str, Draft> = file
        .sources
        .iter()
        .filter_map(|(name, written)| {
            let around = source::Around { max_body, public_url: public_url.as_deref() };
            Some((name.as_str(), source::draft(desk, name, written, &around)?))
        })
        .collect();
    let store = store(desk, &file.database);
    let databases = handler::sql::Databases::read(desk, &store.url, &file.databases);
    let mut handlers = Vec::new();
    for (name, written) in &file.handlers {
        handlers.extend(handler::settings(desk, name, written, &file.sources, &databases));
    }
    let mut gateways = Vec::new();
    for (name, written) in &file.gateways {
        gateways.extend(gateway::settings(desk, name, written, &server, max_body));
    }
    let config = Config {
        store,
        databases: databases.settings(),
        cleanup: cleanup(desk, &file.cleanup),
        retention: retention(desk, &file.retention, &drafts),
        telemetry: telemetry_settings(desk, file.telemetry.log.as_deref()),
        sources: drafts.values().map(|draft| draft.settings.clone()).collect(),
        server,
        admin,
        intake,
        handlers,
        gateways,
    };
    respond::faults(desk, &config.sources, &config.handlers);
    check::all(desk, &config, &drafts);
    config
}

fn server(desk: &mut Desk<'_>, file: &FileServer) -> ServerSettings {
    let bytes = |text: Option<Text<Bytes>>, usual| text.map_or(usual, |Text(Bytes(bytes))| bytes);
    let max_body = bytes(file.max_body, MAX_BODY);
    if max_body == 0 {
        desk.fault(&["server", "max_body"], "`max_body` must be over 0");
    }
    let span = |span: Option<Text<Duration>>, usual| span.map_or(usual, |Text(span)| span);
    let body_timeout = span(file.body_timeout, ms(10_000));
    let ack_deadline = span(file.ack_deadline, ms(2_500));
    ServerSettings {
        listen: file.listen.map_or(SERVER_LISTEN.into(), |Text(listen)| listen),
        trusted_proxies: file
            .trusted_proxies
            .iter()
            .flatten()
            .map(|Text(network)| *network)
            .collect(),
        max_inflight: bytes(file.max_inflight, MAX_INFLIGHT),
        body_timeout: desk.at_least(&["server", "body_timeout"], body_timeout, ms(100)),
        ack_deadline: desk.at_least(&["server", "ack_deadline"], ack_deadline, ms(100)),
        drain: span(file.drain, Duration::ZERO),
        grace: span(file.grace, Duration::from_secs(20)),
    }
}

/// The public URL without a slash at its end, so that a path can follow.
fn public_url(desk: &mut Desk<'_>, file: &FileServer) -> Option<String> {
    let Text(url) = file.public_url.as_ref()?;
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        desk.fault(
            &["server", "public_url"],
            "`public_url` is scheme, host and perhaps a path: no query, fragment or user",
        );
    }
    Some(url.as_str().trim_end_matches('/').to_owned())
}

fn admin(desk: &mut Desk<'_>, file: &FileAdmin) -> AdminSettings {
    let listen = file.listen.map_or(ADMIN_LISTEN.into(), |Text(listen)| listen);
    if !listen.ip().is_loopback() && file.token.is_none() {
        desk.fault(
            &["admin", "listen"],
            format!(
                "{listen} can be reached from other machines: set `token = {{ env = \"HOOKONCE_ADMIN_TOKEN\" }}`, or listen on 127.0.0.1"
            ),
        );
    }
    let token = file.token.as_ref().and_then(|token| desk.token(&["admin", "token"], token));
    for (at, host) in file.hosts.iter().flatten().enumerate() {
        if host.is_empty() || host.contains(['/', ' ', '@']) {
            desk.fault(
                &["admin", "hosts", &at.to_string()],
                "a host is a name such as \"hooks.internal\", without scheme or path",
            );
        }
    }
    AdminSettings { listen, token, hosts: file.hosts.clone().unwrap_or_default() }
}

fn store(desk: &mut Desk<'_>, file: &FileDatabase) -> StoreSettings {
    let path = ["database", "url"];
    let written = match &file.url {
        Some(url) => desk.text(&path, url),
        None => Some(Secret::new(DATABASE_URL.to_owned())),
    };
    let url = written.and_then(|url| match database_url::resolve(url.expose(), desk.dir) {
        Ok(url) => Some(url),
        Err(why) => {
            desk.fault(&path, why);
            None
        }
    });
    let connections = file.connections.unwrap_or(10);
    let statement_timeout = file.statement_timeout.map_or(ms(30_000), |Text(span)| span);
    let on_postgres = url.as_ref().is_none_or(|url| url.starts_with("postgres"));
    if file.partition_bodies && !on_postgres {
        desk.fault(
            &["database", "partition_bodies"],
            "only PostgreSQL keeps tables by the day: remove it, or set a postgres:// URL",
        );
    }
    StoreSettings {
        // Without a URL there is a fault, and this value is never used.
        url: url.unwrap_or_default(),
        migrate: match file.migrate.unwrap_or(FileMigrate::Auto) {
            FileMigrate::Auto => Migrate::Auto,
            FileMigrate::Check => Migrate::Check,
            FileMigrate::Off => Migrate::Off,
        },
        connections: desk.within(&["database", "connections"], connections, 2..=1000),
        statement_timeout: desk.at_least(
            &["database", "statement_timeout"],
            statement_timeout,
            ms(1_000),
        ),
        partition_bodies: file.partition_bodies,
    }
}

fn cleanup(desk: &mut Desk<'_>, file: &FileCleanup) -> CleanupSettings {
    let batch = file.batch.unwrap_or(1000);
    let max_run = file.max_run.map_or(ms(300_000), |Text(span)| span);
    CleanupSettings {
        schedule: file
            .schedule
            .as_ref()
            .map_or_else(|| "0 */5 * * * *".to_owned(), |Text(Schedule(six))| six.clone()),
        batch: desk.within(&["cleanup", "batch"], batch, 1..=10_000),
        pause: file.pause.map_or(ms(50), |Text(span)| span),
        max_run: desk.at_least(&["cleanup", "max_run"], max_run, ms(1_000)),
        window: file.window.map(|Text(Window(from, to))| (from, to)),
    }
}

fn retention(
    desk: &mut Desk<'_>,
    file: &FileRetention,
    drafts: &BTreeMap<&str, Draft>,
) -> Retention {
    // Who is sent an event again for longer than we keep ids runs it twice.
    let horizons =
        drafts.values().filter_map(|draft| draft.settings.spec.retries.as_ref()?.horizon);
    let longest = horizons.map(|horizon| horizon.0 + DAY).max().unwrap_or_default();
    let keys = file.keys.or_else(|| (longest > DAY * KEYS_DAYS).then_some(Text(longest)));
    let mut days = |key: &str, span: Option<Text<Duration>>, usual: u32| {
        let span = span.map_or(DAY * usual, |Text(span)| span);
        desk.at_least(&["retention", key], span, ms(1_000))
    };
    Retention {
        keys: days("keys", keys, KEYS_DAYS),
        bodies: days("bodies", file.bodies, 30),
        dead: days("dead", file.dead, 90),
        rejections: days("rejections", file.rejections, 7),
    }
}

fn telemetry_settings(desk: &mut Desk<'_>, log: Option<&str>) -> TelemetrySettings {
    let log = log.unwrap_or("info");
    if let Err(why) = telemetry::check_filter(log) {
        desk.fault(&["telemetry", "log"], why.to_string());
    }
    TelemetrySettings { log: log.to_owned(), format: None, color: None }
}
