//! The command line as a script sees it: exit code, standard output, standard error.

use std::process::Stdio;

use serde_json::Value;

use super::daemon::Daemon;

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
    command: String,
}

impl Daemon {
    /// Runs the program in the daemon's folder, with the daemon's config.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).stdin(Stdio::null()).output().await.unwrap();
        Said {
            code: output.status.code().expect("it ended by itself"),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            command: arguments.join(" "),
        }
    }
}

impl Said {
    /// Checks the exit code.
    #[track_caller]
    pub fn code(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "hookonce {}: {}\n{}", self.command, self.text(), self.err);
        self
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// Standard output as one JSON document; checks that it went well.
    #[track_caller]
    pub fn json(&self) -> Value {
        self.code(0);
        serde_json::from_slice(&self.out)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.command, self.text()))
    }

    /// Standard output as a JSON document a line; checks that it went well.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        self.code(0);
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Checks that standard error says something.
    #[track_caller]
    pub fn says(&self, words: &str) -> &Self {
        assert!(
            self.err.contains(words),
            "hookonce {}: no `{words}` in: {}",
            self.command,
            self.err
        );
        self
    }
}
