//! Which events a handler takes by their content (`when`, in CEL), and in what form (`transform`, in jq).
//!
//! Expressions come from the operator, values from the outside. So what is bounded is what an event can
//! drive: depth, time, the size of what comes out. No cause of a failure holds a value, because causes
//! are logged and kept; [`Shaped::Failed`] has the full text beside it for whoever asks by hand.
//!
//! A filter can recurse without end, and no thread survives that; nor can one be ended. Where [`Isolation`] is given,
//! filters, and conditions that loop, run in processes of their own (`isolated` is the daemon's side of the pipe,
//! `worker` the other one).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::event::Event;

mod condition;
mod frame;
mod isolated;
mod json;
mod transform;
mod value;
pub mod worker;

pub use isolated::Isolation;

use condition::Condition;
use isolated::{Refused, Workers};
use transform::Transform;

/// The most bytes that a transform may make of an event.
pub const TRANSFORMED_BYTES_MAX: usize = 1024 * 1024;

/// The longest expression. The parsers need far more memory than the text has.
pub const EXPRESSION_BYTES_MAX: usize = 16 * 1024;

/// How long both expressions of an event may take together. Neither language can count its steps, so
/// what takes longer is left running on its thread and its result is thrown away.
const TIME_MAX: Duration = Duration::from_secs(2);

/// How many threads the expressions of one handler may hold, those that were left running included; and
/// how many processes, of which none is left running.
const THREADS_MAX: usize = 4;

/// How long an event waits for one of these places. It is no part of what its own expressions may take.
const PLACE_MAX: Duration = Duration::from_secs(10);

/// The longest body that a `when` without a loop reads on a thread of the daemon. Read, it may take forty times its
/// length, and four threads of each handler could take that at once.
const BODY_HERE_MAX: usize = 256 * 1024;

/// The cause when an expression's language broke down.
const PANICKED: &str = "`when` or `transform` panicked on this event";

/// The expressions of a handler, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShapeSettings {
    /// CEL over `event`, `headers` and `body`; an event for which it is false is skipped.
    pub when: Option<String>,
    /// jq over the body; its one output is sent in the body's place.
    pub transform: Option<String>,
}

/// An expression that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeFault {
    /// `when` or `transform`.
    pub key: &'static str,
    /// What is wrong with it, and where in it.
    pub why: String,
}

/// What a handler is given of an event.
#[derive(Debug, Clone)]
pub enum Shaped {
    /// The event as it came.
    Whole,
    /// The event with another body, which is JSON, and a content type that says so.
    Changed(Box<Event>),
    /// Nothing: `when` is false.
    Skipped,
    /// It can't be said: an expression failed on this event, and will again.
    Failed(Failure),
    /// An expression took too long; it may not the next time.
    Slow(Failure),
    /// It was never judged, because other events held every place: no fault of its own.
    Crowded(Failure),
}

/// Why an expression gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A sentence without values.
    pub cause: String,
    /// The same in the words of the language, which quote values: for the operator's eyes, never for a log.
    pub detail: String,
}

/// Compiled expressions of one handler.
pub struct Shape {
    settings: ShapeSettings,
    when: Option<Arc<Condition>>,
    rules: Arc<Rules>,
    /// Who runs what `rules` don't have.
    workers: Option<Workers>,
    threads: Arc<Semaphore>,
}

/// What expressions make of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Made {
    /// Nothing else.
    Whole,
    /// Nothing: `when` is false.
    Skipped,
    /// Another body.
    Body(Vec<u8>),
}

/// What is judged in this process.
struct Rules {
    when: Option<Arc<Condition>>,
    transform: Option<Transform>,
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shape").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Shape {
    /// Compiles; `None` when there is nothing to compile. Fails with what is wrong with each expression.
    pub fn new(settings: &ShapeSettings) -> Result<Option<Self>, Vec<ShapeFault>> {
        let mut faults = Vec::new();
        let note = |key| move |why| ShapeFault { key, why };
        let when = settings.when.as_deref().map(Condition::new).transpose().map_err(note("when"));
        let transform = settings
            .transform
            .as_deref()
            .map(Transform::new)
            .transpose()
            .map_err(note("transform"));
        match (when, transform) {
            (Ok(None), Ok(None)) => Ok(None),
            (Ok(when), Ok(transform)) => {
                let when = when.map(Arc::new);
                Ok(Some(Self {
                    settings: settings.clone(),
                    when: when.clone(),
                    rules: Arc::new(Rules { when, transform }),
                    workers: None,
                    threads: Arc::new(Semaphore::new(THREADS_MAX)),
                }))
            }
            (when, transform) => {
                faults.extend(when.err());
                faults.extend(transform.err());
                Err(faults)
            }
        }
    }

    /// The same expressions, with what an event can drive without bound in processes of their own: at most four,
    /// started when they are needed and kept. That is `transform`, and a `when` that goes through lists or reads
    /// a body over 256 KiB; any other `when` stays in this one.
    #[must_use]
    pub fn isolated(&self, isolation: &Isolation) -> Self {
        let may_go = self.when.as_ref().is_some_and(|when| when.loops() || when.reads_body());
        let apart = ShapeSettings {
            when: self.settings.when.clone().filter(|_| may_go),
            transform: self.settings.transform.clone(),
        };
        let here = Rules { when: self.when.clone(), transform: None };
        let nothing = apart == ShapeSettings::default();
        Self {
            settings: self.settings.clone(),
            when: self.when.clone(),
            rules: Arc::new(here),
            workers: (!nothing).then(|| Workers::new(isolation.clone(), apart)),
            threads: Arc::new(Semaphore::new(THREADS_MAX)),
        }
    }

    /// The expressions as written.
    #[must_use]
    pub fn settings(&self) -> &ShapeSettings {
        &self.settings
    }

    /// Judges an event, on a thread or in a process of its own and within 2 s, to which neither the wait for a
    /// place (10 s at most) nor the start of a process counts. Dropping the future is safe: a process that runs
    /// then is killed; a thread runs to its end and what it made is thrown away.
    pub async fn apply(&self, event: &Event) -> Shaped {
        // First come, first served; and never closed.
        match timeout(PLACE_MAX, Arc::clone(&self.threads).acquire_owned()).await {
            Ok(place) => self.apply_within(event, TIME_MAX, place.ok()).await,
            Err(_elapsed) => Shaped::Crowded(plain(format!(
                "`when` and `transform` were busy with other events of the handler for {PLACE_MAX:?}"
            ))),
        }
    }

    async fn apply_within(
        &self,
        event: &Event,
        limit: Duration,
        place: Option<OwnedSemaphorePermit>,
    ) -> Shaped {
        let began = Instant::now();
        let late =
            || Shaped::Slow(plain(format!("`when` and `transform` took longer than {limit:?}")));
        let when_apart = self.when_apart(event);
        let (here, place) = match timeout(limit, self.judge_here(event, place, when_apart)).await {
            Ok(judged) => judged,
            Err(_elapsed) => return late(),
        };
        let made = match (&self.workers, here) {
            (Some(workers), Ok(Made::Whole)) if when_apart || self.settings.transform.is_some() => {
                let left = limit.saturating_sub(began.elapsed());
                workers.judge(event, when_apart, left).await
            }
            (_, here) => here.map_err(Refused::Failed),
        };
        drop(place);
        match made {
            Ok(Made::Whole) => Shaped::Whole,
            Ok(Made::Skipped) => Shaped::Skipped,
            Ok(Made::Body(body)) => Shaped::Changed(Box::new(with_body(event, body))),
            Err(Refused::Failed(failure)) => Shaped::Failed(failure),
            Err(Refused::Slow(failure)) => Shaped::Slow(failure),
            Err(Refused::Late) => late(),
        }
    }

    /// Whether `when` is judged of this event in a process of its own.
    fn when_apart(&self, event: &Event) -> bool {
        let costs = |when: &Condition| {
            when.loops() || (when.reads_body() && event.body.len() > BODY_HERE_MAX)
        };
        self.workers.is_some() && self.when.as_ref().is_some_and(|when| costs(when))
    }

    /// What the expressions that run in this process say, and the place among `THREADS_MAX` that they had.
    async fn judge_here(
        &self,
        event: &Event,
        place: Option<OwnedSemaphorePermit>,
        when_apart: bool,
    ) -> (Result<Made, Failure>, Option<OwnedSemaphorePermit>) {
        if self.rules.transform.is_none() && (when_apart || self.rules.when.is_none()) {
            return (Ok(Made::Whole), place);
        }
        let (rules, event) = (Arc::clone(&self.rules), event.clone());
        // The place goes with the thread, so that those left running are counted.
        match tokio::task::spawn_blocking(move || (rules.judge(&event, true), place)).await {
            Ok(judged) => judged,
            Err(error) => {
                let (cause, detail) = (PANICKED.to_owned(), error.to_string());
                (Err(Failure { cause, detail }), None)
            }
        }
    }
}

impl Rules {
    /// Without `when` where that was judged before.
    fn judge(&self, event: &Event, also_when: bool) -> Result<Made, Failure> {
        if let Some(when) = self.when.as_ref().filter(|_| also_when)
            && !when.holds(event)?
        {
            return Ok(Made::Skipped);
        }
        match &self.transform {
            None => Ok(Made::Whole),
            Some(transform) => transform.run(event).map(Made::Body),
        }
    }
}

fn with_body(event: &Event, body: Vec<u8>) -> Event {
    let mut changed = event.clone();
    let mut headers = crate::received::Headers::new();
    for (name, value) in event.headers.iter() {
        // These said how to read the bytes that came.
        if !matches!(name, "content-type" | "content-encoding" | "content-length") {
            headers.push(name, value);
        }
    }
    headers.push("content-type", "application/json");
    changed.headers = headers;
    changed.body = Bytes::from(body);
    changed
}

/// A failure whose detail needs no hiding, because it holds no value.
fn plain(cause: impl Into<String>) -> Failure {
    let cause = cause.into();
    Failure { detail: cause.clone(), cause }
}

/// The stack of a parser: some 16 KiB for each byte of the longest expression, of which the system gives what
/// is used. Both parsers recurse, and an expression that is nested without sense is a fault, not our end.
const PARSER_STACK_BYTES: usize = 256 * 1024 * 1024;

/// Compiles on a thread with [`PARSER_STACK_BYTES`].
fn compiled<T: Send>(compile: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    let thread = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES);
    std::thread::scope(|scope| {
        let compiling = thread
            .spawn_scoped(scope, compile)
            .map_err(|why| format!("can't be compiled, because no thread can be started: {why}"))?;
        compiling
            .join()
            .unwrap_or_else(|_| Err("can't be compiled: its parser panicked".to_owned()))
    })
}

/// Refuses an expression that is empty or too long to be parsed in little memory.
fn sane(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is empty: leave it out to take every event as it comes".to_owned());
    }
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(format!("is longer than {EXPRESSION_BYTES_MAX} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
