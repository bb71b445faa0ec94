//! Verbs and flags of the contract that aren't built yet: they say so.

use std::ffi::OsString;

use super::Failure;
use crate::config::did_you_mean;

/// Verbs of the contract that aren't built yet, with the noun before them.
const VERBS: &[&str] = &["tail", "man", "event export", "event redact"];

/// What to say about a verb that clap doesn't know: `before` are the words before it.
pub(super) fn verb(before: &[&str], words: &[OsString], command: &clap::Command) -> Failure {
    let Some(word) = words.first().map(|word| word.to_string_lossy()) else {
        return Failure::Usage("a verb is missing; see --help".to_owned());
    };
    let whole = before.iter().copied().chain([&*word]).collect::<Vec<_>>().join(" ");
    if VERBS.contains(&whole.as_str()) {
        return Failure::Usage(format!("`hookonce {whole}` is not built yet"));
    }
    let noun = before.iter().try_fold(command, |command, word| command.find_subcommand(word));
    let known =
        noun.into_iter().flat_map(clap::Command::get_subcommands).map(clap::Command::get_name);
    let near = match did_you_mean(&word, known) {
        near if near.is_empty() => ".".to_owned(),
        near => near,
    };
    Failure::Usage(format!("there is no `hookonce {whole}`{near} See `hookonce --help`"))
}

/// What to say about a flag that isn't built yet.
pub(super) fn flag(flag: &str) -> Failure {
    Failure::Usage(format!("`{flag}` is not built yet"))
}
