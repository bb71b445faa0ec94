//! How an event leaves the house: [`Handler`], its [`Outcome`], and which events go where.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entity::Name;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::event::Event;
use crate::retry::RetryPolicy;
use crate::secret::Secret;
use crate::statement::Script;

pub mod answers;
pub mod broker;
pub mod build;
pub mod control;
pub mod exec;
mod facts;
pub mod function;
pub mod http;
pub mod lane;
pub mod log;
pub mod routing;
pub mod seats;
pub mod shape;
pub mod trial;
pub mod version;

#[cfg(test)]
mod sample;

pub use build::{Variables, build, build_in};
pub use routing::{Pattern, Routes};

/// The most bytes of a handler's answer that are kept with an attempt.
pub const RESPONSE_BYTES_MAX: usize = 16 * 1024;

/// Does something with an event.
///
/// Called at least once for each delivery, always with the same [`Context::delivery`], and exactly
/// once when nothing fails. The future is dropped at the deadline or when the lease is lost, so an
/// implementation must not leave work behind that outlives it.
#[async_trait::async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles one event. A failure of the handler is an [`Outcome`], never a panic by design.
    async fn handle(&self, event: &Event, context: &Context) -> Outcome;

    /// What [`Handler::handle`] would send, with secrets hidden, and without sending it; or why it can't
    /// be made. `None` for a handler that can't tell.
    fn draft(&self, _event: &Event, _context: &Context) -> Option<Result<trial::Draft, String>> {
        None
    }
}

/// What a handler may know about the call itself.
#[derive(Debug, Clone)]
pub struct Context {
    /// The delivery's stable id: receivers dedupe by it.
    pub delivery: Uuid,
    /// The handler's name.
    pub handler: Name,
    /// The lane that the delivery is in, as the event said it when it was recorded.
    pub lane: Option<String>,
    /// 1 is the first try.
    pub attempt: u32,
    /// The lease epoch: increases with every claim.
    pub epoch: i64,
    /// Whether a newer event of its lane was delivered before, and the handler wants to be told.
    pub stale: bool,
    /// How long this call may take in all.
    pub timeout: Duration,
    /// How many bytes of an answer are kept.
    pub keep: usize,
    /// Cancelled when the lease is lost or the daemon's grace is over.
    pub cancelled: CancellationToken,
}

/// What the handler answered: kept with the attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status or exit code.
    pub status: Option<i32>,
    /// At most [`Context::keep`] bytes.
    pub body: Bytes,
    /// What the handler says that the body is.
    pub content_type: Option<String>,
    /// Whether more came than was kept.
    pub cut: bool,
}

/// How a call ended, in the handler's own judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Delivered(Reply),
    /// Failed; try again, not before `after` when it asks for that.
    Retry {
        /// What went wrong, in a sentence without secrets or bodies.
        cause: String,
        /// The handler's own wish (Retry-After).
        after: Option<Duration>,
        /// What it answered.
        reply: Reply,
    },
    /// Will never work: dead at once.
    Reject {
        /// What went wrong.
        cause: String,
        /// What it answered.
        reply: Reply,
    },
    /// Not now: call again after `wait`. Isn't counted as a try.
    Snooze {
        /// How long to wait.
        wait: Duration,
    },
}

impl Outcome {
    /// Done, with nothing to keep.
    #[must_use]
    pub fn done() -> Self {
        Self::Delivered(Reply::default())
    }

    /// Failed; try again on the handler's schedule.
    #[must_use]
    pub fn retry(cause: impl Into<String>) -> Self {
        Self::Retry { cause: cause.into(), after: None, reply: Reply::default() }
    }

    /// Will never work.
    #[must_use]
    pub fn reject(cause: impl Into<String>) -> Self {
        Self::Reject { cause: cause.into(), reply: Reply::default() }
    }
}

/// Everything that a configured handler is made of.
#[derive(Debug, Clone)]
pub struct HandlerSettings {
    /// Its name.
    pub name: Name,
    /// The sources whose events it gets.
    pub from: Vec<Name>,
    /// The types that it gets.
    pub events: Vec<Pattern>,
    /// Which of them by their content, and in what form.
    pub shape: Option<Arc<shape::Shape>>,
    /// What it does.
    pub kind: Kind,
    /// How long one call may take.
    pub timeout: Duration,
    /// How many calls at once, on this replica.
    pub concurrency: u16,
    /// When to try again.
    pub retry: RetryPolicy,
    /// How long a claim holds without renewal.
    pub lease: Duration,
    /// How its deliveries are put into lanes; `None` when each may run beside any other.
    pub lane: Option<lane::Lane>,
    /// How the events of a lane are compared; `None` when they aren't.
    pub versions: Option<version::Versions>,
    /// What holds it back.
    pub control: control::Control,
}

/// What a configured handler does.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Calls an HTTP endpoint.
    Http(HttpSettings),
    /// Runs a program.
    Exec(ExecSettings),
    /// Writes a line to the log.
    Log,
    /// Runs statements in a database.
    Sql(SqlSettings),
    /// Publishes a message that a NATS stream keeps.
    Nats(broker::NatsSettings),
    /// Publishes a message that RabbitMQ confirms.
    Amqp(broker::AmqpSettings),
    /// Publishes a record of a Kafka topic; not to be made in builds without the feature `kafka`.
    Kafka(broker::KafkaSettings),
    /// Adds an entry to a Redis stream.
    Redis(broker::RedisStreamSettings),
}

impl Kind {
    /// Whether what it gives back can be the answer to a sender.
    #[must_use]
    pub fn answers(&self) -> bool {
        match self {
            Self::Http(_) | Self::Exec(_) => true,
            Self::Log
            | Self::Sql(_)
            | Self::Nats(_)
            | Self::Amqp(_)
            | Self::Kafka(_)
            | Self::Redis(_) => false,
        }
    }
}

/// An HTTP endpoint of the operator's.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Where to; the operator's own, so it may be private unless `deny_private`.
    pub url: url::Url,
    /// Added to each call.
    pub headers: Vec<(String, Secret)>,
    /// Signs each call by Standard Webhooks; `whsec_…`.
    pub sign: Option<Secret>,
    /// Refuse to connect to loopback, private, link-local and other special addresses.
    pub deny_private: bool,
    /// Statuses that make a delivery dead at once.
    pub dead_on: Vec<u16>,
}

/// Statements that run once for each delivery.
#[derive(Debug, Clone)]
pub struct SqlSettings {
    /// What runs, in one transaction.
    pub script: Script,
    /// The statements as they were written.
    pub written: Vec<String>,
    /// Where each of them stands in the config, such as `12:5`.
    pub places: Vec<String>,
    /// Another database; `None` is our own.
    pub database: Option<Name>,
}

/// A program of the operator's.
#[derive(Debug, Clone)]
pub struct ExecSettings {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// Environment variables passed on by name, beside `HOOKONCE_*` and `PATH`.
    pub env: Vec<String>,
}
