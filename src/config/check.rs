//! What can only be judged across sections.

use std::collections::{BTreeMap, HashMap};

use super::Config;
use super::desk::Desk;
use super::place::did_you_mean;
use super::resolve::source::{Draft, secrets};
use crate::handler::Kind;
use crate::http::gateway::is_below;
use crate::source::Source;
use crate::source::spec::SchemeSpec;

/// Judges the whole config.
pub(crate) fn all(desk: &mut Desk<'_>, config: &Config, drafts: &BTreeMap<&str, Draft>) {
    listeners(desk, config);
    paths(desk, drafts);
    gateways(desk, config, drafts);
    shared_secrets(desk, drafts);
    dedupe_groups(desk, drafts);
    unsigned(desk, config, drafts);
    retention(desk, config, drafts);
    bodies(desk, config, drafts);
    unhandled(desk, config, drafts);
    for (name, draft) in drafts {
        compile(desk, name, draft);
    }
}

fn listeners(desk: &mut Desk<'_>, config: &Config) {
    let (public, admin) = (config.server.listen, config.admin.listen);
    if public == admin && public.port() != 0 {
        desk.fault(
            &["admin", "listen"],
            format!("{admin} is the public listener's address: choose another port"),
        );
    }
}

fn paths(desk: &mut Desk<'_>, drafts: &BTreeMap<&str, Draft>) {
    let mut taken: HashMap<&str, &str> = HashMap::new();
    for (name, draft) in drafts {
        let path = draft.settings.path.as_str();
        if let Some(other) = taken.insert(path, name) {
            desk.fault(
                &["sources", name, "path"],
                format!("`{path}` is already the path of source `{other}`"),
            );
        }
    }
    for (name, draft) in drafts {
        let handshakes = draft.settings.spec.handshake.iter().flatten();
        for path in handshakes.filter_map(|handshake| handshake.when.path.as_deref()) {
            if let Some(other) = taken.insert(path, name)
                && other != *name
            {
                desk.fault(
                    &["sources", name, "handshake"],
                    format!(
                        "source `{other}` answers at `{path}` too, and only one can: give it a host of its own, or leave out its handshake there"
                    ),
                );
            }
        }
    }
}

/// A gateway is asked before the sources, and the longest of their paths wins.
fn gateways(desk: &mut Desk<'_>, config: &Config, drafts: &BTreeMap<&str, Draft>) {
    let mut taken: HashMap<&str, &str> = HashMap::new();
    for gateway in &config.gateways {
        let (name, path) = (gateway.name.as_str(), gateway.path.as_str());
        if let Some(other) = taken.insert(path, name) {
            let why = format!("`{path}` is already the path of gateway `{other}`");
            desk.fault(&["gateways", name, "path"], why);
        }
        for (source, draft) in drafts {
            let handshakes = draft.settings.spec.handshake.iter().flatten();
            let others = handshakes.filter_map(|handshake| handshake.when.path.as_deref());
            let mut paths = others.chain([draft.settings.path.as_str()]);
            if paths.any(|it| is_below(it, path)) {
                let why = format!("it would hide source `{source}`, which listens below `{path}`");
                desk.fault(&["gateways", name, "path"], why);
            }
        }
    }
}

fn shared_secrets(desk: &mut Desk<'_>, drafts: &BTreeMap<&str, Draft>) {
    let names = |draft: &Draft, other: &str| draft.shared_with.iter().any(|name| name == other);
    let mut seen: Vec<(&str, &Draft)> = Vec::new();
    for (name, draft) in drafts {
        for (at, shared) in draft.shared_with.iter().enumerate() {
            if !drafts.contains_key(shared.as_str()) {
                let near = did_you_mean(shared, drafts.keys().copied());
                desk.fault(
                    &["sources", name, "secrets_shared_with", &at.to_string()],
                    format!("there is no source `{shared}`{near}"),
                );
            }
        }
        for (at, secret) in secrets(draft) {
            let twin = seen.iter().find(|(other, earlier)| {
                let declared = names(draft, other) || names(earlier, name);
                !declared
                    && secrets(earlier).any(|(_, it)| it.fingerprint() == secret.fingerprint())
            });
            if let Some((other, _)) = twin {
                desk.fault(
                    &["sources", name, "secrets", &at.to_string()],
                    format!(
                        "source `{other}` has the same secret, so a request for one could be replayed to the other; use two, or write `secrets_shared_with = [\"{other}\"]`"
                    ),
                );
            }
        }
        seen.push((name, draft));
    }
}

fn dedupe_groups(desk: &mut Desk<'_>, drafts: &BTreeMap<&str, Draft>) {
    let group_of = |draft: &Draft| {
        draft.settings.dedupe_group.clone().unwrap_or_else(|| draft.settings.name.clone())
    };
    for (name, draft) in drafts {
        let Some(group) = &draft.settings.dedupe_group else { continue };
        let others: Vec<(&&str, &Draft)> =
            drafts.iter().filter(|(other, it)| *other != name && group_of(it) == *group).collect();
        let path = ["sources", *name, "dedupe_group"];
        if others.is_empty() && group.as_str() != *name {
            desk.warn(
                &path,
                format!("no other source is in the group `{group}`, so it has no effect"),
            );
        }
        // Two that both name the group are reported once, at the later of them.
        let foreign = others.into_iter().find(|(other, it)| {
            it.settings.provider != draft.settings.provider
                && (it.settings.dedupe_group.is_none() || *other < name)
        });
        if let Some((other, _)) = foreign {
            desk.fault(
                &path,
                format!(
                    "`{other}` is in the group `{group}` too but has another provider: its ids mean something else, and events would be taken for copies"
                ),
            );
        }
    }
}

/// Whether a request that proves nothing is accepted.
fn accepts_anything(scheme: &SchemeSpec) -> bool {
    scheme.none == Some(true)
        || scheme.any.iter().flatten().any(accepts_anything)
        || scheme
            .all
            .as_ref()
            .is_some_and(|all| !all.is_empty() && all.iter().all(accepts_anything))
}

fn unsigned(desk: &mut Desk<'_>, config: &Config, drafts: &BTreeMap<&str, Draft>) {
    for (name, draft) in drafts {
        if !draft.settings.spec.verify.as_ref().is_some_and(accepts_anything) {
            continue;
        }
        desk.warn(
            &["sources", name, "verify"],
            format!("`{name}` verifies nothing: whoever knows its URL can send events"),
        );
        let runs_programs = config.handlers.iter().filter(|handler| {
            matches!(handler.kind, Kind::Exec(_))
                && handler.from.iter().any(|from| from.as_str() == *name)
        });
        for handler in runs_programs {
            desk.fault(
                &["handlers", handler.name.as_str(), "from"],
                format!("source `{name}` verifies nothing, so its events may not run a program"),
            );
        }
    }
}

fn retention(desk: &mut Desk<'_>, config: &Config, drafts: &BTreeMap<&str, Draft>) {
    let kept = config.retention;
    let days = |span| humantime::format_duration(span).to_string();
    if kept.bodies > kept.keys {
        desk.fault(
            &["retention", "bodies"],
            format!(
                "bodies can't outlive their events: `bodies` ({}) must be at most `keys` ({})",
                days(kept.bodies),
                days(kept.keys)
            ),
        );
    }
    for (name, draft) in drafts {
        let Some(horizon) = draft.settings.spec.retries.as_ref().and_then(|it| it.horizon) else {
            continue;
        };
        if kept.keys < horizon.0 {
            desk.fault(
                &["retention", "keys"],
                format!(
                    "`keys` ({}) is less than the {} over which source `{name}` may be sent the same event again: a late copy would run twice",
                    days(kept.keys),
                    days(horizon.0)
                ),
            );
        }
    }
}

fn bodies(desk: &mut Desk<'_>, config: &Config, drafts: &BTreeMap<&str, Draft>) {
    for (name, draft) in drafts {
        let size = |bytes: usize| bytesize::ByteSize::b(bytes as u64).display().iec().to_string();
        let (body, inflight) = (draft.settings.max_body, config.server.max_inflight);
        if body == 0 {
            desk.fault(&["sources", name, "max_body"], "`max_body` must be over 0");
        }
        if body > inflight {
            desk.fault(
                &["server", "max_inflight"],
                format!(
                    "`max_inflight` ({}) is less than one body of source `{name}` ({}), which would never be accepted",
                    size(inflight),
                    size(body)
                ),
            );
        }
    }
}

fn unhandled(desk: &mut Desk<'_>, config: &Config, drafts: &BTreeMap<&str, Draft>) {
    // Handlers that can't be read were reported; a warning about their sources would only confuse.
    if desk.has_faults_under(&["handlers"]) {
        return;
    }
    for name in drafts.keys() {
        let handled =
            config.handlers.iter().any(|it| it.from.iter().any(|from| from.as_str() == *name));
        if !handled {
            desk.warn(
                &["sources", name],
                format!(
                    "no handler takes events of `{name}`: they are stored and nothing is called"
                ),
            );
        }
    }
}

/// What the source itself finds wrong with its scheme and secrets.
fn compile(desk: &mut Desk<'_>, name: &str, draft: &Draft) {
    if !draft.complete {
        return;
    }
    let Err(reasons) = Source::compile(draft.settings.clone()) else { return };
    for reason in reasons {
        // A reason may begin with the path of the key that it is about.
        let key = reason.split_once(": ").map(|(key, _)| key).unwrap_or_default();
        let mut path = vec!["sources", name];
        path.extend(key.split(['.', '[', ']']).filter(|part| !part.is_empty()));
        desk.fault(&path, format!("`{name}`: {reason}"));
    }
}
