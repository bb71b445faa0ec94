//! From a built app to a running one.

use std::sync::Arc;

use entity::Name;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{App, BuildError, RunError, Running, probe};
use crate::config::Config;
use crate::fetch::Fetcher;
use crate::handler::Routes;
use crate::handler::answers::Answers;
use crate::handler::trial::Trial;
use crate::http::admin::{Cleaned, CleanupDoor};
use crate::http::{self, AdminState, ClockSkew, PublicParts, Readiness};
use crate::intake::readmit::Readmission;
use crate::intake::{Birth, Births, Captures, Recorder, RecorderParts, RejectionKeeper};
use crate::metric::Metrics;
use crate::replay::{self, Replayer};
use crate::retry::RetryPolicy;
use crate::source::Sources;
use crate::store::Store;
use crate::upkeep::cleanup::{self, Cleanup};
use crate::upkeep::{Tell, UpkeepParts, schedule};
use crate::worker::{self, WorkerParts, WorkerStop};

/// What the rooms of one app share.
struct Shared {
    store: Store,
    metrics: Metrics,
    sources: Arc<Sources>,
    routes: Arc<Routes>,
    wake: Arc<Notify>,
    readiness: Readiness,
    skew: ClockSkew,
    id: String,
}

/// What carries replays on.
struct Replays {
    replayer: Replayer,
    nudge: Arc<Notify>,
}

pub(super) async fn start(mut app: App) -> Result<Running, RunError> {
    if !app.faults.is_empty() {
        return Err(BuildError(app.faults).into());
    }
    let mut items = std::mem::take(&mut app.handlers);
    for function in &app.functions {
        app.routes.add(
            function.name.clone(),
            vec![function.source.clone()],
            vec![function.events.clone()],
        );
        app.callees.push(function.callee());
        items.push(function.item());
    }
    app.appoint_responders().map_err(BuildError)?;
    let answers = Answers::default();
    let trials = app.trials();
    let config = app.config;
    let store = Store::open(&config.store).await?;
    let shared = Shared {
        store,
        metrics: Metrics::new(),
        sources: app.sources,
        routes: Arc::new(app.routes),
        wake: Arc::new(Notify::new()),
        readiness: Readiness::new(),
        skew: ClockSkew::new(),
        // Unique for each start: a restarted daemon is another worker, and must not think that it
        // holds the leases of the one before.
        id: format!("{}-{}", std::process::id(), Uuid::now_v7().simple()),
    };
    shared.metrics.config_generation(1);
    shared.metrics.expect(
        shared.sources.iter().map(|source| source.name()),
        app.callees.iter().map(|callee| &callee.name),
    );
    probe::once(&shared.store, &shared.readiness, &shared.skew).await;
    // For the events that a version without this table recorded.
    let groups = shared.sources.iter().map(|source| source.dedupe_group()).collect();
    if let Err(error) = shared.store.keep_groups(groups).await {
        tracing::warn!(error = %error, "the dedupe groups were not kept now");
    }
    let captures = Arc::new(Captures::new(shared.store.clone(), Arc::clone(&shared.sources)));
    // Before the first request: a source that has its secret must not look as if it waited for one.
    captures.load().await.map_err(RunError::Captured)?;

    let intake = TaskTracker::new();
    let intake_closing = CancellationToken::new();
    let seats = worker::seats(&app.callees);
    // Bounded all the same: each newborn has a seat.
    let (births, newborn) = mpsc::unbounded_channel();
    let births = Births {
        seats: Arc::clone(&seats),
        worker: Arc::from(shared.id.as_str()),
        begin: Arc::new(move |birth: Birth| {
            let Birth { claimed, seat, since } = birth;
            // Only when the worker's own task failed, which it has logged.
            if births.send(worker::Birth { claimed, seat, since }).is_err() {
                tracing::error!("nobody takes a newborn delivery; its lease will lapse");
            }
        }),
    };
    let recorder = recorder(&shared, &config, births, &intake, &intake_closing);
    let near_commits = recorder.near_commits();
    let keeper = RejectionKeeper::start(
        shared.store.clone(),
        shared.metrics.clone(),
        &intake,
        intake_closing.clone(),
    );

    let gateways = TaskTracker::new();
    let tunnels_closing = CancellationToken::new();
    let made = http::Gateways::new(
        &config.gateways,
        &shared.store,
        &shared.metrics,
        &gateways,
        &tunnels_closing,
    )
    .map_err(|fault| BuildError(vec![fault]))?;
    let public_parts = PublicParts {
        gateways: made,
        sources: Arc::clone(&shared.sources),
        recorder,
        keeper,
        captures: Arc::clone(&captures),
        fetcher: Fetcher::new(),
        store: shared.store.clone(),
        answers: answers.clone(),
        metrics: shared.metrics.clone(),
        skew: shared.skew.clone(),
        readiness: shared.readiness.clone(),
    };
    let public = http::serve_public(&config.server, public_parts).map_err(|source| {
        RunError::Listen { what: "server.listen", address: config.server.listen, source }
    })?;
    // A cleanup that an operator asked for ends with the scheduled ones, after its current batch.
    let upkeep_stop = CancellationToken::new();
    let replays = Replays {
        replayer: Replayer {
            store: shared.store.clone(),
            targets: replay::targets(&shared.routes),
            worker: shared.id.clone(),
            wake: Arc::clone(&shared.wake),
        },
        nudge: Arc::default(),
    };
    let admin = http::serve_admin(
        &config.admin,
        admin_state(&shared, &config, (items, trials), &captures, (&replays, &upkeep_stop)),
    )
    .map_err(|source| RunError::Listen {
        what: "admin.listen",
        address: config.admin.listen,
        source,
    })?;

    let upkeep = TaskTracker::new();
    let policies =
        app.callees.iter().map(|callee| (callee.name.clone(), callee.retry.clone())).collect();
    crate::upkeep::start(upkeep_parts(&shared, &config, policies), &upkeep, upkeep_stop.clone())
        .await?;
    upkeep.spawn(probe::run(
        shared.store.clone(),
        shared.readiness.clone(),
        shared.skew.clone(),
        upkeep_stop.clone(),
    ));

    upkeep.spawn(captures.run(upkeep_stop.clone()));
    upkeep.spawn(replay::carry_on(replays.replayer, replays.nudge, upkeep_stop.clone()));

    let worker_stop = WorkerStop::default();
    let worker = tokio::spawn(worker::run(
        WorkerParts {
            store: shared.store.clone(),
            callees: app.callees,
            seats,
            births: newborn,
            wake: Arc::clone(&shared.wake),
            answers,
            metrics: shared.metrics.clone(),
            id: shared.id.clone(),
        },
        worker_stop.clone(),
    ));

    let (public_address, admin_address) = (public.address(), admin.address());
    let stoppers = [public.stopper(), admin.stopper()];
    let listeners = vec![tokio::spawn(public.run()), tokio::spawn(admin.run())];
    tracing::info!(server.listen = %public_address, admin.listen = %admin_address,
        "serving on {public_address}, admin on {admin_address}");
    Ok(Running {
        store: shared.store,
        metrics: shared.metrics,
        public: public_address,
        admin: admin_address,
        stoppers,
        listeners,
        readiness: shared.readiness,
        intake,
        intake_closing,
        near_commits,
        gateways,
        tunnels_closing,
        worker,
        worker_stop,
        upkeep,
        upkeep_stop,
        drain: config.server.drain,
        grace: config.server.grace,
    })
}

fn recorder(
    shared: &Shared,
    config: &Config,
    births: Births,
    tracker: &TaskTracker,
    closing: &CancellationToken,
) -> Recorder {
    let parts = RecorderParts {
        store: shared.store.clone(),
        routes: Arc::clone(&shared.routes),
        retention: config.retention,
        births: Some(births),
        wake: Arc::clone(&shared.wake),
        metrics: shared.metrics.clone(),
    };
    Recorder::start(&config.intake, parts, tracker, closing.clone())
}

fn upkeep_parts(
    shared: &Shared,
    config: &Config,
    handlers: Vec<(Name, RetryPolicy)>,
) -> UpkeepParts {
    UpkeepParts {
        store: shared.store.clone(),
        cleanup: config.cleanup.clone(),
        retention: config.retention,
        sources: shared.sources.iter().map(|source| source.name().clone()).collect(),
        handlers,
        wake: Arc::clone(&shared.wake),
        metrics: shared.metrics.clone(),
        id: shared.id.clone(),
        tell: Tell(Arc::new({
            let readiness = shared.readiness.clone();
            move |detail| readiness.set_detail(detail)
        })),
    }
}

fn admin_state(
    shared: &Shared,
    config: &Config,
    (handlers, trials): (Vec<http::admin::shape::HandlerItem>, Vec<Trial>),
    captures: &Arc<Captures>,
    (replays, upkeep_stop): (&Replays, &CancellationToken),
) -> AdminState {
    let wake = Arc::clone(&shared.wake);
    let readmit = {
        let (store, sources, routes) =
            (shared.store.clone(), Arc::clone(&shared.sources), Arc::clone(&shared.routes));
        let (retention, wake) = (config.retention, Arc::clone(&shared.wake));
        move |filter, dry_run| -> http::admin::Doing<_> {
            let (store, sources, routes) =
                (store.clone(), Arc::clone(&sources), Arc::clone(&routes));
            let wake = Arc::clone(&wake);
            Box::pin(async move {
                let readmission =
                    Readmission { store: &store, sources: &sources, routes: &routes, retention };
                let done = readmission.run(&filter, dry_run).await;
                wake.notify_one();
                done
            })
        }
    };
    AdminState {
        store: shared.store.clone(),
        sources: Arc::clone(&shared.sources),
        captures: Arc::clone(captures),
        handlers: handlers.into(),
        trials: trials.into(),
        metrics: shared.metrics.clone(),
        readiness: shared.readiness.clone(),
        wake: Arc::new(move || wake.notify_one()),
        readmit: Arc::new(readmit),
        replayer: replays.replayer.clone(),
        replays: Arc::clone(&replays.nudge),
        cleanup: cleanup_door(shared, config, upkeep_stop.clone()),
    }
}

fn cleanup_door(shared: &Shared, config: &Config, stop: CancellationToken) -> CleanupDoor {
    let schedule = config.cleanup.schedule.clone();
    let (store, metrics, id) = (shared.store.clone(), shared.metrics.clone(), shared.id.clone());
    let sources: Vec<Name> = shared.sources.iter().map(|source| source.name().clone()).collect();
    let (settings, retention) = (config.cleanup.clone(), config.retention);
    let run = move || -> http::admin::Doing<Cleaned> {
        let (store, metrics, id) = (store.clone(), metrics.clone(), id.clone());
        let (sources, settings, stop) = (sources.clone(), settings.clone(), stop.clone());
        Box::pin(async move {
            let cleanup = Cleanup {
                store: &store,
                settings: &settings,
                retention,
                sources: &sources,
                worker: &id,
                metrics: Some(&metrics),
            };
            Ok(match cleanup.run(None, &stop).await? {
                cleanup::Cleaned::Ran { swept, more } => Cleaned::Ran { swept, complete: !more },
                cleanup::Cleaned::NotOurs => Cleaned::Busy,
            })
        })
    };
    CleanupDoor {
        settings: config.cleanup.clone(),
        retention: config.retention,
        next_run: Arc::new(move |now| schedule::next_strike(&schedule, now).ok()),
        run: Arc::new(run),
    }
}
