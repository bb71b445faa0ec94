//! `hookonce provider`: what we verify, from which documentation, where the id comes from.

use serde::Serialize;

use super::output::Grid;
use super::{Failure, Output};
use crate::config::did_you_mean;
use crate::source::catalog;
use crate::source::preset::Preset;
use crate::source::spec::SourceSpec;

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Every preset.
    List,
    /// One preset.
    Show {
        /// Such as stripe
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// A preset as it is shown.
#[derive(Serialize)]
struct Shown<'a> {
    slug: &'a str,
    name: &'a str,
    doc: &'a str,
    read: &'a str,
    scheme: String,
    /// `full`, `partial` or `none`: how much of the body the signature covers.
    integrity: &'static str,
    /// Whether a signed time limits how old a request may be.
    fresh: bool,
    id: Vec<String>,
    /// Whether the id lies in what is signed.
    id_signed: bool,
    notes: &'a [String],
    console: &'a [String],
    source: &'a SourceSpec,
}

pub(super) fn run(verb: Verb, output: &Output) -> Result<(), Failure> {
    match verb {
        Verb::List => {
            let shown = catalog::all().map(shown).collect::<Result<Vec<_>, _>>()?;
            output.list(&shown, None, grid)
        }
        Verb::Show { name } => {
            let Some(preset) = catalog::get(&name) else {
                let near = did_you_mean(&name, catalog::slugs());
                return Err(Failure::NotFound(format!("there is no preset `{name}`{near}")));
            };
            output.one(&shown(preset)?, text)
        }
    }
}

fn shown(preset: &Preset) -> Result<Shown<'_>, Failure> {
    let facts = preset
        .source
        .facts()
        .map_err(|why| Failure::Failed(format!("preset {}: {}", preset.slug, why.join("; "))))?;
    Ok(Shown {
        slug: preset.slug,
        name: &preset.name,
        doc: &preset.doc,
        read: &preset.read,
        scheme: facts.scheme,
        integrity: facts.integrity.as_str(),
        fresh: facts.fresh,
        id: facts.id_places,
        id_signed: facts.id_signed,
        notes: &preset.notes,
        console: &preset.console,
        source: &preset.source,
    })
}

fn grid(presets: &[Shown<'_>]) -> Grid {
    let mut grid = Grid::new(["NAME", "PROVIDER", "SCHEME", "BODY SIGNED", "ID FROM"]);
    for it in presets {
        grid.row([
            it.slug.to_owned(),
            it.name.to_owned(),
            it.scheme.clone(),
            it.integrity.to_owned(),
            it.id.join(", else "),
        ]);
    }
    grid
}

fn text(it: &Shown<'_>) -> String {
    let mut grid = Grid::default();
    let mut pair = |key: &str, value: String| grid.row([key.to_owned(), value]);
    pair("provider", it.name.to_owned());
    pair("documented", format!("{} (read {})", it.doc, it.read));
    pair("scheme", it.scheme.clone());
    let covered = match it.integrity {
        "full" => "covers the whole body",
        "partial" => "covers some values of the body, not all of it",
        _ => "does not cover the body: who holds a captured request can send any body with it",
    };
    pair("signature", covered.to_owned());
    let fresh = if it.fresh {
        "a signed time limits how old a request may be"
    } else {
        "nothing signed limits how old a request may be: only the id stops a replay"
    };
    pair("freshness", fresh.to_owned());
    pair("id from", it.id.join(", else "));
    let signed = if it.id_signed {
        "the id is signed"
    } else {
        "the id is not signed: a replayed body under a new id is a new event"
    };
    pair("", signed.to_owned());
    if let Some(horizon) = it.source.retries.as_ref().and_then(|retries| retries.horizon) {
        pair("retries", format!("for {}", humantime::format_duration(horizon.0)));
    } else if it.source.retries.as_ref().and_then(|retries| retries.none) == Some(true) {
        pair("retries", "never: what we don't accept is lost".to_owned());
    }
    if let Some(size) = it.source.max_body {
        pair("body", format!("at most {}", bytesize::ByteSize::b(size.0).display().iec()));
    }
    for note in it.notes {
        pair("note", note.clone());
    }
    for hint in it.console {
        pair("set up", hint.clone());
    }
    grid.text()
}
