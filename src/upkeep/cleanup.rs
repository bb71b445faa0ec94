//! Deleting what has expired, in batches, by one replica at a time.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use entity::Name;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::pace::Pace;
use super::{CleanupSettings, UpkeepParts, schedule};
use crate::metric::Metrics;
use crate::store::cleanup::Cursor;
use crate::store::partition::Dropped;
use crate::store::rejection::RING_BYTES_MAX;
use crate::store::upkeep_run::RunEnd;
use crate::store::{Retention, Store, StoreError, Swept};

/// The chore's name in `upkeep_run`.
pub const CHORE: &str = "cleanup";

/// How long a run's claim holds without renewal.
const LEASE: Duration = Duration::from_secs(60);

/// How often it is renewed: with each batch it would be as many commits again as the batches are.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// How one cleanup went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleaned {
    /// It ran to its end, or until its time was up (then more is left).
    Ran {
        /// What it deleted.
        swept: Swept,
        /// Whether expired rows are left for the next run.
        more: bool,
    },
    /// Another replica runs it, or has run it since the schedule struck.
    NotOurs,
}

/// What a cleanup works with.
#[derive(Debug, Clone, Copy)]
pub struct Cleanup<'a> {
    /// The tables.
    pub store: &'a Store,
    /// When and how to delete.
    pub settings: &'a CleanupSettings,
    /// What has expired.
    pub retention: Retention,
    /// The sources whose rings of rejections are trimmed.
    pub sources: &'a [Name],
    /// Names this replica in `upkeep_run.worker`.
    pub worker: &'a str,
    /// Counts what was deleted, where somebody watches.
    pub metrics: Option<&'a Metrics>,
}

/// Runs a cleanup if the schedule struck since we first looked, in its window, and nobody ran it.
///
/// `since` is set by the first look that reaches the database: a strike before it is not caught up
/// on, so that a daemon that starts at a busy hour doesn't begin with a cleanup.
pub(super) async fn tick(
    parts: &UpkeepParts,
    since: &mut Option<DateTime<Utc>>,
    stop: &CancellationToken,
) {
    let now = match parts.store.probe().await {
        Ok(probe) => probe.now,
        Err(error) => {
            tracing::warn!(error = %error, "no cleanup now: the database can't be asked");
            return;
        }
    };
    let since = *since.get_or_insert(now);
    if !schedule::within(parts.cleanup.window, now) {
        return;
    }
    let slot = match schedule::last_strike(&parts.cleanup.schedule, now) {
        Ok(slot) if slot < since => return,
        Ok(slot) => Some(slot),
        Err(error) => {
            tracing::error!(error = %error, "the cleanup schedule never struck");
            return;
        }
    };
    let cleanup = Cleanup {
        store: &parts.store,
        settings: &parts.cleanup,
        retention: parts.retention,
        sources: &parts.sources,
        worker: &parts.id,
        metrics: Some(&parts.metrics),
    };
    if let Err(error) = cleanup.run(slot, stop).await {
        tracing::error!(error = %error, cause = ?std::error::Error::source(&error), "the cleanup failed");
    }
}

/// A run that we hold.
struct Run {
    id: Uuid,
    begun: Instant,
    renewed: Instant,
    pace: Pace,
}

impl Run {
    /// Rows of the next statement, which begins now.
    fn next(&self) -> (u32, Instant) {
        (self.pace.rows(self.begun.elapsed()), Instant::now())
    }

    /// How long to rest after it.
    fn rest(&mut self, rows: u32, began: Instant) -> Duration {
        self.pace.rest(self.begun.elapsed(), rows, began.elapsed())
    }
}

impl Cleanup<'_> {
    /// Claims the chore and deletes what has expired, batch by batch, with a pause in between,
    /// until nothing is left, the settings' time is up, or `stop`.
    ///
    /// `slot` is when the schedule last struck, and such a run is gentle at first; `None` runs at once
    /// unless somebody else is at it, with the settings' batch and pause.
    /// The run is recorded in `upkeep_run` with what it deleted, whatever its end.
    pub async fn run(
        &self,
        slot: Option<DateTime<Utc>>,
        stop: &CancellationToken,
    ) -> Result<Cleaned, StoreError> {
        let begun = Instant::now();
        // Before the claim: what fails behind it must be noted in the run.
        let pace = if slot.is_some() && !self.is_behind().await? {
            Pace::gentle(self.settings)
        } else {
            Pace::full(self.settings)
        };
        let Some(id) = self.store.begin_run(CHORE, self.worker, LEASE, slot).await? else {
            return Ok(Cleaned::NotOurs);
        };
        let mut run = Run { id, begun, renewed: begun, pace };
        let mut swept = Swept::default();
        let done = self.sweep(&mut run, &mut swept, stop).await;
        let end = match &done {
            Ok(true) => RunEnd::Partial,
            Ok(false) => RunEnd::Done,
            Err(error) => RunEnd::Failed(error.to_string()),
        };
        self.store.finish_run(run.id, end, swept).await?;
        let more = done?;
        if let Some(metrics) = self.metrics {
            metrics.cleanup_succeeded(Utc::now());
        }
        tracing::info!(
            cleanup.events = swept.events,
            cleanup.bodies = swept.bodies,
            cleanup.rejections = swept.rejections,
            cleanup.idempotency_keys = swept.idempotency_keys,
            cleanup.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            cleanup.more = more,
            "cleanup deleted {} events, {} bodies, {} rejections, {} idempotency keys",
            swept.events,
            swept.bodies,
            swept.rejections,
            swept.idempotency_keys
        );
        Ok(Cleaned::Ran { swept, more })
    }

    /// Whether the last run had too little time, gentle and not.
    async fn is_behind(&self) -> Result<bool, StoreError> {
        let runs = self.store.runs(CHORE, 1).await?;
        Ok(runs.first().is_some_and(|run| {
            let took = run.finished_at.and_then(|end| (end - run.started_at).to_std().ok());
            // One that was told to stop is partial too.
            run.outcome == "partial" && took.is_some_and(|took| took >= self.settings.max_run)
        }))
    }

    /// Deletes until done (false) or out of time (true).
    async fn sweep(
        &self,
        run: &mut Run,
        swept: &mut Swept,
        stop: &CancellationToken,
    ) -> Result<bool, StoreError> {
        for source in self.sources {
            let trimmed = self.store.trim_rejections(source.clone(), RING_BYTES_MAX).await?;
            self.count("rejection", trimmed);
            swept.rejections += trimmed;
        }
        // Before the rows, of which most go with them.
        while let Some(dropped) = self.drop_partition().await {
            self.count(dropped.of, dropped.rows);
            if dropped.of == "event_body" {
                swept.bodies += dropped.rows;
            }
            if self.pause(self.settings.pause, run, *swept, stop).await? {
                return Ok(true);
            }
        }
        let mut cursor = Cursor::START;
        loop {
            let (limit, began) = run.next();
            let batch = self.store.sweep_events(limit, self.retention.dead, cursor).await?;
            cursor = batch.next;
            swept.events += batch.deleted;
            self.count("event", batch.deleted);
            if batch.scanned < u64::from(limit) {
                break;
            }
            let rest = run.rest(limit, began);
            if self.pause(rest, run, *swept, stop).await? {
                return Ok(true);
            }
        }
        let mut cursor = Cursor::START;
        loop {
            let (limit, began) = run.next();
            let batch = self.store.sweep_bodies(limit, cursor).await?;
            cursor = batch.next;
            swept.bodies += batch.deleted;
            self.count("event_body", batch.deleted);
            if batch.scanned < u64::from(limit) {
                break;
            }
            let rest = run.rest(limit, began);
            if self.pause(rest, run, *swept, stop).await? {
                return Ok(true);
            }
        }
        loop {
            let (limit, began) = run.next();
            let deleted = self.store.sweep_rejections(limit, self.retention.rejections).await?;
            swept.rejections += deleted;
            self.count("rejection", deleted);
            if deleted < u64::from(limit) {
                break;
            }
            let rest = run.rest(limit, began);
            if self.pause(rest, run, *swept, stop).await? {
                return Ok(true);
            }
        }
        loop {
            let (limit, began) = run.next();
            let deleted = self.store.sweep_keys(limit).await?;
            swept.idempotency_keys += deleted;
            self.count("idempotency_key", deleted);
            if deleted < u64::from(limit) {
                return Ok(false);
            }
            let rest = run.rest(limit, began);
            if self.pause(rest, run, *swept, stop).await? {
                return Ok(true);
            }
        }
    }

    /// Drops one partition. What can't be dropped now is no reason not to delete the rest row by row.
    async fn drop_partition(&self) -> Option<Dropped> {
        match self.store.drop_partition().await {
            Ok(dropped) => {
                let dropped = dropped?;
                tracing::info!(partition.name = %dropped.name, partition.rows = dropped.rows, "dropped the partition {}", dropped.name);
                Some(dropped)
            }
            Err(error) => {
                tracing::warn!(error = %error, cause = ?std::error::Error::source(&error), "no partition is dropped now");
                None
            }
        }
    }

    fn count(&self, table: &'static str, rows: u64) {
        if let Some(metrics) = self.metrics {
            metrics.cleanup_rows(table, rows);
        }
    }

    /// Lets others have the database; true when the run must end.
    async fn pause(
        &self,
        rest: Duration,
        run: &mut Run,
        swept: Swept,
        stop: &CancellationToken,
    ) -> Result<bool, StoreError> {
        let left = self.settings.max_run.saturating_sub(run.begun.elapsed());
        if left.is_zero() {
            return Ok(true);
        }
        tokio::select! {
            () = tokio::time::sleep(rest.min(left)) => {}
            () = stop.cancelled() => return Ok(true),
        }
        let now = Instant::now();
        if now.duration_since(run.renewed) < RENEW_EVERY {
            return Ok(false);
        }
        if self.store.renew_run(run.id, LEASE, swept).await? {
            run.renewed = now;
            return Ok(false);
        }
        Err(StoreError::Invalid("another replica took this cleanup over".to_owned()))
    }
}
