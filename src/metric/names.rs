//! The names of all figures. Dashboards depend on them: a name is never changed, only added.

use metrics::Unit;

/// Requests by source and outcome.
pub const INTAKE: &str = "hookonce_intake_total";
/// Events by source and outcome.
pub const EVENTS: &str = "hookonce_events_total";
/// Events whose signed bytes came before under another id, by source.
pub const REPLAYS_SUSPECTED: &str = "hookonce_replays_suspected_total";
/// Verified requests by source and secret.
pub const VERIFIED: &str = "hookonce_verified_total";
/// Fetches of providers' public keys by source and outcome.
pub const KEY_FETCHES: &str = "hookonce_key_fetches_total";
/// Fetches of the keys of gateways' issuers by gateway and outcome.
pub const ISSUER_KEY_FETCHES: &str = "hookonce_issuer_key_fetches_total";
/// When a source last had a request accepted.
pub const SOURCE_LAST_ACCEPTED: &str = "hookonce_source_last_accepted_timestamp_seconds";
/// From the request's head to its answer.
pub const INTAKE_SECONDS: &str = "hookonce_intake_seconds";
/// One commit of the recorder.
pub const COMMIT_SECONDS: &str = "hookonce_commit_seconds";
/// Events in one commit.
pub const COMMIT_BATCH_ROWS: &str = "hookonce_commit_batch_rows";
/// Tries by handler and outcome.
pub const DELIVERIES: &str = "hookonce_deliveries_total";
/// One try of a handler.
pub const DELIVERY_SECONDS: &str = "hookonce_delivery_seconds";
/// Deliveries that wait for a handler.
pub const PENDING: &str = "hookonce_pending";
/// Age of the oldest one that is due.
pub const OLDEST_PENDING: &str = "hookonce_oldest_pending_seconds";
/// Dead letters.
pub const DEAD: &str = "hookonce_dead";
/// Leases that were lost.
pub const LEASE_FENCED: &str = "hookonce_lease_fenced_total";
/// Rows that cleanup deleted.
pub const CLEANUP_ROWS: &str = "hookonce_cleanup_rows_total";
/// When cleanup last ended well.
pub const CLEANUP_LAST_SUCCESS: &str = "hookonce_cleanup_last_success_timestamp_seconds";
/// Requests that were to be answered by a handler, by what came of it.
pub const RESPONDED: &str = "hookonce_respond_total";
/// Whether a handler is paused.
pub const HANDLER_PAUSED: &str = "hookonce_handler_paused";
/// Whether a handler's breaker has paused it.
pub const BREAKER_OPEN: &str = "hookonce_breaker_open";
/// How long a strike of cleanup's schedule has waited for a run.
pub const CLEANUP_OVERDUE: &str = "hookonce_cleanup_overdue_seconds";
/// Rows that have expired and are still there.
pub const EXPIRED_ROWS: &str = "hookonce_expired_rows";
/// Rows of a table.
pub const TABLE_ROWS: &str = "hookonce_table_rows";
/// Bytes of a table.
pub const TABLE_BYTES: &str = "hookonce_table_bytes";
/// Requests with an idempotency key by gateway and outcome.
pub const IDEMPOTENCY: &str = "hookonce_idempotency_total";
/// What asking the cache of answers came to, by gateway and outcome.
pub const IDEMPOTENCY_CACHE: &str = "hookonce_idempotency_cache_total";
/// Which config runs.
pub const CONFIG_GENERATION: &str = "hookonce_config_generation";
/// Impossible things that happened.
pub const INVARIANT_VIOLATIONS: &str = "hookonce_invariant_violations_total";
/// Refused requests that were not kept.
pub const REJECTIONS_DROPPED: &str = "hookonce_rejections_dropped_total";
/// Bytes of bodies held now.
pub const INFLIGHT_BYTES: &str = "hookonce_inflight_bytes";
/// Which version runs.
pub const BUILD_INFO: &str = "hookonce_build_info";

/// Upper bounds for times: an ack is about a millisecond, a handler may take its whole deadline.
pub(super) const SECONDS_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Upper bounds for events in one commit.
pub(super) const ROWS_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// What Prometheus calls the type of a figure.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Name, type, unit and help line of every figure.
pub(super) const DESCRIPTIONS: &[(&str, Kind, Option<Unit>, &str)] = &[
    (INTAKE, Kind::Counter, None, "Requests to the public listener, by source and outcome."),
    (EVENTS, Kind::Counter, None, "Events that came, by what became of each; a batch has many."),
    (
        REPLAYS_SUSPECTED,
        Kind::Counter,
        None,
        "Events whose signed bytes came before under another id, by source.",
    ),
    (VERIFIED, Kind::Counter, None, "Verified requests, by the position of the secret."),
    (KEY_FETCHES, Kind::Counter, None, "Fetches of providers' public keys, by outcome."),
    (
        ISSUER_KEY_FETCHES,
        Kind::Counter,
        None,
        "Fetches of the public keys of gateways' issuers of tokens, by outcome.",
    ),
    (
        SOURCE_LAST_ACCEPTED,
        Kind::Gauge,
        Some(Unit::Seconds),
        "Unix time of the last accepted request of a source; 0 before the first.",
    ),
    (
        INTAKE_SECONDS,
        Kind::Histogram,
        Some(Unit::Seconds),
        "From a request's head to its answer, the sender's own slowness included.",
    ),
    (COMMIT_SECONDS, Kind::Histogram, Some(Unit::Seconds), "One commit of the recorder."),
    (COMMIT_BATCH_ROWS, Kind::Histogram, Some(Unit::Count), "Events in one commit."),
    (DELIVERIES, Kind::Counter, None, "Tries of handlers, by outcome."),
    (DELIVERY_SECONDS, Kind::Histogram, Some(Unit::Seconds), "One try of a handler."),
    (PENDING, Kind::Gauge, Some(Unit::Count), "Deliveries that are pending or leased."),
    (
        OLDEST_PENDING,
        Kind::Gauge,
        Some(Unit::Seconds),
        "For how long the oldest pending delivery has been due.",
    ),
    (DEAD, Kind::Gauge, Some(Unit::Count), "Dead letters."),
    (LEASE_FENCED, Kind::Counter, None, "Leases that were lost before their holder was done."),
    (CLEANUP_ROWS, Kind::Counter, None, "Rows that cleanup deleted, by table."),
    (
        CLEANUP_LAST_SUCCESS,
        Kind::Gauge,
        Some(Unit::Seconds),
        "Unix time of the last cleanup that ended well; 0 before the first.",
    ),
    (
        RESPONDED,
        Kind::Counter,
        None,
        "Requests of sources with `respond`: answered in time, repeated, late, or without an answer to pass on.",
    ),
    (HANDLER_PAUSED, Kind::Gauge, None, "1 while a handler is paused, by whatever."),
    (BREAKER_OPEN, Kind::Gauge, None, "1 while a handler is paused by its breaker."),
    (
        CLEANUP_OVERDUE,
        Kind::Gauge,
        Some(Unit::Seconds),
        "How long a strike of cleanup's schedule has waited for a run that ended well; 0 when none waits.",
    ),
    (
        EXPIRED_ROWS,
        Kind::Gauge,
        Some(Unit::Count),
        "Rows that have expired and are still there, counted up to 100,000; some wait for open or dead deliveries.",
    ),
    (
        IDEMPOTENCY,
        Kind::Counter,
        None,
        "Requests of protected methods, by gateway and what became of each.",
    ),
    (
        IDEMPOTENCY_CACHE,
        Kind::Counter,
        None,
        "Questions to the cache of completed answers, by gateway and what each came to.",
    ),
    (TABLE_ROWS, Kind::Gauge, Some(Unit::Count), "Rows of a table; an estimate on PostgreSQL."),
    (TABLE_BYTES, Kind::Gauge, Some(Unit::Bytes), "Bytes of a table on disk."),
    (CONFIG_GENERATION, Kind::Gauge, None, "1 at start, one more for each reload of the config."),
    (
        INVARIANT_VIOLATIONS,
        Kind::Counter,
        None,
        "Things that the design rules out and that happened all the same; the log says which.",
    ),
    (
        REJECTIONS_DROPPED,
        Kind::Counter,
        None,
        "Refused requests that were not kept for diagnosis, for lack of room.",
    ),
    (INFLIGHT_BYTES, Kind::Gauge, Some(Unit::Bytes), "Bytes of request bodies held now."),
    (BUILD_INFO, Kind::Gauge, None, "Always 1; the version is a label."),
];
