//! A webhook receiver: verifies each request over its exact bytes, records the event once, answers
//! when it is durable, and calls handlers until they are done.
//!
//! **The guarantee.** When a sender got a 2xx, the event is committed. An event that comes twice, at
//! once or a month apart, to one replica or to three, is one row and, while nothing fails, one call of
//! each handler. When something fails the handler is called again, always with the same delivery id.
//! A request that is forged, stale or cut off reaches no handler.
//!
//! The program `hookonce` is this library with a command line. To embed it, build an [`app::App`] from
//! a [`config::Config`] and give it handlers of your own:
//!
//! ```no_run
//! use hookonce::app::App;
//! use hookonce::config::{Config, Environment};
//! use hookonce::handler::{Outcome, Variables};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let (config, _warnings) =
//!     Config::load(Some("hookonce.toml".as_ref()), &Environment::of_process())?;
//! let app = App::build(config, &Variables::new())?.on("stripe", "invoice.*", |event, context| async move {
//!     // At least once: dedupe by `context.delivery`, or do what may be done twice.
//!     println!("{} {} {}", context.delivery, event.kind, event.body.len());
//!     Outcome::done()
//! });
//! app.run(tokio_util::sync::CancellationToken::new()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The rooms, in reading order. `docs/architecture.md` says which may import which.

pub mod received;
pub mod verify;

pub mod source;

pub mod intake;
pub mod store;

pub mod event;
pub mod handler;
pub mod retry;
pub mod statement;
pub mod worker;

pub mod upkeep;

pub mod replay;

pub mod idempotency;

pub mod http;

pub mod config;

pub mod app;
pub mod cli;
pub mod testing;

pub mod address;
pub mod fetch;
pub mod fixture;
pub mod keys;

pub mod metric;
pub mod redis_address;
pub mod secret;
pub mod telemetry;
