//! Replays of many deliveries, driven by this process.

use std::sync::Arc;

use entity::{Name, replay_run};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Direct;
use crate::cli::Failure;
use crate::cli::replay::{Rehearsal, Rehearsed};
use crate::handler::shape::Shaped;
use crate::handler::{HandlerSettings, Kind, Routes};
use crate::http::admin::convert;
use crate::http::admin::shape::{ReplayReport, ReplaysRequest};
use crate::replay::{self, Replayer};
use crate::store::effect::{self, Statements};
use crate::store::replay_run::Act;

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

    pub(in crate::cli::access) async fn rehearse_replay(
        &self,
        wanted: &ReplaysRequest,
        most: usize,
    ) -> Result<Vec<Rehearsal>, Failure> {
        let own: Vec<(&HandlerSettings, Statements)> = self
            .config
            .handlers
            .iter()
            .filter_map(|handler| match &handler.kind {
                Kind::Sql(sql) if sql.database.is_none() => {
                    Some((handler, Statements::new(sql.script.clone())))
                }
                _ => None,
            })
            .collect();
        let names: Vec<Name> = own.iter().map(|(handler, _)| handler.name.clone()).collect();
        let acts = self.replayer().acts(&wanted.asked(), wanted.restart, &names, most).await?;
        let mut rehearsals = Vec::with_capacity(acts.len());
        for act in acts {
            let of = own.iter().find(|(handler, _)| handler.name.as_str() == act.handler);
            if let Some((handler, statements)) = of {
                rehearsals.push(self.rehearse(act, handler, statements).await?);
            }
        }
        Ok(rehearsals)
    }

    async fn rehearse(
        &self,
        act: Act,
        handler: &HandlerSettings,
        statements: &Statements,
    ) -> Result<Rehearsal, Failure> {
        let detail = self.one(&act.event.to_string()).await?;
        let body = self.event_body(act.event).await?;
        let event = convert::handed_over(detail, body).map_err(Failure::Failed)?;
        let mut rehearsal = Rehearsal {
            event: act.event,
            event_id: event.event_id.clone(),
            handler: act.handler,
            skipped: false,
            statements: Vec::new(),
            error: None,
        };
        let shaped = match &handler.shape {
            Some(shape) => shape.apply(&event).await,
            None => Shaped::Whole,
        };
        let event = match &shaped {
            Shaped::Whole => &event,
            Shaped::Changed(event) => event,
            Shaped::Skipped => {
                rehearsal.skipped = true;
                return Ok(rehearsal);
            }
            Shaped::Failed(why) | Shaped::Slow(why) => {
                rehearsal.error = Some(why.detail.clone());
                return Ok(rehearsal);
            }
        };
        let filled = match statements.script().fill(event, act.delivery) {
            Ok(filled) => filled,
            Err(why) => {
                rehearsal.error = Some(why);
                return Ok(rehearsal);
            }
        };
        match self.store.rehearse(statements, filled, handler.timeout).await? {
            Ok(seen) => rehearsal.statements = seen.into_iter().map(shown).collect(),
            Err(refusal) => rehearsal.error = Some(refusal.cause().to_owned()),
        }
        Ok(rehearsal)
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

fn shown(it: effect::Rehearsed) -> Rehearsed {
    // It was written by the database as JSON.
    let row = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    Rehearsed { rows: it.rows, written: it.shown.into_iter().map(row).collect() }
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
