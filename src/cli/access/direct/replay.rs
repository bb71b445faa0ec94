//! Replays of many deliveries, driven by this process.

use std::sync::Arc;

use entity::replay_run;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Direct;
use crate::cli::Failure;
use crate::handler::Routes;
use crate::http::admin::shape::{ReplayReport, ReplaysRequest};
use crate::replay::{self, Replayer};

impl Direct {
    pub(super) fn replayer(&self) -> Replayer {
        Replayer {
            store: self.store.clone(),
            targets: replay::targets(&Arc::new(Routes::of(&self.config.handlers))),
            worker: format!("cli-{}", std::process::id()),
            wake: Arc::default(),
        }
    }

    pub(in crate::cli::access) async fn begin_replay(
        &self,
        wanted: &ReplaysRequest,
    ) -> Result<ReplayReport, Failure> {
        let (asked, replayer) = (wanted.asked(), self.replayer());
        if wanted.dry_run {
            let (going_on, tallies) = replayer.count(&asked, wanted.restart).await?;
            return Ok(ReplayReport::would(asked, going_on.as_ref(), tallies)?);
        }
        let rate = per_second(wanted.rate.as_deref())?;
        let begun = replayer.begin(&asked, false, rate, wanted.restart).await?;
        Ok(ReplayReport::of(&begun.run, begun.continued)?)
    }

    pub(in crate::cli::access) async fn resume_replay(
        &self,
        id: Uuid,
        rate: Option<&str>,
    ) -> Result<ReplayReport, Failure> {
        told(self.store.resume_replay(id, false, per_second(rate)?).await?, id)
    }

    pub(in crate::cli::access) async fn follow_replay(
        &self,
        id: Uuid,
        stop: &CancellationToken,
        seen: &mut (dyn FnMut(&ReplayReport) + Send),
    ) -> Result<ReplayReport, Failure> {
        let run = self.store.replay_run(id).await?.ok_or_else(|| no_replay(id))?;
        let told_of = |run: &replay_run::Model| {
            // What can't be read is said at the end.
            if let Ok(report) = ReplayReport::of(run, true) {
                seen(&report);
            }
        };
        let run = self.replayer().drive(run, stop, told_of).await?;
        Ok(ReplayReport::of(&run, true)?)
    }

    pub(in crate::cli::access) async fn stop_replay(
        &self,
        id: Uuid,
    ) -> Result<ReplayReport, Failure> {
        told(self.store.stop_replay(id, None).await?, id)
    }
}

fn told(run: Option<replay_run::Model>, id: Uuid) -> Result<ReplayReport, Failure> {
    Ok(ReplayReport::of(&run.ok_or_else(|| no_replay(id))?, true)?)
}

fn no_replay(id: Uuid) -> Failure {
    Failure::NotFound(format!("there is no replay {id}"))
}

fn per_second(rate: Option<&str>) -> Result<Option<f64>, Failure> {
    rate.map(replay::rate).transpose().map_err(|why| Failure::Usage(format!("--rate: {why}")))
}
