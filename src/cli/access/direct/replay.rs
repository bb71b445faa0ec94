//! Replays of many deliveries, driven by this process.

use std::collections::BTreeMap;
use std::sync::Arc;

use entity::{Name, replay_run};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Direct;
use crate::cli::Failure;
use crate::cli::failure::chain;
use crate::cli::replay::{Rehearsal, Rehearsed};
use crate::config::DatabaseSettings;
use crate::event::Event;
use crate::handler::shape::Shaped;
use crate::handler::{HandlerSettings, Kind, Routes};
use crate::http::admin::convert;
use crate::http::admin::shape::{ReplayReport, ReplaysRequest};
use crate::replay::{self, Replayer};
use crate::store::effect::{self, Elsewhere, Foreseen, Refusal, Statements};
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
        let mut stages = Stages::of(&self.config.handlers, &self.config.databases)?;
        let names: Vec<Name> = stages.of.iter().map(|it| it.handler.name.clone()).collect();
        let acts = self.replayer().acts(&wanted.asked(), wanted.restart, &names, most).await?;
        let rehearsals = self.rehearse(acts, &mut stages).await;
        stages.close().await;
        rehearsals
    }

    /// One by one. What is wrong with one event is told with it.
    async fn rehearse(
        &self,
        acts: Vec<Act>,
        stages: &mut Stages<'_>,
    ) -> Result<Vec<Rehearsal>, Failure> {
        let mut rehearsals = Vec::with_capacity(acts.len());
        for act in acts {
            let mut rehearsal = Rehearsal {
                event: act.event,
                event_id: String::new(),
                handler: act.handler.clone(),
                database: None,
                skipped: false,
                done_before: false,
                statements: Vec::new(),
                error: None,
            };
            match self.rehearse_one(&act, stages, &mut rehearsal).await {
                Ok(()) => {}
                // Somebody took it away in the meantime, or it can't be read.
                Err(Failure::NotFound(why) | Failure::Failed(why)) => rehearsal.error = Some(why),
                Err(failure) => return Err(failure),
            }
            rehearsals.push(rehearsal);
        }
        Ok(rehearsals)
    }

    async fn rehearse_one(
        &self,
        act: &Act,
        stages: &mut Stages<'_>,
        rehearsal: &mut Rehearsal,
    ) -> Result<(), Failure> {
        let detail = self.one(&act.event.to_string()).await?;
        rehearsal.event_id.clone_from(&detail.event.event_id);
        let body = self.event_body(act.event).await?;
        let event = convert::handed_over(detail, body).map_err(Failure::Failed)?;
        let found = stages.of.iter().find(|it| it.handler.name.as_str() == act.handler);
        let Some(stage) = found else { return Ok(()) };
        rehearsal.database = stage.elsewhere.as_ref().map(|it| it.name().to_string());
        let shaped = match &stage.handler.shape {
            Some(shape) => shape.apply(&event).await,
            None => Shaped::Whole,
        };
        let event = match &shaped {
            Shaped::Whole => &event,
            Shaped::Changed(event) => event,
            Shaped::Skipped => {
                rehearsal.skipped = true;
                return Ok(());
            }
            Shaped::Failed(why) | Shaped::Slow(why) | Shaped::Crowded(why) => {
                rehearsal.error = Some(why.detail.clone());
                return Ok(());
            }
        };
        match self.foresee(act, stage, &stages.away, event).await {
            Foreseen::Done(seen) => {
                rehearsal.statements = seen.into_iter().map(shown).collect();
            }
            Foreseen::Before => rehearsal.done_before = true,
            Foreseen::Refused(refusal) => rehearsal.error = Some(refusal.cause().to_owned()),
            Foreseen::Away(refusal) => {
                rehearsal.error = Some(refusal.cause().to_owned());
                if let Some(elsewhere) = &stage.elsewhere {
                    stages.away.insert(elsewhere.name().clone(), refusal);
                }
            }
        }
        Ok(())
    }

    async fn foresee(
        &self,
        act: &Act,
        stage: &Stage<'_>,
        away: &BTreeMap<Name, Refusal>,
        event: &Event,
    ) -> Foreseen {
        let filled = match stage.statements.script().fill(event, act.delivery) {
            Ok(filled) => filled,
            Err(why) => return Foreseen::Refused(Refusal::Never(why)),
        };
        let limit = stage.handler.timeout;
        if let Some(elsewhere) = &stage.elsewhere {
            if let Some(refusal) = away.get(elsewhere.name()) {
                return Foreseen::Refused(refusal.clone());
            }
            return elsewhere.rehearse(act.delivery, &stage.statements, filled, limit).await;
        }
        match self.store.rehearse(&stage.statements, filled, limit).await {
            Ok(Ok(seen)) => Foreseen::Done(seen),
            Ok(Err(refusal)) => Foreseen::Refused(refusal),
            // Where it is away for good, the next question ends the command.
            Err(error) => Foreseen::Refused(Refusal::Again(chain(&error))),
        }
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

/// Where the statements of one handler are tried.
struct Stage<'c> {
    handler: &'c HandlerSettings,
    statements: Statements,
    /// `None`: in our own database.
    elsewhere: Option<Elsewhere>,
}

/// Those of all SQL handlers.
struct Stages<'c> {
    of: Vec<Stage<'c>>,
    /// Databases that could not be reached, which are asked no second time.
    away: BTreeMap<Name, Refusal>,
}

impl<'c> Stages<'c> {
    fn of(
        handlers: &'c [HandlerSettings],
        databases: &[DatabaseSettings],
    ) -> Result<Self, Failure> {
        let mut opened: BTreeMap<&Name, Elsewhere> = BTreeMap::new();
        for it in databases {
            let elsewhere = Elsewhere::new(it.name.clone(), &it.url).map_err(Failure::Usage)?;
            opened.insert(&it.name, elsewhere);
        }
        let mut of = Vec::new();
        for handler in handlers {
            let Kind::Sql(sql) = &handler.kind else { continue };
            let elsewhere = match &sql.database {
                None => None,
                Some(name) => Some(opened.get(name).cloned().ok_or_else(|| {
                    Failure::Usage(format!("there is no `[databases.{name}]` in the config"))
                })?),
            };
            of.push(Stage { handler, statements: Statements::new(sql.script.clone()), elsewhere });
        }
        Ok(Self { of, away: BTreeMap::new() })
    }

    async fn close(self) {
        for elsewhere in self.of.iter().filter_map(|it| it.elsewhere.as_ref()) {
            elsewhere.close().await;
        }
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
