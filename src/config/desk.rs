//! Where the file's values are judged: what is wrong goes to one pile, so that all of it is reported.

use std::path::Path;
use std::time::Duration;

use entity::Name;

use super::env::Environment;
use super::place::{Fault, Place};
use super::secrets::{FileSecret, TextOrSecret};
use super::tree::{Node, Value};
use crate::secret::{Secret, SecretKind};

/// What judging a config needs, and what it has found so far.
pub(crate) struct Desk<'a> {
    pub(crate) tree: &'a Node,
    pub(crate) env: &'a Environment,
    /// Relative paths are looked up here: the file's own directory.
    pub(crate) dir: &'a Path,
    pub(crate) faults: Vec<Fault>,
    pub(crate) warnings: Vec<Fault>,
}

impl Desk<'_> {
    /// Something is wrong with the value at `path`.
    pub(crate) fn fault(&mut self, path: &[&str], message: impl Into<String>) {
        self.faults.push(Fault::new(self.tree.place_of(path), message));
    }

    /// Something is doubtful about the value at `path`.
    pub(crate) fn warn(&mut self, path: &[&str], message: impl Into<String>) {
        self.warnings.push(Fault::new(self.tree.place_of(path), message));
    }

    /// Whether the operator wrote something at `path`.
    pub(crate) fn is_written(&self, path: &[&str]) -> bool {
        self.tree.at(path).is_some()
    }

    /// Whether something at or under `path` was found wrong.
    pub(crate) fn has_faults_under(&self, path: &[&str]) -> bool {
        fn collect<'t>(node: &'t Node, places: &mut Vec<&'t Place>) {
            places.push(&node.place);
            for entry in node.entries() {
                places.push(&entry.key_place);
                collect(&entry.node, places);
            }
            if let Value::List(nodes) = &node.value {
                nodes.iter().for_each(|node| collect(node, places));
            }
        }
        let mut places = Vec::new();
        if let Some(node) = self.tree.at(path) {
            collect(node, &mut places);
        }
        self.faults.iter().any(|fault| places.contains(&fault.place()))
    }

    /// A duration that must be at least `least`.
    pub(crate) fn at_least(&mut self, path: &[&str], span: Duration, least: Duration) -> Duration {
        if span < least {
            let key = path.last().copied().unwrap_or_default();
            let least = humantime::format_duration(least);
            self.fault(path, format!("`{key}` must be at least {least}"));
        }
        span
    }

    /// A number that must be in `range`.
    pub(crate) fn within<N: PartialOrd + std::fmt::Display + Copy>(
        &mut self,
        path: &[&str],
        number: N,
        range: std::ops::RangeInclusive<N>,
    ) -> N {
        if !range.contains(&number) {
            let key = path.last().copied().unwrap_or_default();
            self.fault(path, format!("`{key}` must be from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// A name, checked.
    pub(crate) fn name(&mut self, path: &[&str], text: &str) -> Option<Name> {
        match Name::new(text) {
            Ok(name) => Some(name),
            Err(why) => {
                self.fault(path, why.to_string());
                None
            }
        }
    }

    /// Reads a secret; `None` when it can't be had, which was reported.
    pub(crate) fn secret(&mut self, path: &[&str], secret: &FileSecret) -> Option<Secret> {
        // A variable of ours is not written in the file, so it does not lie there in the open.
        let in_file = !matches!(self.tree.place_of(path), Place::Variable(_));
        if secret.is_in_the_open() && in_file {
            self.warn(
                path,
                "the secret stands in the config itself; keep it in { env = \"NAME\" } or { file = \"…\" }",
            );
        }
        match secret.read(self.env, self.dir) {
            Ok(secret) => Some(secret),
            Err(why) => {
                self.fault(path, why);
                None
            }
        }
    }

    /// Reads a secret that is shown as it is, and refuses one that protects nothing.
    pub(crate) fn token(&mut self, path: &[&str], secret: &FileSecret) -> Option<Secret> {
        let secret = self.secret(path, secret)?;
        if let Err(why) = secret.check(SecretKind::Token) {
            let key = path.last().copied().unwrap_or_default();
            self.fault(path, format!("`{key}` {why}"));
            return None;
        }
        Some(secret)
    }

    /// A text, or a secret.
    pub(crate) fn text(&mut self, path: &[&str], text: &TextOrSecret) -> Option<Secret> {
        match text {
            TextOrSecret::Text(text) => Some(Secret::new(text.clone())),
            TextOrSecret::Secret(secret) => self.secret(path, secret),
        }
    }
}
