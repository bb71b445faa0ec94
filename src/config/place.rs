//! Where a value came from, and what is wrong with it.

use std::fmt;

/// Where in the operator's words a value stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line and column of the file, from 1; columns count characters.
    Text {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// The file as a whole: something is missing in it.
    Whole,
    /// An environment variable.
    Variable(String),
    /// Ours: a preset or a default.
    Built,
}

/// One thing that is wrong, or doubtful: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    place: Place,
    message: String,
}

impl Fault {
    /// Says what is wrong at a place.
    #[must_use]
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into() }
    }

    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What is wrong, and what to do.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The line that a person reads, such as `hookonce.toml:12:5: …`.
    #[must_use]
    pub fn line(&self, file: &str) -> String {
        match &self.place {
            Place::Text { line, column } => format!("{file}:{line}:{column}: {}", self.message),
            Place::Whole | Place::Built => format!("{file}: {}", self.message),
            Place::Variable(name) => format!("{name}: {}", self.message),
        }
    }
}

/// A doubt that does not stop the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    file: String,
    fault: Fault,
}

impl Warning {
    pub(crate) fn new(file: &str, fault: Fault) -> Self {
        Self { file: file.to_owned(), fault }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault.line(&self.file))
    }
}

/// Everything that is wrong with a config, in the order in which it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    file: String,
    faults: Vec<Fault>,
    warnings: Vec<Warning>,
}

impl Faults {
    pub(crate) fn new(file: &str, mut faults: Vec<Fault>) -> Self {
        faults.sort();
        faults.dedup();
        Self { file: file.to_owned(), faults, warnings: Vec::new() }
    }

    pub(crate) fn with_warnings(mut self, warnings: Vec<Warning>) -> Self {
        self.warnings = warnings;
        self
    }

    /// The doubts beside them.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// One line each, as a person reads them.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.faults.iter().map(|fault| fault.line(&self.file))
    }
}

impl fmt::Display for Faults {
    /// One line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, line) in self.lines().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&line)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// The known word that was probably meant, when one is near enough.
#[must_use]
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = 1 + word.chars().count() / 4;
    let folded = word.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| {
            let other = candidate.to_lowercase().replace('-', "_");
            (strsim::damerau_levenshtein(&folded, &other), candidate)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// ` Did you mean `x`?`, or nothing.
#[must_use]
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_and_a_far_one_is_not() {
        let known = ["listen", "max_body", "trusted_proxies"];
        for (word, want) in [
            ("listne", Some("listen")),
            ("Listen", Some("listen")),
            ("max-body", Some("max_body")),
            ("trusted_proxy", Some("trusted_proxies")),
            ("port", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), want, "{word}");
        }
    }

    #[test]
    fn faults_stand_in_the_order_of_the_file_and_once_each() {
        let at = |line| Place::Text { line, column: 1 };
        let faults = Faults::new(
            "h.toml",
            vec![
                Fault::new(Place::Variable("HOOKONCE__A".into()), "d"),
                Fault::new(Place::Whole, "c"),
                Fault::new(at(10), "b"),
                Fault::new(at(2), "a"),
                Fault::new(at(2), "a"),
            ],
        );
        assert_eq!(faults.to_string(), "h.toml:2:1: a\nh.toml:10:1: b\nh.toml: c\nHOOKONCE__A: d");
    }
}
