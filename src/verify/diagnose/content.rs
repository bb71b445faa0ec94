//! Another hash, another content, an older version of a provider's scheme.

use super::Cause;
use super::head::{is_time, values};
use super::keys::for_hash;
use super::line::texts;
use super::search::{Case, Change, Flow, Search, Visit};
use crate::verify::encoding::Encoding;
use crate::verify::field::Field;
use crate::verify::key::{Algorithm, Key, Material};
use crate::verify::mac::Hash;
use crate::verify::signature::Grammar;
use crate::verify::signed::From;
use crate::verify::template::{Template, Words};

const HASHES: [Hash; 4] = [Hash::Sha256, Hash::Sha1, Hash::Sha512, Hash::Sha384];

/// Headers that may hold a time or an id: more are not tried.
const CANDIDATES_MAX: usize = 3;

/// Another hash; and older versions that stand beside, which have one.
pub(super) fn hashes(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let Algorithm::Hmac(own) = case.scheme.algorithm else { return Flow::Continue(()) };
    versions(case, search, visit)?;
    older(case, own, search, visit)?;
    for hash in HASHES.into_iter().filter(|hash| *hash != own) {
        let mut changed = case.clone();
        changed.scheme.algorithm = Algorithm::Hmac(hash);
        changed.scheme.keys = for_hash(&case.scheme.keys, own, hash);
        if changed.scheme.keys.is_empty() {
            continue;
        }
        let said = format!(
            "the signature fits as an {}, and this source wants an {}: is this the right preset, or does the provider let you choose the hash?",
            hash.hmac_name(),
            own.hmac_name()
        );
        visit(search, changed, Change::new(Cause::SignatureHash, said))?;
    }
    Flow::Continue(())
}

/// Other versions in the same header, such as Stripe's `v0`.
fn versions(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let line = texts(case).into_iter().next().unwrap_or_default();
    let from = &case.scheme.from;
    match &case.scheme.grammar {
        Grammar::Kv { sep, sig, ts } => {
            let names = line.split(sep.as_str()).filter_map(|part| part.trim().split_once('='));
            for (name, _) in names.take(8) {
                if sig.iter().any(|known| known == name) || ts.as_deref() == Some(name) {
                    continue;
                }
                let mut changed = case.clone();
                changed.scheme.grammar =
                    Grammar::Kv { sep: sep.clone(), sig: vec![name.to_owned()], ts: ts.clone() };
                let said = format!(
                    "{from} holds a right signature of another version than {}, which alone this source takes: let the provider send the newer one",
                    sig.join(" or ")
                );
                visit(search, changed, Change::new(Cause::OldVersion, said))?;
            }
        }
        Grammar::List { sep, tag } => {
            for part in
                line.split(sep.as_str()).filter(|part| !part.starts_with(tag.as_str())).take(8)
            {
                let Some(at) = part.find([',', '=', ':']) else { continue };
                let mut changed = case.clone();
                let tag_of_part = part[..=at].to_owned();
                changed.scheme.grammar = Grammar::List { sep: sep.clone(), tag: tag_of_part };
                let said = format!(
                    "{from} holds a right signature of another version than `{tag}`, which alone this source takes"
                );
                visit(search, changed, Change::new(Cause::OldVersion, said))?;
            }
        }
        _ => {}
    }
    Flow::Continue(())
}

/// A provider's older scheme, whose header may stand alone or beside the newer one.
pub(super) struct Older {
    pub(super) header: &'static str,
    pub(super) name: &'static str,
    algorithm: Algorithm,
    prefix: &'static str,
    encoding: Encoding,
    content: &'static str,
}

const fn older_of(
    header: &'static str,
    name: &'static str,
    algorithm: Algorithm,
    prefix: &'static str,
    encoding: Encoding,
    content: &'static str,
) -> Older {
    Older { header, name, algorithm, prefix, encoding, content }
}

/// From the providers' own pages: GitHub "Validating webhook deliveries", Square "Validate event
/// notifications", HubSpot "Validating requests".
pub(super) const OLDER: [Older; 4] = [
    older_of(
        "x-hub-signature",
        "the older SHA-1 header `x-hub-signature`",
        Algorithm::Hmac(Hash::Sha1),
        "sha1=",
        Encoding::Hex,
        "{body}",
    ),
    older_of(
        "x-square-signature",
        "Square's older SHA-1 header `x-square-signature`",
        Algorithm::Hmac(Hash::Sha1),
        "",
        Encoding::Base64,
        "{url}{body}",
    ),
    older_of(
        "x-hubspot-signature",
        "HubSpot's version 1 in `x-hubspot-signature`",
        Algorithm::Digest(Hash::Sha256),
        "",
        Encoding::Hex,
        "{secret}{body}",
    ),
    older_of(
        "x-hubspot-signature",
        "HubSpot's version 2 in `x-hubspot-signature`",
        Algorithm::Digest(Hash::Sha256),
        "",
        Encoding::Hex,
        "{secret}{method}{url}{body}",
    ),
];

fn older(case: &Case, own: Hash, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    for old in &OLDER {
        let from = From::Field(Field::Header(old.header.to_owned()));
        if from == case.scheme.from || case.received.headers.all(old.header).next().is_none() {
            continue;
        }
        let words = Words { url: search.url, params: None };
        let Ok(content) = Template::parse(old.content, &words) else { continue };
        let mut changed = case.clone();
        let scheme = &mut changed.scheme;
        scheme.keys = match old.algorithm {
            Algorithm::Hmac(hash) => for_hash(&scheme.keys, own, hash),
            Algorithm::Digest(hash) => {
                let key = |key: &Key| Key { material: Material::Digest(hash), ..key.clone() };
                scheme.keys.iter().map(key).collect()
            }
            Algorithm::Public(_) => continue,
        };
        scheme.algorithm = old.algorithm;
        scheme.grammar = Grammar::Plain { prefix: old.prefix.to_owned() };
        scheme.encodings = vec![old.encoding];
        scheme.content = content;
        (scheme.clock, scheme.id, scheme.by_id, scheme.body_digest) = (None, None, None, None);
        scheme.from = from;
        let said = format!(
            "only {} fits, and this source takes {} alone, which is missing or wrong: let the provider send it; a proxy may have cut it",
            old.name, case.scheme.from
        );
        visit(search, changed, Change::new(Cause::OldVersion, said))?;
    }
    Flow::Continue(())
}

/// Contents that providers sign; `T` stands for the time, `I` for the id.
const TEMPLATES: [&str; 22] = [
    "{body}",
    "T.{body}",
    "T{body}",
    "T:{body}",
    "{body}T",
    "{body}.T",
    "v0:T:{body}",
    "v1:T:{body}",
    "I.T.{body}",
    "IT{body}",
    "I:T:{body}",
    "T.I.{body}",
    "I.{body}",
    "I{body}",
    "{url}{body}",
    "{method}{url}{body}",
    "{method}{url}{body}T",
    "T{method}{url}{body}",
    "{url}.{body}",
    "{url}T{body}",
    "{sorted_form}",
    "{url}{sorted_form}",
];

/// Other contents, with times and ids from wherever they may stand.
pub(super) fn templates(case: &Case, search: &mut Search<'_>, visit: &mut Visit<'_>) -> Flow {
    let digest = matches!(case.scheme.algorithm, Algorithm::Digest(_));
    let times = times(case);
    let ids = ids(case);
    for form in TEMPLATES {
        let no_times = [None];
        let times: Vec<Option<&String>> =
            if form.contains('T') { times.iter().map(Some).collect() } else { no_times.to_vec() };
        for time in times {
            let ids: Vec<Option<&String>> =
                if form.contains('I') { ids.iter().map(Some).collect() } else { no_times.to_vec() };
            for id in ids {
                let text = form
                    .replace('T', time.map_or("", String::as_str))
                    .replace('I', id.map_or("", String::as_str));
                // A plain digest without the secret is anybody's.
                let texts = if digest {
                    vec![format!("{{secret}}{text}"), format!("{text}{{secret}}")]
                } else {
                    vec![text]
                };
                for text in texts {
                    give(case, &text, time, search, visit)?;
                }
            }
        }
    }
    Flow::Continue(())
}

fn give(
    case: &Case,
    text: &str,
    time: Option<&String>,
    search: &mut Search<'_>,
    visit: &mut Visit<'_>,
) -> Flow {
    let words = Words { url: search.url, params: None };
    let Ok(content) = Template::parse(text, &words) else { return Flow::Continue(()) };
    let mut changed = case.clone();
    let scheme = &mut changed.scheme;
    if time.is_none_or(|time| time != TS) {
        scheme.clock = None;
    }
    (scheme.id, scheme.body_digest, scheme.each) = (None, None, None);
    scheme.content = content;
    let said = format!(
        "the signature fits over `{text}`, and this source wants it over something else: set `content`, or use the preset that says so"
    );
    visit(search, changed, Change::new(Cause::ContentTemplate, said))
}

const TS: &str = "{ts}";

/// How a template may name the time.
fn times(case: &Case) -> Vec<String> {
    let own = case.scheme.clock.is_some() || case.scheme.grammar.holds_timestamp();
    let headers = values(case).into_iter().filter(|(_, value)| is_time(value));
    let headers = headers.map(|(name, _)| format!("{{header:{name}}}")).take(CANDIDATES_MAX);
    own.then(|| TS.to_owned()).into_iter().chain(headers).collect()
}

/// How a template may name the id.
fn ids(case: &Case) -> Vec<String> {
    let own = case.scheme.id.iter().map(|field| format!("{{{field}}}"));
    let named = |name: &str| name.ends_with("-id") || name.ends_with("_id") || name == "id";
    let headers = values(case).into_iter().filter(|(name, _)| named(name));
    own.chain(headers.map(|(name, _)| format!("{{header:{name}}}")).take(CANDIDATES_MAX)).collect()
}
