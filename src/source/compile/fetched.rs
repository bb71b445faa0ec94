//! Compiles where keys are fetched from.

use std::time::Duration;

use url::Url;

use super::super::spec::{DurationText, KeySpec, SchemeSpec};
use super::{Faults, Surroundings};
use crate::verify::field::Field;
use crate::verify::host::{HostPattern, PathPattern};
use crate::verify::keyring::{Fetched, KeyPlace};
use crate::verify::public::PublicAlgorithm;
use crate::verify::template::params;

/// How long keys are good, unless something else is written.
const KEEP: Duration = Duration::from_secs(3600);

/// The shortest time that may be written: requests must not make us hammer the provider.
const KEEP_MIN: Duration = Duration::from_secs(60);

/// Whether the key of this member is fetched: it says from where, and has no secret in its place.
pub(super) fn is_fetched(spec: &SchemeSpec, surroundings: &Surroundings<'_>) -> bool {
    let Some(key) = &spec.key else { return false };
    let none = key.secrets.as_ref().is_some_and(Vec::is_empty);
    let written = key.jwks.is_some() || key.x509.is_some() || key.pem_url.is_some();
    written && (none || surroundings.secrets.is_none_or(<[_]>::is_empty))
}

/// Where the keys of this member are fetched from. Faults are found also where they are not fetched.
pub(super) fn compile(
    spec: &SchemeSpec,
    algorithms: Vec<PublicAlgorithm>,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<Fetched> {
    let key = spec.key.as_ref()?;
    let path = format!("{path}.key");
    let written = [key.jwks.is_some(), key.x509.is_some(), key.pem_url.is_some()];
    match written.into_iter().filter(|is| *is).count() {
        0 => return None,
        1 => {}
        _ => {
            faults.push(&path, "`jwks`, `x509` and `pem_url` are different places: keep one");
            return None;
        }
    }
    if algorithms.is_empty() {
        faults.push(&path, "a secret can't be fetched: only public keys are published");
        return None;
    }
    let keep = keep(key, &path, faults);
    let place = place(spec, key, &path, surroundings, faults)?;
    let fetched = Fetched::new(place, algorithms, keep);
    is_fetched(spec, surroundings).then_some(fetched)
}

fn keep(key: &KeySpec, path: &str, faults: &mut Faults) -> Duration {
    let jwks = key.jwks.as_ref().and_then(|jwks| jwks.keep).map(|keep| ("jwks", keep));
    let pem = key.pem_url.as_ref().and_then(|pem| pem.keep).map(|keep| ("pem_url", keep));
    let Some((word, DurationText(keep))) = jwks.or(pem) else { return KEEP };
    if keep < KEEP_MIN {
        faults.push(&format!("{path}.{word}.keep"), "is less than 1m");
    }
    keep
}

fn place(
    spec: &SchemeSpec,
    key: &KeySpec,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<KeyPlace> {
    if let Some(x509) = &key.x509 {
        let path = format!("{path}.x509");
        if spec.jwt.is_some() {
            faults.push(&path, "what a token says of its own key is never followed");
            return None;
        }
        let url_from = faults.take(&format!("{path}.url_from"), Field::parse(&x509.url_from))?;
        let hosts: Vec<HostPattern> = x509
            .hosts
            .iter()
            .filter_map(|host| faults.take(&format!("{path}.hosts"), HostPattern::parse(host)))
            .collect();
        if x509.hosts.is_empty() {
            faults.push(&format!("{path}.hosts"), "is empty: say where certificates may be");
        }
        let paths: Vec<PathPattern> = x509
            .paths
            .iter()
            .flatten()
            .filter_map(|text| faults.take(&format!("{path}.paths"), PathPattern::parse(text)))
            .collect();
        if x509.paths.as_ref().is_some_and(Vec::is_empty) {
            faults.push(&format!("{path}.paths"), "is empty: leave it out to allow any path");
        }
        let names = match &x509.names {
            None => hosts.clone(),
            Some(names) => names
                .iter()
                .filter_map(|name| faults.take(&format!("{path}.names"), HostPattern::parse(name)))
                .collect(),
        };
        if x509.names.as_ref().is_some_and(Vec::is_empty) {
            faults.push(&format!("{path}.names"), "is empty: leave it out for those of `hosts`");
        }
        let without_chain = x509.without_chain;
        return Some(KeyPlace::Certificate { url_from, hosts, names, paths, without_chain });
    }
    if let Some(pem) = &key.pem_url {
        let path = format!("{path}.pem_url");
        let url = url(&pem.url, &path, surroundings, faults);
        let pointer = match &pem.pointer {
            Some(text) => Some(pointer(text, &path, faults)?),
            None => None,
        };
        return Some(KeyPlace::Pem { url: url?, pointer });
    }
    let jwks = key.jwks.as_ref()?;
    let path = format!("{path}.jwks");
    let url = url(&jwks.url, &path, surroundings, faults);
    let pointer = pointer(jwks.pointer.as_deref().unwrap_or_default(), &path, faults)?;
    match &jwks.post {
        None => Some(KeyPlace::Set { url: url?, pointer }),
        Some(text) => {
            let post = post(text, surroundings);
            let post = faults.take(&format!("{path}.post"), post)?;
            Some(KeyPlace::ById { url: url?, post, pointer })
        }
    }
}

fn url(
    text: &str,
    path: &str,
    surroundings: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<Url> {
    let path = format!("{path}.url");
    let text = faults.take(&path, params(text, &surroundings.words()))?;
    match Url::parse(&text) {
        Ok(url) if url.scheme() == "https" && url.username().is_empty() => Some(url),
        _ if surroundings.params.is_none() => Url::parse("https://example.invalid/").ok(),
        _ => {
            faults.push(&path, "is not an https URL");
            None
        }
    }
}

fn pointer(text: &str, path: &str, faults: &mut Faults) -> Option<String> {
    if text.is_empty() || text.starts_with('/') {
        return Some(text.to_owned());
    }
    let fault = format!("`{text}` is not a JSON pointer: it begins with `/`");
    faults.push(&format!("{path}.pointer"), fault);
    None
}

/// The texts around `{kid}`, with the params in their places. Braces of the JSON itself are left.
fn post(text: &str, surroundings: &Surroundings<'_>) -> Result<Vec<String>, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{param:") {
        let (name, after) = after.split_once('}').ok_or("has a `{param:` without its `}`")?;
        let value = surroundings.words().param(name)?;
        let quoted = serde_json::Value::from(value).to_string();
        filled.push_str(before);
        // Inside of the quotes of the template.
        filled.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
        rest = after;
    }
    filled.push_str(rest);
    let around: Vec<String> = filled.split("{kid}").map(str::to_owned).collect();
    if around.len() < 2 {
        return Err("asks for no key: put {kid} into it".to_owned());
    }
    if serde_json::from_str::<serde_json::Value>(&around.join("kid")).is_err() {
        return Err("is not JSON, such as {\"key_id\": \"{kid}\"}".to_owned());
    }
    Ok(around)
}
