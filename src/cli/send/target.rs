//! Which source signs, and where its daemon listens.

use entity::Name;

use super::{Args, Failure, Global, key, reachable};
use crate::cli::Output;
use crate::config::Config;
use crate::fixture::{Fixture, secrets};
use crate::http::AdminSettings;
use crate::secret::Secret;
use crate::source::{Source, SourceSettings, catalog};

/// What to sign with and where to send to.
pub(super) struct Target {
    pub(super) url: String,
    pub(super) source: Source,
    /// The configured admin listener; `None` without a config.
    pub(super) admin: Option<AdminSettings>,
}

/// Chooses the source from the config; with `--secret` and `--to`, a preset alone is enough.
pub(super) fn choose(
    args: &Args,
    fixtures: &[Fixture],
    global: &Global,
    output: &Output,
) -> Result<Target, Failure> {
    let provider = provider(args, fixtures);
    let loaded = match global.load() {
        Ok(loaded) => loaded.config,
        // Without a config here, everything may be given by hand. A config with faults is no such
        // case: the one who wrote it thinks that it counts.
        Err(Failure::Usage(reason)) if !global.has_config() => {
            return by_hand(args, provider.as_deref(), &reason, output);
        }
        Err(failure) => return Err(failure),
    };
    let mut settings = pick(args, provider.as_deref(), recorded(fixtures), &loaded)?.clone();
    if let Some(secret) = &args.secret {
        settings.secrets = vec![Secret::new(secret.clone())];
    }
    settings.params.extend(params(args));
    key::stand_in(&mut settings, args.key.as_deref(), output)?;
    let url =
        args.to.clone().unwrap_or_else(|| format!("http://{}", reachable(loaded.server.listen)));
    Ok(Target { url, source: compile(settings)?, admin: Some(loaded.admin) })
}

/// The provider that was named, or the one of all fixtures that were.
fn provider(args: &Args, fixtures: &[Fixture]) -> Option<String> {
    if !args.is_path() {
        return Some(args.what.clone());
    }
    let first = fixtures.first()?.provider.clone()?;
    fixtures.iter().all(|it| it.provider.as_ref() == Some(&first)).then_some(first)
}

/// The source that all of them were recorded from.
fn recorded(fixtures: &[Fixture]) -> Option<&str> {
    let first = fixtures.first()?.source.as_deref()?;
    fixtures.iter().all(|it| it.source.as_deref() == Some(first)).then_some(first)
}

fn pick<'a>(
    args: &Args,
    provider: Option<&str>,
    recorded: Option<&str>,
    config: &'a Config,
) -> Result<&'a SourceSettings, Failure> {
    let names = |sources: &[&SourceSettings]| {
        sources.iter().map(|source| source.name.to_string()).collect::<Vec<_>>().join(", ")
    };
    let all: Vec<_> = config.sources.iter().collect();
    // A recorded fixture says where it came from; the config may know that source no more.
    let recorded = recorded.filter(|name| all.iter().any(|source| source.name.as_str() == *name));
    if let Some(name) = args.source.as_deref().or(recorded) {
        let found = all.iter().find(|source| source.name.as_str() == name);
        return found.copied().ok_or_else(|| {
            Failure::Usage(format!("there is no source `{name}`; there are {}", names(&all)))
        });
    }
    let Some(provider) = provider else {
        return Err(Failure::Usage(format!(
            "{} doesn't say whose it is: name the source by --source, one of {}",
            args.what,
            names(&all)
        )));
    };
    let of: Vec<_> =
        all.iter().filter(|it| it.provider.as_deref() == Some(provider)).copied().collect();
    match of.as_slice() {
        [one] => Ok(one),
        [] => all.iter().find(|it| it.name.as_str() == provider).copied().ok_or_else(|| {
            Failure::Usage(format!(
                "the config has no source of {provider}; name one by --source: {}",
                names(&all)
            ))
        }),
        several => Err(Failure::Usage(format!(
            "the config has several sources of {provider}; name one by --source: {}",
            names(several)
        ))),
    }
}

/// A source of the preset's own making, for a daemon whose config isn't here.
fn by_hand(
    args: &Args,
    provider: Option<&str>,
    reason: &str,
    output: &Output,
) -> Result<Target, Failure> {
    let preset = provider.and_then(catalog::get);
    // A provider that signs nothing, or with a private key, has no secret that could be given.
    let secretless = preset.is_some_and(|preset| {
        preset.source.verify.as_ref().is_some_and(|scheme| scheme.none == Some(true))
            || !secrets::private_positions(&preset.source).is_empty()
    });
    let (Some(preset), Some(url), None, true) =
        (preset, &args.to, &args.source, args.secret.is_some() || secretless)
    else {
        return Err(Failure::Usage(format!(
            "{reason}; or say all by hand: --to URL --secret SECRET, with a provider's fixture"
        )));
    };
    let name = Name::new(preset.slug).map_err(|error| Failure::Usage(error.to_string()))?;
    let mut settings = SourceSettings {
        provider: Some(preset.slug.to_owned()),
        secrets: args.secret.iter().map(|secret| Secret::new(secret.clone())).collect(),
        max_body: usize::MAX,
        public_url: Some(url.clone()),
        params: params(args).collect(),
        ..SourceSettings::new(name, preset.source.clone())
    };
    key::stand_in(&mut settings, args.key.as_deref(), output)?;
    Ok(Target { url: url.clone(), source: compile(settings)?, admin: None })
}

fn params(args: &Args) -> impl Iterator<Item = (String, Secret)> {
    args.params.iter().map(|(name, value)| (name.clone(), Secret::new(value.clone())))
}

fn compile(settings: SourceSettings) -> Result<Source, Failure> {
    let name = settings.name.clone();
    Source::compile(settings)
        .map_err(|faults| Failure::Usage(format!("source `{name}`: {}", faults.join("; "))))
}
