//! Metrics: their names, units and labels, and who may count what.
//!
//! Each `App` owns a [`Metrics`]; nothing is installed globally, so two apps in one process don't
//! mix their figures. Labels hold names of sources, handlers and tables and words of closed sets,
//! never ids or addresses, so that their number is bounded by the config.
//!
//! Samples of histograms wait in memory until they are folded into buckets: whoever owns a
//! [`Metrics`] calls [`Metrics::upkeep`] every few seconds, also when nobody scrapes.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use entity::{Name, TryOutcome};
use metrics::{Counter, Gauge, Histogram, Key, Label, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

mod control;
mod idempotency;
pub mod names;
mod upkeep;

use names::{DESCRIPTIONS, Kind, ROWS_BUCKETS, SECONDS_BUCKETS};

/// The outcome of a request that was recorded for the first time.
pub const ACCEPTED: &str = "accepted";
/// The outcome of a request whose event was known.
pub const DUPLICATE: &str = "duplicate";
/// The outcome of a request whose id was known with another body, answered 200.
pub const CONFLICT: &str = "conflict";
/// The outcome of a request that was answered by a handshake and recorded nothing.
pub const HANDSHAKE: &str = "handshake";
/// A request by HEAD that only asks whether the address is there.
pub const PROBE: &str = "probe";

/// The outcome of a request that is a batch without any event.
pub const EMPTY: &str = "empty";

static METADATA: Metadata<'static> = Metadata::new("hookonce", metrics::Level::INFO, None);

/// The figures of one app. Cheap to clone; every method is quick and never waits on I/O.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    recorder: Box<dyn Recorder + Send + Sync>,
    handle: PrometheusHandle,
    sources: RwLock<HashMap<Name, Arc<SourceMeters>>>,
    handlers: RwLock<HashMap<Name, Arc<HandlerMeters>>>,
    commit_seconds: Histogram,
    commit_rows: Histogram,
    fenced: Counter,
    violations: Counter,
    rejections_dropped: Counter,
    cleanup_success: Gauge,
    generation: Gauge,
    inflight_bytes: Gauge,
}

/// What the hot path of intake touches, registered once a source.
struct SourceMeters {
    accepted: Counter,
    duplicate: Counter,
    /// Events that were recorded for the first time.
    events: Counter,
    seconds: Histogram,
    last_accepted: Gauge,
    /// By the position of the secret; those of later positions are looked up.
    verified: [Counter; SECRETS_CACHED],
}

/// Sources have one secret, or two while one is rotated.
const SECRETS_CACHED: usize = 2;

/// What the hot path of a worker touches, registered once a handler.
struct HandlerMeters {
    delivered: Counter,
    seconds: Histogram,
}

/// How much waits for a handler.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Backlog {
    /// Deliveries that are pending or leased.
    pub pending: u64,
    /// Since when the oldest of them is due; zero when there is none.
    pub oldest: Duration,
    /// Dead letters.
    pub dead: u64,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(…)")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Fresh figures, all zero. Counters without labels are there from the start, so that an alarm
    /// on their rate has a zero to begin from.
    #[must_use]
    pub fn new() -> Self {
        let builder = PrometheusBuilder::new();
        // Either call fails only on an empty list of buckets, and ours are constants. Should that
        // ever change, summaries are served instead, and a test says so.
        let builder = match builder.set_buckets(&SECONDS_BUCKETS) {
            Ok(builder) => builder,
            Err(_) => PrometheusBuilder::new(),
        };
        let rows = Matcher::Full(names::COMMIT_BATCH_ROWS.to_owned());
        let builder = match builder.set_buckets_for_metric(rows, &ROWS_BUCKETS) {
            Ok(builder) => builder,
            Err(_) => PrometheusBuilder::new(),
        };
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        for &(name, kind, unit, text) in DESCRIPTIONS {
            match kind {
                Kind::Counter => recorder.describe_counter(name.into(), unit, text.into()),
                Kind::Gauge => recorder.describe_gauge(name.into(), unit, text.into()),
                Kind::Histogram => recorder.describe_histogram(name.into(), unit, text.into()),
            }
        }
        let counter = |name| recorder.register_counter(&Key::from_static_name(name), &METADATA);
        let gauge = |name| recorder.register_gauge(&Key::from_static_name(name), &METADATA);
        let histogram = |name| recorder.register_histogram(&Key::from_static_name(name), &METADATA);
        let inner = Inner {
            commit_seconds: histogram(names::COMMIT_SECONDS),
            commit_rows: histogram(names::COMMIT_BATCH_ROWS),
            fenced: counter(names::LEASE_FENCED),
            violations: counter(names::INVARIANT_VIOLATIONS),
            rejections_dropped: counter(names::REJECTIONS_DROPPED),
            cleanup_success: gauge(names::CLEANUP_LAST_SUCCESS),
            generation: gauge(names::CONFIG_GENERATION),
            inflight_bytes: gauge(names::INFLIGHT_BYTES),
            sources: RwLock::default(),
            handlers: RwLock::default(),
            handle,
            recorder: Box::new(recorder),
        };
        let metrics = Self(Arc::new(inner));
        metrics.gauge(names::BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        metrics
    }

    /// Registers a source's and a handler's series at zero, before the first request comes.
    pub fn expect<'a>(
        &self,
        sources: impl IntoIterator<Item = &'a Name>,
        handlers: impl IntoIterator<Item = &'a Name>,
    ) {
        for source in sources {
            self.source(source);
        }
        for handler in handlers {
            self.handler(handler);
        }
    }

    /// Counts a request to a known source by its outcome: [`ACCEPTED`], [`DUPLICATE`],
    /// [`CONFLICT`], [`EMPTY`], [`HANDSHAKE`] or a problem's code. `took` runs from the whole head to the
    /// answer.
    pub fn intake(&self, source: &Name, outcome: &'static str, took: Duration) {
        let meters = self.source(source);
        meters.seconds.record(took.as_secs_f64());
        match outcome {
            ACCEPTED => meters.accepted.increment(1),
            DUPLICATE => meters.duplicate.increment(1),
            other => self
                .counter(names::INTAKE, &[("source", source.as_str()), ("outcome", other)])
                .increment(1),
        }
        if matches!(outcome, ACCEPTED | DUPLICATE | CONFLICT | EMPTY) {
            meters.last_accepted.set(unix_seconds(SystemTime::now()));
        }
    }

    /// Counts the events of a request by what became of each: [`ACCEPTED`], [`DUPLICATE`] or
    /// [`CONFLICT`].
    pub fn events(&self, source: &Name, outcome: &'static str, events: usize) {
        if events == 0 {
            return;
        }
        let events = u64::try_from(events).unwrap_or(u64::MAX);
        match outcome {
            ACCEPTED => self.source(source).events.increment(events),
            other => self
                .counter(names::EVENTS, &[("source", source.as_str()), ("outcome", other)])
                .increment(events),
        }
    }

    /// Counts an event whose signed bytes came before under another id.
    pub fn replay_suspected(&self, source: &Name) {
        self.counter(names::REPLAYS_SUSPECTED, &[("source", source.as_str())]).increment(1);
    }

    /// Counts a request to no known source. Its path is the sender's choice, so it is no label.
    pub fn intake_unknown(&self) {
        self.counter(names::INTAKE, &[("source", ""), ("outcome", "unknown_source")]).increment(1);
    }

    /// Counts a request that passed verification, by the position of the secret that matched
    /// (`none` for a scheme without secrets).
    pub fn verified(&self, source: &Name, secret: Option<usize>) {
        if let Some(position) = secret
            && let Some(counter) = self.source(source).verified.get(position)
        {
            counter.increment(1);
            return;
        }
        let secret = secret.map_or_else(|| "none".to_owned(), |position| position.to_string());
        self.counter(names::VERIFIED, &[("source", source.as_str()), ("secret", &secret)])
            .increment(1);
    }

    /// Counts a fetch of a provider's public key: `fetched`, `absent`, `unusable` or `failed`.
    pub fn key_fetched(&self, source: &Name, outcome: &'static str) {
        let labels = [("source", source.as_str()), ("outcome", outcome)];
        self.counter(names::KEY_FETCHES, &labels).increment(1);
    }

    /// One commit of the recorder: how long the statement took and how many events it recorded.
    pub fn commit(&self, took: Duration, rows: usize) {
        self.0.commit_seconds.record(took.as_secs_f64());
        // No batch is near 2^32 rows, so the conversion is exact.
        self.0.commit_rows.record(f64::from(u32::try_from(rows).unwrap_or(u32::MAX)));
    }

    /// One try of a handler: how it ended and how long it took.
    pub fn delivery(&self, handler: &Name, outcome: TryOutcome, took: Duration) {
        let meters = self.handler(handler);
        meters.seconds.record(took.as_secs_f64());
        match outcome {
            TryOutcome::Delivered => meters.delivered.increment(1),
            other => self
                .counter(
                    names::DELIVERIES,
                    &[("handler", handler.as_str()), ("outcome", other.as_str())],
                )
                .increment(1),
        }
    }

    /// Sets what waits for a handler.
    pub fn backlog(&self, handler: &Name, backlog: Backlog) {
        let labels = [("handler", handler.as_str())];
        self.gauge(names::PENDING, &labels).set(to_f64(backlog.pending));
        self.gauge(names::OLDEST_PENDING, &labels).set(backlog.oldest.as_secs_f64());
        self.gauge(names::DEAD, &labels).set(to_f64(backlog.dead));
    }

    /// A worker settled or renewed under a lease that somebody else has by now.
    pub fn fenced(&self) {
        self.0.fenced.increment(1);
    }

    /// Sets which config is running: 1 at start, one more for each reload.
    pub fn config_generation(&self, generation: u64) {
        self.0.generation.set(to_f64(generation));
    }

    /// Something happened that the design rules out. The caller logs what.
    pub fn invariant_violated(&self) {
        self.0.violations.increment(1);
    }

    /// A refused request was not kept for diagnosis, because the ring's keeper was busy or away.
    pub fn rejection_dropped(&self) {
        self.0.rejections_dropped.increment(1);
    }

    /// So many more bytes of request bodies are held now, of `server.max_inflight`.
    pub fn inflight_grew(&self, bytes: usize) {
        self.0.inflight_bytes.increment(to_f64(u64::try_from(bytes).unwrap_or(u64::MAX)));
    }

    /// So many fewer bytes of request bodies are held now.
    pub fn inflight_shrank(&self, bytes: usize) {
        self.0.inflight_bytes.decrement(to_f64(u64::try_from(bytes).unwrap_or(u64::MAX)));
    }

    /// Folds waiting samples into their buckets. Call it every few seconds: without it memory grows
    /// with each request while nobody scrapes.
    pub fn upkeep(&self) {
        self.0.handle.run_upkeep();
    }

    /// All figures in Prometheus' text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.handle.run_upkeep();
        self.0.handle.render()
    }

    fn source(&self, name: &Name) -> Arc<SourceMeters> {
        cached(&self.0.sources, name, || {
            let source = ("source", name.as_str());
            SourceMeters {
                accepted: self.counter(names::INTAKE, &[source, ("outcome", ACCEPTED)]),
                duplicate: self.counter(names::INTAKE, &[source, ("outcome", DUPLICATE)]),
                events: self.counter(names::EVENTS, &[source, ("outcome", ACCEPTED)]),
                seconds: self.histogram(names::INTAKE_SECONDS, &[source]),
                last_accepted: self.gauge(names::SOURCE_LAST_ACCEPTED, &[source]),
                verified: std::array::from_fn(|position| {
                    self.counter(names::VERIFIED, &[source, ("secret", &position.to_string())])
                }),
            }
        })
    }

    fn handler(&self, name: &Name) -> Arc<HandlerMeters> {
        cached(&self.0.handlers, name, || {
            let handler = ("handler", name.as_str());
            let delivered = ("outcome", TryOutcome::Delivered.as_str());
            HandlerMeters {
                delivered: self.counter(names::DELIVERIES, &[handler, delivered]),
                seconds: self.histogram(names::DELIVERY_SECONDS, &[handler]),
            }
        })
    }

    fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.0.recorder.register_counter(&key(name, labels), &METADATA)
    }

    fn gauge(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        self.0.recorder.register_gauge(&key(name, labels), &METADATA)
    }

    fn histogram(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Histogram {
        self.0.recorder.register_histogram(&key(name, labels), &METADATA)
    }
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> =
        labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(name, labels)
}

/// The handles of `name`, made on its first use. The names come from the config, so the map is bounded.
fn cached<T>(map: &RwLock<HashMap<Name, Arc<T>>>, name: &Name, make: impl FnOnce() -> T) -> Arc<T> {
    // A poisoned lock still holds a whole map: nothing can panic between two halves of an insert.
    if let Some(found) = map.read().unwrap_or_else(PoisonError::into_inner).get(name) {
        return Arc::clone(found);
    }
    let mut map = map.write().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(map.entry(name.clone()).or_insert_with(|| Arc::new(make())))
}

/// Prometheus has only floats; above 2^53 a count is rounded, which no reader of a graph can see.
#[allow(clippy::cast_precision_loss)]
fn to_f64(count: u64) -> f64 {
    count as f64
}

fn unix_seconds(now: SystemTime) -> f64 {
    now.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests;
