//! What the file may say. Every field is optional here; [`super::resolve`] decides what is used.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use self::broker::{FileAmqp, FileKafka, FileNats, FileRedis};
use super::secrets::{FileSecret, TextOrSecret};
use super::value::{Bytes, Names, Pace, PerSecond, Schedule, Span, Text, Waits, Window};
use crate::source::{OnIdConflict, OnReplay};

pub(crate) mod broker;
pub(crate) mod gateway;

/// hookonce.toml: what hookonce listens to, what it accepts, and where events go.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "hookonce.toml")]
pub(crate) struct File {
    pub(crate) server: FileServer,
    pub(crate) admin: FileAdmin,
    pub(crate) database: FileDatabase,
    pub(crate) cleanup: FileCleanup,
    pub(crate) retention: FileRetention,
    /// Configured origins, by name.
    pub(crate) sources: BTreeMap<String, FileSource>,
    /// Where events go, by name.
    pub(crate) handlers: BTreeMap<String, FileHandler>,
    /// Other databases that handlers may write to, by name.
    pub(crate) databases: BTreeMap<String, FileElsewhere>,
    /// Idempotency-Key in front of any API, by name.
    pub(crate) gateways: BTreeMap<String, gateway::FileGateway>,
    pub(crate) telemetry: FileTelemetry,
}

/// The public listener: webhooks and gateways only.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FileServer {
    /// Where it listens. Default 127.0.0.1:8080.
    pub(crate) listen: Option<Text<SocketAddr>>,
    /// The URL under which providers reach it; needed by schemes that sign the URL.
    pub(crate) public_url: Option<Text<Url>>,
    /// Proxies whose X-Forwarded-For is believed. Default none.
    pub(crate) trusted_proxies: Option<Vec<Text<IpNet>>>,
    /// The largest body, unless a source or its preset says otherwise. Default 8 MiB.
    pub(crate) max_body: Option<Text<Bytes>>,
    /// Bytes of bodies held at once; beyond it 503. Default 256 MiB.
    pub(crate) max_inflight: Option<Text<Bytes>>,
    /// For the whole body to arrive. Default 10s.
    pub(crate) body_timeout: Option<Span>,
    /// From the whole body to the answer. Default 2.5s.
    pub(crate) ack_deadline: Option<Span>,
    /// At shutdown: how long readiness says 503 before the listener closes. Default 0s.
    pub(crate) drain: Option<Span>,
    /// At shutdown: how long running handlers may take before they are cut off. Default 20s.
    pub(crate) grace: Option<Span>,
}

/// The admin listener: API, metrics, probes.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FileAdmin {
    /// Where it listens. Default 127.0.0.1:8081.
    pub(crate) listen: Option<Text<SocketAddr>>,
    /// Required unless it listens on loopback.
    pub(crate) token: Option<FileSecret>,
    /// Host names that a request may name, beside loopback's and the listener's own.
    pub(crate) hosts: Option<Vec<String>>,
}

/// Where the tables are.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FileDatabase {
    /// `postgres://…` or `sqlite://…`, or where to read it. Default sqlite://hookonce.db.
    pub(crate) url: Option<TextOrSecret>,
    /// What to do with migrations when opening. Default auto.
    pub(crate) migrate: Option<FileMigrate>,
    /// Connections for workers, upkeep and admin (PostgreSQL), or readers (SQLite). Default 10.
    pub(crate) connections: Option<u32>,
    /// How long one statement may run on the server. Default 30s.
    pub(crate) statement_timeout: Option<Span>,
    /// Keeps bodies and attempts in a table for each day, which cleanup drops as a whole (PostgreSQL). Default false.
    pub(crate) partition_bodies: bool,
}

/// What to do with migrations when opening.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileMigrate {
    /// Apply what is missing, guarded against two replicas.
    Auto,
    /// Refuse to start when something is missing.
    Check,
    /// Don't look.
    Off,
}

/// When and how expired rows are deleted.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FileCleanup {
    /// Cron in UTC, with or without seconds, or @hourly and the like. Default every five minutes.
    pub(crate) schedule: Option<Text<Schedule>>,
    /// Rows a statement. Default 1000.
    pub(crate) batch: Option<u32>,
    /// Between batches. Default 50ms.
    pub(crate) pause: Option<Span>,
    /// A run stops after this; the next goes on. Default 5m.
    pub(crate) max_run: Option<Span>,
    /// Only between these times of day, UTC. Default always.
    pub(crate) window: Option<Text<Window>>,
}

/// How long each kind of row lives.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FileRetention {
    /// How long an event's id is remembered. Default 35d, or a day more than the longest time over
    /// which a source's provider retries.
    pub(crate) keys: Option<Span>,
    /// How long bodies are kept; longer while a delivery is open or dead. Default 30d.
    pub(crate) bodies: Option<Span>,
    /// How long an event with a dead delivery stays. Default 90d.
    pub(crate) dead: Option<Span>,
    /// How long refused requests are kept. Default 7d.
    pub(crate) rejections: Option<Span>,
}

/// A configured origin. `verify`, `event` and the other words of a preset may stand here too.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FileSource {
    /// The preset's name; `hookonce provider list` shows them.
    pub(crate) provider: Option<String>,
    /// Any may match, so that a secret can be rotated.
    pub(crate) secrets: Option<Vec<FileSecret>>,
    /// How old a signature may be. Default the preset's.
    pub(crate) tolerance: Option<Span>,
    /// Where it listens. Default /in/<name>.
    pub(crate) path: Option<String>,
    /// The URL that is registered with the provider, byte for byte, for schemes that sign it.
    /// Default the server's public_url and the path.
    pub(crate) public_url: Option<Text<Url>>,
    /// Values that the preset asks for beside the secrets; `hookonce provider show` lists them.
    pub(crate) params: Option<BTreeMap<String, TextOrSecret>>,
    /// What to do when an id comes again with another body. Default flag.
    pub(crate) on_id_conflict: Option<OnIdConflict>,
    /// What to do when signed bytes come again under another id. Default flag; only for sources whose
    /// signature covers something of the body and not the id.
    pub(crate) on_replay: Option<OnReplay>,
    /// Sources with the same group share ids. Default the source's own name.
    pub(crate) dedupe_group: Option<String>,
    /// Senders allowed. Default all.
    pub(crate) allow_ips: Option<Vec<Text<IpNet>>>,
    /// Failed verifications allowed a second. Default no limit.
    pub(crate) rate_limit: Option<Text<PerSecond>>,
    /// Sources that may have the same secret.
    pub(crate) secrets_shared_with: Option<Names>,
    /// Answers with what this handler says, if it says it in time; else with the usual ack.
    pub(crate) respond: Option<FileRespond>,
}

/// A handler that answers for its source.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table such as { handler = \"slash\", deadline = \"2.5s\" }"
)]
pub(crate) struct FileRespond {
    /// Its name. Required.
    pub(crate) handler: Option<String>,
    /// How long the sender waits, from the whole body. Default 2.5s.
    pub(crate) deadline: Option<Span>,
}

/// Where events go: exactly one of http, exec, sql, amqp, kafka, nats, redis and log.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FileHandler {
    /// A source, or a list of them.
    pub(crate) from: Option<Names>,
    /// Event types; `*` matches any run of characters. Default all.
    pub(crate) events: Option<Names>,
    /// CEL over `event`, `headers` and `body`: which events it gets. Default all.
    pub(crate) when: Option<String>,
    /// jq over the body: what it gets in the body's place. Default the body as it came.
    pub(crate) transform: Option<String>,
    /// Calls an HTTP endpoint.
    pub(crate) http: Option<FileHttp>,
    /// Runs a program.
    pub(crate) exec: Option<FileExec>,
    /// Writes a line to the log.
    pub(crate) log: Option<FileLog>,
    /// Runs statements in a database, exactly once.
    pub(crate) sql: Option<FileSql>,
    /// Publishes a message that RabbitMQ confirms.
    pub(crate) amqp: Option<FileAmqp>,
    /// Publishes a record of a Kafka topic; in builds with the feature `kafka`.
    pub(crate) kafka: Option<FileKafka>,
    /// Publishes a message that a NATS stream keeps.
    pub(crate) nats: Option<FileNats>,
    /// Adds an entry to a Redis stream.
    pub(crate) redis: Option<FileRedis>,
    /// How long one call may take. Default 10s.
    pub(crate) timeout: Option<Span>,
    /// How many calls at once, on this replica. Default 16.
    pub(crate) concurrency: Option<u16>,
    /// When to try again. Default for 3d, 10s to 1h.
    pub(crate) retry: Option<FileRetry>,
    /// HTTP statuses that make a delivery dead at once. Default 400, 413, 415, 422.
    pub(crate) dead_on: Option<Vec<u16>>,
    /// How long a claim holds without renewal; renewed every third of it. Default 30s.
    pub(crate) lease: Option<Span>,
    /// Where the name of an event's lane stands, such as `body:/data/object/id`: of one lane the next
    /// delivery never begins before the one before it is final. Default no lanes.
    pub(crate) lane: Option<String>,
    /// What a dead delivery does to its lane. Default block.
    pub(crate) on_dead: Option<FileOnDead>,
    /// Where an event's version stands, such as `body:/created`: a number, or a time as RFC 3339 has it. Needs
    /// `lane`. Default none.
    pub(crate) version: Option<String>,
    /// What becomes of an event when a newer one of its lane was delivered before. Default run.
    pub(crate) stale: Option<FileStale>,
    /// How many calls may begin in a time, on each replica, such as "50/s" or "10/m". Default no limit.
    pub(crate) rate: Option<Text<Pace>>,
    /// Pauses the queue while the handler fails. Default off.
    pub(crate) breaker: Option<FileBreaker>,
    /// HTTP statuses, or exit codes, that pause the handler until somebody resumes it. Default none.
    pub(crate) pause_on: Vec<i32>,
    /// What to do when nobody knows how a try ended, as after a crash. Default retry.
    pub(crate) on_unknown: Option<FileOnUnknown>,
}

/// When a handler's queue is paused because it fails.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table such as { failures = 20, pause = \"1m\" }"
)]
pub(crate) struct FileBreaker {
    /// One after the other, on one replica. Default 20.
    pub(crate) failures: Option<u32>,
    /// How long the queue rests before one call tries again. Default 1m.
    pub(crate) pause: Option<Span>,
}

/// What to do when nobody knows how a try ended.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileOnUnknown {
    /// Try again.
    Retry,
    /// A dead letter, for a person to decide.
    Park,
}

/// What a dead delivery does to its lane.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileOnDead {
    /// The lane waits until somebody retries or discards it.
    Block,
    /// The lane goes on.
    Skip,
}

/// What becomes of a stale event.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileStale {
    /// The handler is called as for any other.
    Run,
    /// The handler isn't called.
    Skip,
    /// The handler is called, and told.
    Flag,
}

/// An HTTP endpoint of the operator's.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table such as { url = \"https://…\" }")]
pub(crate) struct FileHttp {
    /// Where to. Required.
    pub(crate) url: Option<Text<Url>>,
    /// Added to each call; a text, or { env = … } or { file = … }.
    pub(crate) headers: BTreeMap<String, TextOrSecret>,
    /// Signs each call by Standard Webhooks; `whsec_…`.
    pub(crate) sign: Option<FileSecret>,
    /// Refuse to connect to private addresses. Default false.
    pub(crate) deny_private: bool,
}

/// A program of the operator's.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table such as { command = [\"/path/program\"] }"
)]
pub(crate) struct FileExec {
    /// Program and arguments; no shell. Required.
    pub(crate) command: Option<Vec<String>>,
    /// Environment variables passed on by name.
    pub(crate) env: Vec<String>,
}

/// Statements that run in one transaction.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table such as { statements = [\"insert …\"] }"
)]
pub(crate) struct FileSql {
    /// Each with places such as `:event.id` and `:body.data.amount`. Required.
    pub(crate) statements: Option<Vec<String>>,
    /// One of `[databases]`. Default our own.
    pub(crate) database: Option<String>,
}

/// Another database.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table such as { url = { env = \"NAME\" } }")]
pub(crate) struct FileElsewhere {
    /// `postgres://…` or `sqlite://…`, or where to read it. Required.
    pub(crate) url: Option<TextOrSecret>,
}

/// The log handler has no settings.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "an empty table: `log = {}`")]
pub(crate) struct FileLog {}

/// When to try again.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table such as { for = \"3d\", backoff = \"10s..1h\" }"
)]
pub(crate) struct FileRetry {
    /// Give up when the next try would begin later than this after the first. Not with attempts.
    pub(crate) r#for: Option<Span>,
    /// Give up after this many tries. Not with for.
    pub(crate) attempts: Option<u32>,
    /// "10s..1h" (exponential, full jitter), or a list of waits.
    pub(crate) backoff: Option<Waits>,
}

/// What is told about itself.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FileTelemetry {
    /// Which lines are logged, such as `info` or `info,hookonce::worker=debug`. Default info.
    pub(crate) log: Option<String>,
}
