//! Scheduled chores: cleanup, rescue, gauges.
//!
//! The scheduler (tokio-cron-scheduler, known only here) merely nudges: its ticks can overlap, double
//! or drop, and it knows nothing of other replicas. What makes a chore run once is a row in
//! `upkeep_run`, claimed like a lease in database time.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::NaiveTime;
use entity::Name;
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metric::Metrics;
use crate::retry::RetryPolicy;
use crate::store::partition::ADD_EVERY;
use crate::store::{Retention, Store};

pub mod cleanup;
mod gauge;
pub mod lateness;
mod pace;
pub mod rescue;
pub mod schedule;

/// How often it is looked whether a strike of the schedule was missed.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How often the backlog is measured.
const BACKLOG_EVERY: Duration = Duration::from_secs(10);

/// How often the tables are measured.
const SIZES_EVERY: Duration = Duration::from_secs(60);

/// When and how expired rows are deleted.
#[derive(Debug, Clone)]
pub struct CleanupSettings {
    /// Cron with seconds, UTC, already normalised to six fields.
    pub schedule: String,
    /// Rows a statement.
    pub batch: u32,
    /// Between batches.
    pub pause: Duration,
    /// A run stops after this; the next goes on.
    pub max_run: Duration,
    /// Only between these times of day, UTC; may span midnight.
    pub window: Option<(NaiveTime, NaiveTime)>,
}

/// What the chores need.
#[derive(Debug, Clone)]
pub struct UpkeepParts {
    /// The tables.
    pub store: Store,
    /// When and how to delete.
    pub cleanup: CleanupSettings,
    /// What has expired.
    pub retention: Retention,
    /// This replica's sources, whose rings of rejections are trimmed.
    pub sources: Vec<Name>,
    /// This replica's handlers, with the policy that a lapsed try is judged by.
    pub handlers: Vec<(Name, RetryPolicy)>,
    /// Told when a rescued delivery is due.
    pub wake: Arc<Notify>,
    /// Figures.
    pub metrics: Metrics,
    /// Names this replica in `upkeep_run.worker`.
    pub id: String,
    /// Told, every minute, what an operator should know of cleanup; `None` when all is well.
    pub tell: Tell,
}

/// Takes a line for the operator.
#[derive(Clone)]
pub struct Tell(pub Arc<dyn Fn(Option<String>) + Send + Sync>);

impl Default for Tell {
    /// Nobody listens.
    fn default() -> Self {
        Self(Arc::new(|_| ()))
    }
}

impl std::fmt::Debug for Tell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tell")
    }
}

/// The chores could not be scheduled.
#[derive(Debug, thiserror::Error)]
#[error("the cleanup schedule `{schedule}` can't be used")]
pub struct ScheduleError {
    schedule: String,
    #[source]
    source: JobSchedulerError,
}

/// Starts the chores on `tracker`; they end after `stop`, a cleanup after its current batch.
pub async fn start(
    parts: UpkeepParts,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> Result<(), ScheduleError> {
    let nudge = Arc::new(Notify::new());
    let fault = |source| ScheduleError { schedule: parts.cleanup.schedule.clone(), source };
    let mut scheduler = JobScheduler::new().await.map_err(fault)?;
    let strike = Arc::clone(&nudge);
    let job = Job::new_async(parts.cleanup.schedule.as_str(), move |_, _| {
        let strike = Arc::clone(&strike);
        Box::pin(async move { strike.notify_one() })
    })
    .map_err(fault)?;
    scheduler.add(job).await.map_err(fault)?;
    scheduler.start().await.map_err(fault)?;

    let parts = Arc::new(parts);
    tracker.spawn(clean_when_due(Arc::clone(&parts), nudge, stop.clone()));
    tracker.spawn(rescue::run(Arc::clone(&parts), stop.clone()));
    tracker.spawn(every(BACKLOG_EVERY, stop.clone(), {
        let parts = Arc::clone(&parts);
        move || gauge::backlog(Arc::clone(&parts))
    }));
    tracker.spawn(every(SIZES_EVERY, stop.clone(), {
        let parts = Arc::clone(&parts);
        move || gauge::sizes(Arc::clone(&parts))
    }));
    tracker.spawn(every(SIZES_EVERY, stop.clone(), {
        let (parts, since) = (Arc::clone(&parts), Arc::new(OnceLock::new()));
        move || gauge::cleanup(Arc::clone(&parts), Arc::clone(&since))
    }));
    tracker.spawn(every(ADD_EVERY, stop.clone(), {
        let parts = Arc::clone(&parts);
        move || partitions(Arc::clone(&parts))
    }));
    tracker.spawn(async move {
        stop.cancelled().await;
        if let Err(error) = scheduler.shutdown().await {
            tracing::warn!(error = %error, "the scheduler did not shut down");
        }
    });
    Ok(())
}

/// Looks whether a cleanup is due at each nudge, and every minute besides: the scheduler may drop a
/// tick, and when our clock is ahead of the database's the nudge comes before the strike.
async fn clean_when_due(parts: Arc<UpkeepParts>, nudge: Arc<Notify>, stop: CancellationToken) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut since = None;
    loop {
        tokio::select! {
            () = nudge.notified() => {}
            _ = look.tick() => {}
            () = stop.cancelled() => return,
        }
        cleanup::tick(&parts, &mut since, &stop).await;
    }
}

/// Calls `chore` at once and then again and again, never twice at a time, until `stop`.
async fn every<F, Fut>(period: Duration, stop: CancellationToken, chore: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = ()>,
{
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => chore().await,
            () = stop.cancelled() => return,
        }
    }
}

/// Makes the tables of the next days, where bodies and attempts have one for each. There are days in reserve, so
/// that a failure is for the next hour to mend.
async fn partitions(parts: Arc<UpkeepParts>) {
    if let Err(error) = parts.store.add_partitions().await {
        tracing::warn!(error = %error, cause = ?std::error::Error::source(&error), "the partitions of the next days can't be made now");
    }
}
