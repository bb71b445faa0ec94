//! Replays of many deliveries, from the store's rows.

use entity::replay_run;

use crate::http::admin::shape::{ReplayReport, ReplayTally};
use crate::replay::Asked;
use crate::store::StoreError;
use crate::store::replay_run::{Tallies, tallies_of};

impl ReplayReport {
    /// How far a run is. Fails when its row holds what none of ours can.
    pub fn of(run: &replay_run::Model, continued: bool) -> Result<Self, StoreError> {
        let count = |rows: i64| u64::try_from(rows).unwrap_or(0);
        Ok(Self {
            id: Some(run.id),
            state: run.state.clone(),
            continued,
            made_at: Some(run.made_at),
            finished_at: run.finished_at,
            total: run.total.map(count),
            looked_at: count(run.looked_at),
            error: run.error.clone(),
            dry_run: false,
            ..Self::planned(Asked::of_run(run).map_err(StoreError::Unreadable)?, tallies_of(run)?)
        })
    }

    /// What would be done; by carrying `going_on` on, when there is one.
    pub fn would(
        asked: Asked,
        going_on: Option<&replay_run::Model>,
        tallies: Tallies,
    ) -> Result<Self, StoreError> {
        let planned = Self::planned(asked, tallies);
        let Some(run) = going_on else { return Ok(planned) };
        let run = Self::of(run, true)?;
        Ok(Self { dry_run: true, opened: planned.opened, handlers: planned.handlers, ..run })
    }

    fn planned(asked: Asked, tallies: Tallies) -> Self {
        Self {
            id: None,
            state: "planned".to_owned(),
            dry_run: true,
            continued: false,
            asked,
            made_at: None,
            finished_at: None,
            total: None,
            looked_at: 0,
            opened: tallies.values().map(|tally| tally.opened()).sum(),
            handlers: tallies
                .into_iter()
                .map(|(handler, tally)| ReplayTally {
                    handler,
                    reopened: tally.reopened,
                    new_round: tally.new_round,
                    backfilled: tally.backfilled,
                    skipped: tally.skipped,
                })
                .collect(),
            error: None,
        }
    }
}
