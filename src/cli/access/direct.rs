//! The database itself, opened beside a daemon that may be running on it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::Name;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Act;
use crate::app::App;
use crate::cli::{Failure, moment, serve};
use crate::config::{Config, did_you_mean};
use crate::handler::Routes;
use crate::http::admin::shape::{
    Action, CleanupDone, DeliveryFull, EventFull, EventItem, HandlerItem, HandlerTest, List,
    PauseDone, ReadmitItem, ReadmitRequest, RejectionItem, SourceItem, Stats,
};
use crate::http::admin::stats::StatsOf;
use crate::http::admin::{convert, pauses};
use crate::intake::Captures;
use crate::intake::readmit::{Readmission, ReadmitFilter};
use crate::source::{Source, Sources};
use crate::store::{DeliveryFilter, EventDetail, EventFilter, RejectionFilter, Store};
use crate::upkeep::cleanup::{Cleaned, Cleanup};

mod keys;
mod replay;

/// The database of the config.
pub struct Direct {
    store: Store,
    config: Config,
}

impl Direct {
    /// Opens the database; takes no lock and migrates nothing.
    pub async fn open(config: Config) -> Result<Self, Failure> {
        Ok(Self { store: Store::open_beside(&config.store).await?, config })
    }

    pub(super) async fn close(self) {
        self.store.close().await;
    }

    pub(super) async fn events(&self, filter: &EventFilter) -> Result<List<EventItem>, Failure> {
        Ok(self.store.events(filter).await?.into())
    }

    pub(super) async fn event(&self, id: &str) -> Result<EventFull, Failure> {
        Ok(self.one(id).await?.into())
    }

    /// The one event that `id` means, ours or the provider's.
    async fn one(&self, id: &str) -> Result<EventDetail, Failure> {
        let mut found = self.store.event(id).await?;
        if found.len() > 1 {
            let ids: Vec<String> = found
                .iter()
                .map(|detail| format!("{} ({})", detail.event.id, detail.event.source))
                .collect();
            return Err(Failure::Failed(format!(
                "several sources have an event `{id}`; use ours: {}",
                ids.join(", ")
            )));
        }
        found.pop().ok_or_else(|| Failure::NotFound(format!("there is no event `{id}`")))
    }

    pub(super) async fn event_body(&self, event: Uuid) -> Result<Vec<u8>, Failure> {
        match self.store.event_body(event).await? {
            Some(body) => Ok(body),
            None => Err(Failure::NotFound("retention dropped this event's body".to_owned())),
        }
    }

    pub(super) async fn replay(
        &self,
        event: Uuid,
        to_handler: Option<&Name>,
        again: bool,
    ) -> Result<Vec<Action>, Failure> {
        let targets = self.replayer().targets;
        let mut handlers = Vec::new();
        if let Some(name) = to_handler {
            let known = targets.iter().find(|target| target.handler == *name);
            // A delivery for a handler that nobody runs would wait for ever.
            handlers.push(known.cloned().ok_or_else(|| no_handler(name.as_str()))?);
        }
        let done = self.store.replay(event, handlers, again).await?;
        Ok(done.into_iter().map(Action::from).collect())
    }

    pub(super) async fn deliveries(
        &self,
        filter: &DeliveryFilter,
    ) -> Result<List<DeliveryFull>, Failure> {
        Ok(self.store.deliveries(filter).await?.into())
    }

    pub(super) async fn delivery(&self, id: Uuid) -> Result<DeliveryFull, Failure> {
        let (row, tries) = self.store.delivery(id).await?.ok_or_else(|| no_delivery(id))?;
        Ok(convert::delivery(row.delivery, &row.event, Some(tries)))
    }

    pub(super) async fn act(&self, act: Act, id: Uuid) -> Result<Action, Failure> {
        let action = match act {
            Act::Retry => self.store.retry(id).await?.map(Action::from),
            Act::Cancel => convert::removed(id, "cancelled", self.store.cancel(id).await?),
            Act::Discard => convert::removed(id, "discarded", self.store.discard(id).await?),
        };
        action.ok_or_else(|| no_delivery(id))
    }

    pub(super) async fn rejections(
        &self,
        filter: &RejectionFilter,
    ) -> Result<List<RejectionItem>, Failure> {
        let page = self.store.rejections(filter).await?;
        let captures = self.captures().await?;
        let sources = captures.sources();
        let item = |rejection| convert::rejection_listed(rejection, sources);
        Ok(List {
            items: page.items.into_iter().map(item).collect(),
            next_cursor: page.next_cursor,
        })
    }

    pub(super) async fn rejection(&self, id: Uuid) -> Result<RejectionItem, Failure> {
        let found = self.store.rejection(id).await?;
        let captures = self.captures().await?;
        found
            .map(|rejection| convert::rejection_in_full(rejection, captures.sources()))
            .ok_or_else(|| Failure::NotFound(format!("there is no rejection {id}")))
    }

    pub(super) async fn readmit(
        &self,
        wanted: &ReadmitRequest,
    ) -> Result<Vec<ReadmitItem>, Failure> {
        let since = wanted
            .since
            .as_deref()
            .map(moment::parse)
            .transpose()
            .map_err(|why| Failure::Usage(format!("--since: {why}")))?;
        let filter =
            ReadmitFilter { ids: wanted.ids.clone(), source: wanted.source.clone(), since };
        let captures = self.captures().await?;
        let routes = Routes::of(&self.config.handlers);
        let readmission = Readmission {
            store: &self.store,
            sources: captures.sources(),
            routes: &routes,
            retention: self.config.retention,
        };
        let done = readmission.run(&filter, wanted.dry_run).await?;
        Ok(done.into_iter().map(ReadmitItem::from).collect())
    }

    /// The config's sources, with what handshakes handed them.
    async fn captures(&self) -> Result<Captures, Failure> {
        let mut sources = Vec::new();
        for settings in &self.config.sources {
            // The config was checked with the same function, so this does not happen.
            let source = Source::compile(settings.clone()).map_err(|faults| {
                Failure::Usage(format!("source `{}`: {}", settings.name, faults.join("; ")))
            })?;
            sources.push(source);
        }
        let captures = Captures::new(self.store.clone(), Arc::new(Sources::new(sources)));
        captures.load().await?;
        Ok(captures)
    }

    pub(super) async fn sources(&self) -> Result<List<SourceItem>, Failure> {
        let captures = self.captures().await?;
        let items = captures.sources().iter().map(|source| SourceItem::from(&**source)).collect();
        Ok(List { items, next_cursor: None })
    }

    pub(super) async fn source(&self, name: &str, reveal: bool) -> Result<SourceItem, Failure> {
        let captures = self.captures().await?;
        let source = captures.sources().named(name).ok_or_else(|| no_source(name))?;
        Ok(convert::source_in_full(source, &self.store.captured().await?, reveal))
    }

    pub(super) async fn reopen(&self, name: &str) -> Result<SourceItem, Failure> {
        let captures = self.captures().await?;
        let source = captures.sources().named(name).ok_or_else(|| no_source(name))?;
        if !source.captures() {
            return Err(Failure::Failed(format!(
                "no handshake hands `{name}` a secret: its secrets are in the config"
            )));
        }
        captures.forget(source).await?;
        Ok(SourceItem::from(&**source))
    }

    /// The handlers as a daemon with this config would have them.
    fn app(&self) -> Result<App, Failure> {
        serve::build(self.config.clone())
    }

    pub(super) async fn handlers(&self) -> Result<List<HandlerItem>, Failure> {
        let brief = |it: &HandlerItem| HandlerItem { settings: None, ..it.clone() };
        let items = self.app()?.handlers().iter().map(brief).collect();
        Ok(List { items: pauses::with_pauses(&self.store, items).await?, next_cursor: None })
    }

    pub(super) async fn handler(&self, name: &str) -> Result<HandlerItem, Failure> {
        let handler = self.configured(name)?;
        let app = self.app()?;
        let found = app.handlers().iter().filter(|it| it.name == handler.as_str()).cloned();
        let mut shown = pauses::with_pauses(&self.store, found.collect()).await?;
        shown.pop().ok_or_else(|| no_handler(name))
    }

    pub(super) async fn pause(
        &self,
        name: &str,
        reason: Option<String>,
    ) -> Result<PauseDone, Failure> {
        let handler = self.configured(name)?;
        Ok(pauses::paused(&self.store, handler, reason, "the command line").await?)
    }

    pub(super) async fn resume(&self, name: &str) -> Result<PauseDone, Failure> {
        Ok(pauses::resumed(&self.store, self.configured(name)?).await?)
    }

    fn configured(&self, name: &str) -> Result<Name, Failure> {
        let found = self.config.handlers.iter().find(|it| it.name.as_str() == name);
        let names = self.config.handlers.iter().map(|it| it.name.as_str());
        found.map(|it| it.name.clone()).ok_or_else(|| {
            let near = did_you_mean(name, names);
            Failure::NotFound(format!("there is no handler `{name}` in the config{near}"))
        })
    }

    pub(super) async fn test_handler(
        &self,
        name: &str,
        event: &str,
    ) -> Result<HandlerTest, Failure> {
        let trials = self.app()?.trials();
        let trial =
            trials.iter().find(|it| it.name.as_str() == name).ok_or_else(|| no_handler(name))?;
        let detail = self.one(event).await?;
        let body = self.event_body(detail.event.id).await?;
        let event = convert::handed_over(detail, body).map_err(Failure::Failed)?;
        let tried = trial.run(&event).await;
        Ok(convert::handler_test(&trial.name, event.id, tried))
    }

    pub(super) async fn stats(&self, since: DateTime<Utc>) -> Result<Stats, Failure> {
        let asked = StatsOf {
            store: &self.store,
            sources: self.config.sources.iter().map(|it| it.name.clone()).collect(),
            handlers: self.config.handlers.iter().map(|it| it.name.clone()).collect(),
            cleanup: &self.config.cleanup,
            retention: self.config.retention,
        };
        Ok(asked.collect(Some(since)).await?)
    }

    pub(super) async fn dry_cleanup(&self) -> Result<CleanupDone, Failure> {
        let swept = self.store.expired(self.config.retention).await?;
        Ok(CleanupDone { dry_run: true, complete: true, swept })
    }

    pub(super) async fn cleanup(&self, stop: &CancellationToken) -> Result<CleanupDone, Failure> {
        let sources: Vec<Name> = self.config.sources.iter().map(|it| it.name.clone()).collect();
        let worker = format!("cli-{}", std::process::id());
        let cleanup = Cleanup {
            store: &self.store,
            settings: &self.config.cleanup,
            retention: self.config.retention,
            sources: &sources,
            worker: &worker,
            metrics: None,
        };
        match cleanup.run(None, stop).await? {
            Cleaned::Ran { swept, more } => {
                Ok(CleanupDone { dry_run: false, complete: !more, swept })
            }
            Cleaned::NotOurs => {
                Err(Failure::Failed("a cleanup is running; try again later".to_owned()))
            }
        }
    }
}

fn no_source(name: &str) -> Failure {
    Failure::NotFound(format!("there is no source `{name}` in the config"))
}

fn no_handler(name: &str) -> Failure {
    Failure::NotFound(format!("there is no handler `{name}` in the config"))
}

fn no_delivery(id: Uuid) -> Failure {
    Failure::NotFound(format!("there is no delivery {id}"))
}
