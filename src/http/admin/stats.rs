//! `/api/v1/stats`: sums over a time, and how things stand now.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, web};
use chrono::{DateTime, TimeDelta, Utc};
use entity::Name;

use super::query::Query;
use super::shape::{CleanupStanding, HandlerStats, SourceStats, Stats, TableStats};
use super::{AdminState, Answered, json};
use crate::store::stats::Sums;
use crate::store::{Retention, Store, StoreError};
use crate::upkeep::cleanup::CHORE;
use crate::upkeep::{CleanupSettings, lateness};

/// What is summed over when nobody says.
const USUALLY: TimeDelta = TimeDelta::hours(1);

pub(super) async fn show(request: HttpRequest, state: web::Data<AdminState>) -> Answered {
    let query = Query::of(&request, &["since"])?;
    let since = query.moment("since", Utc::now())?;
    let asked = StatsOf {
        store: &state.store,
        sources: state.sources.iter().map(|it| it.name().clone()).collect(),
        handlers: state.handlers.iter().filter_map(|it| Name::new(&it.name).ok()).collect(),
        cleanup: &state.cleanup.settings,
        retention: state.cleanup.retention,
    };
    json(&asked.collect(since).await?)
}

/// Whose figures are asked for.
pub struct StatsOf<'a> {
    /// The tables.
    pub store: &'a Store,
    /// The configured sources.
    pub sources: Vec<Name>,
    /// The configured handlers.
    pub handlers: Vec<Name>,
    /// When cleanup is due.
    pub cleanup: &'a CleanupSettings,
    /// What has expired.
    pub retention: Retention,
}

impl StatsOf<'_> {
    /// Sums over what came since `since`, an hour ago when `None`.
    pub async fn collect(self, since: Option<DateTime<Utc>>) -> Result<Stats, StoreError> {
        let until = self.store.probe().await?.now;
        let since = since.unwrap_or(until - USUALLY);
        let sums = self.store.sums(since).await?;
        let sources = sources(&sums, &self.sources);
        let handlers = self.handlers(&sums).await?;
        let runs = self.store.runs(CHORE, lateness::RUNS).await?;
        // Strikes before the oldest run that we know of are nobody's.
        let watched = runs.last().map_or(until, |run| run.started_at);
        let standing = lateness::judge(self.cleanup, &runs, watched, until);
        let expired = self.store.expired_left(self.retention).await?;
        let tables = self.store.table_sizes().await?.into_iter().map(|size| TableStats {
            table: size.table.to_owned(),
            rows: size.rows,
            bytes: size.bytes,
            expired: expired.iter().find(|(table, _)| *table == size.table).map(|it| it.1),
        });
        Ok(Stats {
            since,
            until,
            sources,
            handlers,
            cleanup: CleanupStanding {
                last_success_at: standing.last_success,
                overdue_seconds: standing.overdue.as_secs(),
                fault: standing.fault,
            },
            tables: tables.collect(),
        })
    }

    async fn handlers(&self, sums: &Sums) -> Result<Vec<HandlerStats>, StoreError> {
        let mut names: Vec<Name> = self.handlers.clone();
        // One that is configured no more may have deliveries left.
        names.extend(sums.deliveries.iter().filter_map(|(name, ..)| Name::new(name).ok()));
        names.sort_unstable();
        names.dedup();
        let mut all: BTreeMap<String, HandlerStats> = BTreeMap::new();
        for found in self.store.backlog(names).await? {
            let name = found.handler.as_str().to_owned();
            let stats = HandlerStats {
                handler: name.clone(),
                deliveries: BTreeMap::new(),
                tries: 0,
                pending: found.pending,
                dead: found.dead,
                oldest_pending_seconds: found.oldest.as_secs_f64(),
            };
            all.insert(name, stats);
        }
        for (handler, state, deliveries, tries) in &sums.deliveries {
            if let Some(stats) = all.get_mut(handler) {
                stats.deliveries.insert(state.clone(), *deliveries);
                stats.tries += tries;
            }
        }
        Ok(all.into_values().collect())
    }
}

fn sources(sums: &Sums, configured: &[Name]) -> Vec<SourceStats> {
    let empty = |source: &str| SourceStats {
        source: source.to_owned(),
        events: 0,
        duplicates: 0,
        last_received_at: None,
        rejected: BTreeMap::new(),
    };
    let mut all: BTreeMap<String, SourceStats> =
        configured.iter().map(|it| (it.as_str().to_owned(), empty(it.as_str()))).collect();
    for it in &sums.sources {
        let stats = all.entry(it.source.clone()).or_insert_with(|| empty(&it.source));
        stats.events = it.events;
        stats.duplicates = it.duplicates;
        stats.last_received_at = Some(it.last);
    }
    for (source, code, rejected) in &sums.rejected {
        let stats = all.entry(source.clone()).or_insert_with(|| empty(source));
        stats.rejected.insert(code.clone(), *rejected);
    }
    all.into_values().collect()
}
