//! `hookonce provider`: what we verify, from which documentation, where the id comes from.

use std::collections::BTreeMap;

use serde::Serialize;

use super::output::Grid;
use super::{Failure, Output};
use crate::config::did_you_mean;
use crate::source::catalog;
use crate::source::preset::{ParamSpec, Preset, Unconfirmed};
use crate::source::spec::{HandshakeSpec, SchemeSpec, SourceSpec};

mod markdown;

#[derive(clap::Subcommand)]
pub(super) enum Verb {
    /// Every preset.
    List {
        /// All that is known of them, as a Markdown page
        #[arg(long)]
        markdown: bool,
    },
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
    #[serde(rename = "type")]
    kind: Vec<String>,
    /// Whether the type lies in what is signed.
    type_signed: bool,
    /// Where public keys are fetched from while the source has no secrets.
    keys_from: Vec<String>,
    /// Whether bytes of the provider's own page or library show that the preset is right.
    proven: bool,
    /// By which bytes.
    proofs: Vec<&'a str>,
    /// What is answered and not recorded, in a few words each.
    handshake: Vec<String>,
    params: &'a BTreeMap<String, ParamSpec>,
    notes: &'a [String],
    /// What only others than the provider say.
    unconfirmed: &'a [Unconfirmed],
    console: &'a [String],
    source: &'a SourceSpec,
}

pub(super) fn run(verb: Verb, output: &Output) -> Result<(), Failure> {
    match verb {
        Verb::List { markdown } => {
            let shown = catalog::all().map(shown).collect::<Result<Vec<_>, _>>()?;
            if markdown {
                return output.line(markdown::page(&shown).trim_end());
            }
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
        kind: facts.type_places,
        type_signed: facts.type_signed,
        keys_from: facts.keys_from,
        proven: preset.is_proven(),
        proofs: preset.proofs().collect(),
        handshake: preset.source.handshake.iter().flatten().map(handshake).collect(),
        params: &preset.params,
        notes: &preset.notes,
        unconfirmed: &preset.unconfirmed,
        console: &preset.console,
        source: &preset.source,
    })
}

fn grid(presets: &[Shown<'_>]) -> Grid {
    let head =
        ["NAME", "PROVIDER", "SCHEME", "BODY SIGNED", "ID FROM", "HANDSHAKE", "RETRIES", "PROVEN"];
    let mut grid = Grid::new(head);
    for it in presets {
        grid.row([
            it.slug.to_owned(),
            it.name.to_owned(),
            it.scheme.clone(),
            it.integrity.to_owned(),
            it.id.join(", else "),
            it.handshake.join("; "),
            retries(it).unwrap_or_default(),
            if it.proven { "yes" } else { "no" }.to_owned(),
        ]);
    }
    grid
}

/// Such as `GET with query:challenge` or `POST with body:/type = ping, signed`.
fn handshake(spec: &HandshakeSpec) -> String {
    let when = &spec.when;
    let mut places = Vec::new();
    let maps = [
        ("header", &when.header),
        ("query", &when.query),
        ("form", &when.form),
        ("body", &when.body),
    ];
    for (place, wanted) in maps {
        places.extend(wanted.iter().map(|(name, value)| match value.as_str() {
            "*" => format!("{place}:{name}"),
            value => format!("{place}:{name} = {value}"),
        }));
    }
    let mut text = when.method.clone().unwrap_or_else(|| "any method".to_owned());
    if let Some(path) = &when.path {
        text += &format!(" {path}");
    }
    if !places.is_empty() {
        text += &format!(" with {}", places.join(", "));
    }
    if spec.signed && spec.signed_by.is_none() {
        text += ", signed";
    }
    text
}

fn id_signed(it: &Shown<'_>) -> &'static str {
    match (it.id_signed, it.integrity) {
        (true, _) => "the id is signed",
        _ if it.id == ["none"] => "there is no id: every request is an event of its own",
        (false, "none") => "the id is not signed: a copy under a new id is a new event",
        (false, _) => {
            "the id is not signed: signed bytes under a new id are marked replay_suspected"
        }
    }
}

fn type_signed(it: &Shown<'_>) -> &'static str {
    if it.type_signed {
        "the type is signed"
    } else {
        "the type is not signed: who holds a captured request can name another one"
    }
}

/// Such as `for 3days`, `never`, `never (reported)`.
fn retries(it: &Shown<'_>) -> Option<String> {
    let retries = it.source.retries.as_ref()?;
    let text = match retries.none {
        Some(true) => "never".to_owned(),
        _ => format!("for {}", humantime::format_duration(retries.horizon?.0)),
    };
    let reported = it.unconfirmed.contains(&Unconfirmed::Retries);
    Some(if reported { format!("{text} (reported)") } else { text })
}

/// What an operator should know of what only others say.
fn unconfirmed(what: Unconfirmed) -> &'static str {
    match what {
        Unconfirmed::Retries => {
            "How long it retries, if at all, is what others report: the provider's pages that were read don't say so. If you know better, set `retention.keys`."
        }
        Unconfirmed::Id => {
            "That a retry keeps this id isn't confirmed by the provider's pages that were read: make the handler idempotent."
        }
    }
}

/// What to write into hookonce.toml.
fn config(it: &Shown<'_>) -> String {
    let slug = it.slug;
    let mut text = format!("[sources.{slug}]\nprovider = \"{slug}\"\n");
    let verify = it.source.verify.as_ref();
    if verify.is_some_and(|scheme| scheme.none != Some(true) && !fetches(scheme)) {
        let name = slug.replace('-', "_").to_ascii_uppercase();
        text += &format!("secrets  = [{{ env = \"{name}_SECRET\" }}]\n");
    }
    if !it.params.is_empty() {
        let pairs = it.params.iter().map(|(name, it)| format!("{name} = {:?}", it.example));
        text += &format!("params   = {{ {} }}\n", pairs.collect::<Vec<_>>().join(", "));
    }
    text
}

/// Whether its keys come from the provider while we run.
fn fetches(scheme: &SchemeSpec) -> bool {
    let own = scheme
        .key
        .as_ref()
        .is_some_and(|key| key.jwks.is_some() || key.x509.is_some() || key.pem_url.is_some());
    own || scheme.any.iter().chain(&scheme.all).flatten().any(fetches)
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
    for place in &it.keys_from {
        pair("key", format!("{place}; a secret in PEM takes its place"));
    }
    let fresh = if it.fresh {
        "a signed time limits how old a request may be"
    } else {
        "nothing signed limits how old a request may be: only the id stops a replay"
    };
    pair("freshness", fresh.to_owned());
    pair("id from", it.id.join(", else "));
    pair("", id_signed(it).to_owned());
    if !it.kind.is_empty() {
        pair("type from", it.kind.join(", else "));
        pair("", type_signed(it).to_owned());
    }
    for it in &it.handshake {
        pair("handshake", it.clone());
    }
    if let Some(retries) = retries(it) {
        let lost = if retries.starts_with("never") { ": what we don't accept is lost" } else { "" };
        pair("retries", format!("{retries}{lost}"));
    }
    for (name, param) in it.params {
        pair("param", format!("{name}: {}", param.about));
    }
    if !it.proven {
        pair(
            "proven",
            "no: it follows the documentation, and no bytes of the provider show that it is right"
                .to_owned(),
        );
    }
    for proof in &it.proofs {
        pair("proven by", (*proof).to_owned());
    }
    if let Some(size) = it.source.max_body {
        pair("body", format!("at most {}", bytesize::ByteSize::b(size.0).display().iec()));
    }
    for note in it.notes {
        pair("note", note.clone());
    }
    for what in it.unconfirmed {
        pair("unconfirmed", unconfirmed(*what).to_owned());
    }
    for hint in it.console {
        pair("set up", hint.clone());
    }
    format!("{}\n\n{}", grid.text().trim_end(), config(it))
}
