//! The only place that prints: data on standard output, talk on standard error.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use owo_colors::{OwoColorize, Stream};
use serde::Serialize;

use super::Failure;
use super::global::Format;

mod bar;

pub use bar::Bar;

/// How to talk.
#[derive(Debug, Clone)]
pub struct Output {
    format: Format,
    quiet: bool,
}

/// A table for people.
#[derive(Debug, Clone, Default)]
pub struct Grid {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// A page as JSON.
#[derive(Serialize)]
struct Listed<'a, T> {
    items: &'a [T],
    next_cursor: Option<&'a str>,
}

impl Grid {
    /// A table with these columns.
    #[must_use]
    pub fn new<const N: usize>(header: [&'static str; N]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Control characters are escaped: what senders write must not steer a terminal.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    /// The table as text: columns apart by two spaces, no lines.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        if !self.header.is_empty() {
            table.set_header(self.header.clone());
        }
        table.add_rows(self.rows.clone());
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.trim_fmt()
    }
}

/// `1 event`, `2 events`.
#[must_use]
pub fn count(n: usize, noun: &str) -> String {
    match (n, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        (_, None) => format!("{n} {noun}s"),
    }
}

/// Text without control characters.
#[must_use]
pub fn plain(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|c| {
            let shown: String =
                if c.is_control() { c.escape_debug().collect() } else { c.to_string() };
            shown.chars().collect::<Vec<_>>()
        })
        .collect()
}

impl Output {
    /// `color` is `None` for "on a terminal only".
    #[must_use]
    pub fn new(format: Format, quiet: bool, color: Option<bool>) -> Self {
        match color {
            Some(color) => owo_colors::set_override(color),
            None => owo_colors::unset_override(),
        }
        Self { format, quiet }
    }

    /// How data is printed.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Data: a line as it is.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Data: exact bytes.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|why| {
            if why.kind() == io::ErrorKind::BrokenPipe {
                Failure::ClosedPipe
            } else {
                Failure::Failed(format!("standard output: {why}"))
            }
        })
    }

    /// Data: a JSON document, in one line with `jsonl`.
    pub fn json<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let text = match self.format {
            Format::Jsonl => serde_json::to_string(value),
            Format::Json | Format::Table => serde_json::to_string_pretty(value),
        };
        self.line(
            &text.map_err(|why| Failure::Failed(format!("it can't be written as JSON: {why}")))?,
        )
    }

    /// Data: a page of a list. For people it is a table, and the way to the next page is talk.
    pub fn list<T: Serialize>(
        &self,
        items: &[T],
        next_cursor: Option<&str>,
        grid: impl FnOnce(&[T]) -> Grid,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(&Listed { items, next_cursor }),
            Format::Jsonl => items.iter().try_for_each(|item| self.json(item)),
            Format::Table => {
                if items.is_empty() {
                    self.say("nothing found");
                    return Ok(());
                }
                self.line(&grid(items).text())?;
                if let Some(cursor) = next_cursor {
                    self.say(&format!("more: --cursor {cursor}"));
                }
                Ok(())
            }
        }
    }

    /// Data: one thing.
    pub fn one<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json | Format::Jsonl => self.json(value),
            Format::Table => self.line(text(value).trim_end()),
        }
    }

    /// Talk, unless it was asked to be quiet.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.error(text);
        }
    }

    /// Talk about a doubt.
    pub fn warn(&self, text: &str) {
        let word = "warning:".if_supports_color(Stream::Stderr, |word| word.yellow()).to_string();
        self.error(&format!("{word} {text}"));
    }

    /// Talk that is never left out.
    pub fn error(&self, text: &str) {
        // Standard error may be closed; there is nowhere left to say so.
        drop(writeln!(io::stderr().lock(), "{text}"));
    }

    /// Says why a verb failed, and gives the process's exit code.
    #[must_use]
    pub fn fail(&self, failure: &Failure) -> ExitCode {
        match failure {
            Failure::ClosedPipe => {}
            Failure::Config(faults) => {
                for warning in faults.warnings() {
                    self.warn(&warning.to_string());
                }
                for line in faults.lines() {
                    self.error(&line);
                }
            }
            _ => {
                let word =
                    "error:".if_supports_color(Stream::Stderr, |word| word.red()).to_string();
                self.error(&format!("{word} {failure}"));
            }
        }
        ExitCode::from(failure.code())
    }

    /// Asks before something is taken away. `yes` answers for a script; without a terminal and
    /// without it the answer can only be a usage fault. `Ok(false)` is a no.
    pub fn confirm(&self, question: &str, yes: bool) -> Result<bool, Failure> {
        if yes {
            return Ok(true);
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::Usage(format!(
                "there is no terminal to ask on ({question}): repeat with --yes, or look first with --dry-run"
            )));
        }
        let mut err = io::stderr().lock();
        let mut answer = String::new();
        let read = write!(err, "{question} [y/N] ")
            .and_then(|()| err.flush())
            .and_then(|()| io::stdin().lock().read_line(&mut answer));
        match read {
            Ok(_) => Ok(matches!(answer.trim(), "y" | "Y" | "yes")),
            Err(why) => Err(Failure::Failed(format!("no answer: {why}"))),
        }
    }

    /// As [`Output::confirm`], where a no ends the verb.
    pub fn insist(&self, question: &str, yes: bool) -> Result<(), Failure> {
        if self.confirm(question, yes)? {
            Ok(())
        } else {
            Err(Failure::Failed("nothing was changed".to_owned()))
        }
    }
}

/// Where talk goes, for the log of dev mode.
#[must_use]
pub fn talk() -> io::Stderr {
    io::stderr()
}

/// Standard output as the pipe to a daemon that started this process as its worker.
pub(super) fn pipe() -> io::Stdout {
    io::stdout()
}

/// Shows clap's own words (help, version, usage faults) and gives the exit code.
#[must_use]
pub fn usage(error: &clap::Error) -> ExitCode {
    // When even that can't be printed, the exit code still tells.
    drop(error.print());
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_senders_text_can_not_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(plain("größe"), "größe");
    }

    #[test]
    fn columns_stand_apart_by_two_spaces() {
        let mut grid = Grid::new(["ID", "STATE"]);
        grid.row(["1".into(), "dead".into()]);
        grid.row(["22".into(), "pending".into()]);
        assert_eq!(grid.text(), "ID  STATE\n1   dead\n22  pending");
    }
}
