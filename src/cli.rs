//! The command line: one file a verb. [`output`] is the only place that prints.
//!
//! Data goes to standard output, talk to standard error. Exit codes: 0 ok, 1 failed, 2 usage or
//! config, 3 daemon or database unreachable, 4 not found, 130 interrupted.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::handler::shape::worker;

pub mod access;
mod bare;
mod check;
mod cleanup;
mod completion;
mod config;
mod delivery;
mod dev;
mod event;
mod failure;
mod global;
mod handler;
mod idempotency;
mod init;
mod migrate;
mod moment;
pub mod output;
mod provider;
mod record;
mod rejection;
mod replay;
mod send;
mod serve;
mod source;
mod stats;
mod unbuilt;
mod verify;

pub use failure::Failure;
pub use global::{Global, Loaded};
pub use output::Output;

/// A webhook receiver: verifies, records once, answers when durable, runs handlers until they are done.
#[derive(Parser)]
#[command(name = "hookonce", version, about, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the daemon.
    Serve,
    /// Write a commented hookonce.toml; never overwrites.
    Init,
    /// Validate config, secrets and database; report every fault.
    Check,
    /// Bring the database's tables up to date, or back.
    #[command(subcommand)]
    Migrate(migrate::Verb),
    /// What we verify, from which documentation, where the id comes from.
    #[command(subcommand)]
    Provider(provider::Verb),
    /// Sign a fixture as its provider would, and send it.
    Send(Box<send::Args>),
    /// Would this request be accepted, and if not, why?
    Verify(Box<verify::Args>),
    /// Turn a real event into a fixture, without people and secrets in it.
    Record(Box<record::Args>),
    /// What was recorded.
    #[command(subcommand)]
    Event(event::Verb),
    /// One event for one handler each.
    #[command(subcommand)]
    Delivery(delivery::Verb),
    /// Deliveries that were given up.
    #[command(subcommand)]
    Dead(delivery::DeadVerb),
    /// Deliver many again: the dead, the delivered too, or old events to a new handler.
    Replay(Box<replay::Args>),
    /// Requests that were refused at the door.
    #[command(subcommand)]
    Rejection(rejection::Verb),
    /// Where webhooks come in, and the secrets that handshakes handed over.
    #[command(subcommand)]
    Source(source::Verb),
    /// Where events go, and what would be sent.
    #[command(subcommand)]
    Handler(handler::Verb),
    /// Idempotency keys of gateways, and giving one back.
    #[command(subcommand)]
    Idempotency(idempotency::Verb),
    /// What came, what became of it, and what is kept.
    Stats(stats::Args),
    /// Delete what has expired, now.
    Cleanup(cleanup::Args),
    /// The config as it is used, or its JSON Schema.
    #[command(subcommand)]
    Config(config::Verb),
    /// Print the completion script for a shell.
    Completion(completion::Args),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// Parses the process's arguments, runs the verb, and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    // Before anything is read or started. None of our verbs: nobody but a daemon has anything to say to it.
    if let Some(Verb::Other(words)) = &cli.verb
        && *words == [worker::ARGUMENT]
    {
        return worker::serve(std::io::stdin(), output::pipe());
    }
    cli.global.isolate_by_this_program();
    let output = cli.global.output();
    // Before anything speaks TLS. An error only says that somebody installed one before us.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return output.fail(&Failure::Failed(format!("no runtime: {why}"))),
    };
    let result = runtime.block_on(run(cli, &output));
    // Whatever still runs (a read of a terminal, a statement) must not hold up the exit.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.fail(&failure),
    }
}

async fn run(cli: Cli, output: &Output) -> Result<(), Failure> {
    let global = &cli.global;
    if !matches!(cli.verb, Some(Verb::Record(_))) {
        global.check_format()?;
    }
    let Some(verb) = cli.verb else { return bare::run(global, output).await };
    match verb {
        Verb::Serve => serve::run(global, output).await,
        Verb::Init => init::run(global, output),
        Verb::Check => check::run(global, output).await,
        Verb::Migrate(verb) => migrate::run(verb, global, output).await,
        Verb::Provider(verb) => provider::run(verb, output),
        Verb::Send(args) => send::run(*args, global, output).await,
        Verb::Verify(args) => verify::run(&args, global, output),
        Verb::Record(args) => record::run(*args, global, output).await,
        Verb::Event(verb) => event::run(verb, global, output).await,
        Verb::Delivery(verb) => delivery::run(verb, global, output).await,
        Verb::Dead(verb) => delivery::run_dead(verb, global, output).await,
        Verb::Replay(args) => replay::run(*args, global, output).await,
        Verb::Rejection(verb) => rejection::run(verb, global, output).await,
        Verb::Source(verb) => source::run(verb, global, output).await,
        Verb::Handler(verb) => handler::run(verb, global, output).await,
        Verb::Idempotency(verb) => idempotency::run(verb, global, output).await,
        Verb::Stats(args) => stats::run(args, global, output).await,
        Verb::Cleanup(args) => cleanup::run(args, global, output).await,
        Verb::Config(verb) => config::run(verb, global, output),
        Verb::Completion(args) => completion::run(args, output),
        Verb::Other(words) => Err(unbuilt::verb(&[], &words, &Cli::command())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    /// What a command line is refused with, or nothing.
    fn refused(line: &str) -> Option<String> {
        let words = std::iter::once("hookonce").chain(line.split_whitespace());
        let cli = match Cli::try_parse_from(words) {
            Ok(cli) => cli,
            Err(error) => return Some(format!("exit {}", error.exit_code())),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let output = cli.global.output();
        let result = runtime.expect("a runtime").block_on(run(cli, &output));
        result.err().map(|failure| format!("{}: {failure}", failure.code()))
    }

    #[test]
    fn a_verb_that_is_not_built_says_so_and_an_unknown_one_is_corrected() {
        for verb in ["tail", "man"] {
            let want = format!("2: `hookonce {verb}` is not built yet");
            assert_eq!(refused(&format!("{verb} x --y")), Some(want));
        }
        for (line, want) in [
            ("event export 1", "2: `hookonce event export` is not built yet"),
            ("event redact 1", "2: `hookonce event redact` is not built yet"),
            ("event list --where x", "2: `--where` is not built yet"),
            ("replay --diff", "exit 2"),
            (
                "replay --dry-run --diff --url http://127.0.0.1:1",
                &format!("2: {}", replay::NOT_OVER_THE_API),
            ),
            (
                "replay --state pending",
                "2: what is pending will be tried anyway: replay dead, delivered or cancelled ones",
            ),
            (
                "delivry list",
                "2: there is no `hookonce delivry`; did you mean `delivery`? See `hookonce --help`",
            ),
            (
                "dead lst",
                "2: there is no `hookonce dead lst`; did you mean `list`? See `hookonce --help`",
            ),
            ("xyzzy", "2: there is no `hookonce xyzzy`. See `hookonce --help`"),
            ("event list --limit 0", "exit 2"),
            ("event list --state done", "exit 2"),
            ("event list --since soon", "exit 2"),
            ("delivery retry not-an-id", "exit 2"),
            ("dead retry --all 01a20a45-117f-74c7-a651-ce342d670a74", "exit 2"),
        ] {
            assert_eq!(refused(line).as_deref(), Some(want), "{line}");
        }
    }
}
