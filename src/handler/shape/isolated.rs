//! Expressions in processes of their own, which an event may end without harm.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{Failure, Made, ShapeSettings, frame, plain, worker};
use crate::event::Event;

/// How long a worker may take to start: it compiles the filter, and the machine may be busy.
const START_MAX: Duration = Duration::from_secs(10);

/// How long a process that ends is waited for, and one that was killed.
const REAP_MAX: Duration = Duration::from_secs(1);

/// The one setting that a worker has of us: that its allocator (mimalloc) takes address space bit by bit. By
/// its default it takes a gibibyte at once, of which a limit that comes later would count nothing.
const ALLOCATOR: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "32M");

/// Who runs expressions apart from this process: a `hookonce` program of the same version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    program: PathBuf,
    environment: Vec<(&'static str, OsString)>,
}

impl Isolation {
    /// By the program at this path. It isn't looked at before the first event comes.
    #[must_use]
    pub fn by(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), environment: Vec::new() }
    }

    /// In this time zone, as `TZ` names one, for filters that tell the local time. A worker knows no other
    /// variable.
    #[must_use]
    pub fn in_time_zone(mut self, zone: Option<OsString>) -> Self {
        self.environment = zone.map(|zone| ("TZ", zone)).into_iter().collect();
        self
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }
}

/// Why there is no body.
pub(super) enum Refused {
    /// The filter failed on this event, and will again.
    Failed(Failure),
    /// It may work the next time.
    Slow(Failure),
    /// It took longer than it may.
    Late,
}

/// The workers of one handler's expressions. Who asks them has a permit: there are never more of them than permits.
pub(super) struct Workers {
    isolation: Isolation,
    settings: ShapeSettings,
    idle: Mutex<Vec<Worker>>,
}

impl Workers {
    pub(super) fn new(isolation: Isolation, settings: ShapeSettings) -> Self {
        Self { isolation, settings, idle: Mutex::default() }
    }

    /// What the expressions make of an event within `limit`, by a worker that is kept for the next. The time in
    /// which a worker starts doesn't count. Dropping the future kills the worker that was asked.
    ///
    /// A worker that was kept may have ended for another's sake, so it isn't believed when it ends: a
    /// fresh one is asked the same, and decides.
    pub(super) async fn judge(
        &self,
        event: &Event,
        also_when: bool,
        limit: Duration,
    ) -> Result<Made, Refused> {
        let what = self.what(also_when);
        let request = frame::request(event, also_when)
            .map_err(|why| Refused::Failed(by_itself(what, &why)))?;
        if let Some(kept) = self.kept()
            && let Ok(answered) = self.ask(kept, &request, limit).await
        {
            return answered;
        }
        let fresh = tokio::time::timeout(START_MAX, Worker::start(&self.isolation, &self.settings));
        let fresh = match fresh.await {
            Ok(Ok(worker)) => worker,
            Ok(Err(why)) => return Err(Refused::Slow(by_itself(what, &why))),
            Err(_elapsed) => {
                let late = format!("it did not start within {START_MAX:?}");
                return Err(Refused::Slow(by_itself(what, &io::Error::other(late))));
            }
        };
        match self.ask(fresh, &request, limit).await {
            Ok(answered) => answered,
            Err(ended) => Err(judged(what, &ended)),
        }
    }

    /// The answer; or how the worker ended instead of giving one.
    async fn ask(
        &self,
        mut worker: Worker,
        request: &[u8],
        limit: Duration,
    ) -> Result<Result<Made, Refused>, io::Result<ExitStatus>> {
        match tokio::time::timeout(limit, worker.exchange(request)).await {
            Ok(Ok(made)) => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
                Ok(made.map_err(Refused::Failed))
            }
            // It answered, and not in our language.
            Ok(Err(why)) if why.kind() == io::ErrorKind::InvalidData => {
                worker.kill().await;
                Err(Err(why))
            }
            Ok(Err(_broken_pipe)) => Err(worker.end().await),
            Err(_elapsed) => {
                worker.kill().await;
                Ok(Err(Refused::Late))
            }
        }
    }

    /// A worker that has nothing to do and still lives.
    fn kept(&self) -> Option<Worker> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // All of them, so that one that ended below others isn't left uncollected. Whatever can't be said to
        // live is no use; dropping it ends it.
        idle.retain_mut(|worker| matches!(worker.child.try_wait(), Ok(None)));
        idle.pop()
    }

    /// The expressions that run.
    fn what(&self, also_when: bool) -> &'static str {
        match (also_when, &self.settings.transform) {
            (true, Some(_)) => "`when` or `transform`",
            (true, None) => "`when`",
            (false, _) => "`transform`",
        }
    }
}

/// What the end of a worker says of the event that it had.
fn judged(what: &str, ended: &io::Result<ExitStatus>) -> Refused {
    use std::os::unix::process::ExitStatusExt;

    match ended {
        // Signals that people and the system send to a process that has done nothing wrong.
        Ok(status) if matches!(status.signal(), Some(1 | 2 | 9 | 15)) => {
            let killed = format!("{what} was killed with its process while it worked");
            Refused::Slow(plain(killed))
        }
        // Nothing that an event does to it makes it leave: it had nobody to answer, or it is none of ours.
        Ok(status) if status.code().is_some() => {
            Refused::Slow(by_itself(what, &io::Error::other(format!("it ended with {status}"))))
        }
        Ok(_) => Refused::Failed(plain(format!(
            "{what} ended its process on this event: it recursed too deep or took too much memory"
        ))),
        Err(why) => Refused::Slow(by_itself(what, why)),
    }
}

fn by_itself(what: &str, why: &io::Error) -> Failure {
    plain(format!("{what} could not be run in a process of its own: {why}"))
}

/// Pipes say only that they ended.
fn unready(why: io::Error) -> io::Error {
    match why.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            io::Error::other("it ended before it was ready")
        }
        _ => why,
    }
}

/// A process that has compiled the expressions. Dropping it kills it.
struct Worker {
    child: Child,
    requests: ChildStdin,
    answers: ChildStdout,
}

impl Worker {
    async fn start(isolation: &Isolation, settings: &ShapeSettings) -> io::Result<Self> {
        let mut command = Command::new(&isolation.program);
        command
            // What `ps` shows; the path may be that of a link to whatever this process is.
            .arg0("hookonce")
            .arg(worker::ARGUMENT)
            .env_clear()
            .env(ALLOCATOR.0, ALLOCATOR.1)
            .envs(isolation.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A Ctrl-C in the daemon's terminal is for the daemon, which ends in order.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("it has no pipes"));
        };
        let mut worker = Self { child, requests, answers };
        match worker.exchange(&frame::settings(settings)?).await.map_err(unready)? {
            Ok(Made::Body(version)) if version == env!("CARGO_PKG_VERSION").as_bytes() => {
                Ok(worker)
            }
            Ok(Made::Whole | Made::Skipped) => Err(io::ErrorKind::InvalidData.into()),
            Ok(Made::Body(version)) => Err(io::Error::other(format!(
                "{} is of version {}, and this of {}",
                isolation.program.display(),
                String::from_utf8_lossy(&version),
                env!("CARGO_PKG_VERSION")
            ))),
            Err(fault) => Err(io::Error::other(fault.cause)),
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<Result<Made, Failure>> {
        self.requests.write_all(request).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> io::Result<Result<Made, Failure>> {
        let mut head = [0; frame::LENGTH_BYTES];
        self.answers.read_exact(&mut head).await?;
        let mut content = vec![0; frame::length(head, frame::ANSWER_BYTES_MAX)?];
        self.answers.read_exact(&mut content).await?;
        frame::made(content)
    }

    /// How it ended, now that its pipes have.
    async fn end(mut self) -> io::Result<ExitStatus> {
        // Its pipes end a moment before it does, and a signal of ours must not hide what ended it.
        if let Some(ended) = self.collected().await {
            return ended;
        }
        self.child.start_kill()?;
        let stays = || Err(io::Error::other("it can't be ended"));
        self.collected().await.unwrap_or_else(stays)
    }

    /// Ends it, whatever it does.
    async fn kill(mut self) {
        if let Err(why) = self.child.start_kill() {
            tracing::debug!(error = %why, "a worker had ended before it was killed");
        }
        if self.collected().await.is_none() {
            tracing::debug!("a killed worker takes long to end");
        }
    }

    /// How it ended, if it does so within [`REAP_MAX`]. Who waits no longer drops it, and the runtime collects it
    /// whenever it ends: one that the kernel won't let go must not keep its place.
    async fn collected(&mut self) -> Option<io::Result<ExitStatus>> {
        tokio::time::timeout(REAP_MAX, self.child.wait()).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process of ours that is no worker, with the pipes of one.
    fn process(program: &str) -> Worker {
        let mut command = Command::new("sh");
        command.args(["-c", program]).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh");
        let requests = child.stdin.take().expect("a pipe");
        let answers = child.stdout.take().expect("a pipe");
        Worker { child, requests, answers }
    }

    #[tokio::test]
    async fn a_process_that_stays_is_not_waited_for_without_end() {
        let mut stays = process("exec sleep 1000");
        assert!(stays.collected().await.is_none());
        // Its pipes are closed and it stays: what ends it is us.
        let ended = process("exec sleep 1000 <&- >&-").end().await.expect("a status");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9));
        let ended = process("exit 3").end().await.expect("a status");
        assert_eq!(ended.code(), Some(3));
    }
}
