//! A source of the file: the preset, the operator's words over it, and its secrets.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::config::decode::{decode, fields_of};
use crate::config::desk::Desk;
use crate::config::file::FileSource;
use crate::config::place::did_you_mean;
use crate::config::tree::Value;
use crate::config::value::{PerSecond, Text};
use crate::secret::Secret;
use crate::source::spec::SourceSpec;
use crate::source::{SourceSettings, catalog};

/// What a source takes from its surroundings.
pub(crate) struct Around<'a> {
    /// The largest body when neither the source nor its preset says one.
    pub(crate) max_body: usize,
    /// Under which URL providers reach the listener, without a slash at its end.
    pub(crate) public_url: Option<&'a str>,
}

/// A source and what only the checks across sources need.
pub(crate) struct Draft {
    pub(crate) settings: SourceSettings,
    pub(crate) shared_with: Vec<String>,
    /// The position in the file of each of the settings' secrets.
    pub(crate) secret_places: Vec<usize>,
    /// Whether everything could be read, so that compiling it tells something new.
    pub(crate) complete: bool,
}

/// Keys under `[sources.x]` that the preset's vocabulary reads.
pub(crate) fn spec_keys() -> &'static [&'static str] {
    fields_of::<SourceSpec>()
}

/// Reads a source. `None` when its name is none.
pub(crate) fn draft(
    desk: &mut Desk<'_>,
    text: &str,
    file: &FileSource,
    around: &Around<'_>,
) -> Option<Draft> {
    let table = ["sources", text];
    let name = desk.name(&table, text)?;
    let spec = spec(desk, text, file);
    let path = path(desk, text, file);
    let mut secrets = Vec::new();
    let mut secret_places = Vec::new();
    for (at, secret) in file.secrets.iter().flatten().enumerate() {
        if let Some(secret) = desk.secret(&["sources", text, "secrets", &at.to_string()], secret) {
            secrets.push(secret);
            secret_places.push(at);
        }
    }
    let params = params(desk, text, file);
    let dedupe_group = match &file.dedupe_group {
        Some(group) => desk.name(&["sources", text, "dedupe_group"], group),
        None => None,
    };
    let max_body = match spec.max_body {
        Some(size) => usize::try_from(size.0).unwrap_or(usize::MAX),
        None => around.max_body,
    };
    let settings = SourceSettings {
        name,
        provider: file.provider.clone(),
        tolerance: file.tolerance.map(|Text(span)| span),
        max_body,
        allow_ips: file
            .allow_ips
            .iter()
            .flatten()
            .map(|Text(network)| *network)
            .collect::<Vec<IpNet>>(),
        rate_limit: file.rate_limit.map(|Text(PerSecond(count))| count),
        on_id_conflict: file.on_id_conflict.unwrap_or_default(),
        on_replay: file.on_replay,
        respond: super::respond::respond(desk, text, file.respond.as_ref()),
        conflict_ignore: spec.conflict_ignore.clone().unwrap_or_default(),
        dedupe_group,
        public_url: match &file.public_url {
            // As it is written: the parsed one has a slash where none was.
            Some(_) => {
                let node = desk.tree.at(&["sources", text, "public_url"]);
                node.and_then(|node| match &node.value {
                    Value::Text(url) => Some(url.clone()),
                    _ => None,
                })
            }
            None => around.public_url.map(|url| format!("{url}{path}")),
        },
        params,
        path,
        spec,
        secrets,
    };
    let complete = !desk.has_faults_under(&table);
    let shared_with =
        file.secrets_shared_with.as_ref().map(|names| names.0.clone()).unwrap_or_default();
    Some(Draft { settings, shared_with, secret_places, complete })
}

/// The keys of a source's own table were checked when the file was read; the tables in it were not.
fn read_elsewhere(path: &[&str]) -> Option<&'static [&'static str]> {
    if path.len() <= 2 { None } else { Some(&[]) }
}

/// The preset with the operator's words laid over it.
fn spec(desk: &mut Desk<'_>, name: &str, file: &FileSource) -> SourceSpec {
    let table = ["sources", name];
    let mut faults = Vec::new();
    let own: SourceSpec = match desk.tree.at(&table) {
        Some(node) => decode(node, &table, read_elsewhere, &mut faults),
        None => SourceSpec::default(),
    };
    desk.faults.append(&mut faults);
    let Some(slug) = &file.provider else {
        if own.verify.is_none() && !desk.is_written(&["sources", name, "verify"]) {
            desk.fault(
                &table,
                format!(
                    "`{name}` says neither `provider = \"…\"` (`hookonce provider list`) nor `verify = {{ … }}`"
                ),
            );
        }
        return own;
    };
    let Some(preset) = catalog::get(slug) else {
        let near = did_you_mean(slug, catalog::slugs());
        let help =
            if near.is_empty() { "; `hookonce provider list` shows what there is" } else { "" };
        desk.fault(
            &["sources", name, "provider"],
            format!("there is no preset `{slug}`{near}{help}"),
        );
        return own;
    };
    if let (Some(cap), Some(size)) = (preset.source.max_body, own.max_body)
        && size.0 < cap.0
    {
        desk.fault(
            &["sources", name, "max_body"],
            format!(
                "{slug} sends bodies of up to {}: with a smaller `max_body` some events are refused",
                bytesize::ByteSize::b(cap.0).display().iec()
            ),
        );
    }
    preset.source.clone().overlay(own)
}

/// The values that a preset asks for beside the secrets.
fn params(desk: &mut Desk<'_>, name: &str, file: &FileSource) -> BTreeMap<String, Secret> {
    let known = file.provider.as_deref().and_then(catalog::get).map(|preset| &preset.params);
    let mut params = BTreeMap::new();
    for (key, value) in file.params.iter().flatten() {
        let place = ["sources", name, "params", key];
        // A source with words of its own may name params that its preset doesn't.
        if let Some(known) = known
            && !known.contains_key(key)
            && !desk.is_written(&["sources", name, "verify"])
        {
            let near = did_you_mean(key, known.keys().map(String::as_str));
            desk.fault(&place, format!("its preset asks for no `{key}`{near}"));
        }
        if let Some(value) = desk.text(&place, value) {
            params.insert(key.clone(), value);
        }
    }
    params
}

fn path(desk: &mut Desk<'_>, name: &str, file: &FileSource) -> String {
    let Some(path) = &file.path else { return format!("/in/{name}") };
    let place = ["sources", name, "path"];
    let plain =
        path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=:@".contains(&b));
    let dots = path.split('/').any(|part| matches!(part, "." | ".."));
    if !path.starts_with('/') || !plain || dots || path.contains("//") {
        desk.fault(
            &place,
            format!(
                "`{path}` is not a path such as \"/in/{name}\": no query, no `%`, no `//`, no `..`"
            ),
        );
    } else if path.len() > 1 && path.ends_with('/') {
        desk.fault(
            &place,
            format!("`{path}` ends with a slash; write \"{}\"", path.trim_end_matches('/')),
        );
    } else if path == "/" {
        desk.fault(
            &place,
            "`/` is not a path for a source; write something such as \"/in/stripe\"",
        );
    } else if matches!(path.as_str(), "/livez" | "/readyz") {
        desk.fault(&place, format!("`{path}` is a probe; choose another path"));
    }
    path.clone()
}

/// A draft's secrets with their positions in the file.
pub(crate) fn secrets(draft: &Draft) -> impl Iterator<Item = (usize, &Secret)> {
    draft.secret_places.iter().copied().zip(&draft.settings.secrets)
}
