//! The `exec` handler: a program of the operator's, called without a shell.
//!
//! The body goes to its standard input, the facts to its environment, and nothing of an event ever
//! becomes an argument. Its exit code is its judgement: 0 done, 65 (`EX_DATAERR`) dead at once, 75
//! (`EX_TEMPFAIL`) and everything else again later. It runs in a process group of its own, which is
//! killed as a whole when the call ends in whatever way: nothing that it started outlives the call.
//! (A process that leaves its group, as a daemon does, escapes this.)

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Command;

use super::build::Variables;
use super::trial::{Draft, HIDDEN};
use super::{Context, ExecSettings, Handler, Outcome, Reply};
use crate::event::Event;

mod group;
mod program;

/// Where programs are looked for, and the only `PATH` that they see.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The exit code that makes a delivery dead at once: sysexits' `EX_DATAERR`.
const EXIT_REJECT: i32 = 65;

/// The worker drops the call at its deadline and records a time-out. This comes later and only cuts
/// a call off that nobody watches.
const BACKSTOP: Duration = Duration::from_secs(1);

/// A program of the operator's.
#[derive(Debug)]
pub struct ExecHandler {
    program: PathBuf,
    arguments: Vec<String>,
    passed_on: Vec<(String, OsString)>,
}

impl ExecHandler {
    /// Finds the program and the variables to pass on.
    ///
    /// Fails with a sentence when there is no program, or it isn't there or not executable, or a
    /// name in `env` can't be one.
    pub fn new(settings: &ExecSettings, environment: &Variables) -> Result<Self, String> {
        let (name, arguments) = settings
            .command
            .split_first()
            .ok_or("`exec.command` is empty; give the program and its arguments as a list")?;
        if let Some(bad) = settings.command.iter().find(|word| word.contains('\0')) {
            return Err(format!("`exec.command` has a NUL character in {bad:?}"));
        }
        for name in &settings.env {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(format!("`exec.env`: {name:?} is not the name of a variable"));
            }
            if name == "PATH" || name.starts_with("HOOKONCE_") {
                return Err(format!(
                    "`exec.env`: {name} can't be passed on, because hookonce sets it itself"
                ));
            }
        }
        let passed_on = settings
            .env
            .iter()
            .filter_map(|name| environment.get(name).map(|value| (name.clone(), value.clone())))
            .collect();
        Ok(Self { program: program::find(name, PATH)?, arguments: arguments.to_vec(), passed_on })
    }

    fn command(&self, event: &Event, context: &Context) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().env("PATH", PATH);
        for (name, value) in &self.passed_on {
            command.env(name, value);
        }
        for (name, value) in facts(event, context) {
            // A NUL would end the value early for the program, and refuse the call before that.
            command.env(name, value.replace('\0', ""));
        }
        command
    }
}

fn facts(event: &Event, context: &Context) -> impl Iterator<Item = (&'static str, String)> {
    let stale = context.stale.then(|| ("HOOKONCE_STALE", "true".to_owned()));
    let always = [
        ("HOOKONCE_SOURCE", event.source.to_string()),
        ("HOOKONCE_EVENT", event.id.to_string()),
        ("HOOKONCE_EVENT_ID", event.event_id.clone()),
        ("HOOKONCE_EVENT_TYPE", event.kind.clone()),
        ("HOOKONCE_DELIVERY", context.delivery.to_string()),
        ("HOOKONCE_ATTEMPT", context.attempt.to_string()),
        ("HOOKONCE_EPOCH", context.epoch.to_string()),
        ("HOOKONCE_HANDLER", context.handler.to_string()),
        ("HOOKONCE_CONTENT_TYPE", event.content_type().to_owned()),
        (
            "HOOKONCE_RECEIVED_AT",
            event.received_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        ),
    ];
    always.into_iter().chain(stale)
}

#[async_trait::async_trait]
impl Handler for ExecHandler {
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        let program = self.program.display();
        let command = self.command(event, context);
        let deadline = context.timeout + BACKSTOP;
        match tokio::time::timeout(deadline, group::run(command, event.body.clone(), context.keep))
            .await
        {
            Ok(Ok(ended)) => judge(&program.to_string(), ended),
            Ok(Err(error)) => Outcome::retry(format!("{program} could not be run: {error}")),
            Err(_elapsed) => Outcome::retry(format!(
                "{program} did not end within {}",
                humantime::format_duration(context.timeout)
            )),
        }
    }

    fn draft(&self, event: &Event, context: &Context) -> Option<Result<Draft, String>> {
        let program = self.program.display().to_string();
        let passed_on = self.passed_on.iter().map(|(name, _)| (name.clone(), HIDDEN.to_owned()));
        let facts = facts(event, context).map(|(name, value)| (name.to_owned(), value));
        Some(Ok(Draft {
            command: std::iter::once(program).chain(self.arguments.iter().cloned()).collect(),
            headers: passed_on.chain(facts).collect(),
            body: event.body.clone(),
            ..Draft::default()
        }))
    }
}

fn judge(program: &str, ended: group::Ended) -> Outcome {
    use std::os::unix::process::ExitStatusExt;

    let group::Ended { status, output, cut } = ended;
    let status_code = ExitStatus::code(&status);
    let reply = Reply { status: status_code, body: output, content_type: None, cut };
    match (status.code(), status.signal()) {
        (Some(0), _) => Outcome::Delivered(reply),
        (Some(EXIT_REJECT), _) => Outcome::Reject {
            cause: format!("{program} exited with {EXIT_REJECT}, so it is not tried again"),
            reply,
        },
        (Some(code), _) => {
            Outcome::Retry { cause: format!("{program} exited with {code}"), after: None, reply }
        }
        (None, Some(signal)) => Outcome::Retry {
            cause: format!("{program} was killed by signal {signal}{}", signal_name(signal)),
            after: None,
            reply,
        },
        (None, None) => {
            Outcome::Retry { cause: format!("{program} ended as {status}"), after: None, reply }
        }
    }
}

/// The signals that end programs, by their numbers where these are the same on every Unix.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        14 => " (SIGALRM)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
