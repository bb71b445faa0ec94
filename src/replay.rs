//! Replays of many deliveries: what is asked for, and carrying it on batch by batch.
//!
//! What makes a run exact is in the store: its cursor moves in the transaction that opens deliveries. So
//! whoever drives it may die or be driven beside by another. A daemon carries on the runs that were asked
//! of it, a few at a time, also those that another replica began and left; a command carries on its own.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use entity::{Name, replay_run};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::handler::Routes;
use crate::store::replay_run::{
    Act, Begun, LaneOf, NewRun, ReplayPlan, StepBy, Stepped, Tallies, Target,
};
use crate::store::{LanePlace, Store, StoreError};

mod asked;
mod pace;

pub use asked::{Asked, Filter};
pub use pace::rate;

use pace::Pace;

/// How long a run's driver holds it without a sign of life.
const LEASE: Duration = Duration::from_secs(10);

/// Between two batches: others want the database too.
const PAUSE: Duration = Duration::from_millis(20);

/// How often a daemon looks for runs that others began or left.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Runs that a daemon carries on at once: a slow one doesn't hold the others up.
const AT_ONCE: usize = 3;

/// How often a batch is tried again, and after how long.
const TRIES: u32 = 5;
const TRY_AFTER: Duration = Duration::from_secs(1);

/// Carries runs on. Cheap to clone.
#[derive(Clone)]
pub struct Replayer {
    /// The tables.
    pub store: Store,
    /// The handlers that there are.
    pub targets: Arc<[Target]>,
    /// Who we are, among those who drive runs.
    pub worker: String,
    /// Told when deliveries became due.
    pub wake: Arc<Notify>,
}

/// The handlers of a routing table, as the store asks for them.
#[must_use]
pub fn targets(routes: &Arc<Routes>) -> Arc<[Target]> {
    let target = |(handler, lane): (&Name, Option<&crate::handler::lane::Lane>)| {
        let (routes, name) = (Arc::clone(routes), handler.clone());
        let lane_of = lane.cloned().map(|lane| -> LaneOf {
            Arc::new(move |headers, body| LanePlace {
                lane: lane.of_kept(headers, body),
                skip_dead: lane.skip_dead,
            })
        });
        Target {
            handler: handler.clone(),
            takes: Arc::new(move |source, kind| routes.takes(&name, source, kind)),
            lane: lane_of,
        }
    };
    routes.handlers().map(target).collect()
}

impl Replayer {
    /// What asking for this would do now, and the run that it would carry on, if there is one.
    pub async fn count(
        &self,
        asked: &Asked,
        restart: bool,
    ) -> Result<(Option<replay_run::Model>, Tallies), StoreError> {
        let (going_on, plan) = self.would(asked, restart).await?;
        let tallies = self.store.count_replay(&plan, going_on.as_ref()).await?;
        Ok((going_on, tallies))
    }

    /// The first deliveries for these handlers that asking for this would open now, `most` at most.
    pub async fn acts(
        &self,
        asked: &Asked,
        restart: bool,
        handlers: &[Name],
        most: usize,
    ) -> Result<Vec<Act>, StoreError> {
        let (going_on, plan) = self.would(asked, restart).await?;
        self.store.replay_acts(&plan, going_on.as_ref(), handlers, most).await
    }

    /// The run that asking for this would carry on, if there is one, and what it would do.
    async fn would(
        &self,
        asked: &Asked,
        restart: bool,
    ) -> Result<(Option<replay_run::Model>, ReplayPlan), StoreError> {
        let replay = asked.resolve(Utc::now()).map_err(StoreError::Invalid)?;
        let text = asked.text().map_err(StoreError::Invalid)?;
        let going_on =
            if restart { None } else { self.store.unfinished_replay(&text, asked.again).await? };
        let plan = match &going_on {
            Some(run) => self.plan(run)?,
            None => ReplayPlan { replay, targets: Arc::clone(&self.targets) },
        };
        Ok((going_on, plan))
    }

    /// Begins a run, or finds the equal one that is unfinished: see [`Store::unfinished_replay`]. Daemons
    /// carry it on, or else whoever drives it.
    pub async fn begin(
        &self,
        asked: &Asked,
        by_daemon: bool,
        per_second: Option<f64>,
        restart: bool,
    ) -> Result<Begun, StoreError> {
        let replay = asked.resolve(Utc::now()).map_err(StoreError::Invalid)?;
        let request = asked.text().map_err(StoreError::Invalid)?;
        self.store.begin_replay(NewRun { replay, request, by_daemon, per_second, restart }).await
    }

    /// Carries a run on until it is done or stopped, or until `stop`, and gives it as it stands then; `seen`
    /// is told after each batch. A batch that the database doesn't take now is tried again for a while. A
    /// fault that won't pass stops the run, and is noted in it.
    pub async fn drive(
        &self,
        mut run: replay_run::Model,
        stop: &CancellationToken,
        mut seen: impl FnMut(&replay_run::Model),
    ) -> Result<replay_run::Model, StoreError> {
        let plan = match self.plan(&run) {
            Ok(plan) => plan,
            Err(error) => return Err(self.give_up(&run, error).await),
        };
        let mut pace = Pace::begin(run.per_second);
        while run.state == "running" && !stop.is_cancelled() {
            let by = StepBy { most: pace.most(), worker: self.worker.clone(), lease: LEASE };
            let stepped = match self.step(&run, &plan, by, stop).await {
                Ok(Some(stepped)) => stepped,
                Ok(None) => return Err(StoreError::Invalid("the replay is gone".to_owned())),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => return Err(self.give_up(&run, error).await),
            };
            if stepped.opened > 0 {
                self.wake.notify_one();
            }
            run = stepped.run;
            seen(&run);
            pace.opened(stepped.opened, run.per_second);
            if run.state == "running" {
                self.rest(&run, &pace, stop).await?;
            }
        }
        Ok(run)
    }

    /// Waits until the next batch is due, the run is stopped, or `stop`; keeps the run meanwhile.
    async fn rest(
        &self,
        run: &replay_run::Model,
        pace: &Pace,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let mut wait = pace.wait().max(PAUSE);
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait.min(LOOK_EVERY)) => {}
                () = stop.cancelled() => return Ok(()),
            }
            wait = pace.wait();
            if wait.is_zero() || !self.store.hold_replay(run.id, &self.worker, LEASE).await? {
                return Ok(());
            }
        }
    }

    /// What a run asks for, with the handlers that there are.
    fn plan(&self, run: &replay_run::Model) -> Result<ReplayPlan, StoreError> {
        let replay = Asked::of(run).map_err(StoreError::Unreadable)?;
        Ok(ReplayPlan { replay, targets: Arc::clone(&self.targets) })
    }

    async fn step(
        &self,
        run: &replay_run::Model,
        plan: &ReplayPlan,
        by: StepBy,
        stop: &CancellationToken,
    ) -> Result<Option<Stepped>, StoreError> {
        let mut tries = 1;
        loop {
            match self.store.replay_step(run.id, plan, by.clone()).await {
                Err(error) if error.is_transient() && tries < TRIES && !stop.is_cancelled() => {
                    tracing::warn!(error = %error, replay.id = %run.id, "a batch of a replay is tried again");
                    tries += 1;
                    tokio::select! {
                        () = tokio::time::sleep(TRY_AFTER) => {}
                        () = stop.cancelled() => {}
                    }
                }
                done => return done,
            }
        }
    }

    async fn give_up(&self, run: &replay_run::Model, error: StoreError) -> StoreError {
        tracing::error!(error = %error, replay.id = %run.id, "a replay was stopped by a fault");
        match self.store.stop_replay(run.id, Some(error.to_string())).await {
            Ok(_) => error,
            Err(second) => second,
        }
    }
}

/// Carries on the runs that were asked of a daemon, three at once, until `stop`. `nudge` says that there is
/// a new one.
pub async fn carry_on(replayer: Replayer, nudge: Arc<Notify>, stop: CancellationToken) {
    let one = |n: usize| {
        let replayer = Replayer { worker: format!("{}-{n}", replayer.worker), ..replayer.clone() };
        one_by_one(replayer, Arc::clone(&nudge), stop.clone())
    };
    futures::future::join_all((0..AT_ONCE).map(one)).await;
}

async fn one_by_one(replayer: Replayer, nudge: Arc<Notify>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let claimed = replayer.store.claim_replay(&replayer.worker, LEASE).await;
        let went_on = match claimed {
            Ok(Some(run)) => {
                let id = run.id;
                match replayer.drive(run, &stop, |_| {}).await {
                    Ok(run) => {
                        tracing::info!(replay.id = %id, replay.state = run.state, "a replay looked at {} rows", run.looked_at);
                        true
                    }
                    Err(error) => {
                        tracing::warn!(error = %error, replay.id = %id, "a replay did not go on");
                        false
                    }
                }
            }
            Ok(None) => false,
            Err(error) => {
                tracing::debug!(error = %error, "replays can't be looked for now");
                false
            }
        };
        if !went_on {
            tokio::select! {
                () = nudge.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}
