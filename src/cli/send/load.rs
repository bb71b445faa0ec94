//! `hookonce send --summary` and `--journal`: the flags of load mode, and its summary.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Args, Failure, Output, Printer, failure};
use crate::cli::output::Grid;
use crate::cli::serve::Signals;
use crate::fixture::load::run;
use crate::fixture::{LoadPlan, LoadStop, LoadSummary, SendPlan, Sender, Sent};

/// The most requests under way at once without load mode.
const CONCURRENT_MAX: u16 = 1024;

/// What makes a load of it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Flags {
    /// Load mode: count and time all answers, and print one summary instead of a line for each
    ///
    /// Load mode is what --summary or --journal turns on. Its requests go over --concurrent kept
    /// connections of plain http; refusals and broken connections are counted, and the run goes on.
    /// With --rate each request is due at its time, whether those before it are answered or not, and
    /// its latency counts from then to the whole answer, the wait for a free connection included.
    /// Without --rate each connection sends as soon as it has its answer, and latency counts from the
    /// writing. After --duration no request is begun; answers under way are waited for. Ctrl-C ends it
    /// with the summary and exit code 130; a second one doesn't wait for answers. The exit code is 1
    /// when a request was refused or not answered.
    #[arg(long, help_heading = "Load mode")]
    summary: bool,
    /// Load mode: add `id TAB status TAB code` to this file for each 2xx answer
    ///
    /// A line is in the file 100 ms after the answer was read at the latest. Without --summary each
    /// answer is printed as well.
    #[arg(long, value_name = "FILE", help_heading = "Load mode")]
    journal: Option<PathBuf>,
    /// The share of requests, 0 to 0.99, that repeat id and body of one acked lately, signed afresh
    #[arg(long, value_name = "RATIO", value_parser = ratio, help_heading = "Load mode")]
    duplicates: Option<f64>,
    /// Hold this many connections open beside that never send
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=60_000), help_heading = "Load mode")]
    idle: Option<u16>,
}

/// Reads 0 to 0.99.
fn ratio(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(ratio) if (0.0..=0.99).contains(&ratio) => Ok(ratio),
        _ => Err("write it as 0.1, at most 0.99".to_owned()),
    }
}

impl Flags {
    /// Whether it is load mode.
    pub(super) fn is_load(&self) -> bool {
        self.summary || self.journal.is_some()
    }

    /// Whether a summary takes the place of the answers.
    pub(super) fn is_summarised(&self) -> bool {
        self.summary
    }

    /// The plan of a load.
    pub(super) fn plan(self, plan: SendPlan) -> LoadPlan {
        LoadPlan {
            plan,
            duplicates: self.duplicates.unwrap_or(0.0),
            journal: self.journal,
            idle: usize::from(self.idle.unwrap_or(0)),
        }
    }
}

/// Refuses flags that don't go together.
pub(super) fn check(args: &Args) -> Result<(), Failure> {
    let is_load = args.load.is_load();
    for (given, reason) in [
        (is_load && args.twice, "--twice is not for load mode: use --duplicates"),
        (is_load && args.reorder, "--reorder is not for load mode"),
        (is_load && args.wait.is_some(), "--wait is not for load mode"),
        (
            !is_load && args.load.duplicates.is_some(),
            "--duplicates is for load mode: add --summary",
        ),
        (!is_load && args.load.idle.is_some(), "--idle is for load mode: add --summary"),
        (
            !is_load && args.concurrent > CONCURRENT_MAX,
            "--concurrent over 1024 is for load mode: add --summary",
        ),
    ] {
        if given {
            return Err(Failure::Usage(reason.to_owned()));
        }
    }
    Ok(())
}

/// Sends a load and prints its summary, or each answer. Fails after that when an answer wasn't 2xx or
/// didn't come, and when it was interrupted.
pub(super) async fn send(
    load: LoadPlan,
    summarised: bool,
    sender: Sender,
    output: &Output,
) -> Result<(), Failure> {
    let mut signals = Signals::new().map_err(|why| Failure::Failed(format!("signals: {why}")))?;
    let stop = LoadStop::default();
    let mut printer = Printer::new(output);
    let summary = {
        let mut sink = |sent: &Sent| printer.take(sent);
        let sink = (!summarised).then_some(&mut sink);
        let mut running = std::pin::pin!(run(load, Arc::new(sender), stop.clone(), sink));
        loop {
            tokio::select! {
                summary = &mut running => break summary,
                () = signals.next() => {
                    if stop.sending.is_cancelled() {
                        stop.waiting.cancel();
                    } else {
                        output.say("waiting for the answers under way; a second signal doesn't");
                        stop.sending.cancel();
                    }
                }
            }
        }
    };
    if !summarised {
        printer.finish()?;
    }
    let summary = summary.map_err(failure)?;
    if summarised {
        output.one(&summary, text)?;
    } else {
        output.say(&text(&summary));
    }
    verdict(&summary)
}

fn verdict(summary: &LoadSummary) -> Result<(), Failure> {
    if summary.interrupted {
        return Err(Failure::Interrupted);
    }
    let LoadSummary { sent, ok, errors, .. } = summary;
    if let Some(why) = &summary.lost {
        return Err(Failure::Failed(format!(
            "connections were given up after 30 s of trying to open them: {why}"
        )));
    }
    if ok < sent {
        let refused = sent - ok - errors;
        return Err(Failure::Failed(format!(
            "of {sent} requests {refused} were refused and {errors} not answered"
        )));
    }
    Ok(())
}

/// The summary for people.
fn text(summary: &LoadSummary) -> String {
    let times = |times: &[(&str, Option<f64>)]| {
        let known = times.iter().filter_map(|(name, ms)| ms.map(|ms| format!("{name} {ms:.2} ms")));
        let known = known.collect::<Vec<_>>().join(", ");
        if known.is_empty() { "-".to_owned() } else { known }
    };
    let refused = summary.refused.iter().map(|(status, count)| format!("{count} with {status}"));
    let refused = refused.collect::<Vec<_>>().join(", ");
    let number = |number: Option<f64>, unit: &str| {
        number.map_or_else(|| "-".to_owned(), |number| format!("{number:.2} {unit}"))
    };
    let LoadSummary { sent, unsent, ok, accepted, duplicates, errors, .. } = summary;
    let mut grid = Grid::default();
    grid.row([
        "sent".into(),
        format!("{sent} in {:.1} s, {unsent} left unsent", summary.elapsed_s),
    ]);
    grid.row(["2xx".into(), format!("{ok}: {accepted} accepted, {duplicates} duplicates")]);
    grid.row(["refused".into(), if refused.is_empty() { "0".to_owned() } else { refused }]);
    grid.row(["errors".into(), errors.to_string()]);
    let (rate, offered) = (summary.rate_per_s, summary.offered_per_s);
    grid.row(["rate".into(), format!("{rate:.1}/s answered 2xx, {offered:.1}/s offered")]);
    let latency = times(&[
        ("p50", summary.p50_ms),
        ("p90", summary.p90_ms),
        ("p99", summary.p99_ms),
        ("p99.9", summary.p999_ms),
        ("max", summary.max_ms),
    ]);
    grid.row(["latency of 2xx".into(), latency]);
    let latency = times(&[
        ("p50", summary.refused_p50_ms),
        ("p99", summary.refused_p99_ms),
        ("max", summary.refused_max_ms),
    ]);
    grid.row(["latency of refusals".into(), latency]);
    let service = times(&[
        ("p99 of 2xx", summary.service_p99_ms),
        ("p99 of refusals", summary.refused_service_p99_ms),
    ]);
    grid.row(["from writing on".into(), service]);
    grid.row(["begun late, p99".into(), number(summary.lag_p99_ms, "ms")]);
    grid.row(["own cpu a request".into(), number(summary.cpu_us_per_request, "µs")]);
    grid.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> LoadSummary {
        LoadSummary { sent: 10, ok: 10, accepted: 8, duplicates: 2, ..LoadSummary::default() }
    }

    #[test]
    fn the_exit_code_says_whether_all_were_answered_2xx() {
        let code = |summary: LoadSummary| verdict(&summary).err().map_or(0, |why| why.code());
        assert_eq!(code(summary()), 0);
        assert_eq!(code(LoadSummary { unsent: 5, ..summary() }), 0);
        assert_eq!(code(LoadSummary { ok: 9, errors: 1, ..summary() }), 1);
        assert_eq!(code(LoadSummary { lost: Some("refused".to_owned()), ..summary() }), 1);
        assert_eq!(code(LoadSummary { interrupted: true, ..summary() }), 130);
    }

    #[test]
    fn people_read_words_and_numbers() {
        let mut summary = summary();
        summary.refused.insert(503, 4);
        summary.p50_ms = Some(1.234);
        let text = text(&summary);
        for words in ["10: 8 accepted, 2 duplicates", "4 with 503", "p50 1.23 ms"] {
            assert!(text.contains(words), "{words} in:\n{text}");
        }
    }

    #[test]
    fn a_ratio_leaves_something_new() {
        assert_eq!((ratio("0"), ratio("0.5")), (Ok(0.0), Ok(0.5)));
        for bad in ["1", "-0.1", "x", "NaN"] {
            assert!(ratio(bad).is_err(), "{bad}");
        }
    }
}
